//! What a view knows, what can happen to it, and what it can ask for. Data, and questions about it.

use std::collections::{BTreeMap, VecDeque};

use super::{Ending, diagnosis, layout, text};
use crate::config::ecosystem::ServiceName;
use crate::control::api::{Phase, ServiceStatus};
use crate::stats::Sample;
use crate::why::Diagnosis;

/// Most lines that are kept of each log.
pub(super) const KEPT: usize = 1000;

/// Everything that is shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model {
    /// The instance.
    pub(super) title: String,
    /// Colours are wanted.
    pub(super) colour: bool,
    /// Columns and lines of the terminal.
    pub(super) size: (u16, u16),
    /// The services, in the order of the control API.
    pub(super) rows: Vec<ServiceStatus>,
    /// What they use.
    pub(super) samples: BTreeMap<ServiceName, Sample>,
    /// Their last log lines.
    pub(super) logs: BTreeMap<ServiceName, VecDeque<LogLine>>,
    /// The dependency graph as text.
    pub(super) graph: Vec<String>,
    /// What `pactown why` says of those that are not as they should be.
    pub(super) why: BTreeMap<ServiceName, Diagnosis>,
    /// Index of the chosen row.
    pub(super) selected: usize,
    /// What is shown of it.
    pub(super) pane: Pane,
    /// Where keys that move go.
    pub(super) focus: Focus,
    /// Lines of the pane below the last one shown; 0 follows.
    pub(super) scroll: usize,
    /// What lies over everything.
    pub(super) overlay: Overlay,
    /// What is being done, by service.
    pub(super) busy: BTreeMap<ServiceName, Verb>,
    /// The last thing worth saying.
    pub(super) notice: Option<String>,
    /// Everything is being stopped at the user's wish.
    pub(super) ending: bool,
    /// Nobody answers.
    pub(super) gone: bool,
}

/// The panes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    /// The service's log.
    Logs,
    /// Why it is not what it should be.
    Why,
    /// Who needs whom.
    Graph,
}

impl Pane {
    /// In their order.
    pub(super) const ALL: [Self; 3] = [Self::Logs, Self::Why, Self::Graph];

    /// Its title.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Why => "why",
            Self::Graph => "graph",
        }
    }
}

/// Where keys that move go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Focus {
    /// To the list.
    List,
    /// To the pane.
    Pane,
}

/// What lies over everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlay {
    /// Nothing.
    None,
    /// The keys.
    Help,
    /// What Ctrl-C shall mean.
    Leave,
}

/// A line of a log, fit for the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogLine {
    /// Whether the keeper says it, not the service.
    pub(super) system: bool,
    /// The text.
    pub(super) text: String,
}

/// What can be asked of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Run it.
    Start,
    /// End it.
    Stop,
    /// End it and run it anew.
    Restart,
}

impl Verb {
    /// As the control API spells it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }

    /// While it is being done.
    pub(super) fn doing(self) -> &'static str {
        match self {
            Self::Start => "starting",
            Self::Stop => "stopping",
            Self::Restart => "restarting",
        }
    }
}

/// Keys that mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// To the beginning.
    Home,
    /// To the end.
    End,
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Tab.
    Tab,
    /// Shift and tab.
    BackTab,
    /// Ctrl-C.
    Interrupt,
    /// A character.
    Char(char),
}

/// What happens.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Message {
    /// A key.
    Key(Key),
    /// The terminal has another size.
    Resized,
    /// A signal that ends programs.
    Signal(i32),
    /// The services now.
    Rows(Vec<ServiceStatus>, Vec<Sample>),
    /// What a service has written so far.
    Past(ServiceName, Vec<LogLine>),
    /// What it writes now.
    Log(ServiceName, LogLine),
    /// The dependency graph.
    Graph(Vec<String>),
    /// Why those that are not as they should be are so.
    Why(Vec<Diagnosis>),
    /// What was asked of a service is done, or why not.
    Done(ServiceName, Verb, Result<(), String>),
    /// Everything could not be stopped.
    NotStopped(String),
    /// Nobody answers any more.
    Gone,
    /// It answers, and refuses.
    Refused(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// The end.
    Quit(Ending),
    /// The end, with an error.
    Fail(String),
    /// Ask this of a service.
    Service(ServiceName, Verb),
    /// Stop everything.
    Down,
    /// Follow the logs of these, and read the graph anew.
    Watch(Vec<ServiceName>),
}

impl Model {
    /// Nothing is known yet.
    pub(super) fn new(title: &str, colour: bool) -> Self {
        Self {
            title: title.to_owned(),
            colour,
            size: (80, 24),
            rows: Vec::new(),
            samples: BTreeMap::new(),
            logs: BTreeMap::new(),
            graph: Vec::new(),
            why: BTreeMap::new(),
            selected: 0,
            pane: Pane::Logs,
            focus: Focus::List,
            scroll: 0,
            overlay: Overlay::None,
            busy: BTreeMap::new(),
            notice: None,
            ending: false,
            gone: false,
        }
    }

    /// The chosen row.
    pub(super) fn chosen(&self) -> Option<&ServiceStatus> {
        self.rows.get(self.selected)
    }

    /// The last log lines of a service.
    pub(super) fn log(&self, name: &str) -> impl DoubleEndedIterator<Item = &LogLine> {
        self.logs.get(name).into_iter().flatten()
    }

    /// The lines of the pane, each no wider than the pane; and whether they are in the background.
    pub(super) fn pane_lines(&self) -> Vec<(String, bool)> {
        let width = usize::from(layout::of(self.size, self.rows.len()).pane.width);
        match self.pane {
            Pane::Logs => match self.chosen() {
                Some(row) => self
                    .log(&row.name)
                    .flat_map(|line| wrapped(line, width))
                    .collect(),
                None => Vec::new(),
            },
            Pane::Why => match self.chosen() {
                Some(row) => {
                    let lines: Vec<&str> = self
                        .log(&row.name)
                        .filter(|line| !line.system)
                        .map(|line| line.text.as_str())
                        .collect();
                    let told = diagnosis::diagnosis(row, self.why.get(&row.name), &lines);
                    told.iter().flat_map(|line| plain(line, width)).collect()
                }
                None => Vec::new(),
            },
            Pane::Graph => self.graph.iter().flat_map(|line| plain(line, width)).collect(),
        }
    }

    /// Most that the pane can be scrolled back.
    pub(super) fn scroll_end(&self) -> usize {
        let height = usize::from(layout::of(self.size, self.rows.len()).pane.height);
        self.pane_lines().len().saturating_sub(height)
    }
}

/// The lines that a log line takes.
pub(super) fn wrapped(line: &LogLine, width: usize) -> Vec<(String, bool)> {
    let text = if line.system {
        format!("— {}", line.text)
    } else {
        line.text.clone()
    };
    let lines = text::wrap(&text, width).into_iter();
    lines.map(|text| (text, line.system)).collect()
}

fn plain(line: &str, width: usize) -> Vec<(String, bool)> {
    let lines = text::wrap(line, width).into_iter();
    lines.map(|text| (text, false)).collect()
}

/// Whether a service can be stopped: it runs, or is on its way.
pub(super) fn is_active(row: &ServiceStatus) -> bool {
    !matches!(
        row.state,
        Phase::Stopped | Phase::Completed | Phase::Failed | Phase::Blocked
    )
}
