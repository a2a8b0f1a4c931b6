//! `secrets:` of the ecosystem and of a service: where values come from and what they are called inside. No value is read
//! here.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::ecosystem::Place;
use super::grammar::{Key as Known, key};
use super::report::{Report, did_you_mean};
use super::scalars;
use super::schema::Shape;
use super::top::Context;
use super::tree::{Key, Node, Value, shortened};

/// A secret's name.
pub type SecretName = String;

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// What to ask.
    pub from: SecretSource,
    /// Where it stands.
    pub place: Place,
}

/// The kinds of source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// `file`: all bytes of this file; absolute.
    File(PathBuf),
    /// `environment`: this variable of the caller or of `.env`.
    Environment(String),
    /// `command`: what this program prints, without the newlines at its end. It is run for the caller, on the host.
    Command(Vec<String>),
}

/// One entry of a service's `secrets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// The secret.
    pub source: SecretName,
    /// Its file's name below `/run/secrets`.
    pub target: String,
    /// Where it stands.
    pub place: Place,
}

/// An entry of `secrets` of the ecosystem.
pub(crate) const SECRET: &[Known] = &[
    key("file", Shape::Text, "All of this file, relative to this one."),
    key(
        "environment",
        Shape::Text,
        "This variable of whoever runs 'up', or of .env.",
    ),
    key(
        "command",
        Shape::Command,
        "What this command prints; 'up' runs it on the host as whoever asked.",
    ),
];

/// An entry of `secrets` of a service, as a mapping.
pub(crate) const SECRET_USE: &[Known] = &[
    key("source", Shape::Text, "The secret."),
    key(
        "target",
        Shape::Text,
        "Its file below /run/secrets; the secret's name by default.",
    ),
];

const KINDS: [&str; 3] = ["file", "environment", "command"];
const HELP: &str = "write one of 'file: PATH', 'environment: NAME' and 'command: [PROGRAM, ARGUMENT]'";

/// All secrets of the ecosystem.
pub(crate) fn secrets(root: &Node, context: &Context) -> IndexMap<SecretName, Secret> {
    let report = context.report;
    let Some(node) = root.get("secrets").filter(|node| !node.is_null()) else {
        return IndexMap::new();
    };
    let mut found = IndexMap::new();
    for (key, node) in report.entries("secrets", node) {
        let named = check_name(&key.text, key.mark, report);
        if let Some(secret) = secret(key, node, context).filter(|_| named) {
            found.insert(key.text.clone(), secret);
        }
    }
    found
}

fn check_name(name: &str, mark: super::report::Mark, report: &Report) -> bool {
    let good = is_file_name(name);
    if !good {
        let message = format!("'{}' is not the name of a secret", shortened(name));
        report.error(
            mark,
            message,
            "use letters, digits, '_', '.' and '-', at most 200, not '.' first",
        );
    }
    good
}

/// Becomes a file's name.
fn is_file_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    (1..=200).contains(&name.len()) && name.chars().all(good) && !name.starts_with('.')
}

fn secret(key: &Key, node: &Node, context: &Context) -> Option<Secret> {
    let report = context.report;
    let what = format!("secret '{}'", shortened(&key.text));
    let Value::Map(entries) = &node.value else {
        report.wrong(
            &format!("secrets.{}", shortened(&key.text)),
            "a mapping",
            node,
            HELP,
        );
        return None;
    };
    report.check_keys(node, SECRET, &what);
    let mut kinds = entries
        .iter()
        .filter(|(key, value)| KINDS.contains(&key.text.as_str()) && !value.is_null());
    let (Some((kind, value)), None) = (kinds.next(), kinds.next()) else {
        report.error(key.mark, format!("{what} needs one source"), HELP);
        return None;
    };
    Some(Secret {
        from: source(&kind.text, value, context)?,
        place: key.mark.place,
    })
}

fn source(kind: &str, value: &Node, context: &Context) -> Option<SecretSource> {
    let report = context.report;
    match kind {
        "file" => {
            let text = report.text(kind, value)?;
            Some(SecretSource::File(scalars::path_from(context.directory, text)))
        }
        "environment" => {
            let name = report.text(kind, value)?;
            if !scalars::is_variable_name(name) {
                let message = format!("'{}' is not a variable name", shortened(name));
                report.error(value.mark, message, "write the name alone, without '$'");
                return None;
            }
            Some(SecretSource::Environment(name.to_owned()))
        }
        _ => super::health::command(kind, value, report).map(SecretSource::Command),
    }
}

/// The `secrets` of a service.
pub(crate) fn uses(node: &Node, context: &Context) -> Vec<SecretUse> {
    let report = context.report;
    let Some(list) = node.get("secrets").filter(|list| !list.is_null()) else {
        return Vec::new();
    };
    let mut found: Vec<SecretUse> = Vec::new();
    for item in report.items("secrets", list) {
        let Some(one) = one_use(item, context) else {
            continue;
        };
        match found.iter().find(|other| other.target == one.target) {
            Some(other) => {
                let message = format!("'/run/secrets/{}' is taken twice in this service", one.target);
                report.error(
                    item.mark,
                    message,
                    format!("the first one is in line {}", other.place.line),
                );
            }
            None => found.push(one),
        }
    }
    found
}

fn one_use(item: &Node, context: &Context) -> Option<SecretUse> {
    let report = context.report;
    let (source, target) = match &item.value {
        Value::Map(_) => {
            report.check_keys(item, SECRET_USE, "an entry of 'secrets'");
            let source = match item.get("source") {
                Some(node) => (report.text("source", node)?, node),
                None => {
                    report.error(
                        item.mark,
                        "an entry of 'secrets' needs 'source'",
                        "name the secret",
                    );
                    return None;
                }
            };
            (source, item.get("target").filter(|node| !node.is_null()))
        }
        _ => ((report.text("secrets", item)?, item), None),
    };
    let (name, at) = source;
    is_known(name, at, context).then_some(())?;
    Some(SecretUse {
        source: name.to_owned(),
        target: match target {
            Some(node) => self::target(node, report)?,
            None => name.to_owned(),
        },
        place: item.mark.place,
    })
}

fn is_known(name: &str, node: &Node, context: &Context) -> bool {
    let known = context.secrets.iter().any(|secret| secret == name);
    if !known {
        let names = context.secrets.iter().map(String::as_str);
        let help = did_you_mean(name, names)
            .unwrap_or_else(|| "describe it below 'secrets' of the ecosystem".to_owned());
        let message = format!("there is no secret '{}'", shortened(name));
        context.report.error(node.mark, message, help);
    }
    known
}

/// A name, or a path below `/run/secrets`, as Compose writes it.
fn target(node: &Node, report: &Report) -> Option<String> {
    let text = report.text("target", node)?;
    let name = text.strip_prefix("/run/secrets/").unwrap_or(text);
    if is_file_name(name) {
        return Some(name.to_owned());
    }
    let message = format!("'{}' is no file below '/run/secrets'", shortened(text));
    report.error(node.mark, message, "write a file's name, such as 'password'");
    None
}

/// The secrets as the file's normal form has them.
pub(crate) fn form(secrets: &IndexMap<SecretName, Secret>, directory: &std::path::Path) -> Json {
    let one = |secret: &Secret| match &secret.from {
        SecretSource::File(path) => json!({"file": scalars::path_text(directory, path)}),
        SecretSource::Environment(name) => json!({"environment": name}),
        SecretSource::Command(argv) => json!({"command": argv}),
    };
    let entries = secrets.iter().map(|(name, secret)| (name.clone(), one(secret)));
    Json::Object(entries.collect::<Map<_, _>>())
}

/// The uses of a service as the file's normal form has them.
pub(crate) fn uses_form(uses: &[SecretUse]) -> Json {
    let one = |one: &SecretUse| json!({"source": one.source, "target": one.target});
    uses.iter().map(one).collect()
}
