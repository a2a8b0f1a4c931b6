//! The short and the long forms that values of a compose file have. Pure.

use serde_json::Value;

use crate::author::draft::Written;
use crate::author::{label, shell};

/// The items of a list; of anything else none.
pub(super) fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A scalar as it is written.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `8080:80`, `127.0.0.1:8080:80/udp`, `9000-9001:9000-9001`, `80`, or the long form: as pactown writes them.
pub(super) fn ports(item: &Value) -> Option<Vec<String>> {
    if item.is_object() {
        let target = text(&item["target"]);
        let published = match &item["published"] {
            Value::Null => target.clone(),
            value => text(value),
        };
        let host = item["host_ip"]
            .as_str()
            .map(|host| format!("{host}:"))
            .unwrap_or_default();
        let udp = if item["protocol"] == "udp" { "/udp" } else { "" };
        return ranges(&format!("{host}{published}:{target}{udp}"));
    }
    ranges(&text(item))
}

fn ranges(text: &str) -> Option<Vec<String>> {
    let (text, udp) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), ""),
        Some((text, "udp")) => (text, "/udp"),
        Some(_) => return None,
    };
    let (before, inside) = text.rsplit_once(':').unwrap_or((text, text));
    let (host, outside) = match before.rsplit_once(':') {
        Some((host, outside)) => (format!("{host}:"), outside),
        None => (String::new(), before),
    };
    let range = |text: &str| -> Option<Vec<u16>> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first..=last).map(Some).collect()
    };
    let (outside, inside) = (range(outside)?, range(inside)?);
    let pairs = outside.iter().zip(&inside);
    (outside.len() == inside.len()).then(|| {
        pairs
            .map(|(out, port)| format!("{host}{out}:{port}{udp}"))
            .collect()
    })
}

/// An entry of `depends_on` in its long form.
pub(super) fn dependency(name: &str, need: &Value) -> Written {
    let condition = match need["condition"].as_str() {
        Some("service_started") => Some("started"),
        Some("service_healthy") => Some("healthy"),
        Some("service_completed_successfully") => Some("completed"),
        _ => None,
    };
    let mut map = vec![("name".to_owned(), Written::Text(label(name)))];
    map.extend(condition.map(|word| ("condition".to_owned(), Written::Text(word.to_owned()))));
    for key in ["required", "restart"] {
        if let Value::Bool(value) = need[key] {
            map.push((key.to_owned(), Written::Plain(value.to_string())));
        }
    }
    match map.len() {
        1 => Written::Text(label(name)),
        _ => Written::Map(map),
    }
}

/// Source (`None`: anonymous), target, read-only.
pub(super) fn volume(item: &Value) -> Option<(Option<String>, String, bool)> {
    if item.is_object() {
        let target = item["target"].as_str()?.to_owned();
        let source = item["source"].as_str().map(str::to_owned);
        let known = ["volume", "bind"].contains(&item["type"].as_str().unwrap_or("volume"));
        return known.then_some((source, target, item["read_only"] == true));
    }
    let all = item.as_str()?;
    // A default in a variable has a colon of its own.
    let at = all.rfind(":/").filter(|at| *at > 0);
    let (source, rest) = match at {
        Some(at) => (Some(all[..at].to_owned()), &all[at + 1..]),
        None => (None, all),
    };
    let (target, mode) = rest.split_once(':').unwrap_or((rest, "rw"));
    let read_only = mode.split(',').any(|word| word == "ro");
    target
        .starts_with('/')
        .then(|| (source, target.to_owned(), read_only))
}

/// What is executed; compose's `$$` is a `$`.
pub(super) fn command(entrypoint: &Value, command: &Value) -> Option<String> {
    let one = |value: &Value| match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().replace("$$", "$")),
        Value::Array(words) if !words.is_empty() => {
            let words: Vec<String> = words.iter().map(|word| text(word).replace("$$", "$")).collect();
            Some(shell::line(words.iter().map(String::as_str)))
        }
        _ => None,
    };
    match (one(entrypoint), one(command)) {
        (Some(entrypoint), Some(command)) => Some(format!("{entrypoint} {command}")),
        (entrypoint, command) => entrypoint.or(command),
    }
}
