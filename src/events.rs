//! What happened to an ecosystem, one line of JSON each: the shape of a line, where the lines are, and reading them.
//!
//! The supervisor writes them ([`crate::supervisor`]); nothing here writes. What a change of a service means is decided
//! in [`decide`](mod@decide).

pub mod decide;
pub mod limits;
mod reached;
mod text;
mod used;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::ecosystem::{ServiceName, UnitName, unit_name};
use crate::control::api::ServiceStatus;
use crate::instance::{Instance, LOG_ROOT};
use crate::logs::{History, Line, Reader};

pub use reached::Reached;
pub use text::render;
pub(crate) use text::{ended, lasted, when};
pub use used::Used;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When: RFC 3339, UTC, microseconds.
    pub ts: String,
    /// To which service; `None` = to the ecosystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// To which replica of it; `None` = it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<u32>,
    /// Number of the sandbox's run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// What.
    pub kind: Kind,
    /// Why, one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Host pid of the sandbox's pid 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Shell's number of the end (128 + signal).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// How long what ends with this took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// First published port of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Highest memory use, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak: Option<u64>,
    /// Starts so far that nobody asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
    /// What it had used when it ended; of the ecosystem: all services together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Box<Used>>,
    /// Of the ecosystem's end: what its sandboxes have reached outside, as far as it was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached: Option<Vec<Reached>>,
    /// Lines that go with it, such as an installer's last ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// What the kernel knew of the sandbox at that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
}

impl Event {
    /// Without what nobody is to see. Only what others have said is searched: a value may be a number or a word that
    /// stands for something else in the rest.
    pub(crate) fn masked(mut self, mask: impl Fn(&str) -> String) -> Self {
        self.cause = self.cause.map(|cause| mask(&cause));
        for line in &mut self.details {
            *line = mask(line);
        }
        self
    }
}

/// What the kernel knows of a living sandbox.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    /// TCP addresses that something in it listens on, `address:port`.
    pub listening: Vec<String>,
    /// How often a process was refused for the limit of processes.
    pub pids_refused: u64,
    /// Share of the CPU periods in which it had to wait for its quota, 0 to 1.
    pub throttled: f64,
}

/// The kinds of event.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lower")]
pub enum Kind {
    /// The ecosystem was asked to come up.
    Up,
    /// The ecosystem was asked to go down.
    Down,
    /// Layers, ids and network are being made.
    Preparing,
    /// They are.
    Prepared,
    /// The sandbox is being made.
    Starting,
    /// The process runs.
    Started,
    /// The check passed for the first time.
    Ready,
    /// The check fails, or never passed in time.
    Unhealthy,
    /// The check passes again.
    Recovered,
    /// The kernel killed something at the memory limit.
    Oom,
    /// Another limit was reached.
    Limit,
    /// The process ended.
    Exited,
    /// It will be started again after a pause.
    Backoff,
    /// It starts again, and nobody asked for it.
    Restarting,
    /// A dependency failed.
    Blocked,
    /// It failed, and stays so.
    Failed,
    /// It was told to end.
    Stopping,
    /// It ended because it was told to.
    Stopped,
    /// A job ended with 0.
    Completed,
    /// The time of a scheduled job has come: what becomes of it.
    Due,
    /// The time of a scheduled job came and nothing becomes of it.
    Skipped,
    /// A new supervisor took over.
    Adopted,
    /// Something to read once.
    Notice,
}

impl Kind {
    /// The word in the file and on the screen.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Preparing => "preparing",
            Self::Prepared => "prepared",
            Self::Starting => "starting",
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Unhealthy => "unhealthy",
            Self::Recovered => "recovered",
            Self::Oom => "oom",
            Self::Limit => "limit",
            Self::Exited => "exited",
            Self::Backoff => "backoff",
            Self::Restarting => "restarting",
            Self::Blocked => "blocked",
            Self::Failed => "failed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::Due => "due",
            Self::Skipped => "skipped",
            Self::Adopted => "adopted",
            Self::Notice => "notice",
        }
    }
}

impl Event {
    /// An event of the ecosystem as a whole, without a time yet.
    pub fn new(kind: Kind) -> Self {
        Self {
            ts: String::new(),
            service: None,
            replica: None,
            run: None,
            kind,
            cause: None,
            pid: None,
            exit_code: None,
            duration_ms: None,
            port: None,
            memory_peak: None,
            restarts: None,
            used: None,
            reached: None,
            details: Vec::new(),
            witness: None,
        }
    }

    /// An event of the sandbox with this row, without a time yet.
    pub fn of(row: &ServiceStatus, kind: Kind) -> Self {
        Self {
            service: Some(row.service.clone()),
            replica: row.replica,
            run: Some(row.run),
            ..Self::new(kind)
        }
    }

    /// The sandbox that it is about; `None` = the ecosystem.
    pub fn unit(&self) -> Option<UnitName> {
        let service = self.service.as_ref()?;
        Some(unit_name(service, self.replica))
    }

    /// When, microseconds since the Unix epoch; `None` when the text is no time.
    pub fn usec(&self) -> Option<i64> {
        Some(self.ts.parse::<Timestamp>().ok()?.as_microsecond())
    }
}

/// `2026-01-31T12:00:01.123456Z` for microseconds since the Unix epoch.
pub fn time_of(usec: u64) -> String {
    let usec = i64::try_from(usec).unwrap_or(i64::MAX);
    let time = Timestamp::from_microsecond(usec).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{time:.6}")
}

/// `/var/log/pactown/<instance>/events.log`, a log like those of the services, each line of which is an [`Event`] as
/// JSON; older ones are in `….1` and `….2`.
pub fn file(instance: &Instance) -> PathBuf {
    Path::new(LOG_ROOT).join(&instance.name).join("events.log")
}

/// All events of the instance that are kept, oldest first. No file: none. Lines of another shape are left out.
pub fn read(instance: &Instance) -> Vec<Event> {
    let mut reader = Reader::new(&History::open(&file(instance)), false);
    // What could be read before an error of the disk still tells something.
    let lines = std::iter::from_fn(|| reader.read_line().ok().flatten());
    lines.filter_map(|line| parse(&line)).collect()
}

/// One line of the file.
pub fn parse(line: &Line) -> Option<Event> {
    of_json(&line.text)
}

fn of_json(text: &[u8]) -> Option<Event> {
    serde_json::from_slice(text).ok()
}

/// The events since the ecosystem was last asked to come up while nothing of it ran.
pub fn of_this_life(events: &[Event]) -> &[Event] {
    let mut first = 0;
    let mut down = true;
    for (index, event) in events.iter().enumerate() {
        match event.kind {
            Kind::Up if down => (first, down) = (index, false),
            Kind::Down => down = true,
            _ => {}
        }
    }
    &events[first..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind) -> Event {
        Event {
            ts: time_of(1_000_001),
            ..Event::new(kind)
        }
    }

    #[test]
    fn a_line_is_small_and_comes_back() {
        let text = serde_json::to_string(&event(Kind::Up)).unwrap();
        assert_eq!(text, r#"{"ts":"1970-01-01T00:00:01.000001Z","kind":"up"}"#);
        assert_eq!(of_json(text.as_bytes()), Some(event(Kind::Up)));
        assert_eq!(event(Kind::Up).usec(), Some(1_000_001));
        assert_eq!(of_json(b"{\"ts\":"), None, "half a line");
    }

    #[test]
    fn every_kind_has_the_word_that_serde_writes_and_clap_reads() {
        use clap::ValueEnum;
        for kind in Kind::value_variants() {
            assert_eq!(
                serde_json::to_string(kind).unwrap(),
                format!("\"{}\"", kind.word())
            );
            assert_eq!(kind.to_possible_value().unwrap().get_name(), kind.word());
        }
    }

    #[test]
    fn a_value_that_is_a_word_or_a_number_of_ours_hides_only_what_others_said() {
        let masker = pactown_runtime::mask::Masker::new(["1234", "started"].map(str::as_bytes))
            .unwrap()
            .unwrap();
        let told = Event {
            pid: Some(1234),
            cause: Some("it said 1234".to_owned()),
            details: vec!["started with 1234".to_owned(), "no more".to_owned()],
            ..Event::new(Kind::Started)
        };
        let shown = told.masked(|text| masker.text(text));
        let line = serde_json::to_string(&shown).unwrap();
        let read: Event = serde_json::from_str(&line).expect("it is JSON still");
        assert_eq!((read.kind, read.pid), (Kind::Started, Some(1234)));
        assert_eq!(read.cause.as_deref(), Some("it said ***"));
        assert_eq!(read.details, ["*** with ***", "no more"]);
    }

    #[test]
    fn a_life_begins_with_the_first_up_after_a_down() {
        let kinds = [
            Kind::Up,
            Kind::Failed,
            Kind::Down,
            Kind::Stopped,
            Kind::Up,
            Kind::Up,
            Kind::Ready,
        ];
        let events: Vec<Event> = kinds.into_iter().map(event).collect();
        let life: Vec<Kind> = of_this_life(&events).iter().map(|event| event.kind).collect();
        assert_eq!(life, [Kind::Up, Kind::Up, Kind::Ready]);
        assert_eq!(
            of_this_life(&events[..4]).len(),
            4,
            "a down does not end what is told of it"
        );
        assert!(of_this_life(&[]).is_empty());
    }
}
