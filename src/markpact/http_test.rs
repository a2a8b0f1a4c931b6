//! The lines of an HTTP test: `METHOD /path`, then clauses, on the same line or on lines of their own below it.

use super::block::Block;
use super::findings::{Findings, instead, quoted};
use super::reader::{Fault, Reader, brackets, fault};
use super::template;
use super::test_block::Common;
use super::test_case::{Ask, Capture, Expectation, HttpTest, Origin, Relation, TestCase};

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
const CLAUSES: &[&str] = &[
    "EXPECT",
    "EXPECT_HEADER",
    "EXPECT_BODY",
    "HEADER",
    "BODY",
    "CAPTURE",
];

/// Whether the first line of the body is a request.
pub(super) fn begins(block: &Block) -> bool {
    let mut lines = block.numbered().map(|(_, text)| text.trim());
    let first = lines.find(|text| !text.is_empty() && !text.starts_with('#'));
    let words = first.and_then(|text| text.split_once(' '));
    words.is_some_and(|(method, rest)| METHODS.contains(&method) && rest.trim_start().starts_with('/'))
}

/// The tests of the block.
pub(super) fn read(block: &Block, common: &Common, findings: &mut Findings<'_>) -> Vec<TestCase> {
    let mut tests = Vec::new();
    for (line, text) in whole_lines(block) {
        let mut reader = Reader { rest: text.trim() };
        let read = match reader.is_at_clause() {
            true => below(&mut tests, line, &mut reader),
            false => reader.request(line, common).map(|test| tests.push((line, test))),
        };
        if let Err((message, help)) = read {
            findings.error(line, message, help);
        }
    }
    let case = |(line, test): (usize, HttpTest)| common.case(line, Ask::Http(Box::new(test)));
    tests.into_iter().map(case).collect()
}

/// A line of clauses belongs to the request above it.
fn below(tests: &mut [(usize, HttpTest)], line: usize, reader: &mut Reader<'_>) -> Result<(), Fault> {
    match tests.last_mut() {
        Some((_, test)) => reader.clauses(line, test),
        None => fault(
            "there is no request above this line",
            "begin with a request such as 'GET /health'",
        ),
    }
}

/// Lines without blank ones and comments; a JSON body that is open at the end of its line takes the next ones.
fn whole_lines(block: &Block) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut is_open = false;
    for (number, text) in block.numbered() {
        if let Some((_, last)) = lines.last_mut().filter(|_| is_open) {
            last.push('\n');
            last.push_str(text);
        } else if text.trim().is_empty() || text.trim_start().starts_with('#') {
            continue;
        } else {
            lines.push((number, text.to_owned()));
        }
        is_open = lines.last().is_some_and(|(_, text)| has_open_body(text));
    }
    lines
}

fn has_open_body(text: &str) -> bool {
    let body = match text.trim_start().strip_prefix("BODY ") {
        Some(body) => Some(body),
        None => text.split_once(" BODY ").map(|(_, body)| body),
    };
    body.map(str::trim_start)
        .is_some_and(|body| body.starts_with(['{', '[']) && brackets(body).is_none())
}

impl Reader<'_> {
    fn is_at_clause(&self) -> bool {
        let word = self.rest.split_whitespace().next();
        word.is_some_and(|word| CLAUSES.contains(&word))
    }

    fn request(&mut self, line: usize, common: &Common) -> Result<HttpTest, Fault> {
        let method = self.word();
        if !METHODS.contains(&method) {
            let known: Vec<&str> = METHODS.iter().chain(CLAUSES).copied().collect();
            return fault(
                format!("{} is neither a method nor a clause", quoted(method)),
                instead(method, &known),
            );
        }
        let path = self.word();
        check_path(path)?;
        let mut test = HttpTest {
            method: method.to_owned(),
            path: path.to_owned(),
            port: common.port,
            headers: Vec::new(),
            body: None,
            expect: Vec::new(),
            captures: Vec::new(),
        };
        self.clauses(line, &mut test)?;
        Ok(test)
    }

    fn clauses(&mut self, line: usize, test: &mut HttpTest) -> Result<(), Fault> {
        while !self.rest.is_empty() {
            match self.word() {
                "EXPECT" => {
                    let wanted = self.status()?;
                    test.expect.push((line, wanted));
                }
                "EXPECT_HEADER" => {
                    let wanted = self.expected_header()?;
                    test.expect.push((line, wanted));
                }
                "EXPECT_BODY" => {
                    let wanted = self.expected_body()?;
                    test.expect.push((line, wanted));
                }
                "HEADER" => test.headers.push(self.header()?),
                "BODY" if test.body.is_some() => return fault("a request has one body", "keep one BODY"),
                "BODY" => test.body = Some(self.body()?),
                "CAPTURE" => {
                    let capture = self.capture()?;
                    test.captures.push((line, capture));
                }
                other => {
                    return fault(
                        format!("{} is no clause of a test", quoted(other)),
                        instead(other, CLAUSES),
                    );
                }
            }
        }
        Ok(())
    }

    fn status(&mut self) -> Result<Expectation, Fault> {
        let text = self.word();
        if text == "refused" {
            return Ok(Expectation::Refused);
        }
        let number = |text: &str| text.parse::<u16>().ok().filter(|code| (100..600).contains(code));
        let range = match (text.strip_suffix("xx"), text.split_once('-')) {
            (Some(class), _) => number(&format!("{class}00")).map(|low| (low, low + 99)),
            (None, Some((low, high))) => number(low).zip(number(high)),
            (None, None) => number(text).map(|code| (code, code)),
        };
        match range.filter(|(low, high)| low <= high) {
            Some((low, high)) => Ok(Expectation::Status(low, high)),
            None => fault(
                format!("{} is no status", quoted(text)),
                "write a status such as 200, a range such as 2xx or 200-204, or 'refused'",
            ),
        }
    }

    fn header(&mut self) -> Result<(String, String), Fault> {
        match self.all().split_once(':') {
            Some((name, value)) if is_token(name.trim()) => {
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            }
            _ => fault(
                "a header is written 'name: value'",
                "for example, 'HEADER Accept: text/html'",
            ),
        }
    }

    fn expected_header(&mut self) -> Result<Expectation, Fault> {
        let text = self.all();
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value.trim()).filter(|value| !value.is_empty())),
            None => (text.trim(), None),
        };
        if !is_token(name) {
            return fault(
                "an expected header is written 'name' or 'name: value'",
                "for example, 'EXPECT_HEADER content-type: application/json'",
            );
        }
        let wanted = value.map(|value| Reader { rest: value }.text()).transpose()?;
        Ok(Expectation::Header(name.to_lowercase(), wanted))
    }

    fn expected_body(&mut self) -> Result<Expectation, Fault> {
        match self.rest.chars().next() {
            Some('$') if !self.rest.starts_with("${") => self.expected_query(),
            Some('{' | '[') => self.json().map(Expectation::Json),
            Some(_) => self.text().map(Expectation::Body),
            None => fault(
                "EXPECT_BODY says nothing",
                "write a text, a /regular expression/ or a JSON path such as '$.status == \"ok\"'",
            ),
        }
    }

    fn body(&mut self) -> Result<String, Fault> {
        match self.rest.starts_with(['{', '[']) {
            true => self.json(),
            false => Ok(self.all().to_owned()),
        }
    }

    fn expected_query(&mut self) -> Result<Expectation, Fault> {
        let query = self.query()?;
        if self.rest.is_empty() || self.is_at_clause() {
            return Ok(Expectation::Query(query, Relation::Exists));
        }
        let relation = match self.word() {
            "==" => Relation::Equals(self.value()?),
            "!=" => Relation::Differs(self.value()?),
            "~" if self.rest.starts_with('/') => Relation::Matches(self.expression()?),
            "count" => match self.word().parse() {
                Ok(count) => Relation::Count(count),
                Err(_) => {
                    return fault(
                        "after 'count' comes a number",
                        "for example, '$.items[*] count 3'",
                    );
                }
            },
            other => {
                return fault(
                    format!("{} does not compare", quoted(other)),
                    "write '== value', '!= value', '~ /expression/' or 'count number'",
                );
            }
        };
        Ok(Expectation::Query(query, relation))
    }

    fn capture(&mut self) -> Result<Capture, Fault> {
        let name = self.word();
        if !template::is_name(name) || self.word() != "=" {
            return fault(
                "a capture is written 'name = where'",
                "for example, 'CAPTURE id = $.id', 'CAPTURE next = header location' or 'CAPTURE token = /token=(\\w+)/'",
            );
        }
        let from = if self.rest.starts_with('$') {
            Origin::Query(self.query()?)
        } else if self.rest.starts_with('/') {
            Origin::Matches(self.expression()?)
        } else if self.word() == "header" && is_token(self.rest.split_whitespace().next().unwrap_or_default())
        {
            Origin::Header(self.word().to_lowercase())
        } else {
            return fault(
                "a value is captured from a JSON path, a header or a regular expression",
                "for example, '$.id', 'header location' or '/id=(\\d+)/'",
            );
        };
        Ok(Capture {
            name: name.to_owned(),
            from,
        })
    }
}

fn check_path(path: &str) -> Result<(), Fault> {
    if path.contains("://") {
        return fault(
            "a test names the path only: the service is the README's own",
            "write, for example, 'GET /health'; 'as=' names who asks",
        );
    }
    if !path.starts_with('/') && !path.starts_with("${") {
        return fault(
            format!("{} is no path", quoted(path)),
            "write a path from / on, such as 'GET /health'",
        );
    }
    let odd = |c: &char| !c.is_ascii_graphic() || ['"', '<', '>', '\\', '^', '`', '|', '#'].contains(c);
    match path.chars().find(odd) {
        Some(c) => fault(
            format!("{} cannot stand in a path", quoted(&c.to_string())),
            "write it percent-encoded",
        ),
        None => Ok(()),
    }
}

/// Whether it can be a header's name.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.!#$%&'*+^`|~".contains(c))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::markpact;

    #[test]
    fn what_cannot_be_meant_is_explained_in_its_line() {
        for (line, wanted) in [
            ("FETCH /a", "'FETCH' is neither a method nor a clause"),
            ("GET a", "'a' is no path"),
            (
                "GET http://a/b",
                "a test names the path only: the service is the README's own",
            ),
            ("GET /\u{17c}", "'\u{17c}' cannot stand in a path"),
            ("GET / EXPCT 200", "'EXPCT' is no clause of a test"),
            ("GET / EXPECT ok", "'ok' is no status"),
            ("GET / EXPECT 300-200", "'300-200' is no status"),
            ("GET / EXPECT_BODY", "EXPECT_BODY says nothing"),
            (
                "GET / EXPECT_BODY /a(/",
                "the regular expression is wrong: unclosed group",
            ),
            ("GET / EXPECT_BODY /a", "the regular expression does not end"),
            ("GET / EXPECT_BODY \"a", "the quoted text does not end"),
            ("GET / EXPECT_BODY $.a is 3", "'is' does not compare"),
            ("GET / EXPECT_BODY $.a ==", "there is no value to compare with"),
            ("GET / EXPECT_BODY $.a count x", "after 'count' comes a number"),
            (
                "GET / EXPECT_HEADER",
                "an expected header is written 'name' or 'name: value'",
            ),
            ("GET / HEADER accept", "a header is written 'name: value'"),
            ("GET / CAPTURE 1 = $.a", "a capture is written 'name = where'"),
            (
                "GET / CAPTURE a = body",
                "a value is captured from a JSON path, a header or a regular expression",
            ),
            ("POST / BODY x\nBODY y", "a request has one body"),
            ("EXPECT 200", "there is no request above this line"),
        ] {
            let text = format!("# T\n\n```http markpact:test\n{line}\n```\n");
            let problems = markpact::parse(Path::new("README.md"), &text).expect_err(line);
            let first = &problems.0[0];
            assert_eq!(first.message, wanted, "{line}");
            assert_eq!(first.place.line, 3 + line.lines().count(), "{line}");
            assert!(first.help.is_some(), "{line}");
        }
        for (line, wanted) in [
            ("GET / EXPECT_BODY $.a[", "'$.a[' is no JSON path"),
            ("POST / BODY {a: 1}", "the JSON value is wrong"),
        ] {
            let text = format!("```http markpact:test\n{line}\n```\n");
            let problems = markpact::parse(Path::new("README.md"), &text).expect_err(line);
            assert!(
                problems.0[0].message.starts_with(wanted),
                "{}",
                problems.0[0].message
            );
        }
    }
}
