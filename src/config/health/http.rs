//! What only a check by HTTP has: headers of the request and what the body must be like. How a path and a status are
//! read is in [`super`].

use crate::config::ecosystem::BodyMatch;
use crate::config::report::Report;
use crate::config::tree::{Key, Node, shortened};

/// Headers that say how the message itself is sent: a value of somebody else's would make it another one.
const OWN: [&str; 5] = [
    "connection",
    "content-length",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// `headers: {Name: value}`; those that are wrong are reported and left out.
pub(super) fn headers(node: &Node, report: &Report) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (key, value) in report.entries("headers", node) {
        if is_header(key, &headers, report)
            && let Some(text) = header_value(key, value, report)
        {
            headers.push((key.text.clone(), text));
        }
    }
    headers
}

fn is_header(key: &Key, others: &[(String, String)], report: &Report) -> bool {
    let name = shortened(&key.text);
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let fault = if key.text.is_empty() || !key.text.bytes().all(token) {
        Some((
            format!("'{name}' is not the name of a header"),
            "use letters, digits and '-'",
        ))
    } else if OWN.iter().any(|own| key.text.eq_ignore_ascii_case(own)) {
        Some((format!("the header '{name}' cannot be set"), "take it out"))
    } else if others
        .iter()
        .any(|(other, _)| other.eq_ignore_ascii_case(&key.text))
    {
        Some((
            format!("the header '{name}' is set twice"),
            "upper and lower case are the same here",
        ))
    } else {
        None
    };
    if let Some((message, help)) = &fault {
        report.error(key.mark, message.clone(), *help);
    }
    fault.is_none()
}

fn header_value(key: &Key, value: &Node, report: &Report) -> Option<String> {
    let text = report.scalar(&shortened(&key.text), value)?;
    if text.chars().any(|c| c.is_control() || !c.is_ascii()) {
        let message = format!(
            "the header '{}' must be one line of ASCII text",
            shortened(&key.text)
        );
        report.error(value.mark, message, "");
        return None;
    }
    Some(text)
}

/// `body` or `body_regex`.
pub(super) fn body(node: &Node, report: &Report) -> Option<BodyMatch> {
    match (node.entry("body"), node.entry("body_regex")) {
        (Some(_), Some((key, _))) => {
            report.error(
                key.mark,
                "'body' and 'body_regex' cannot both be written",
                "keep one of them",
            );
            None
        }
        (Some((_, value)), None) => contained(value, report),
        (None, Some((_, value))) => expression(value, report),
        (None, None) => None,
    }
}

fn contained(value: &Node, report: &Report) -> Option<BodyMatch> {
    let text = report.scalar("body", value)?;
    if text.is_empty() {
        report.error(value.mark, "'body' must not be empty", "");
        return None;
    }
    Some(BodyMatch::Contains(text))
}

fn expression(value: &Node, report: &Report) -> Option<BodyMatch> {
    let text = report.any_text("body_regex", value)?;
    match regex::Regex::new(text) {
        Ok(_) if text.is_empty() => {
            report.error(value.mark, "'body_regex' must not be empty", "");
            None
        }
        Ok(_) => Some(BodyMatch::Regex(text.to_owned())),
        Err(error) => {
            let said = error.to_string();
            // The last line says what is wrong, those before it show where in the expression.
            let why = said
                .lines()
                .last()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            report.error(
                value.mark,
                format!("'body_regex' is not a regular expression: {why}"),
                "put a backslash before signs that are meant as they are; 'body' takes plain text",
            );
            None
        }
    }
}
