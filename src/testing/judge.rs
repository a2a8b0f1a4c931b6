//! Whether an answer is what its test expects, and the values that it gives to later tests. Pure.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;
use serde_json_path::JsonPath;

use super::Miss;
use super::http::Answer;
use crate::markpact::template;
use crate::markpact::test_case::{Expectation, HttpTest, Origin, Relation, Text};

/// Values of `${name}`.
pub(super) type Values = BTreeMap<String, String>;

/// Statuses that are good where the test names none.
const GOOD: (u16, u16) = (200, 399);
/// Characters of a value that are told.
const TOLD: usize = 120;

/// What is not as `test` (in `line`) expects; empty when all is well.
pub(super) fn misses(line: usize, test: &HttpTest, answer: &Answer, values: &Values) -> Vec<Miss> {
    let mut misses = Vec::new();
    let speaks_of_status =
        |(_, wanted): &(usize, Expectation)| matches!(wanted, Expectation::Status(..) | Expectation::Refused);
    if !test.expect.iter().any(speaks_of_status) {
        misses.extend(status(line, GOOD, answer));
    }
    for (line, wanted) in &test.expect {
        let miss = match wanted {
            Expectation::Status(low, high) => status(*line, (*low, *high), answer),
            Expectation::Refused => miss(
                *line,
                "a refused connection",
                &format!("status {}", answer.status),
            ),
            Expectation::Header(name, wanted) => header(*line, name, wanted.as_ref(), answer, values),
            Expectation::Body(wanted) => body(*line, wanted, answer, values),
            Expectation::Json(wanted) => json(*line, wanted, answer, values),
            Expectation::Query(query, relation) => self::query(*line, query, relation, answer, values),
        };
        misses.extend(miss);
    }
    misses
}

/// The values that `test` captures of `answer`, or what it does not find.
pub(super) fn captures(test: &HttpTest, answer: &Answer) -> Result<Values, Vec<Miss>> {
    let (mut values, mut misses) = (Values::new(), Vec::new());
    for (line, capture) in &test.captures {
        let found = match &capture.from {
            Origin::Query(query) => first_node(query, answer),
            Origin::Header(name) => answer
                .header(name)
                .map(str::to_owned)
                .ok_or_else(|| "no such header".to_owned()),
            Origin::Matches(expression) => group(expression, &answer.text()),
        };
        match found {
            Ok(value) => {
                values.insert(capture.name.clone(), value);
            }
            Err(got) => misses.extend(miss(*line, &format!("a value for ${{{}}}", capture.name), &got)),
        }
    }
    if misses.is_empty() {
        Ok(values)
    } else {
        Err(misses)
    }
}

fn miss(line: usize, expected: &str, got: &str) -> Option<Miss> {
    Some(Miss {
        line,
        expected: expected.to_owned(),
        got: got.to_owned(),
    })
}

fn status(line: usize, (low, high): (u16, u16), answer: &Answer) -> Option<Miss> {
    if (low..=high).contains(&answer.status) {
        return None;
    }
    let expected = match low == high {
        true => format!("status {low}"),
        false => format!("status {low} to {high}"),
    };
    miss(line, &expected, &format!("status {}", answer.status))
}

fn header(line: usize, name: &str, wanted: Option<&Text>, answer: &Answer, values: &Values) -> Option<Miss> {
    let Some(value) = answer.header(name) else {
        return miss(line, &format!("header {name}"), "no such header");
    };
    let wanted = wanted?;
    let (fits, expected) = fits(value, wanted, values);
    if fits {
        return None;
    }
    miss(line, &format!("header {name} {expected}"), &told(value))
}

fn body(line: usize, wanted: &Text, answer: &Answer, values: &Values) -> Option<Miss> {
    let text = answer.text();
    let (fits, expected) = fits(&text, wanted, values);
    if fits {
        return None;
    }
    miss(line, &format!("a body {expected}"), &body_told(&text))
}

/// Whether `text` is as wanted, and how that is said.
fn fits(text: &str, wanted: &Text, values: &Values) -> (bool, String) {
    match wanted {
        Text::Contains(part) => {
            let part = filled(part, values);
            (text.contains(&part), format!("with '{part}'"))
        }
        Text::Matches(expression) => (
            Regex::new(expression).is_ok_and(|expression| expression.is_match(text)),
            format!("that matches /{expression}/"),
        ),
    }
}

fn json(line: usize, wanted: &str, answer: &Answer, values: &Values) -> Option<Miss> {
    let wanted = filled(wanted, values);
    let expected = format!("the JSON body {wanted}");
    match parsed(answer) {
        Err(got) => miss(line, &expected, &got),
        Ok(body) if equal(&body, &value_of(&wanted)) => None,
        Ok(body) => miss(line, &expected, &told(&body.to_string())),
    }
}

fn query(line: usize, query: &str, relation: &Relation, answer: &Answer, values: &Values) -> Option<Miss> {
    let expected = match relation {
        Relation::Exists => format!("{query} in the body"),
        Relation::Equals(value) => format!("{query} == {}", filled(value, values)),
        Relation::Differs(value) => format!("{query} != {}", filled(value, values)),
        Relation::Matches(expression) => format!("{query} ~ /{expression}/"),
        Relation::Count(count) => format!("{query} count {count}"),
    };
    let body = match parsed(answer) {
        Ok(body) => body,
        Err(got) => return miss(line, &expected, &got),
    };
    let nodes = nodes(query, &body);
    let is = |value: &str| {
        let value = value_of(&filled(value, values));
        nodes.iter().any(|node| equal(node, &value))
    };
    let good = match relation {
        Relation::Exists => !nodes.is_empty(),
        Relation::Equals(value) => is(value),
        Relation::Differs(value) => !is(value),
        Relation::Count(count) => nodes.len() == *count,
        Relation::Matches(expression) => Regex::new(expression)
            .is_ok_and(|expression| nodes.iter().any(|node| expression.is_match(&plain(node)))),
    };
    if good {
        return None;
    }
    let got = match (relation, nodes.as_slice()) {
        (Relation::Count(_), nodes) => format!("{} of them", nodes.len()),
        (_, []) => "nothing there".to_owned(),
        (_, nodes) => {
            let texts: Vec<String> = nodes.iter().map(ToString::to_string).collect();
            told(&texts.join(", "))
        }
    };
    miss(line, &expected, &got)
}

fn parsed(answer: &Answer) -> Result<Value, String> {
    let text = answer.text();
    serde_json::from_str(&text).map_err(|error| match text.is_empty() {
        true => "an empty body".to_owned(),
        false => format!("no JSON ({error}): {}", told(&text)),
    })
}

fn nodes<'b>(query: &str, body: &'b Value) -> Vec<&'b Value> {
    JsonPath::parse(query).map_or_else(|_| Vec::new(), |query| query.query(body).all())
}

fn first_node(query: &str, answer: &Answer) -> Result<String, String> {
    let body = parsed(answer)?;
    let nodes = nodes(query, &body);
    let first = nodes.first().map(|node| plain(node));
    first.ok_or_else(|| format!("nothing at {query}"))
}

fn group(expression: &str, text: &str) -> Result<String, String> {
    let found = Regex::new(expression).ok().and_then(|expression| {
        let groups = expression.captures(text)?;
        let group = groups.get(1).or_else(|| groups.get(0))?;
        Some(group.as_str().to_owned())
    });
    found.ok_or_else(|| format!("no match of /{expression}/"))
}

/// A text without its quotes, any other value as JSON.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// JSON, or a word that stands for itself.
fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// `1` and `1.0` are one number.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, value)| other.get(key).is_some_and(|other| equal(value, other)))
        }
        (one, other) => one == other,
    }
}

/// That every name has a value was seen before.
fn filled(text: &str, values: &Values) -> String {
    template::fill(text, values, str::to_owned).unwrap_or_else(|_| text.to_owned())
}

fn body_told(text: &str) -> String {
    match text.is_empty() {
        true => "an empty body".to_owned(),
        false => told(text),
    }
}

/// The beginning, in one line.
fn told(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    let mut begin: String = text.trim().chars().take(TOLD).map(shown).collect();
    if text.trim().chars().nth(TOLD).is_some() {
        begin.push('…');
    }
    begin
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::markpact;
    use crate::markpact::test_case::Ask;

    fn test(lines: &str) -> (usize, HttpTest) {
        let text = format!("```http markpact:test\n{lines}\n```\n");
        let recipe = markpact::parse(Path::new("README.md"), &text).expect(lines);
        let case = recipe.tests.into_iter().last().expect("a test");
        match case.ask {
            Ask::Http(test) => (case.line, *test),
            Ask::Shell(_) => panic!("{lines} is a command"),
        }
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: vec![("content-type".into(), "application/json; charset=utf-8".into())],
            body: body.as_bytes().to_vec(),
        }
    }

    #[track_caller]
    fn judged(clauses: &str, answer: &Answer) -> String {
        let (line, test) = test(&format!("GET /\n{clauses}"));
        let misses = misses(line, &test, answer, &Values::new());
        let told = misses
            .iter()
            .map(|miss| format!("{}: {} | {}", miss.line, miss.expected, miss.got));
        told.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn each_expectation_is_met_and_missed() {
        let good = answer(
            200,
            r#"{"status": "ok", "items": [{"n": 1}, {"n": 2.0}], "id": "a7"}"#,
        );
        for clause in [
            "EXPECT 200",
            "EXPECT 2xx",
            "EXPECT 200-204",
            "EXPECT_HEADER content-type",
            "EXPECT_HEADER Content-Type: application/json",
            "EXPECT_HEADER content-type: /^application.json\\b/",
            "EXPECT_BODY ok",
            "EXPECT_BODY \"status\"",
            "EXPECT_BODY /\"ok\", *\"items\"/",
            "EXPECT_BODY $.status",
            "EXPECT_BODY $.status == ok",
            "EXPECT_BODY $.status == \"ok\"",
            "EXPECT_BODY $.status != bad",
            "EXPECT_BODY $.items[*] count 2",
            "EXPECT_BODY $.items[?@.n > 1].n == 2",
            "EXPECT_BODY $.id ~ /^[a-z]\\d$/",
            "EXPECT_BODY {\"id\": \"a7\", \"items\": [{\"n\": 1.0}, {\"n\": 2}], \"status\": \"ok\"}",
        ] {
            assert_eq!(judged(clause, &good), "", "{clause}");
        }
        for (clause, wanted) in [
            ("EXPECT 404", "3: status 404 | status 200"),
            ("EXPECT refused", "3: a refused connection | status 200"),
            ("EXPECT_HEADER x-trace", "3: header x-trace | no such header"),
            (
                "EXPECT_HEADER content-type: text/html",
                "3: header content-type with 'text/html' | application/json; charset=utf-8",
            ),
            ("EXPECT_BODY $.gone", "3: $.gone in the body | nothing there"),
            ("EXPECT_BODY $.status == bad", "3: $.status == bad | \"ok\""),
            (
                "EXPECT_BODY $.items[*] count 3",
                "3: $.items[*] count 3 | 2 of them",
            ),
            ("EXPECT_BODY $.id ~ /^\\d/", "3: $.id ~ /^\\d/ | \"a7\""),
        ] {
            assert_eq!(judged(clause, &good), wanted, "{clause}");
        }
    }

    #[test]
    fn without_a_status_only_success_is_good() {
        assert_eq!(judged("", &answer(302, "")), "");
        assert_eq!(judged("", &answer(404, "")), "2: status 200 to 399 | status 404");
        assert_eq!(judged("EXPECT_BODY $.a", &answer(200, "<p>")).lines().count(), 1);
        assert_eq!(
            judged("EXPECT_BODY $.a", &answer(200, "")),
            "3: $.a in the body | an empty body"
        );
    }

    #[test]
    fn values_are_captured_or_missed() {
        let (_, test) = test(
            "POST / BODY {\"a\": 1}\nCAPTURE id = $.id\nCAPTURE kind = header content-type\nCAPTURE n = /n=(\\d+)/",
        );
        let found = captures(&test, &answer(201, r#"{"id": 7, "text": "n=42"}"#)).expect("values");
        assert_eq!(found["id"], "7");
        assert_eq!(found["n"], "42");
        assert!(found["kind"].starts_with("application/json"));
        let missed = captures(&test, &answer(201, "{}")).expect_err("nothing there");
        let lines: Vec<usize> = missed.iter().map(|miss| miss.line).collect();
        assert_eq!(lines, [3, 5]);
    }
}
