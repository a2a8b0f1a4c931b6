//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$` in every text value of the tree. Keys stay as they are.

use indexmap::IndexMap;

use super::ecosystem::Place;
use super::report::{Mark, Report};
use super::tree::{Node, Value};

/// A default may hold variables, whose default may hold variables, …
const DEEPEST: usize = 8;

/// What a text has instead of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The expression as written.
    pub(crate) expression: String,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: String,
}

impl Fault {
    fn new(expression: &str, message: String, help: &str) -> Self {
        Self {
            expression: expression.to_owned(),
            message,
            help: help.to_owned(),
        }
    }
}

/// Fills in the variables below this node; what cannot be filled in is reported and stays as it is.
pub(crate) fn fill(node: &mut Node, variables: &IndexMap<String, String>, text: &str, report: &Report) {
    match &mut node.value {
        Value::Text(value) if value.contains('$') => {
            let (filled, faults) = text_with(value, variables);
            node.filled = filled != *value;
            *value = filled;
            tell(node, &faults, text, report);
        }
        Value::List(items) => items
            .iter_mut()
            .for_each(|item| fill(item, variables, text, report)),
        Value::Map(entries) => entries
            .iter_mut()
            .for_each(|(_, value)| fill(value, variables, text, report)),
        _ => {}
    }
}

fn tell(node: &Node, faults: &[Fault], text: &str, report: &Report) {
    let mut from = node.bytes.start;
    for fault in faults {
        let source = text.get(from..node.bytes.end).unwrap_or_default();
        let mark = match source.find(&fault.expression) {
            Some(at) => {
                from += at + fault.expression.len();
                mark_at(text, from - fault.expression.len(), &fault.expression)
            }
            None => node.mark,
        };
        report.error(mark, &fault.message, &fault.help);
    }
    if !faults.is_empty() {
        report.close(node.mark);
    }
}

fn mark_at(text: &str, byte: usize, expression: &str) -> Mark {
    let before = &text[..byte];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let place = Place {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    };
    let length = expression.lines().next().unwrap_or_default().chars().count();
    Mark { place, length }
}

/// The text with its variables filled in, and what could not be.
pub(crate) fn text_with(text: &str, variables: &IndexMap<String, String>) -> (String, Vec<Fault>) {
    let mut faults = Vec::new();
    let filled = expand(text, variables, 0, &mut faults);
    (filled, faults)
}

fn expand(text: &str, variables: &IndexMap<String, String>, depth: usize, faults: &mut Vec<Fault>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar..];
        let taken = if rest.starts_with("$$") {
            out.push('$');
            2
        } else if rest.starts_with("${") {
            let length = expression_length(rest);
            match resolve(rest, length, variables, depth, faults) {
                Ok(value) => out.push_str(&value),
                Err(fault) => {
                    out.push_str(&fault.expression);
                    faults.push(fault);
                }
            }
            length.unwrap_or(rest.len())
        } else {
            out.push('$');
            1
        };
        rest = &rest[taken..];
    }
    out + rest
}

/// Bytes from `${` to its own `}`.
fn expression_length(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        match letter {
            '{' if before == '$' => open += 1,
            '}' if open == 1 => return Some(at + 1),
            '}' => open -= 1,
            _ => {}
        }
        before = if before == '$' && letter == '$' {
            ' '
        } else {
            letter
        };
    }
    None
}

fn resolve(
    text: &str,
    length: Option<usize>,
    variables: &IndexMap<String, String>,
    depth: usize,
    faults: &mut Vec<Fault>,
) -> Result<String, Fault> {
    let Some(length) = length else {
        let help = "close it with '}', or write '$${' for the characters themselves";
        return Err(Fault::new(text, "'${' without '}'".to_owned(), help));
    };
    let expression = &text[..length];
    let inside = &expression[2..length - 1];
    let end = inside.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let (name, operation) = inside.split_at(end.unwrap_or(inside.len()));
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(not_understood(expression));
    }
    let value = variables.get(name);
    let full = value.filter(|value| !value.is_empty());
    if operation.is_empty() {
        return value.cloned().ok_or_else(|| unset(expression, name));
    }
    if let Some(default) = operation.strip_prefix(":-") {
        return match full {
            Some(value) => Ok(value.clone()),
            None if depth < DEEPEST => Ok(expand(default, variables, depth + 1, faults)),
            None => Err(not_understood(expression)),
        };
    }
    match operation.strip_prefix(":?") {
        Some(message) => full.cloned().ok_or_else(|| required(expression, name, message)),
        None => Err(not_understood(expression)),
    }
}

fn unset(expression: &str, name: &str) -> Fault {
    Fault {
        expression: expression.to_owned(),
        message: format!("variable '{name}' is not set"),
        help: format!("set it, put it into '.env' beside the file, or write '${{{name}:-default}}'"),
    }
}

fn required(expression: &str, name: &str, message: &str) -> Fault {
    let message = match message.trim() {
        "" => format!("variable '{name}' is required"),
        message => format!("variable '{name}' is required: {message}"),
    };
    Fault::new(
        expression,
        message,
        "set it, or put it into '.env' beside the file",
    )
}

fn not_understood(expression: &str) -> Fault {
    let message = format!("'{}' is not understood", super::tree::shortened(expression));
    let help =
        "write '${NAME}', '${NAME:-default}' or '${NAME:?message}', or '$${' for the characters themselves";
    Fault::new(expression, message, help)
}

/// The text that gives this value when it is filled in.
pub(crate) fn escaped(value: &str) -> String {
    value.replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> IndexMap<String, String> {
        [
            ("HOST", "db"),
            ("EMPTY", ""),
            ("NESTED", "${HOST}"),
            ("_1", "one"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .collect()
    }

    #[test]
    fn what_is_written_and_what_it_becomes() {
        const TABLE: &[(&str, &str)] = &[
            ("plain", "plain"),
            ("${HOST}", "db"),
            ("a${HOST}b${HOST}", "adbbdb"),
            ("${_1}", "one"),
            ("${EMPTY}", ""),
            ("${EMPTY:-x}", "x"),
            ("${NONE:-}", ""),
            ("${NONE:-a b}", "a b"),
            ("${NONE:-${HOST}}", "db"),
            ("${NONE:-${NONE:-{x}}}", "{x}"),
            ("${NONE:-a$$b}", "a$b"),
            ("${NONE:-a$${b}", "a${b"),
            ("${HOST:?needed}", "db"),
            ("${NESTED}", "${HOST}"),
            ("$$", "$"),
            ("$${HOST}", "${HOST}"),
            ("$$$$", "$$"),
            ("$HOST", "$HOST"),
            ("5$", "5$"),
            ("$ {HOST}", "$ {HOST}"),
            ("käse ${HOST} ñ", "käse db ñ"),
        ];
        for (written, becomes) in TABLE {
            let (filled, faults) = text_with(written, &variables());
            assert_eq!((filled.as_str(), faults), (*becomes, vec![]), "{written}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in() {
        const TABLE: &[(&str, &str)] = &[
            ("${NONE}", "variable 'NONE' is not set"),
            ("${NONE:?}", "variable 'NONE' is required"),
            ("${EMPTY:?say who}", "variable 'EMPTY' is required: say who"),
            ("${HOST", "'${' without '}'"),
            ("${}", "'${}' is not understood"),
            ("${1A}", "'${1A}' is not understood"),
            ("${A-b}", "'${A-b}' is not understood"),
            ("${HOST:+x}", "'${HOST:+x}' is not understood"),
            ("${NONE:-${NONE}}", "variable 'NONE' is not set"),
        ];
        for (written, message) in TABLE {
            let (_, faults) = text_with(written, &variables());
            let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
            assert_eq!(messages, [*message], "{written}");
        }
        let tower = format!("{}x{}", "${N:-".repeat(9000), "}".repeat(9000));
        assert_eq!(text_with(&tower, &variables()).1.len(), 1);
    }

    #[test]
    fn escaping_is_the_inverse() {
        for value in ["", "$", "$$", "${A}", "a$b", "$A${"] {
            assert_eq!(
                text_with(&escaped(value), &variables()),
                (value.to_owned(), vec![])
            );
        }
    }
}
