//! What a `test` block asks for: data only. The texts may hold `${name}`, which earlier answers give.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One test of a README.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCase {
    /// Its line in the README, from 1.
    pub line: usize,
    /// `name=` of its block.
    pub name: Option<String>,
    /// `as=`: the service from whose sandbox it is asked.
    pub from: Option<String>,
    /// `timeout=`: how long it may take.
    pub limit: Duration,
    /// What is asked.
    pub ask: Ask,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// A command that must exit with 0.
    Shell(ShellTest),
    /// A request and what its answer must be like.
    Http(Box<HttpTest>),
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShellTest {
    /// The shell, looked up in the sandbox's PATH.
    pub shell: String,
    /// One command line.
    pub command: String,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpTest {
    /// Upper case.
    pub method: String,
    /// Path and query, from `/` on.
    pub path: String,
    /// Port of the service that is asked; `None` = its own.
    pub port: Option<u16>,
    /// Headers besides `Host`, `Connection` and the content's.
    pub headers: Vec<(String, String)>,
    /// The body; JSON when it begins with `{` or `[`.
    pub body: Option<String>,
    /// Each with its line. Without a status, 200 to 399 are expected.
    pub expect: Vec<(usize, Expectation)>,
    /// What is kept of the answer for later tests, each with its line.
    pub captures: Vec<(usize, Capture)>,
}

/// What an answer must be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// Its status lies between these two, both included.
    Status(u16, u16),
    /// There is none: the connection is refused.
    Refused,
    /// It has this header; with a text, with a value that fits.
    Header(String, Option<Text>),
    /// Its body fits.
    Body(Text),
    /// Its body is JSON, and this value.
    Json(String),
    /// Its body is JSON, and what an RFC 9535 query finds in it fits.
    Query(String, Relation),
}

/// What a text must be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Text {
    /// It contains this.
    Contains(String),
    /// This regular expression matches somewhere in it.
    Matches(String),
}

/// What the nodes that a query finds must be like. Values are JSON, or a word that stands for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Relation {
    /// There is one.
    Exists,
    /// One is this value.
    Equals(String),
    /// None is this value.
    Differs(String),
    /// This regular expression matches in one: in a text as it is, in any other value as JSON.
    Matches(String),
    /// There are so many.
    Count(usize),
}

/// A value of the answer that later tests use as `${name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub from: Origin,
}

/// Where a captured value is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The first node that an RFC 9535 query finds in the body.
    Query(String),
    /// A header's value.
    Header(String),
    /// The first group of a regular expression in the body, or all that it matches when it has none.
    Matches(String),
}

impl TestCase {
    /// What it is called: its block's name and what it asks.
    pub fn title(&self) -> String {
        let asked = match &self.ask {
            Ask::Shell(test) => test.command.clone(),
            Ask::Http(test) => format!("{} {}", test.method, test.path),
        };
        match &self.name {
            Some(name) => format!("{name}: {asked}"),
            None => asked,
        }
    }

    /// Names that it gives to later tests.
    pub fn gives(&self) -> Vec<&str> {
        match &self.ask {
            Ask::Shell(_) => Vec::new(),
            Ask::Http(test) => test
                .captures
                .iter()
                .map(|(_, capture)| capture.name.as_str())
                .collect(),
        }
    }

    /// The texts in which `${name}` stands for a value.
    pub fn templates(&self) -> Vec<&str> {
        match &self.ask {
            Ask::Shell(_) => Vec::new(),
            Ask::Http(test) => test.templates(),
        }
    }
}

impl HttpTest {
    fn templates(&self) -> Vec<&str> {
        let mut texts = vec![self.path.as_str()];
        texts.extend(self.body.as_deref());
        texts.extend(self.headers.iter().map(|(_, value)| value.as_str()));
        texts.extend(self.expect.iter().filter_map(|(_, wanted)| wanted.template()));
        texts
    }
}

impl Expectation {
    fn template(&self) -> Option<&str> {
        match self {
            Self::Header(_, Some(Text::Contains(text)))
            | Self::Body(Text::Contains(text))
            | Self::Json(text)
            | Self::Query(_, Relation::Equals(text) | Relation::Differs(text)) => Some(text),
            _ => None,
        }
    }
}
