//! The ecosystem file: `saas.pactown.yaml` text → [`Ecosystem`], with every problem of the file at once.
//!
//! Only this module sees unvalidated YAML: an [`Ecosystem`] that exists is valid. Reads one file and the `.env`
//! beside it, writes nothing.

use std::fs;
use std::io;
use std::path::Path;

use indexmap::IndexMap;

use crate::diagnostics::{Problem, Problems};
use crate::lockfile::{ArtifactLock, Lockfile};
use report::{Mark, Report};

pub mod budget;
pub(crate) mod cron;
mod dependencies;
mod dotenv;
pub mod ecosystem;
mod egress;
mod exceptions;
mod expect;
mod foreign;
mod grammar;
mod health;
mod import;
mod imports;
mod interpolate;
mod limiting;
mod limits;
mod locate;
mod normal;
mod publish;
mod report;
pub(crate) mod restart;
mod scalars;
pub(crate) mod schedule;
mod schema;
pub(crate) mod secrets;
mod security;
mod service;
mod storage;
mod top;
mod tree;
mod units;

pub use ecosystem::Ecosystem;
pub use health::{Written, health_check};
pub use locate::locate;
pub use normal::normal_form;
pub(crate) use report::did_you_mean;
pub use schema::schema;

/// A valid ecosystem and what is worth saying about its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The ecosystem.
    pub ecosystem: Ecosystem,
    /// Remarks; none of them an error.
    pub warnings: Vec<Problem>,
}

/// Reads the file and the `.env` beside it. Variables come from `environment` first, then from `.env`.
pub fn load(file: &Path, environment: &IndexMap<String, String>) -> Result<Loaded, Problems> {
    let locked = locked(file);
    load_as(file, environment, Some(&locked))
}

/// As [`load`], before it is known what a registry gives: services that come from there have no README yet.
///
/// # Errors
/// As [`load`].
pub fn load_open(file: &Path, environment: &IndexMap<String, String>) -> Result<Loaded, Problems> {
    load_as(file, environment, None)
}

fn load_as(
    file: &Path,
    environment: &IndexMap<String, String>,
    locked: Option<&[ArtifactLock]>,
) -> Result<Loaded, Problems> {
    let file = std::path::absolute(file).map_err(|error| unreadable(file, &error.to_string()))?;
    let text = read(&file)?;
    let (variables, said) = variables(&file, environment);
    examine(
        &file,
        &text,
        &variables,
        said,
        (locked, (&readme_fault, &text_of)),
    )
}

/// What the lock beside the file has of registries. A damaged one is told by those who use it.
fn locked(file: &Path) -> Vec<ArtifactLock> {
    let text = fs::read_to_string(Lockfile::beside(file)).unwrap_or_default();
    Lockfile::parse(&text)
        .map(|lock| lock.artifacts)
        .unwrap_or_default()
}

/// What variables mean in `file`: those of `environment`, then those of the `.env` beside it; and what is wrong with that.
pub(crate) fn variables(
    file: &Path,
    environment: &IndexMap<String, String>,
) -> (IndexMap<String, String>, Problems) {
    let (mut variables, said) = dotenv(&file.with_file_name(".env"));
    let own = environment.iter();
    variables.extend(own.map(|(name, value)| (name.clone(), value.clone())));
    (variables, said)
}

/// The pure part of [`load`]: no file is looked at.
pub fn parse(file: &Path, text: &str, variables: &IndexMap<String, String>) -> Result<Loaded, Problems> {
    // A file that nobody looks at is as good as the default.
    let profile = r#"{"defaultAction": "SCMP_ACT_ERRNO"}"#;
    let files: Files = (&|_| None, &|_| Ok(profile.to_owned()));
    examine(file, text, variables, Problems::default(), (Some(&[]), files))
}

/// What is asked of other files: why one cannot be read, and the text of one.
type Files<'a> = (
    &'a dyn Fn(&Path) -> Option<String>,
    &'a dyn Fn(&Path) -> Result<String, String>,
);

fn examine(
    file: &Path,
    text: &str,
    variables: &IndexMap<String, String>,
    said: Problems,
    (locked, (unreadable, text_of)): (Option<&[ArtifactLock]>, Files),
) -> Result<Loaded, Problems> {
    let report = Report::new(file, text);
    let ecosystem = tree::read(text, &report).map(|mut root| {
        interpolate::fill(&mut root, variables, text, &report);
        let directory = file.parent().unwrap_or(Path::new(""));
        let context = top::Context {
            report: &report,
            directory,
            secrets: &[],
            namespace: "",
            locked,
            unreadable,
            text_of,
        };
        top::ecosystem(file, &root, &context)
    });
    let mut problems = said;
    problems.0.extend(report.into_problems().0);
    match ecosystem {
        Some(ecosystem) if !problems.is_fatal() => Ok(Loaded {
            ecosystem,
            warnings: problems.0,
        }),
        _ => Err(problems),
    }
}

fn read(file: &Path) -> Result<String, Problems> {
    let bytes = fs::read(file).map_err(|error| unreadable(file, &said(&error)))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        unreadable(file, &format!("line {line} is not UTF-8"))
    })
}

fn unreadable(file: &Path, why: &str) -> Problems {
    let report = Report::new(file, "");
    report.error(Mark::default(), format!("cannot be read: {why}"), "");
    report.into_problems()
}

/// The variables of `.env`; without such a file there are none. A directory of that name is someone's Python.
fn dotenv(file: &Path) -> (IndexMap<String, String>, Problems) {
    match fs::read(file) {
        _ if file.is_dir() => Default::default(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
        Err(error) => (IndexMap::new(), unreadable(file, &said(&error))),
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => dotenv::read(file, &text),
            Err(_) => (IndexMap::new(), unreadable(file, "it is not UTF-8")),
        },
    }
}

fn readme_fault(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => None,
        Ok(_) => Some("it is not a file".to_owned()),
        Err(error) => Some(said(&error)),
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    match readme_fault(path) {
        Some(why) => Err(why),
        None => fs::read_to_string(path).map_err(|error| said(&error)),
    }
}

/// The reason in words that need no errno.
fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: &str = "/town/saas.pactown.yaml";

    fn parsed(text: &str) -> Ecosystem {
        parse(Path::new(FILE), text, &IndexMap::new())
            .expect("valid")
            .ecosystem
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "\\PC*") {
            let _ = parse(Path::new(FILE), &text, &IndexMap::new());
        }

        #[test]
        fn nor_what_looks_like_a_file(text in "(name|services|  a|    (port|env|ports|depends_on|health_check)|  - |: |\\n|\\[|\\{|\\}|\\]|\\$\\{|&a|\\*a|'|\"|[0-9]{1,6}|é|\\t| ){0,60}") {
            let _ = parse(Path::new(FILE), &text, &IndexMap::new());
        }
    }

    #[test]
    fn defaults() {
        let ecosystem = parsed("name: x\nservices: {a: null}");
        let service = &ecosystem.services["a"];
        assert_eq!(ecosystem.sandbox_root, Path::new("/town/.pactown-sandboxes"));
        assert_eq!(service.readme, Path::new("/town/a/README.md"));
        assert_eq!((service.port, service.port_explicit), (8000, false));
        assert_eq!(
            (
                service.timeout.as_secs(),
                service.stop_grace.as_secs(),
                service.stop_signal
            ),
            (60, 10, 15)
        );
        assert_eq!(service.place, ecosystem::Place { line: 2, column: 12 });
    }

    #[test]
    fn automatic_ports_skip_what_is_taken() {
        let text = "name: x\nbase_port: 9000\nservices:\n  a:\n  b: {port: 9002}\n  c:\n  d: {ports: ['80:9004']}\n  e:\n  f: {port: 9002}";
        let ports: Vec<u16> = parsed(text)
            .services
            .values()
            .map(|service| service.port)
            .collect();
        assert_eq!(ports, [9000, 9002, 9003, 9004, 9005, 9002]);
    }

    #[test]
    fn forms_of_dependencies() {
        let list = "name: x\nservices:\n  b:\n  c:\n  a: {depends_on: [b@1.2, {name: c, condition: service_healthy}]}";
        let map = "name: x\nservices:\n  b:\n  c:\n  a: {depends_on: {b: {version: '1.2'}, c: healthy}}";
        let of = |text: &str| {
            let mut found = parsed(text).services["a"].depends_on.clone();
            found
                .iter_mut()
                .for_each(|dependency| dependency.place = Default::default());
            found
        };
        assert_eq!(of(list), of(map));
        assert_eq!(of(list)[0].version, "1.2");
        let elsewhere = parsed("name: x\nservices: {a: {depends_on: [{name: db, endpoint: 'tcp://h:1'}]}}");
        assert_eq!(
            elsewhere.services["a"].depends_on[0].endpoint.as_deref(),
            Some("tcp://h:1")
        );
    }

    #[test]
    fn values_of_env_are_text_as_written() {
        let ecosystem =
            parsed("name: x\nservices: {a: {env: {A: 1.10, B: true, C: ~, D: '', E: 0x1F, F: yes, G: 1e3}}}");
        let env: Vec<_> = ecosystem.services["a"].env.values().map(String::as_str).collect();
        assert_eq!(env, ["1.10", "true", "", "", "0x1F", "yes", "1e3"]);
    }

    #[test]
    fn variables_may_give_numbers_and_words() {
        let text = "name: x\nstrict_ports: ${S}\nservices: {a: {port: '${P}', egress: '${E:-none}', timeout: '${T:-5}'}}";
        let variables = [("S", "true"), ("P", "81")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let loaded = parse(Path::new(FILE), text, &variables.into_iter().collect()).expect("valid");
        let service = &loaded.ecosystem.services["a"];
        assert!(loaded.ecosystem.strict_ports);
        assert_eq!((service.port, service.timeout.as_secs()), (81, 5));
        assert_eq!(service.egress, ecosystem::Egress::None);
    }
}
