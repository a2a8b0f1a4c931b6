//! `health_check`: a path or a mapping → a [`HealthCheck`]. Also reads the `health` block of a README.

use std::path::Path;
use std::time::Duration;

use super::ecosystem::{HealthCheck, Probe};
use super::grammar::HEALTH;
use super::report::Report;
use super::tree::{self, Node, Value};

const HELP: &str = "write a path such as '/health', or a mapping with 'http', 'tcp' or 'exec'";

/// Reads the `health` block of a README: a path, or the mapping of the ecosystem file.
pub fn health_check(text: &str, default_port: u16) -> Result<HealthCheck, String> {
    let report = Report::new(Path::new(""), text);
    let found = tree::read(text, &report).and_then(|node| check(&node, default_port, &report));
    let said: Vec<String> = report
        .into_problems()
        .0
        .into_iter()
        .map(|problem| problem.message)
        .collect();
    match found {
        Some(check) if said.is_empty() => Ok(check),
        _ if said.is_empty() => Err("the health check is empty".to_owned()),
        _ => Err(said.join("; ")),
    }
}

/// The check of this value; problems are reported.
pub(crate) fn check(node: &Node, default_port: u16, report: &Report) -> Option<HealthCheck> {
    let duration = |name: &str, default: u64| {
        let written = node
            .get(name)
            .and_then(|value| report.duration(name, value, false));
        written.unwrap_or(Duration::from_secs(default))
    };
    let probe = match &node.value {
        Value::Text(_) => Some(Probe::Http {
            path: path("health_check", node, report)?,
            port: default_port,
            expect: (200, 399),
        }),
        Value::Map(_) => mapping(node, default_port, report),
        _ => {
            report.wrong("health_check", "a path or a mapping", node, HELP);
            None
        }
    };
    let (interval, timeout) = (duration("interval", 1), duration("timeout", 2));
    Some(HealthCheck {
        probe: probe?,
        interval,
        timeout,
    })
}

fn mapping(node: &Node, default_port: u16, report: &Report) -> Option<Probe> {
    report.check_keys(node, HEALTH, "'health_check'");
    let present: Vec<&str> = ["http", "tcp", "exec"]
        .into_iter()
        .filter(|name| node.get(name).is_some())
        .collect();
    let kind = match present[..] {
        [kind] => kind,
        [] => {
            report.error(node.mark, "'health_check' says nothing to ask", HELP);
            return None;
        }
        [_, second, ..] => {
            let mark = node.entry(second).map_or(node.mark, |(key, _)| key.mark);
            report.error(
                mark,
                "'health_check' can ask one thing only",
                "keep one of 'http', 'tcp' and 'exec'",
            );
            return None;
        }
    };
    for name in ["port", "expect"].into_iter().filter(|_| kind != "http") {
        if let Some((key, _)) = node.entry(name) {
            report.error(
                key.mark,
                format!("'{name}' has no meaning with '{kind}'"),
                "take it out",
            );
        }
    }
    let value = node.get(kind)?;
    match kind {
        "http" => http(value, node, default_port, report),
        "tcp" => report.port("tcp", value).map(|port| Probe::Tcp { port }),
        _ => command(value, report).map(|command| Probe::Exec { command }),
    }
}

fn http(value: &Node, node: &Node, default_port: u16, report: &Report) -> Option<Probe> {
    let port = node.get("port").map(|port| report.port("port", port));
    let expect = node.get("expect").map(|expect| statuses(expect, report));
    Some(Probe::Http {
        path: path("http", value, report)?,
        port: port.unwrap_or(Some(default_port))?,
        expect: expect.unwrap_or(Some((200, 399)))?,
    })
}

/// A path as it can stand in a request line.
fn path(what: &str, node: &Node, report: &Report) -> Option<String> {
    let text = report.text(what, node)?;
    if !text.starts_with('/') {
        let help = match text
            .split_once("://")
            .map(|(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]))
        {
            Some(path) => format!("write '{path}': the service itself is asked"),
            None => HELP.to_owned(),
        };
        report.wrong(what, "a path that begins with '/'", node, help);
        return None;
    }
    if text.contains(|c: char| c.is_whitespace() || !c.is_ascii() || c == '#') {
        report.wrong(
            what,
            "a path without spaces, '#' or special letters",
            node,
            "write them as '%20'",
        );
        return None;
    }
    Some(text.to_owned())
}

/// `200` or `200-299`.
fn statuses(node: &Node, report: &Report) -> Option<(u16, u16)> {
    let range = match &node.value {
        Value::Number(text) | Value::Text(text) => range(text),
        _ => None,
    };
    if range.is_none() {
        report.wrong(
            "expect",
            "a status or a range of them",
            node,
            "write '200' or '200-299', from 100 to 599",
        );
    }
    range
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| {
        let text = text.trim();
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let status: u16 = digits.then(|| text.parse().ok())??;
        (100..=599).contains(&status).then_some(status)
    };
    let (low, high) = (status(low)?, status(high)?);
    (low <= high).then_some((low, high))
}

/// Shell text becomes `sh -c`; a list is taken as it is.
fn command(node: &Node, report: &Report) -> Option<Vec<String>> {
    match &node.value {
        Value::List(items) if items.is_empty() => {
            report.error(node.mark, "'exec' must not be empty", "");
            None
        }
        Value::List(items) => items.iter().map(|item| argument(item, report)).collect(),
        Value::Text(text) if text.trim().is_empty() => {
            report.error(node.mark, "'exec' must not be empty", "");
            None
        }
        Value::Text(text) => Some(vec!["sh".to_owned(), "-c".to_owned(), text.clone()]),
        _ => {
            report.wrong("exec", "shell text or a list of arguments", node, "");
            None
        }
    }
}

fn argument(item: &Node, report: &Report) -> Option<String> {
    match item.is_null() {
        true => {
            report.wrong("exec", "text", item, "");
            None
        }
        false => report.scalar("exec", item),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(text: &str) -> Probe {
        health_check(text, 80).expect(text).probe
    }

    #[test]
    fn blocks_of_a_readme() {
        let http = |path: &str, port, expect| Probe::Http {
            path: path.to_owned(),
            port,
            expect,
        };
        assert_eq!(probe("/health"), http("/health", 80, (200, 399)));
        assert_eq!(probe("  /h?x=1\n"), http("/h?x=1", 80, (200, 399)));
        assert_eq!(
            probe("http: /h\nport: 81\nexpect: 200-204"),
            http("/h", 81, (200, 204))
        );
        assert_eq!(probe("{http: /h, expect: 204}"), http("/h", 80, (204, 204)));
        assert_eq!(probe("tcp: 5432"), Probe::Tcp { port: 5432 });
        let command = |words: &[&str]| Probe::Exec {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        assert_eq!(probe("exec: test -e x"), command(&["sh", "-c", "test -e x"]));
        assert_eq!(probe("exec: [test, -e, 1]"), command(&["test", "-e", "1"]));
        let check = health_check("{tcp: 1, interval: 500ms, timeout: 3}", 80).expect("valid");
        assert_eq!(
            (check.interval, check.timeout),
            (Duration::from_millis(500), Duration::from_secs(3))
        );
    }

    #[test]
    fn what_a_health_block_cannot_be() {
        for text in [
            "",
            "health",
            "http://x/h",
            "/a b",
            "/ä",
            "[]",
            "{}",
            "tcp: 0",
            "{tcp: 1, http: /}",
            "exec: []",
            "exec: ''",
            "{tcp: 1, expect: 200}",
            "{http: /, expect: 99}",
            "{http: /, expect: 300-200}",
            "{http: /, timeout: 0}",
            "a: [",
            "{http: /, retries: 3}",
            "5",
        ] {
            let fault = health_check(text, 80).expect_err(text);
            assert!(!fault.is_empty());
        }
        assert_eq!(
            health_check("{tcp: 0}", 80),
            Err("'tcp' must be a port from 1 to 65535, not the number 0".to_owned())
        );
    }
}
