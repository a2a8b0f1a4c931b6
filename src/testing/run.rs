//! Asks: the tests of a README one after another, several READMEs at the same time.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt};
use pactown_runtime::protocol::ExitStatus;
use tokio::time::timeout;

use super::http::{self, Answer, Lost, Question, Way};
use super::judge::{self, Values};
use super::{Failure, Miss, Outcome, Suite, Verdict, shell};
use crate::config::ecosystem::{ServiceName, UnitName};
use crate::instance::Instance;
use crate::logs;
use crate::markpact::template;
use crate::markpact::test_case::{Ask, Expectation, HttpTest, ShellTest, TestCase};

/// Lines of an answer, or of a command's output, that a failure shows.
const SHOWN: usize = 15;
/// Lines of the log.
const LOGGED: usize = 8;
/// Characters of such a line.
const WIDTH: usize = 400;
/// The longest that a connection is waited for.
const CONNECTING: Duration = Duration::from_secs(10);

/// A running ecosystem as tests see it.
#[derive(Debug)]
pub(crate) struct Site {
    /// The instance.
    pub(crate) instance: Instance,
    /// The sandbox of each service that is asked, the first of its replicas, and where that is.
    pub(crate) units: BTreeMap<ServiceName, (UnitName, IpAddr)>,
}

impl Site {
    fn unit<'a>(&'a self, service: &'a ServiceName) -> &'a UnitName {
        self.units.get(service).map_or(service, |(unit, _)| unit)
    }
}

/// Runs all of them, `jobs` READMEs at the same time; each outcome is told as it comes. Dropped, it ends what it
/// started.
pub(crate) async fn all(site: &Site, suites: &[Suite], jobs: usize, tell: &dyn Fn(&Outcome)) -> Vec<Outcome> {
    let asked = stream::iter(suites).map(|suite| one_readme(site, suite, tell));
    let outcomes: Vec<Vec<Outcome>> = asked.buffered(jobs.max(1)).collect().await;
    outcomes.into_iter().flatten().collect()
}

async fn one_readme(site: &Site, suite: &Suite, tell: &dyn Fn(&Outcome)) -> Vec<Outcome> {
    let (mut outcomes, mut values) = (Vec::new(), Values::new());
    for case in &suite.cases {
        let started = Instant::now();
        let verdict = Asker { site, suite, case }.ask(&mut values).await;
        let outcome = Outcome {
            service: suite.service.clone(),
            file: suite.readme.clone(),
            line: case.line,
            title: case.title(),
            time: started.elapsed(),
            verdict,
        };
        tell(&outcome);
        outcomes.push(outcome);
    }
    outcomes
}

/// One test.
struct Asker<'a> {
    site: &'a Site,
    suite: &'a Suite,
    case: &'a TestCase,
}

impl Asker<'_> {
    async fn ask(&self, values: &mut Values) -> Verdict {
        let mut names = self.case.templates().into_iter().flat_map(template::names);
        if let Some(name) = names.find(|name| !values.contains_key(*name)) {
            return Verdict::Skipped {
                reason: format!("no answer above gave ${{{name}}}"),
            };
        }
        match &self.case.ask {
            Ask::Shell(test) => self.command(test, values).await,
            Ask::Http(test) => self.request(test, values).await,
        }
    }

    async fn command(&self, test: &ShellTest, values: &Values) -> Verdict {
        let sandbox = self
            .site
            .unit(self.case.from.as_ref().unwrap_or(&self.suite.service));
        let socket = self.site.instance.keeper_socket();
        let ended = shell::run(&socket, sandbox, test, values, self.case.limit).await;
        let (got, output) = match ended {
            Ok(ended) => match ended.status {
                Some(ExitStatus::Code(0)) => return Verdict::Passed,
                Some(ExitStatus::Code(code)) => (format!("exit code {code}"), ended.output),
                Some(ExitStatus::Signal(signal)) => (format!("its end by signal {signal}"), ended.output),
                Some(ExitStatus::Unknown) => ("its end from outside".to_owned(), ended.output),
                None => (format!("no end within {}", self.limit()), ended.output),
            },
            Err(cause) => (cause, String::new()),
        };
        let lines: Vec<&str> = output.lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN)..].iter();
        self.failed(
            format!("{} in {sandbox}", test.command),
            vec![self.miss("exit code 0", got)],
            last.map(|line| cut(line)).collect(),
        )
    }

    async fn request(&self, test: &HttpTest, values: &mut Values) -> Verdict {
        let port = test.port.unwrap_or(self.suite.port);
        let asked = Filled::of(test, values);
        let request = self.described(&asked, port, test);
        let Some((_, address)) = self.site.units.get(&self.suite.service) else {
            let got = format!("{} does not run", self.suite.service);
            return self.failed(request, vec![self.miss(&wanted(test), got)], Vec::new());
        };
        let way = Way {
            to: SocketAddr::new(*address, port),
            from: self.case.from.as_ref().map(|name| self.namespace(name)),
        };
        let question = Question {
            method: &test.method,
            path: &asked.path,
            headers: &asked.headers,
            body: asked.body.as_deref(),
        };
        let answer = http::ask(&way, &question, self.case.limit.min(CONNECTING));
        let answer = match timeout(self.case.limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(lost)) => return self.lost(test, request, lost),
            Err(_) => {
                let expected = format!("an answer within {}", self.limit());
                return self.failed(request, vec![self.miss(&expected, "none".to_owned())], Vec::new());
            }
        };
        let mut misses = judge::misses(self.case.line, test, &answer, values);
        if misses.is_empty() {
            match judge::captures(test, &answer) {
                Ok(captured) => {
                    values.extend(captured);
                    return Verdict::Passed;
                }
                Err(missing) => misses = missing,
            }
        }
        self.failed(request, misses, shown(&answer))
    }

    /// There was no answer, which may be what is expected.
    fn lost(&self, test: &HttpTest, request: String, lost: Lost) -> Verdict {
        let refused = test
            .expect
            .iter()
            .any(|(_, wanted)| *wanted == Expectation::Refused);
        let got = match lost {
            Lost::Refused if refused => return Verdict::Passed,
            Lost::Refused => match self.case.from.as_ref().filter(|from| !self.may_ask(from)) {
                Some(from) => format!(
                    "connection refused: {from} does not name {} in depends_on",
                    self.suite.service
                ),
                None => "connection refused".to_owned(),
            },
            Lost::Other(cause) => cause,
        };
        self.failed(request, vec![self.miss(&wanted(test), got)], Vec::new())
    }

    fn may_ask(&self, from: &ServiceName) -> bool {
        *from == self.suite.service || self.suite.dependents.contains(from)
    }

    fn namespace(&self, service: &ServiceName) -> PathBuf {
        self.site.instance.netns_dir().join(self.site.unit(service))
    }

    fn described(&self, asked: &Filled, port: u16, test: &HttpTest) -> String {
        let service = &self.suite.service;
        let mut text = format!("{} http://{service}:{port}{}", test.method, asked.path);
        if let Some(from) = &self.case.from {
            let _ = write!(text, " as {from}");
        }
        if let Some(body) = &asked.body {
            let _ = write!(text, " with {}", cut(body));
        }
        text
    }

    fn limit(&self) -> humantime::FormattedDuration {
        humantime::format_duration(self.case.limit)
    }

    fn miss(&self, expected: &str, got: String) -> Miss {
        Miss {
            line: self.case.line,
            expected: expected.to_owned(),
            got,
        }
    }

    fn failed(&self, request: String, misses: Vec<Miss>, answer: Vec<String>) -> Verdict {
        let log = self.site.instance.log_file(self.site.unit(&self.suite.service));
        Verdict::Failed(Failure {
            request,
            misses,
            answer,
            log: logs::last_run(&log, LOGGED),
        })
    }
}

/// A request with its values.
struct Filled {
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl Filled {
    /// That every name has a value was seen before.
    fn of(test: &HttpTest, values: &Values) -> Self {
        let fill = |text: &str, encode: &dyn Fn(&str) -> String| {
            template::fill(text, values, encode).unwrap_or_else(|_| text.to_owned())
        };
        let header = |(name, value): &(String, String)| (name.clone(), fill(value, &str::to_owned));
        let body = |body: &String| match body.starts_with(['{', '[']) {
            true => fill(body, &in_json),
            false => fill(body, &str::to_owned),
        };
        Self {
            path: path_of(&fill(&test.path, &in_path)),
            headers: test.headers.iter().map(header).collect(),
            body: test.body.as_ref().map(body),
        }
    }
}

/// A value inside of a path: what cannot stand there is percent-encoded, what shapes a path stays.
fn in_path(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte) {
            true => text.push(char::from(byte)),
            false => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// A value inside of a JSON text: a number stays one, quotes do not end it.
fn in_json(value: &str) -> String {
    let text = serde_json::Value::from(value).to_string();
    text[1..text.len() - 1].to_owned()
}

/// A `Location` may be a whole URL: its path is asked of the same service.
fn path_of(text: &str) -> String {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]).to_owned(),
        None => text.to_owned(),
    }
}

/// What the test expects first, for when there is nothing at all.
fn wanted(test: &HttpTest) -> String {
    let status = test.expect.iter().find_map(|(_, wanted)| match wanted {
        Expectation::Status(low, high) if low == high => Some(format!("status {low}")),
        Expectation::Status(low, high) => Some(format!("status {low} to {high}")),
        Expectation::Refused => Some("a refused connection".to_owned()),
        _ => None,
    });
    status.unwrap_or_else(|| "an answer".to_owned())
}

/// The answer in some lines.
fn shown(answer: &Answer) -> Vec<String> {
    let reason = hyper::StatusCode::from_u16(answer.status).ok();
    let reason = reason
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let mut lines = vec![format!("{} {reason}", answer.status).trim_end().to_owned()];
    let kind = answer
        .header("content-type")
        .map(|kind| format!("content-type: {kind}"));
    lines.extend(kind);
    lines.extend(answer.text().lines().take(SHOWN).map(cut));
    lines
}

/// A line that is not endless.
fn cut(line: &str) -> String {
    let mut text: String = line.chars().take(WIDTH).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_their_place_needs_it() {
        assert_eq!(in_path("/a b?x=ż&y"), "/a%20b?x=%C5%BC&y");
        assert_eq!(in_json("a\"b"), "a\\\"b");
        assert_eq!(in_json("7"), "7");
        assert_eq!(path_of("http://localhost:8000/items/7?x"), "/items/7?x");
        assert_eq!(path_of("https://localhost"), "/");
        assert_eq!(path_of("/items"), "/items");
    }
}
