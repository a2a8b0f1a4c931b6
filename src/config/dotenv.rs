//! `.env` text → variables. One `NAME=value` a line; no commands, no variables inside of values.

use std::path::Path;

use indexmap::IndexMap;

use super::ecosystem::Place;
use super::report::{Mark, Report};
use crate::diagnostics::Problems;

/// The variables of a `.env` file and what is wrong with it.
pub(crate) fn read(file: &Path, text: &str) -> (IndexMap<String, String>, Problems) {
    let report = Report::new(file, text);
    let mut variables = IndexMap::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        match assignment(line) {
            Ok(None) => {}
            Ok(Some((name, value))) => {
                variables.insert(name, value);
            }
            Err((message, help)) => report.error(whole(index + 1, line), message, help),
        }
    }
    (variables, report.into_problems())
}

fn whole(line: usize, text: &str) -> Mark {
    let trimmed = text.trim();
    let column = text.chars().take_while(|c| c.is_whitespace()).count() + 1;
    Mark {
        place: Place { line, column },
        length: trimmed.chars().count(),
    }
}

type Bad = (&'static str, &'static str);

/// One line: nothing, or a name and its value.
fn assignment(line: &str) -> Result<Option<(String, String)>, Bad> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line
        .split_once('=')
        .ok_or(("a line without '='", "write 'NAME=value'"))?;
    let name = name.trim_end();
    if !super::scalars::is_variable_name(name) {
        return Err((
            "not a variable name before '='",
            "use letters, digits and '_', not a digit first",
        ));
    }
    if value.contains('\0') {
        return Err(("a value must not contain a NUL character", "take it out"));
    }
    Ok(Some((name.to_owned(), unquoted(value.trim_start())?)))
}

fn unquoted(value: &str) -> Result<String, Bad> {
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return Ok(uncommented(value).to_owned());
    };
    let mut out = String::new();
    let mut letters = value[1..].chars();
    while let Some(letter) = letters.next() {
        match letter {
            end if end == quote => return nothing_follows(letters.as_str()).map(|()| out),
            '\\' if quote == '"' => out.push_str(&unescaped(letters.next())),
            other => out.push(other),
        }
    }
    Err((
        "the quote is not closed in its line",
        "close it, or write '\\n' in double quotes for a line break",
    ))
}

fn unescaped(letter: Option<char>) -> String {
    match letter {
        Some('n') => "\n".to_owned(),
        Some('r') => "\r".to_owned(),
        Some('t') => "\t".to_owned(),
        Some(letter @ ('"' | '\\' | '$' | '\'')) => letter.to_string(),
        Some(other) => format!("\\{other}"),
        None => String::new(),
    }
}

fn nothing_follows(rest: &str) -> Result<(), Bad> {
    match rest.trim_start() {
        "" => Ok(()),
        comment if comment.starts_with('#') => Ok(()),
        _ => Err(("text after the closing quote", "quote the whole value")),
    }
}

/// Without ` # comment` at the end.
fn uncommented(value: &str) -> &str {
    let comment = value
        .match_indices('#')
        .find(|(at, _)| *at == 0 || value[..*at].ends_with([' ', '\t']));
    comment.map_or(value, |(at, _)| &value[..at]).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Option<(String, String)> {
        assignment(line).expect("a good line")
    }

    #[test]
    fn lines_and_their_values() {
        const TABLE: &[(&str, &str)] = &[
            ("A=b", "b"),
            ("export A=b", "b"),
            ("  A = b  ", "b"),
            ("A=", ""),
            ("A=b # note", "b"),
            ("A=b#c", "b#c"),
            ("A=#c", ""),
            ("A='b # c' # note", "b # c"),
            ("A='$X\\n'", "$X\\n"),
            ("A=\"b\\n\\\"c\\\"\\$\\\\ \\w\"", "b\n\"c\"$\\ \\w"),
            ("A=b=c", "b=c"),
            ("A=$B ${C}", "$B ${C}"),
            ("A=it's", "it's"),
        ];
        for (line, value) in TABLE {
            assert_eq!(one(line), Some(("A".to_owned(), (*value).to_owned())), "{line}");
        }
        assert_eq!(one(""), None);
        assert_eq!(one("  # A=b"), None);
    }

    #[test]
    fn bad_lines_are_problems_of_the_file() {
        let text = "A=1\nnonsense\n2B=x\nC='x\n D='x' y\nA=2\n";
        let (variables, problems) = read(Path::new(".env"), text);
        assert_eq!(variables["A"], "2");
        let messages: Vec<_> = problems
            .0
            .iter()
            .map(|p| (p.place.line, p.place.column))
            .collect();
        assert_eq!(messages, [(2, 1), (3, 1), (4, 1), (5, 2)]);
        assert_eq!(
            problems.to_string().lines().next(),
            Some(".env:2:1: a line without '=' (write 'NAME=value')")
        );
    }
}
