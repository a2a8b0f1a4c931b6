//! Reading typed values out of the tree: each returns the value, or reports what was expected and returns nothing.

use std::time::Duration;

use super::ecosystem::MOST_REPLICAS;
use super::foreign::FOREIGN;
use super::grammar::Key;
use super::report::{Report, did_you_mean};
use super::scalars;
use super::tree::{Node, Value, shortened};

impl Report<'_> {
    /// The one form of "wrong type or value".
    pub(crate) fn wrong(&self, what: &str, expected: &str, node: &Node, help: impl Into<String>) {
        let message = format!("'{what}' must be {expected}, not {}", node.described());
        self.error(node.mark, message, help);
    }

    /// Whether it is a mapping.
    pub(crate) fn is_map(&self, what: &str, node: &Node) -> bool {
        let good = matches!(node.value, Value::Map(_));
        if !good {
            self.wrong(what, "a mapping", node, "write 'key: value' below it, indented");
        }
        good
    }

    /// The entries of a mapping; none when it is something else.
    pub(crate) fn entries<'n>(&self, what: &str, node: &'n Node) -> &'n [(super::tree::Key, Node)] {
        match &node.value {
            Value::Map(entries) => entries,
            _ => {
                self.is_map(what, node);
                &[]
            }
        }
    }

    /// The items of a list; none when it is something else.
    pub(crate) fn items<'n>(&self, what: &str, node: &'n Node) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            _ => {
                self.wrong(what, "a list", node, "write each entry as '- entry'");
                &[]
            }
        }
    }

    /// Text, which may be empty.
    pub(crate) fn any_text<'n>(&self, what: &str, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => Some(text),
            Value::Number(_) | Value::Bool(_) => {
                self.wrong(what, "text", node, "write it in quotes");
                None
            }
            _ => {
                self.wrong(what, "text", node, "");
                None
            }
        }
    }

    /// Text that is not empty and has no line breaks or other control characters.
    pub(crate) fn text<'n>(&self, what: &str, node: &'n Node) -> Option<&'n str> {
        let text = self.any_text(what, node)?;
        if text.trim().is_empty() {
            self.error(node.mark, format!("'{what}' must not be empty"), "");
            return None;
        }
        if text.chars().any(char::is_control) {
            self.error(node.mark, format!("'{what}' must be one line of text"), "");
            return None;
        }
        Some(text)
    }

    /// Text, or a number or boolean as it is written; nothing is empty text.
    pub(crate) fn scalar(&self, what: &str, node: &Node) -> Option<String> {
        match &node.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null => Some(String::new()),
            Value::List(_) | Value::Map(_) => {
                self.wrong(what, "text or a number", node, "");
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, what: &str, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Bool(value) => return Some(*value),
            Value::Text(text) if node.filled => {
                if let Ok(value) = text.parse() {
                    return Some(value);
                }
            }
            _ => {}
        }
        self.wrong(what, "true or false", node, "");
        None
    }

    /// The digits of a number, plain or from a variable.
    fn number<'n>(&self, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Number(text) => Some(text),
            Value::Text(text) if node.filled => Some(text),
            _ => None,
        }
    }

    /// A port.
    pub(crate) fn port(&self, what: &str, node: &Node) -> Option<u16> {
        let port = self.number(node).and_then(scalars::port);
        if port.is_none() {
            let quoted = matches!(&node.value, Value::Text(text) if scalars::port(text).is_some());
            let help = if quoted { "write it without quotes" } else { "" };
            self.wrong(what, "a port from 1 to 65535", node, help);
        }
        port
    }

    /// A whole number from 1.
    pub(crate) fn count(&self, what: &str, node: &Node) -> Option<u32> {
        let count = self
            .number(node)
            .and_then(|text| text.parse().ok())
            .filter(|count| *count > 0);
        if count.is_none() {
            self.wrong(what, "a whole number from 1", node, "");
        }
        count
    }

    /// How many of a service run; 0 is a number.
    pub(crate) fn replicas(&self, what: &str, node: &Node) -> Option<u32> {
        let number = self.number(node).and_then(|text| text.parse().ok());
        let number = number.filter(|number| *number <= MOST_REPLICAS);
        if number.is_none() {
            let expected = format!("a whole number from 0 to {MOST_REPLICAS}");
            self.wrong(what, &expected, node, "");
        }
        number
    }

    /// A finite number above 0.
    pub(crate) fn positive(&self, what: &str, node: &Node) -> Option<f64> {
        let number = self.number(node).and_then(|text| text.parse::<f64>().ok());
        let number = number.filter(|number| number.is_finite() && *number > 0.0);
        if number.is_none() {
            self.wrong(what, "a number above 0", node, "");
        }
        number
    }

    /// A duration; `zero` says whether none at all is one.
    pub(crate) fn duration(&self, what: &str, node: &Node, zero: bool) -> Option<Duration> {
        const HELP: &str = "write seconds as a number, or '500ms', '60s', '1m30s'";
        let duration = match &node.value {
            Value::Number(text) | Value::Text(text) => scalars::duration(text),
            _ => None,
        };
        match duration {
            None => self.wrong(what, "a duration", node, HELP),
            Some(Duration::ZERO) if !zero => {
                self.error(node.mark, format!("'{what}' must be longer than 0"), HELP);
                return None;
            }
            Some(_) => {}
        }
        duration
    }

    /// One of these words.
    pub(crate) fn choice<T: Copy>(&self, what: &str, node: &Node, words: &[(&str, T)]) -> Option<T> {
        if let Value::Text(text) = &node.value
            && let Some((_, value)) = words.iter().find(|(word, _)| word == text)
        {
            return Some(*value);
        }
        let names: Vec<_> = words.iter().map(|(word, _)| format!("'{word}'")).collect();
        let help = match &node.value {
            Value::Text(text) => did_you_mean(text, words.iter().map(|(word, _)| *word)),
            _ => None,
        };
        self.wrong(what, &one_of(&names), node, help.unwrap_or_default());
        None
    }

    /// Reports keys that are not in the table, and those whose feature comes later.
    pub(crate) fn check_keys(&self, node: &Node, table: &[Key], owner: &str) {
        let Value::Map(entries) = &node.value else {
            return;
        };
        for (key, value) in entries {
            match table.iter().find(|known| known.name == key.text) {
                None => self.unknown(key, table, owner),
                Some(Key {
                    later: Some(neutral), ..
                }) if !changes_nothing(value, neutral) => {
                    self.error(
                        key.mark,
                        format!("'{}' is not supported yet", key.text),
                        later_help(neutral),
                    );
                }
                Some(_) => {}
            }
        }
    }

    fn unknown(&self, key: &super::tree::Key, table: &[Key], owner: &str) {
        let known = || table.iter().map(|key| key.name);
        let fits = |ours: &str| known().any(|name| name == ours);
        let mut foreign = FOREIGN.iter();
        let help = match foreign.find(|(name, ours)| *name == key.text && fits(ours)) {
            Some((_, ours)) => format!("did you mean '{ours}'?"),
            None => did_you_mean(&key.text, known()).unwrap_or_else(|| match table.len() {
                0..=10 => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
                _ => "'pactown schema' lists all keys".to_owned(),
            }),
        };
        self.error(
            key.mark,
            format!("unknown key '{}' in {owner}", shortened(&key.text)),
            help,
        );
    }
}

fn later_help(neutral: &[&str]) -> String {
    match neutral.first() {
        Some(value) => format!("take it out, or leave it at '{value}'"),
        None => "take it out".to_owned(),
    }
}

fn changes_nothing(node: &Node, neutral: &[&str]) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Text(text) if text.is_empty() => true,
        Value::Text(text) | Value::Number(text) => neutral.contains(&text.as_str()),
        Value::Bool(value) => neutral.contains(&value.to_string().as_str()),
        Value::List(items) => items.is_empty(),
        Value::Map(entries) => entries.is_empty(),
    }
}

/// `'a', 'b' or 'c'`.
fn one_of(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
