//! `test` blocks → test cases: what kind of block it is, its attributes, and that every `${name}` has a giver above it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::block::Block;
use super::findings::{Findings, closest, quoted};
use super::http_test;
use super::template;
use super::test_case::{Ask, ShellTest, TestCase};

/// How long a test may take without `timeout=`.
const LIMIT: Duration = Duration::from_secs(30);

/// Attributes of a test block.
const ATTRIBUTES: &[&str] = &["name", "as", "timeout", "port"];

/// Languages whose lines are commands of this shell.
const SHELLS: &[(&str, &str)] = &[
    ("", "/bin/sh"),
    ("sh", "/bin/sh"),
    ("shell", "/bin/sh"),
    ("console", "/bin/sh"),
    ("text", "/bin/sh"),
    ("bash", "bash"),
    ("dash", "dash"),
    ("zsh", "zsh"),
];

/// What the fence says of all tests of its block.
pub(super) struct Common {
    pub(super) name: Option<String>,
    pub(super) from: Option<String>,
    pub(super) limit: Duration,
    pub(super) port: Option<u16>,
}

impl Common {
    /// A test of the block.
    pub(super) fn case(&self, line: usize, ask: Ask) -> TestCase {
        TestCase {
            line,
            name: self.name.clone(),
            from: self.from.clone(),
            limit: self.limit,
            ask,
        }
    }
}

/// The tests of the README, in its order.
pub(super) fn read(blocks: &[Block], findings: &mut Findings<'_>) -> Vec<TestCase> {
    let mut tests = Vec::new();
    for block in blocks.iter().filter(|block| block.kind == "test") {
        let found = one(block, findings);
        if found.is_empty() && block.text.trim().is_empty() {
            let help = "write a line such as 'GET /health EXPECT 200', or remove the block";
            findings.error(block.lines.first, "the 'test' block is empty", help);
        }
        tests.extend(found);
    }
    givers(&tests, findings);
    tests
}

fn one(block: &Block, findings: &mut Findings<'_>) -> Vec<TestCase> {
    let common = common(block, findings);
    if block.language.eq_ignore_ascii_case("http") || http_test::begins(block) {
        return http_test::read(block, &common, findings);
    }
    let language = block.language.to_lowercase();
    match SHELLS.iter().find(|(name, _)| *name == language) {
        Some((_, shell)) => commands(block, shell, &common),
        None => {
            findings.error(
                block.lines.first,
                format!("a test in {} cannot be run", quoted(&block.language)),
                "use 'http', or 'sh' with one command a line: python3 -c '…'",
            );
            Vec::new()
        }
    }
}

fn common(block: &Block, findings: &mut Findings<'_>) -> Common {
    let line = block.lines.first;
    for name in block.attributes.keys() {
        if !ATTRIBUTES.contains(&name.as_str()) {
            let meant = closest(name, ATTRIBUTES).map(|near| format!("; did you mean '{near}'?"));
            let text = format!("a test has no attribute {}", quoted(name));
            findings.note(line, format!("{text}{}", meant.unwrap_or_default()));
        }
    }
    let attribute = |name: &str| block.attributes.get(name);
    let limit = attribute("timeout").map(|text| duration(text));
    if limit == Some(None) {
        findings.error(
            line,
            "the timeout of a test is a time above zero",
            "write, for example, timeout=5s",
        );
    }
    let port = attribute("port").map(|text| text.parse::<u16>().ok().filter(|port| *port > 0));
    if port == Some(None) {
        findings.error(
            line,
            "the port of a test is a number from 1 to 65535",
            "write, for example, port=9090",
        );
    }
    Common {
        name: attribute("name").cloned(),
        from: attribute("as").cloned(),
        limit: limit.flatten().unwrap_or(LIMIT),
        port: port.flatten(),
    }
}

/// Seconds, or a number with a unit.
fn duration(text: &str) -> Option<Duration> {
    let seconds = text.parse::<f64>().ok();
    let time = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => humantime::parse_duration(text).ok(),
    };
    time.filter(|time| !time.is_zero())
}

/// One command a line; a `\` at its end joins the next.
fn commands(block: &Block, shell: &str, common: &Common) -> Vec<TestCase> {
    let mut tests = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (line, text) in block.numbered() {
        let (first, before) = match open.take() {
            Some((first, before)) => (first, format!("{before}\n")),
            None if text.trim().is_empty() || text.trim_start().starts_with('#') => continue,
            None => (line, String::new()),
        };
        let command = format!("{before}{text}");
        if command.ends_with('\\') {
            open = Some((first, command));
        } else {
            tests.push((first, command));
        }
    }
    tests.extend(open);
    let case = |(line, command): (usize, String)| {
        let ask = Ask::Shell(ShellTest {
            shell: shell.to_owned(),
            command: command.trim().to_owned(),
        });
        common.case(line, ask)
    };
    tests.into_iter().map(case).collect()
}

/// Every `${name}` is given by a test above.
fn givers(tests: &[TestCase], findings: &mut Findings<'_>) {
    let mut given = BTreeSet::new();
    for test in tests {
        let used: BTreeSet<&str> = test.templates().into_iter().flat_map(template::names).collect();
        for name in used.difference(&given) {
            findings.error(
                test.line,
                format!("no test above gives '${{{name}}}'"),
                format!("below the request whose answer has it, write 'CAPTURE {name} = $.{name}'; a plain '${{' is written '$${{'"),
            );
        }
        given.extend(test.gives());
    }
}
