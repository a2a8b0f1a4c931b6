//! A `Procfile` (`name: command`, a line each) as an ecosystem. Pure.

use indexmap::IndexMap;

use super::draft::{Draft, Entry, Written};
use super::{Dropped, Imported, fenced, label, shell};

/// Where the project is inside.
const PROJECT: &str = "/srv/project";

/// The ecosystem of the processes in `text`, which was read from the file `name`.
///
/// # Errors
/// The first line that is no process, with its number.
pub fn import(ecosystem: &str, name: &str, text: &str) -> Result<Imported, (usize, String)> {
    let (mut services, mut readmes) = (IndexMap::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let told = |why: &str| (number + 1, format!("'{line}' {why}"));
        let (process, command) = line
            .split_once(':')
            .ok_or_else(|| told("is no process: write 'name: command'"))?;
        let service = label(process.trim());
        if process.trim().is_empty() || command.trim().is_empty() {
            return Err(told("is no process: write 'name: command'"));
        }
        if services.contains_key(&service) {
            return Err(told("is a second process of this name"));
        }
        let readme = format!("{service}/README.md");
        readmes.push((readme.clone(), page(&service, name, command.trim())));
        services.insert(service, entries(&readme, process.trim()));
    }
    if services.is_empty() {
        return Err((1, format!("`{name}` has no process")));
    }
    let head = vec![
        format!("Imported from `{name}` by `pactown import`."),
        format!("Each process finds the project in {PROJECT}, read-only."),
    ];
    Ok(Imported {
        draft: Draft {
            head,
            name: ecosystem.to_owned(),
            // The first port that foreman gives.
            base_port: Some(5000),
            services,
        },
        readmes,
        dropped: vec![Dropped {
            service: None,
            key: ".env".to_owned(),
            why:
                "its variables fill in ${NAME} in the ecosystem file; services get those that env: gives them"
                    .to_owned(),
        }],
    })
}

fn entries(readme: &str, process: &str) -> Vec<Entry> {
    let mut entries = vec![
        Entry::Key("readme", Written::literal(readme), None),
        Entry::Key(
            "mounts",
            Written::texts([format!(".:{PROJECT}")]),
            Some("the project, read-only".to_owned()),
        ),
    ];
    if process != "web" {
        entries.push(Entry::Comment(
            "depends_on: a Procfile does not say who needs whom; what is not named here cannot be reached"
                .to_owned(),
        ));
    }
    entries
}

fn page(service: &str, file: &str, command: &str) -> String {
    let run = format!("cd {}\n{command}", shell::word(PROJECT));
    let mut page = format!("# {service}\n\nThe process `{service}` of `{file}`.\n\n");
    // Heroku's: it prepares a release, and ends.
    if service == "release" {
        page.push_str(&fenced("yaml markpact:workload", "kind: job"));
        page.push('\n');
    }
    page.push_str(&fenced("sh markpact:run", &run));
    page
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::markpact::recipe::WorkloadKind;

    #[test]
    fn processes_become_services() {
        let text =
            "# comment\nweb: python3 -m http.server $PORT\n\nWorker_1: sh -c 'a: b'\nrelease: ./migrate\n";
        let imported = import("shop", "Procfile", text).unwrap();
        let yaml = imported.draft.render();
        let loaded = crate::config::parse(Path::new("/p/saas.pactown.yaml"), &yaml, &IndexMap::new());
        let ecosystem = loaded
            .unwrap_or_else(|problems| panic!("{problems}\n{yaml}"))
            .ecosystem;
        assert_eq!(
            ecosystem.services.keys().collect::<Vec<_>>(),
            ["web", "worker-1", "release"]
        );
        assert_eq!(ecosystem.services["web"].port, 5000);
        let recipe = |index: usize| {
            let (path, text) = &imported.readmes[index];
            crate::markpact::parse(Path::new(path), text).unwrap()
        };
        assert_eq!(
            recipe(1).run.unwrap().command.trim(),
            "cd /srv/project\nsh -c 'a: b'"
        );
        assert_eq!(recipe(2).workload.kind, WorkloadKind::Job);
    }

    #[test]
    fn what_is_no_process_is_told_by_its_line() {
        for (text, line, told) in [
            ("web: a\nnothing\n", 2, "is no process"),
            ("web: a\nWEB: b\n", 2, "second process"),
            ("web:\n", 1, "is no process"),
            ("# only\n", 1, "has no process"),
        ] {
            let (number, message) = import("x", "Procfile", text).unwrap_err();
            assert!(
                number == line && message.contains(told),
                "{text:?}: {number} {message}"
            );
        }
    }
}
