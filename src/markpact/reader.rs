//! What is left of a line of a test: its words, quoted texts, expressions, JSON values and queries, taken one by one.

use regex::Regex;
use serde_json_path::JsonPath;

use super::findings::quoted;
use super::template;
use super::test_case::Text;

/// What is wrong, and what to write.
pub(super) type Fault = (String, String);

pub(super) fn fault<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Fault> {
    Err((message.into(), help.into()))
}

/// The length of the bracketed text that `text` begins with; `None` when it does not end.
pub(super) fn brackets(text: &str) -> Option<usize> {
    let (mut depth, mut quote, mut escaped) = (0_usize, None, false);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(end), c) if c == end => quote = None,
            (Some(_), _) => {}
            (None, '"') => quote = Some(c),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// What is left of a line.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a str,
}

impl<'a> Reader<'a> {
    /// The next word, taken.
    pub(super) fn word(&mut self) -> &'a str {
        let at = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        self.take(at)
    }

    /// So many bytes, taken, and the blanks behind them.
    pub(super) fn take(&mut self, count: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest.trim_start();
        taken
    }

    /// All that is left, taken.
    pub(super) fn all(&mut self) -> &'a str {
        self.take(self.rest.len())
    }

    /// A quoted text, a `/regular expression/`, or all that is left.
    pub(super) fn text(&mut self) -> Result<Text, Fault> {
        match self.rest.chars().next() {
            Some('"') => {
                let text = self.string()?;
                Ok(Text::Contains(text))
            }
            Some('/') => self.expression().map(Text::Matches),
            _ => Ok(Text::Contains(self.all().trim_end().to_owned())),
        }
    }

    /// A JSON string, taken.
    pub(super) fn string(&mut self) -> Result<String, Fault> {
        let mut strings = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        let text = strings.next().and_then(Result::ok);
        let end = strings.byte_offset();
        match text {
            Some(text) => {
                self.take(end);
                Ok(text)
            }
            None => fault("the quoted text does not end", "add the closing \""),
        }
    }

    /// `/…/` up to a slash before a blank or the end; `\/` is a slash.
    pub(super) fn expression(&mut self) -> Result<String, Fault> {
        let ends = |at: usize| {
            let after = self.rest[at + 1..].chars().next();
            at > 0 && !self.rest[..at].ends_with('\\') && after.is_none_or(char::is_whitespace)
        };
        let slash = self
            .rest
            .match_indices('/')
            .map(|(at, _)| at)
            .find(|at| ends(*at));
        let Some(end) = slash else {
            return fault("the regular expression does not end", "add the closing /");
        };
        let expression = self.take(end + 1)[1..end].replace("\\/", "/");
        match Regex::new(&expression) {
            Ok(_) => Ok(expression),
            Err(error) => fault(
                format!(
                    "the regular expression is wrong: {}",
                    last_line(&error.to_string())
                ),
                "see https://docs.rs/regex#syntax",
            ),
        }
    }

    /// A bracketed JSON value, checked unless it holds `${name}`.
    pub(super) fn json(&mut self) -> Result<String, Fault> {
        let Some(end) = brackets(self.rest) else {
            return fault("the JSON value does not end", "close its brackets");
        };
        let text = self.take(end);
        if template::names(text).is_empty()
            && let Err(error) = serde_json::from_str::<serde_json::Value>(text)
        {
            return fault(
                format!("the JSON value is wrong: {error}"),
                "names and texts stand in double quotes",
            );
        }
        Ok(text.to_owned())
    }

    /// An RFC 9535 query: up to a blank outside of its brackets.
    pub(super) fn query(&mut self) -> Result<String, Fault> {
        let mut depth = 0_usize;
        let mut quote = None;
        let end = self.rest.char_indices().find(|(_, c)| {
            match (quote, c) {
                (Some(mark), c) if mark == *c => quote = None,
                (None, '"' | '\'') => quote = Some(*c),
                (None, '[' | '(') => depth += 1,
                (None, ']' | ')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && quote.is_none() && c.is_whitespace()
        });
        let text = self.take(end.map_or(self.rest.len(), |(at, _)| at));
        match JsonPath::parse(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => fault(
                format!(
                    "{} is no JSON path: {}",
                    quoted(text),
                    last_line(&error.to_string())
                ),
                "write, for example, $.items[0].name",
            ),
        }
    }

    /// A JSON value, or a word that stands for itself.
    pub(super) fn value(&mut self) -> Result<String, Fault> {
        match self.rest.chars().next() {
            Some('{' | '[') => self.json(),
            Some('"') => self.string().map(|text| serde_json::json!(text).to_string()),
            Some(_) => Ok(self.word().to_owned()),
            None => fault(
                "there is no value to compare with",
                "write, for example, '== \"ok\"'",
            ),
        }
    }
}

/// Parsers draw a picture first; the sentence comes last.
fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or_default()
        .trim()
        .trim_start_matches("error: ")
        .to_owned()
}
