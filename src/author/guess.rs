//! An ecosystem file for READMEs that are there: what they need of each other, and where they listen, is guessed from what
//! they hold, and each guess says what it is taken from. Pure.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use regex::Regex;

use super::draft::{Draft, Entry, Written};
use super::scan::{Found, Kind};
use crate::markpact::Recipe;

/// A word that a README uses, and where.
struct Use {
    word: String,
    place: String,
}

/// Edges that are taken: who needs whom.
type Edges = IndexMap<String, BTreeSet<String>>;

/// The file for those of `found` that run; the README of each stands where `readme` says.
pub fn ecosystem(
    name: &str,
    base_port: Option<u16>,
    found: &[Found],
    readme: &dyn Fn(&Found) -> String,
) -> Draft {
    let runs: Vec<(&Found, &Recipe)> = found
        .iter()
        .filter(|one| matches!(one.kind, Kind::Service | Kind::Job))
        .filter_map(|one| Some((one, one.recipe.as_ref()?)))
        .collect();
    let names: Vec<&str> = runs.iter().map(|(one, _)| one.name.as_str()).collect();
    let (mut edges, mut next) = (Edges::new(), base_port.unwrap_or(8000));
    let mut services = IndexMap::new();
    let mut taken = BTreeSet::new();
    for (one, recipe) in &runs {
        let readme = readme(one);
        let mut entries = vec![Entry::Key("readme", Written::literal(&readme), None)];
        if one.kind == Kind::Service {
            entries.extend(port(recipe, &readme, &mut next, &mut taken));
            entries.extend(health(recipe, &readme));
        }
        entries.extend(needs(&one.name, recipe, &readme, &names, &mut edges));
        services.insert(one.name.clone(), entries);
    }
    let mut head =
        vec!["Written by `pactown generate`. What is guessed says what it is taken from.".to_owned()];
    let left = found
        .iter()
        .filter(|one| matches!(one.kind, Kind::Library | Kind::Broken));
    head.extend(left.map(|one| match one.kind {
        Kind::Broken => format!("Left out: {}, which has problems (`pactown parse`)", readme(one)),
        _ => format!("Left out: {}, in which nothing runs", readme(one)),
    }));
    Draft {
        head,
        name: name.to_owned(),
        base_port,
        services,
    }
}

/// Matches of the first group of `pattern` in what the README runs, with the README's line.
fn uses(recipe: &Recipe, readme: &str, pattern: &str) -> Vec<Use> {
    // The patterns are written below.
    let Ok(pattern) = Regex::new(pattern) else {
        return Vec::new();
    };
    let files = recipe
        .files
        .iter()
        .map(|file| (file.path.as_str(), file.content.as_str(), file.lines.first));
    let run = recipe
        .run
        .iter()
        .filter_map(|run| Some(("its command", run.command.as_str(), run.lines?.first)));
    let mut found = Vec::new();
    for (what, text, fence) in files.chain(run) {
        for (number, line) in text.lines().enumerate() {
            for groups in pattern.captures_iter(line) {
                if let Some(word) = groups.get(1) {
                    found.push(Use {
                        word: word.as_str().to_owned(),
                        place: format!("{what} ({readme}:{})", fence + number + 1),
                    });
                }
            }
        }
    }
    found
}

/// Where it listens: a number that is written in its command, or one for a program that reads `PORT`.
fn port(recipe: &Recipe, readme: &str, next: &mut u16, taken: &mut BTreeSet<u16>) -> Vec<Entry> {
    let written = uses(
        recipe,
        readme,
        r"(?:--port[ =]|--bind[ =]\S*:|-p |PORT:-)([1-9][0-9]{1,4})\b",
    );
    let written = written
        .iter()
        .find_map(|one| Some((one.word.parse::<u16>().ok()?, one)));
    let reads = uses(recipe, readme, r#"\b(?:MARKPACT_)?(PORT)\b"#);
    let (port, why) = match (written, reads.first()) {
        (Some((port, one)), _) => (port, format!("as in {}", one.place)),
        (None, Some(one)) => {
            while taken.contains(next) && *next < u16::MAX {
                *next += 1;
            }
            (*next, format!("PORT is read in {}", one.place))
        }
        (None, None) => {
            let text = "port: nothing in it says where it listens, or that it does";
            return vec![Entry::Comment(text.to_owned())];
        }
    };
    taken.insert(port);
    vec![Entry::Key("port", Written::Plain(port.to_string()), Some(why))]
}

/// What its check asks, unless the README has a block for that.
fn health(recipe: &Recipe, readme: &str) -> Option<Entry> {
    if recipe.health.is_some() {
        return None;
    }
    let found = uses(
        recipe,
        readme,
        r#"["'`](/(?:health|healthz|ready|readyz|ping))["'`]"#,
    );
    let first = found.first()?;
    let why = format!("{} names it", first.place);
    Some(Entry::Key(
        "health_check",
        Written::Text(first.word.clone()),
        Some(why),
    ))
}

/// What it needs: a service for each `NAME_URL`, unless that would close a circle.
fn needs(own: &str, recipe: &Recipe, readme: &str, names: &[&str], edges: &mut Edges) -> Vec<Entry> {
    let variable = |name: &str| name.to_uppercase().replace(['-', '.'], "_");
    let mut seen = BTreeSet::new();
    let (mut list, mut remarks) = (Vec::new(), Vec::new());
    for one in uses(recipe, readme, r"\b([A-Z][A-Z0-9_]*)_(?:URL|HOST)\b") {
        let is_own = one.word == "SERVICE" || one.word == variable(own);
        if is_own || !seen.insert(one.word.clone()) {
            continue;
        }
        let used = format!("{}_URL or _HOST is used in {}", one.word, one.place);
        match names.iter().find(|name| variable(name) == one.word) {
            None => remarks.push(Entry::Comment(format!(
                "{used}: no service here is called so; give it in env:, or add what it means"
            ))),
            Some(name) if leads_to(edges, name, own) => remarks.push(Entry::Comment(format!(
                "{used}: {name} needs {own} already, and a circle cannot start"
            ))),
            Some(name) => {
                let own = edges.entry(own.to_owned()).or_default();
                own.insert((*name).to_owned());
                list.push((
                    Written::Text((*name).to_owned()),
                    Some(format!("guessed: {used}")),
                ));
            }
        }
    }
    let mut entries = Vec::new();
    if !list.is_empty() {
        entries.push(Entry::Key("depends_on", Written::List(list), None));
    }
    entries.extend(remarks);
    entries
}

/// Whether `from` needs `to`, itself or by others.
fn leads_to(edges: &Edges, from: &str, to: &str) -> bool {
    let (mut open, mut seen) = (vec![from.to_owned()], BTreeSet::new());
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name.clone()) {
            open.extend(edges.get(&name).into_iter().flatten().cloned());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn found(name: &str, text: &str) -> Found {
        let recipe = crate::markpact::parse(Path::new("/r.md"), text).unwrap();
        Found {
            readme: PathBuf::from(format!("{name}/README.md")),
            name: name.to_owned(),
            kind: Kind::Service,
            title: None,
            languages: vec![],
            files: recipe.files.len(),
            tests: 0,
            problems: vec![],
            recipe: Some(recipe),
        }
    }

    fn rendered(found: &[Found]) -> String {
        ecosystem("t", None, found, &|one| one.readme.display().to_string()).render()
    }

    #[test]
    fn each_guess_says_what_it_is_taken_from() {
        let web = "# W\n\n```python markpact:file path=web.py\nimport os\nA = os.environ['USER_API_URL'], os.environ[\"PORT\"]\nB = os.environ['DATABASE_URL']\nif path == '/health': pass\n```\n\n```sh markpact:run\npython3 web.py\n```\n";
        let api = "# A\n\n```sh markpact:run\nexec python3 -m http.server --port 3000 $SERVICE_URL $USER_API_HOST\n```\n";
        let text = rendered(&[found("web", web), found("user-api", api)]);
        assert_eq!(
            text.split_once("services:\n").unwrap().1,
            "  web:
    readme: web/README.md
    port: 8000  # PORT is read in web.py (web/README.md:5)
    health_check: /health  # web.py (web/README.md:7) names it
    depends_on:
      - user-api  # guessed: USER_API_URL or _HOST is used in web.py (web/README.md:5)
    # DATABASE_URL or _HOST is used in web.py (web/README.md:6): no service here is called so; give it in env:, or add what it means

  user-api:
    readme: user-api/README.md
    port: 3000  # as in its command (user-api/README.md:4)
"
        );
    }

    #[test]
    fn a_circle_is_not_closed() {
        let needs = |other: &str| format!("# X\n\n```sh markpact:run\necho ${other}_URL\n```\n");
        let text = rendered(&[
            found("a", &needs("B")),
            found("b", &needs("C")),
            found("c", &needs("A")),
        ]);
        assert_eq!(text.matches("- ").count(), 2, "{text}");
        assert!(
            text.contains("# A_URL or _HOST is used in its command (c/README.md:4): a needs c already"),
            "{text}"
        );
        let file = Path::new("/p/saas.pactown.yaml");
        let loaded = crate::config::parse(file, &text, &IndexMap::new()).unwrap();
        crate::resolver::Graph::of(&loaded.ecosystem).unwrap();
    }
}
