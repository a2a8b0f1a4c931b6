//! YAML text → a small tree in which every value knows its place. No meaning, no variables.

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;
use serde_yaml::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use super::ecosystem::Place;
use super::report::{Mark, Report};

/// One value of the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) value: Value,
    /// Where it stands.
    pub(crate) mark: Mark,
    /// Its bytes in the text, for exact places inside of it.
    pub(crate) bytes: std::ops::Range<usize>,
    /// Whether a variable was filled in: then `8000` is a number although it came as text.
    pub(crate) filled: bool,
}

/// The kinds of value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Nothing, `~`, `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// A number as it is written.
    Number(String),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the file's order; keys are text and unique.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    /// Its text.
    pub(crate) text: String,
    /// Where it stands.
    pub(crate) mark: Mark,
}

impl Node {
    /// What it is, for a message: `text 'abc'`.
    pub(crate) fn described(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("'{value}'"),
            Value::Number(text) => format!("the number {text}"),
            Value::Text(text) if text.is_empty() => "empty text".to_owned(),
            Value::Text(text) => format!("text '{}'", shortened(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The value under this key of a mapping; an explicit null counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, value)| value)
    }

    /// As [`Node::get`], with the key.
    pub(crate) fn entry(&self, name: &str) -> Option<(&Key, &Node)> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let (key, value) = entries.iter().find(|(key, _)| key.text == name)?;
        (!value.is_null()).then_some((key, value))
    }
}

/// The beginning of a text, on one line, short enough for a message.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if text.chars().count() <= MOST && line.len() == text.len() {
        return text.to_owned();
    }
    let start: String = line.chars().take(MOST).collect();
    format!("{start}…")
}

/// The file's grammar needs 8 levels; the library takes some 40 kB of stack for each in a debug build.
const DEEPEST: usize = 24;

/// The tree of a text; `None` when the YAML is broken or has nothing in it, which is reported.
pub(crate) fn read(text: &str, report: &Report) -> Option<Node> {
    let budget = serde_yaml::budget! { max_depth: DEEPEST, max_nodes: 100_000, max_events: 400_000, enforce_alias_anchor_ratio: false };
    let aliases = serde_yaml::alias_limits! { max_total_replayed_events: 50_000, max_replay_stack_depth: 4 };
    let options = serde_yaml::options! {
        budget: budget,
        alias_limits: aliases,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    let only_comments = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(only_comments) {
        report.error(
            Mark::default(),
            "the file is empty",
            "begin with 'name:' and 'services:'",
        );
        return None;
    }
    match serde_yaml::from_str_with_options::<Raw>(text, options) {
        Ok(raw) => Some(Builder { text, report }.node(raw)),
        Err(error) => {
            broken(text, &error, report);
            None
        }
    }
}

fn broken(text: &str, error: &serde_yaml::Error, report: &Report) {
    let error = error.without_snippet();
    let place = error.location().map(|at| place_of(&at)).unwrap_or_default();
    let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    let cause = what_broke(error);
    let help = match line.trim_start_matches(' ').starts_with('\t') {
        true => "indent with spaces, YAML does not allow tabs",
        false if cause.contains("unknown anchor") => "text that begins with '*' needs quotes",
        false => "",
    };
    let mark = Mark { place, length: 1 };
    report.error(mark, format!("not valid YAML: {cause}"), help);
}

/// The library's words without its hints for programmers.
fn what_broke(error: &serde_yaml::Error) -> String {
    let full = error.to_string();
    let limits = [
        "budget breached",
        "alias replay",
        "alias expansion",
        "recursion limit",
    ];
    if limits.iter().any(|limit| full.contains(limit)) {
        return "nested too deeply or too large".to_owned();
    }
    let message = full.split(['\n', ';']).next().unwrap_or_default();
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = message.trim_start_matches("error: ").trim_end_matches(['.', ':']);
    uncapitalized(&message.replace('`', "'"))
}

fn uncapitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_lowercase().to_string());
    first.unwrap_or_default() + letters.as_str()
}

fn place_of(location: &serde_yaml::Location) -> Place {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Place {
        line: number(location.line()),
        column: number(location.column()),
    }
}

/// Turns what the library gives into the tree, reporting keys that are not plain unique text.
struct Builder<'a, 'r> {
    text: &'a str,
    report: &'r Report<'a>,
}

impl Builder<'_, '_> {
    fn node(&self, raw: Raw) -> Node {
        let bytes = self.bytes(&raw.0.defined);
        let mark = self.mark(&raw.0.defined, &raw.0.value, &bytes);
        let value = match raw.0.value {
            Shape::Null => Value::Null,
            Shape::Bool(value) => Value::Bool(value),
            Shape::Number(number) => Value::Number(self.written(&bytes, number)),
            Shape::Text(text) => Value::Text(self.clean(text, mark)),
            Shape::List(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            Shape::Map(entries) => Value::Map(self.entries(entries)),
        };
        Node {
            value,
            mark,
            bytes,
            filled: false,
        }
    }

    fn entries(&self, raw: Vec<(Raw, Raw)>) -> Vec<(Key, Node)> {
        let mut entries: Vec<(Key, Node)> = Vec::with_capacity(raw.len());
        let mut seen = std::collections::HashMap::new();
        for (key, value) in raw {
            let (Some(key), value) = (self.key(key), self.node(value)) else {
                continue;
            };
            if let Some(line) = seen.get(&key.text) {
                let message = format!("'{}' is written twice", shortened(&key.text));
                self.report
                    .error(key.mark, message, format!("the first one is in line {line}"));
                continue;
            }
            seen.insert(key.text.clone(), key.mark.place.line);
            entries.push((key, value));
        }
        entries
    }

    fn key(&self, raw: Raw) -> Option<Key> {
        let node = self.node(raw);
        let text = match node.value {
            Value::Text(text) | Value::Number(text) => text,
            Value::Bool(value) => value.to_string(),
            _ => {
                let message = format!("a key must be text, not {}", node.described());
                self.report.error(node.mark, message, "");
                return None;
            }
        };
        Some(Key {
            text,
            mark: node.mark,
        })
    }

    /// Text without a NUL: no variable, argument or path can hold one.
    fn clean(&self, text: String, mark: Mark) -> String {
        if text.contains('\0') {
            self.report
                .error(mark, "text must not contain a NUL character", "");
            return text.replace('\0', "");
        }
        text
    }

    /// A number as the file spells it (`1.10` stays `1.10`).
    fn written(&self, bytes: &std::ops::Range<usize>, number: String) -> String {
        let source = self.text.get(bytes.clone()).unwrap_or_default().trim();
        match source.is_empty() || source.contains(char::is_whitespace) {
            true => number,
            false => source.to_owned(),
        }
    }

    fn bytes(&self, location: &serde_yaml::Location) -> std::ops::Range<usize> {
        let span = location.span();
        let number = |value: Option<u64>| value.and_then(|value| usize::try_from(value).ok());
        match (number(span.byte_offset()), number(span.byte_len())) {
            (Some(start), Some(length)) => start..start.saturating_add(length).min(self.text.len()),
            _ => 0..0,
        }
    }

    fn mark(&self, location: &serde_yaml::Location, shape: &Shape, bytes: &std::ops::Range<usize>) -> Mark {
        let source = self.text.get(bytes.clone()).unwrap_or_default();
        let length = match shape {
            Shape::List(_) | Shape::Map(_) => 0,
            _ => source
                .lines()
                .next()
                .unwrap_or_default()
                .trim_end()
                .chars()
                .count(),
        };
        Mark {
            place: place_of(location),
            length,
        }
    }
}

/// A value as the library hands it over.
#[derive(Deserialize)]
#[serde(transparent)]
struct Raw(Spanned<Shape>);

enum Shape {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(Raw, Raw)>),
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ShapeVisitor)
    }
}

struct ShapeVisitor;

impl<'de> Visitor<'de> for ShapeVisitor {
    type Value = Shape;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(Shape::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Number(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Shape, E> {
        Ok(Shape::Number(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Shape, E> {
        Ok(Shape::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
        Ok(Shape::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
        Ok(Shape::Text(value.to_owned()))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Shape, E> {
        Err(E::custom("binary values are not supported"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Shape::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Shape, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Shape::Map(entries))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<Shape, D::Error> {
        Err(D::Error::custom("wrapped values are not supported"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn tree(text: &str) -> (Option<Node>, String) {
        let report = Report::new(Path::new("f"), text);
        let node = read(text, &report);
        (node, report.into_problems().to_string())
    }

    #[test]
    fn every_value_knows_its_place() {
        let text = "a: &x hello # c\n\"käs\": [1.10, 'q', true, ~, *x]\nm:\n  k: |\n    two\n    lines\n";
        let (node, problems) = tree(text);
        let node = node.expect("valid");
        assert_eq!(problems, "");
        let place = |node: &Node| (node.mark.place.line, node.mark.place.column, node.mark.length);
        assert_eq!(place(node.get("a").expect("a")), (1, 7, 5));
        let list = node.get("käs").expect("list");
        let Value::List(items) = &list.value else {
            panic!("{list:?}")
        };
        assert_eq!(items[0].value, Value::Number("1.10".to_owned()));
        assert_eq!(place(&items[0]), (2, 9, 4));
        assert_eq!(place(&items[1]), (2, 15, 3));
        assert_eq!(items[2].value, Value::Bool(true));
        assert_eq!(items[4].value, Value::Text("hello".to_owned()));
        assert_eq!(place(&items[4]), (1, 7, 5), "an alias leads to its anchor");
        let (key, value) = node.entry("m").expect("m");
        assert_eq!(key.mark.place, Place { line: 3, column: 1 });
        let text = value.get("k").expect("k");
        assert_eq!(text.value, Value::Text("two\nlines\n".to_owned()));
    }

    #[test]
    fn broken_yaml_is_one_problem() {
        for text in [
            "a: [1",
            "a:\n\t- b",
            "a: *nowhere",
            "a: b: c",
            "- a\nb: c",
            "a: !x 1",
            "a: 1\n---\nb: 2",
            "'",
        ] {
            let (node, problems) = tree(text);
            assert!(node.is_none(), "{text}");
            assert_eq!(problems.lines().count(), 1, "{text}: {problems}");
        }
    }

    #[test]
    fn bombs_and_towers_end_early() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let below = format!("*a{}, ", level - 1).repeat(9);
            bomb += &format!("a{level}: &a{level} [{below}]\n");
        }
        assert!(tree(&bomb).0.is_none());
        assert!(tree(&"- ".repeat(DEEPEST - 2)).0.is_some());
        let mut chain = "a0: &a0 [x]\n".to_owned();
        for level in 1..1000 {
            chain += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
        }
        assert_eq!(
            tree(&chain).1,
            "f:24:12: not valid YAML: nested too deeply or too large"
        );
        assert!(tree(&"[".repeat(100_000)).0.is_none());
        assert!(tree(&"- ".repeat(100_000)).0.is_none());
    }

    #[test]
    fn duplicate_keys_are_named_with_the_first_line() {
        let (_, problems) = tree("a: 1\nb: 2\na: 3\n");
        assert_eq!(
            problems,
            "f:3:1: 'a' is written twice (the first one is in line 1)"
        );
    }

    #[test]
    fn many_services_may_share_one_anchor() {
        let mut text = "a: &a {x: 1, y: [2, 3]}\n".to_owned();
        for number in 0..1000 {
            text += &format!("b{number}: {{<<: *a}}\nc{number}: *a\n");
        }
        assert_eq!(tree(&text).1, "");
    }

    #[test]
    fn merge_keys_work() {
        let (node, problems) = tree("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n");
        assert_eq!(problems, "");
        let b = node.expect("valid");
        let b = b.get("b").expect("b");
        assert_eq!(
            b.get("x").map(|x| x.value.clone()),
            Some(Value::Number("1".to_owned()))
        );
        assert_eq!(
            b.get("y").map(|x| x.value.clone()),
            Some(Value::Number("3".to_owned()))
        );
    }
}
