//! Why a service is not as it should be: one cause, what shows it, what to do next. Deciding is pure; what it is decided
//! from is read in [`facts`], the kernel's part of it in [`witness`].

mod ended;
pub mod facts;
mod listening;
mod log;
mod names;
mod witness;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::config::ecosystem::ServiceName;
use crate::control::api::{Health, Phase};
use crate::events;

pub use facts::Facts;
pub use witness::witness;

/// The answer for one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The service; empty = the ecosystem as a whole.
    pub service: ServiceName,
    /// Which cause of the catalogue.
    pub kind: Cause,
    /// One line.
    pub cause: String,
    /// What shows it.
    pub evidence: Vec<String>,
    /// Commands to type, or what to write where.
    pub next: Vec<String>,
}

/// The catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Nothing is wrong.
    Well,
    /// It ended by itself.
    Exited,
    /// Its memory limit was reached.
    Memory,
    /// Its limit of processes and threads was reached.
    Processes,
    /// Its limit of open files was reached.
    Files,
    /// A file system is full.
    Disk,
    /// It waits for its CPU quota most of the time.
    Cpu,
    /// It runs, and nothing listens.
    NotListening,
    /// It listens on another port.
    WrongPort,
    /// It listens on an address that nobody else reaches.
    Loopback,
    /// The check's answer is not the expected one.
    BadAnswer,
    /// It answers later than the check waits.
    Slow,
    /// What it depends on failed.
    Blocked,
    /// It opens a connection that is not declared.
    Undeclared,
    /// It looks for a name that does not exist.
    UnknownName,
    /// A file may not be read or written.
    Permission,
    /// A call that no sandbox may make.
    Forbidden,
    /// Its port is taken.
    Port,
    /// A program is not there.
    Program,
    /// Its dependencies could not be installed.
    Install,
    /// Its sandbox could not be made.
    Sandbox,
    /// It was told to stop, or never started.
    Stopped,
    /// It did what it had to.
    Completed,
    /// It is on its way.
    Waiting,
}

impl Cause {
    /// Whether something is wrong.
    pub fn is_wrong(self) -> bool {
        !matches!(self, Self::Well | Self::Completed | Self::Stopped)
    }
}

/// Why the service of these facts is where it is.
pub fn diagnose(facts: &Facts) -> Diagnosis {
    let diagnosis = by_state(facts);
    let status = facts.row.status_text.as_ref();
    let says = status.map(|status| format!("it says '{status}'"));
    // The check's last answer may have told it already.
    let says = says.filter(|says| !diagnosis.cause.contains(says.as_str()));
    diagnosis.shows(says)
}

fn by_state(facts: &Facts) -> Diagnosis {
    match facts.row.state {
        Phase::Failed => failed(facts),
        Phase::Backoff => in_backoff(facts),
        Phase::Blocked => blocked(facts),
        Phase::Waiting | Phase::Preparing | Phase::Starting => waiting(facts),
        Phase::Running => running(facts),
        Phase::Completed => {
            let words = format!("completed: it did what it had to{}", facts.next_run());
            facts.says(Cause::Completed, &words)
        }
        Phase::Stopping => facts.says(Cause::Waiting, "is stopping"),
        Phase::Stopped => stopped(facts),
        Phase::Scheduled => facts.says(Cause::Well, &format!("waits for its time{}", facts.next_run())),
    }
}

/// It failed, and the clock may start it again.
fn failed(facts: &Facts) -> Diagnosis {
    let next = facts.next_run();
    let next = next.trim_start_matches(", ").to_owned();
    let again = (!next.is_empty()).then_some(next);
    ended::failed(facts).shows(again.map(|next| format!("run {}; {next}", facts.row.run)))
}

/// It ends again and again: the cause is that of its last end.
fn in_backoff(facts: &Facts) -> Diagnosis {
    let mut last = ended::failed(facts);
    let mut words = restarts(facts);
    if let Some(next) = facts.row.next_try_usec {
        let left = next.saturating_sub(facts.now_usec) as f64 / 1e6;
        words.push_str(&format!(", next try in {left:.1} s"));
    }
    last.evidence.push(words);
    last
}

fn restarts(facts: &Facts) -> String {
    match facts.row.restarts {
        0 => "not restarted yet".to_owned(),
        1 => "restarted once".to_owned(),
        count => format!("restarted {count} times"),
    }
}

/// It is on its way or runs, and ended by itself a moment ago: a loop, whatever its row says just now.
fn in_loop(facts: &Facts) -> Option<Diagnosis> {
    let ago = facts.now_usec.saturating_sub(facts.ended_usec?);
    if facts.row.restarts == 0 || ago > LOOP {
        return None;
    }
    let cause = format!("{}; last, it {}", restarts(facts), facts.how_it_ended());
    let next = format!("pactown events {}", facts.name);
    Some(facts.says(Cause::Exited, &cause).next(facts.logs()).next(next))
}

/// An end of its own that is not longer ago than this makes a restarted service one in a loop, in microseconds.
const LOOP: u64 = 60_000_000;

fn blocked(facts: &Facts) -> Diagnosis {
    let Some(root) = &facts.root else {
        let cause = facts.row.cause.as_deref().unwrap_or("blocked");
        return facts.says(Cause::Blocked, cause);
    };
    // Where others are in between, the row tells the whole chain.
    let direct = format!("blocked by {} ", root.service);
    let chain = facts
        .row
        .cause
        .clone()
        .filter(|cause| !cause.starts_with(&direct));
    Diagnosis {
        evidence: chain.into_iter().chain(root.evidence.clone()).collect(),
        next: root.next.clone(),
        ..facts.says(
            Cause::Blocked,
            &format!("blocked by {}: {}", root.service, root.cause),
        )
    }
}

fn waiting(facts: &Facts) -> Diagnosis {
    if let Some(diagnosis) = in_loop(facts) {
        return diagnosis;
    }
    let words = match facts.row.state {
        Phase::Preparing => "its layers are being made".to_owned(),
        Phase::Starting => "its sandbox is being made".to_owned(),
        _ if facts.waits_for.is_empty() => "waits for its turn".to_owned(),
        _ => format!("waits for {}", facts.waits_for.join(", ")),
    };
    facts
        .says(Cause::Waiting, &words)
        .next("pactown events -f".to_owned())
}

fn running(facts: &Facts) -> Diagnosis {
    match facts.row.health {
        Health::Starting | Health::Unhealthy => listening::not_ready(facts),
        Health::Healthy | Health::None => in_loop(facts)
            .or_else(|| listening::unasked(facts))
            .unwrap_or_else(|| facts.says(Cause::Well, "runs as it should")),
    }
}

fn stopped(facts: &Facts) -> Diagnosis {
    let next = format!("pactown start {}", facts.name);
    match (facts.alive, facts.row.run) {
        (true, 0) => facts
            .says(Cause::Stopped, "was never started: nobody asked for it")
            .next(next),
        (true, _) => facts.says(Cause::Stopped, "stopped by hand").next(next),
        (false, _) => facts
            .says(Cause::Stopped, "the ecosystem is not running")
            .next("pactown up".to_owned()),
    }
}

impl Facts {
    /// A diagnosis with nothing but its cause.
    fn says(&self, kind: Cause, cause: &str) -> Diagnosis {
        Diagnosis {
            service: self.name.clone(),
            kind,
            cause: cause.to_owned(),
            evidence: Vec::new(),
            next: Vec::new(),
        }
    }

    /// `, next 12:35:00` of a job that the clock starts.
    fn next_run(&self) -> String {
        let next = self.row.next_run.as_deref();
        let now = i64::try_from(self.now_usec).unwrap_or(0);
        let now = Timestamp::from_microsecond(now).unwrap_or_default();
        let when = next.map(|next| events::when(next, now, &TimeZone::system()));
        when.map(|when| format!(", next {when}")).unwrap_or_default()
    }

    /// `pactown logs NAME`.
    fn logs(&self) -> String {
        format!("pactown logs {}", self.name)
    }

    /// Where the service stands in the ecosystem file.
    fn place(&self) -> String {
        match self.config.line {
            0 => self.config.file.clone(),
            line => format!("{}:{line}", self.config.file),
        }
    }
}

impl Diagnosis {
    fn shows(mut self, evidence: impl IntoIterator<Item = String>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    fn next(mut self, next: String) -> Self {
        self.next.push(next);
        self
    }
}

#[cfg(test)]
mod tests;
