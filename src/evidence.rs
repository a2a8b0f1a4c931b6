//! The failure bundle: everything that is needed to understand a failed run elsewhere and later, in one archive. What it
//! consists of is decided here; [`archive`] puts it into a file and takes it out again.
//!
//! It is no OCI bundle: those are made by [`crate::bundle`].

mod archive;

use pactown_runtime::error::Failure;
use pactown_runtime::mask::Masker;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::output;

pub use archive::{EXTENSIONS, ReadError, read, write};

/// The value of [`Manifest::format`].
pub const FORMAT: &str = "pactown failure bundle 1";
/// Name of the manifest in the archive.
pub const MANIFEST: &str = "manifest.json";

/// What the archive is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The command: `up` or `test`.
    pub command: String,
    /// The ecosystem's name.
    pub ecosystem: String,
    /// The instance's name.
    pub instance: String,
    /// When it was written, RFC 3339 in UTC.
    pub written: String,
    /// Version of the pactown that wrote it.
    pub pactown: String,
    /// What the command exited with.
    pub exit_code: u8,
    /// The command's last words; empty when there were none.
    pub message: String,
    /// What was left out because it was too long, a line each.
    pub left_out: Vec<String>,
}

/// Parts by name, in the order in which they were added. Every text is masked when it is added: of what no output shows,
/// and of what is hidden here besides.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    parts: Vec<(String, String)>,
    hidden: Option<Masker>,
}

impl Evidence {
    /// Has `***` written in place of these values too, in what is added from now on.
    ///
    /// # Errors
    /// They cannot be looked for.
    pub fn hide<'v>(&mut self, values: impl IntoIterator<Item = &'v str>) -> Result<(), Failure> {
        self.hidden = Masker::new(values.into_iter().map(str::as_bytes))?;
        Ok(())
    }

    /// The names of all parts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|(name, _)| name.as_str())
    }

    /// The text of a part; `None` when it is not there.
    pub fn text(&self, name: &str) -> Option<&str> {
        let part = self.parts.iter().find(|(one, _)| one == name);
        part.map(|(_, text)| text.as_str())
    }

    /// Adds a text; a part of the same name is replaced.
    pub fn add_text(&mut self, name: &str, text: &str) {
        self.put(name, self.masked(text));
    }

    /// Adds a value as JSON. What cannot be written as JSON is left out: none of what pactown tells is of that kind.
    pub fn add_json(&mut self, name: &str, value: &impl Serialize) {
        // Masked in its texts, so that what is left is JSON whatever the secret looks like.
        let text = serde_json::to_value(value)
            .and_then(|value| serde_json::to_string_pretty(&texts(value, &|text| self.masked(text))));
        if let Ok(text) = text {
            self.put(name, text + "\n");
        }
    }

    /// Adds values as JSON, one a line.
    pub fn add_lines<T: Serialize>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        let line = |value: T| {
            let value = texts(serde_json::to_value(value).ok()?, &|text| self.masked(text));
            Some(value.to_string() + "\n")
        };
        let text = values.into_iter().filter_map(line).collect();
        self.put(name, text);
    }

    fn masked(&self, text: &str) -> String {
        let text = output::masked(text);
        match &self.hidden {
            Some(hidden) => hidden.text(&text),
            None => text.into_owned(),
        }
    }

    /// Adds what was read from an archive, or was masked before.
    fn put(&mut self, name: &str, text: String) {
        self.parts.retain(|(one, _)| one != name);
        self.parts.push((name.to_owned(), text));
    }

    /// A part as a value, its texts without what a terminal would obey: the file may come from anywhere. `None` when it
    /// is not there or of another shape.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        harmless(self.text(name)?)
    }

    /// The values of a part that has one a line; those of another shape are left out.
    pub fn lines<T: DeserializeOwned>(&self, name: &str) -> Vec<T> {
        let text = self.text(name).unwrap_or_default();
        text.lines().filter_map(harmless).collect()
    }
}

fn harmless<T: DeserializeOwned>(text: &str) -> Option<T> {
    let value: Value = serde_json::from_str(text).ok()?;
    serde_json::from_value(texts(value, &|text| output::visible(text))).ok()
}

/// The value with every text in it changed, names too.
fn texts(value: Value, change: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(&text)),
        Value::Array(items) => items.into_iter().map(|item| texts(item, change)).collect(),
        Value::Object(entries) => {
            let entries = entries.into_iter();
            entries
                .map(|(name, value)| (change(&name), texts(value, change)))
                .collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_does_not_command_a_terminal() {
        let mut evidence = Evidence::default();
        evidence.put("a.json", r#"{"\u001b[2J": ["\u001b]0;x\u0007", 1]}"#.to_owned());
        let value: Value = evidence.json("a.json").expect("a value");
        assert_eq!(value.to_string(), r#"{"\\u{1b}[2J":["\\u{1b}]0;x\\u{7}",1]}"#);
        assert_eq!(evidence.json::<Value>("b.json"), None);
    }

    #[test]
    fn hidden_values_are_in_no_part_and_json_stays_json() {
        let mut evidence = Evidence::default();
        evidence.hide(["1234", "s3\"cret"]).unwrap();
        evidence.add_json(
            "a.json",
            &serde_json::json!({"s3\"cret": [1234, "1234 s3\"cret"]}),
        );
        evidence.add_text("a.txt", "x s3\"cret 1234\n");
        evidence.add_lines("a.ndjson", ["1234"]);
        assert_eq!(
            evidence.json::<Value>("a.json").unwrap().to_string(),
            r#"{"***":[1234,"*** ***"]}"#
        );
        assert_eq!(evidence.text("a.txt"), Some("x *** ***\n"));
        assert_eq!(evidence.text("a.ndjson"), Some("\"***\"\n"));
    }

    #[test]
    fn lines_of_another_shape_are_left_out() {
        let mut evidence = Evidence::default();
        evidence.add_lines("n", [1, 2]);
        evidence.put("n2", "1\n{\n\"x\"\n3\n".to_owned());
        assert_eq!(evidence.lines::<u8>("n"), [1, 2]);
        assert_eq!(evidence.lines::<u8>("n2"), [1, 3]);
        evidence.add_text("n", "again");
        assert_eq!(evidence.names().collect::<Vec<_>>(), ["n2", "n"]);
    }
}
