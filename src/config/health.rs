//! `health_check`: a path or a mapping → a [`HealthCheck`]. Also reads the `health` block of a README.

use std::path::Path;
use std::time::Duration;

use super::ecosystem::{HealthCheck, Probe};
use super::grammar::HEALTH;
use super::report::Report;
use super::tree::{self, Node, Value};

mod http;

const HELP: &str =
    "write a path such as '/health', a mapping with 'http', 'tcp', 'exec', 'log' or 'notify', or 'none'";
/// The kinds of probe, by their keys.
const KINDS: [&str; 5] = ["http", "tcp", "exec", "log", "notify"];
/// Keys with a meaning for `http` only.
const OF_HTTP: [&str; 5] = ["port", "expect", "headers", "body", "body_regex"];

/// What `health_check` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// `none`: it runs, and that is enough.
    None,
    /// A check.
    Check(HealthCheck),
}

impl Written {
    /// The check, if there is one.
    pub fn check(self) -> Option<HealthCheck> {
        match self {
            Self::None => None,
            Self::Check(check) => Some(check),
        }
    }
}

/// Reads the `health` block of a README: a path, or the mapping of the ecosystem file.
pub fn health_check(text: &str, default_port: u16) -> Result<Written, String> {
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
pub(crate) fn check(node: &Node, default_port: u16, report: &Report) -> Option<Written> {
    match &node.value {
        Value::Bool(false) => Some(Written::None),
        Value::Text(text) if text == "none" => Some(Written::None),
        Value::Text(_) => Some(Written::Check(HealthCheck::new(Probe::Http {
            path: path("health_check", node, report)?,
            port: default_port,
            expect: (200, 399),
            headers: Vec::new(),
            body: None,
        }))),
        Value::Map(_) => mapping(node, default_port, report).map(Written::Check),
        _ => {
            report.wrong("health_check", "a path or a mapping", node, HELP);
            None
        }
    }
}

/// Whether a key that is not the probe's own says something about checks of this kind.
pub(crate) fn has_meaning(probe: &Probe, key: &str) -> bool {
    meaningful(kind(probe), key)
}

fn kind(probe: &Probe) -> &'static str {
    match probe {
        Probe::Http { .. } => "http",
        Probe::Tcp { .. } => "tcp",
        Probe::Exec { .. } => "exec",
        Probe::Log { .. } => "log",
        Probe::Notify { .. } => "notify",
    }
}

fn meaningful(kind: &str, key: &str) -> bool {
    match kind {
        "http" => true,
        // A line that was written stays written: nothing is asked again.
        "log" => false,
        "notify" => ["interval", "retries"].contains(&key),
        _ => !OF_HTTP.contains(&key),
    }
}

fn mapping(node: &Node, default_port: u16, report: &Report) -> Option<HealthCheck> {
    report.check_keys(node, HEALTH, "'health_check'");
    let kind = the_kind(node, report)?;
    refuse_meaningless(kind, node, report);
    let probe = probe(kind, node, default_port, report);
    let times = times(node, report);
    Some(HealthCheck {
        probe: probe?,
        ..times
    })
}

/// The one key that says what is asked.
fn the_kind<'n>(node: &'n Node, report: &Report) -> Option<&'n str> {
    let Value::Map(entries) = &node.value else {
        return None;
    };
    let present: Vec<&super::tree::Key> = entries
        .iter()
        .filter(|(key, value)| KINDS.contains(&key.text.as_str()) && !value.is_null())
        .map(|(key, _)| key)
        .collect();
    match present[..] {
        [key] => Some(&key.text),
        [] => {
            report.error(node.mark, "'health_check' says nothing to ask", HELP);
            None
        }
        [_, second, ..] => {
            report.error(
                second.mark,
                "'health_check' can ask one thing only",
                "keep one of 'http', 'tcp', 'exec', 'log' and 'notify'",
            );
            None
        }
    }
}

fn refuse_meaningless(kind: &str, node: &Node, report: &Report) {
    let Value::Map(entries) = &node.value else { return };
    let known = |name: &str| HEALTH.iter().any(|key| key.name == name) && !KINDS.contains(&name);
    for (key, value) in entries {
        if known(&key.text) && !value.is_null() && !meaningful(kind, &key.text) {
            report.error(
                key.mark,
                format!("'{}' has no meaning with '{kind}'", key.text),
                "take it out",
            );
        }
    }
}

/// The times and counts, with a probe that means nothing.
fn times(node: &Node, report: &Report) -> HealthCheck {
    let duration = |name: &str, zero, default| {
        let written = node
            .get(name)
            .and_then(|value| report.duration(name, value, zero));
        written.unwrap_or(default)
    };
    let retries = node
        .get("retries")
        .and_then(|value| report.count("retries", value));
    HealthCheck {
        probe: Probe::Notify { watchdog: false },
        interval: duration("interval", false, HealthCheck::INTERVAL),
        timeout: duration("timeout", false, HealthCheck::TIMEOUT),
        retries: retries.unwrap_or(HealthCheck::RETRIES),
        start_period: duration("start_period", true, Duration::ZERO),
    }
}

fn probe(kind: &str, node: &Node, default_port: u16, report: &Report) -> Option<Probe> {
    let value = node.get(kind)?;
    match kind {
        "http" => http(value, node, default_port, report),
        "tcp" => report.port("tcp", value).map(|port| Probe::Tcp { port }),
        "exec" => command("exec", value, report).map(|command| Probe::Exec { command }),
        "log" => report.text("log", value).map(|text| Probe::Log {
            text: text.to_owned(),
        }),
        _ => notify(value, node, report),
    }
}

fn notify(value: &Node, node: &Node, report: &Report) -> Option<Probe> {
    if !report.boolean("notify", value)? {
        report.error(
            value.mark,
            "'notify: false' asks nothing",
            "write 'health_check: none' for no check",
        );
        return None;
    }
    Some(Probe::Notify {
        watchdog: node.get("interval").is_some(),
    })
}

fn http(value: &Node, node: &Node, default_port: u16, report: &Report) -> Option<Probe> {
    let port = node.get("port").map(|port| report.port("port", port));
    let expect = node.get("expect").map(|expect| statuses(expect, report));
    let headers = node.get("headers").map(|node| http::headers(node, report));
    let body = http::body(node, report);
    Some(Probe::Http {
        path: path("http", value, report)?,
        port: port.unwrap_or(Some(default_port))?,
        expect: expect.unwrap_or(Some((200, 399)))?,
        headers: headers.unwrap_or_default(),
        body,
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

/// Shell text, which becomes `sh -c`, or a list of arguments, which is taken as it is.
pub(crate) fn command(what: &str, node: &Node, report: &Report) -> Option<Vec<String>> {
    match &node.value {
        Value::List(items) if items.is_empty() => {
            report.error(node.mark, format!("'{what}' must not be empty"), "");
            None
        }
        Value::List(items) => items.iter().map(|item| argument(what, item, report)).collect(),
        Value::Text(text) if text.trim().is_empty() => {
            report.error(node.mark, format!("'{what}' must not be empty"), "");
            None
        }
        Value::Text(text) => Some(vec!["sh".to_owned(), "-c".to_owned(), text.clone()]),
        _ => {
            report.wrong(what, "shell text or a list of arguments", node, "");
            None
        }
    }
}

fn argument(what: &str, item: &Node, report: &Report) -> Option<String> {
    match item.is_null() {
        true => {
            report.wrong(what, "text", item, "");
            None
        }
        false => report.scalar(what, item),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ecosystem::BodyMatch;

    fn checked(text: &str) -> HealthCheck {
        health_check(text, 80).expect(text).check().expect("a check")
    }

    fn probe(text: &str) -> Probe {
        checked(text).probe
    }

    #[test]
    fn blocks_of_a_readme() {
        let http = |path: &str, port, expect| Probe::Http {
            path: path.to_owned(),
            port,
            expect,
            headers: vec![],
            body: None,
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
        assert_eq!(
            probe("log: 'ready to accept'"),
            Probe::Log {
                text: "ready to accept".to_owned()
            }
        );
        assert_eq!(probe("notify: true"), Probe::Notify { watchdog: false });
        assert_eq!(
            probe("{notify: true, interval: 5}"),
            Probe::Notify { watchdog: true }
        );
        for text in ["none", "false"] {
            assert_eq!(health_check(text, 80), Ok(Written::None));
        }
    }

    #[test]
    fn times_have_defaults() {
        let check = checked("{tcp: 1, interval: 500ms, timeout: 3, retries: 5, start_period: 1m}");
        let seconds = Duration::from_secs;
        assert_eq!(
            (check.interval, check.timeout),
            (Duration::from_millis(500), seconds(3))
        );
        assert_eq!((check.retries, check.start_period), (5, seconds(60)));
        let check = checked("/health");
        assert_eq!((check.interval, check.timeout), (seconds(10), seconds(2)));
        assert_eq!((check.retries, check.start_period), (3, Duration::ZERO));
    }

    #[test]
    fn a_request_has_headers_and_its_answer_a_body() {
        let Probe::Http { headers, body, .. } =
            probe("{http: /, headers: {Host: shop.example, X-Probe: 1}, body: 'it is up'}")
        else {
            panic!("http")
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(headers, [pair("Host", "shop.example"), pair("X-Probe", "1")]);
        assert_eq!(body, Some(BodyMatch::Contains("it is up".to_owned())));
        let Probe::Http { body, .. } = probe(r"{http: /, body_regex: '^ok\b'}") else {
            panic!("http")
        };
        assert_eq!(body, Some(BodyMatch::Regex(r"^ok\b".to_owned())));
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
            "{http: /, retries: 0}",
            "{http: /, retries: many}",
            "{http: /, start_period: -1}",
            "{log: ''}",
            "{log: a, interval: 5}",
            "{log: a, notify: true}",
            "notify: false",
            "notify: yes",
            "{notify: true, timeout: 5}",
            "{tcp: 1, headers: {a: b}}",
            "{http: /, headers: {'a b': c}}",
            "{http: /, headers: {a: \"b\\r\\nc: d\"}}",
            "{http: /, headers: {Content-Length: 5}}",
            "{http: /, headers: {a: b, A: c}}",
            "{http: /, headers: [a]}",
            "{http: /, body: ''}",
            "{http: /, body: a, body_regex: b}",
            "{http: /, body_regex: '('}",
            "true",
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
