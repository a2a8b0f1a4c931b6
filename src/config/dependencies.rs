//! `depends_on`: a list of text or mappings, or a mapping of names → [`Dependency`]s. Cycles are the resolver's business.

use super::ecosystem::{Condition, Dependency};
use super::grammar::DEPENDENCY;
use super::report::{Mark, Report, did_you_mean};
use super::scalars;
use super::tree::{Key, Node, Value, shortened};

const CONDITIONS: &[(&str, Condition)] = &[
    ("started", Condition::Started),
    ("healthy", Condition::Healthy),
    ("completed", Condition::Completed),
    ("service_started", Condition::Started),
    ("service_healthy", Condition::Healthy),
    ("service_completed_successfully", Condition::Completed),
];

/// The dependencies of the service under `key`.
pub(crate) fn depends_on(key: &Key, service: &Node, names: &[&str], report: &Report) -> Vec<Dependency> {
    let Some(node) = service.get("depends_on") else {
        return Vec::new();
    };
    let found: Vec<(Mark, Dependency)> = match &node.value {
        Value::List(items) => items.iter().filter_map(|item| listed(item, report)).collect(),
        Value::Map(entries) => entries
            .iter()
            .filter_map(|(name, value)| keyed(name, value, report))
            .collect(),
        _ => {
            let help = "write '- name' below it";
            report.wrong("depends_on", "a list or a mapping", node, help);
            return Vec::new();
        }
    };
    checked(found, key, names, report)
}

/// An entry of the list form.
fn listed(item: &Node, report: &Report) -> Option<(Mark, Dependency)> {
    if let Value::Map(_) = item.value {
        report.check_keys(item, DEPENDENCY, "a dependency");
        let Some(name) = item.get("name") else {
            report.error(item.mark, "a dependency without 'name'", "add 'name:'");
            return None;
        };
        let text = report.text("name", name)?;
        return Some((name.mark, details(text.to_owned(), name.mark, item, report)));
    }
    let text = match &item.value {
        Value::Text(_) => report.text("depends_on", item)?,
        Value::Number(text) => text,
        _ => {
            report.wrong(
                "depends_on",
                "a name or a mapping",
                item,
                "write '- name', or '- name: …'",
            );
            return None;
        }
    };
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text, None),
    };
    if version.is_some_and(|version| version.is_empty() || version.contains('@')) {
        let message = format!("'{}' is not a name and a version", shortened(text));
        report.error(item.mark, message, "write 'name' or 'name@version'");
        return None;
    }
    let mut dependency = plain(name.to_owned(), item.mark);
    dependency.version = version.unwrap_or("*").to_owned();
    Some((item.mark, dependency))
}

/// An entry of the mapping form.
fn keyed(key: &Key, value: &Node, report: &Report) -> Option<(Mark, Dependency)> {
    let dependency = match &value.value {
        Value::Null => plain(key.text.clone(), key.mark),
        Value::Map(_) => {
            report.check_keys(value, DEPENDENCY, "a dependency");
            if let Some((second, _)) = value.entry("name") {
                let message = "'name' has no meaning here: the key is the name";
                report.error(second.mark, message, "take it out");
            }
            details(key.text.clone(), key.mark, value, report)
        }
        _ => Dependency {
            condition: Some(report.choice(&shortened(&key.text), value, CONDITIONS)?),
            ..plain(key.text.clone(), key.mark)
        },
    };
    Some((key.mark, dependency))
}

fn plain(name: String, mark: Mark) -> Dependency {
    Dependency {
        name,
        version: "*".to_owned(),
        endpoint: None,
        env_var: None,
        condition: None,
        required: true,
        restart: false,
        port: None,
        place: mark.place,
    }
}

fn details(name: String, mark: Mark, node: &Node, report: &Report) -> Dependency {
    let text = |name: &str| node.get(name).and_then(|value| report.text(name, value));
    let version = node.get("version").and_then(|value| match &value.value {
        Value::Number(text) => Some(text.as_str()),
        _ => report.text("version", value),
    });
    // What it means is done with; here it is only looked at.
    node.get("registry")
        .and_then(|value| report.choice("registry", value, &[("local", ()), ("default", ())]));
    Dependency {
        version: version.unwrap_or("*").to_owned(),
        endpoint: text("endpoint").map(str::to_owned),
        env_var: node.get("env_var").and_then(|value| variable(value, report)),
        condition: node
            .get("condition")
            .and_then(|value| report.choice("condition", value, CONDITIONS)),
        required: node
            .get("required")
            .and_then(|value| report.boolean("required", value))
            .unwrap_or(true),
        restart: node
            .get("restart")
            .and_then(|value| report.boolean("restart", value))
            .unwrap_or(false),
        port: node.get("port").and_then(|value| report.port("port", value)),
        ..plain(name, mark)
    }
}

fn variable(node: &Node, report: &Report) -> Option<String> {
    let name = report.text("env_var", node)?;
    if !scalars::is_variable_name(name) {
        report.wrong(
            "env_var",
            "a variable name",
            node,
            "use letters, digits and '_', not a digit first",
        );
        return None;
    }
    Some(name.to_owned())
}

/// What remains when each name is known, not the service itself, and there once.
fn checked(found: Vec<(Mark, Dependency)>, key: &Key, names: &[&str], report: &Report) -> Vec<Dependency> {
    let mut kept: Vec<Dependency> = Vec::with_capacity(found.len());
    for (mark, dependency) in found {
        let name = shortened(&dependency.name);
        if let Some(first) = kept.iter().find(|other| other.name == dependency.name) {
            let help = format!("the first one is in line {}", first.place.line);
            report.error(mark, format!("'{name}' is listed twice in 'depends_on'"), help);
            continue;
        }
        if dependency.name == key.text {
            report.error(mark, format!("service '{name}' depends on itself"), "take it out");
            continue;
        }
        if !names.contains(&dependency.name.as_str()) {
            check_elsewhere(mark, &dependency, key, names, report);
        }
        kept.push(dependency);
    }
    kept
}

/// A dependency that is no service of the file: only an endpoint makes sense of it.
fn check_elsewhere(mark: Mark, dependency: &Dependency, key: &Key, names: &[&str], report: &Report) {
    let name = shortened(&dependency.name);
    let Some(endpoint) = &dependency.endpoint else {
        let others = names.iter().copied().filter(|other| *other != key.text);
        let help = did_you_mean(&dependency.name, others)
            .unwrap_or_else(|| "add it below 'services', or give an 'endpoint'".to_owned());
        report.error(mark, format!("there is no service '{name}'"), help);
        return;
    };
    if !scalars::is_service_name(&dependency.name) {
        let help = "lower-case letters, digits and '-', at most 63, not '-' first";
        report.error(mark, format!("'{name}' is not a service name"), help);
    }
    if endpoint.contains("{host}") || endpoint.contains("{port}") {
        let message =
            format!("the 'endpoint' of '{name}' has a placeholder, but no service of the file can fill it");
        report.error(mark, message, "write host and port out");
    }
}
