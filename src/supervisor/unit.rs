//! What the supervisor knows of each service, in the terms that decisions need: stages, wishes, ends. Plain data and
//! questions about it; transitions are in [`super::step`], side effects elsewhere.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::ecosystem::{Condition, OnUnhealthy, Restart, Schedule, ServiceName, UnitName};
use crate::control::api::{Health, Phase};

/// What one sandbox of a service is, as far as order and time are concerned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Traits {
    /// Its service.
    pub(crate) service: ServiceName,
    /// Its number among the replicas; `None` = it is alone.
    pub(crate) replica: Option<u32>,
    /// What it waits for.
    pub(crate) needs: Vec<Need>,
    /// It ends by itself; code 0 is success.
    pub(crate) job: bool,
    /// The wall clock starts it.
    pub(crate) schedule: Option<Schedule>,
    /// Its readiness is probed.
    pub(crate) checked: bool,
    /// From its process's start until ready.
    pub(crate) timeout: Duration,
    /// When it is started again after an end that nobody asked for.
    pub(crate) restart: Restart,
    /// What is done when its check fails while it runs.
    pub(crate) on_unhealthy: OnUnhealthy,
    /// The signal that asks it to end.
    pub(crate) signal: i32,
    /// From that signal until SIGKILL.
    pub(crate) grace: Duration,
}

/// One dependency: a service that is needed is as many of them as it has units.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Need {
    /// The unit.
    pub(crate) name: UnitName,
    /// When it counts.
    pub(crate) condition: Condition,
    /// Whether its failure blocks.
    pub(crate) required: bool,
    /// Whether it takes its dependent along when it is started again.
    pub(crate) restart: bool,
}

/// One service.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    /// What it is.
    pub(crate) traits: Traits,
    /// What it shall become once it rests: a changed wish comes into force then.
    pub(crate) next: Next,
    /// Where it stands.
    pub(crate) stage: Stage,
    /// Number of the present run; what belongs to an earlier one is stale.
    pub(crate) run: u64,
    /// How it stands with the clock that starts it.
    pub(crate) turn: Turn,
    /// Its failures in a row and what follows from them.
    pub(crate) record: Record,
    /// The last answer of its check, while it runs and fails it.
    pub(crate) sick: Option<String>,
    /// Its part in a change that goes from replica to replica.
    pub(crate) roll: Roll,
    /// What was last reported.
    pub(crate) shown: Option<View>,
}

/// How a job stands with the wall clock that starts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Turn {
    /// The clock may start it: somebody brought it up, and nobody has stopped it since.
    pub(crate) armed: bool,
    /// Its time came during a run, for whose end it waits.
    pub(crate) queued: bool,
}

/// How often a service has failed, since somebody last asked for its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// In a row: since it last ran well for a while.
    pub(crate) failures: u32,
    /// Starts that nobody asked for.
    pub(crate) restarts: u32,
    /// It has run well for a while.
    pub(crate) proven: bool,
}

/// So many failures in a row are a crash loop: commands no longer wait for a better end.
pub(crate) const CRASH_LOOP: u32 = 3;

/// Everything of a service that has to survive the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Where it stands.
    pub(crate) stage: Stage,
    /// What it shall become.
    pub(crate) next: Next,
    /// Number of its run.
    pub(crate) run: u64,
    /// How it stands with the clock.
    pub(crate) turn: Turn,
    /// Its failures.
    pub(crate) record: Record,
    /// The answer of its check, when it fails.
    pub(crate) sick: Option<String>,
    /// Its part in a change that goes from replica to replica.
    #[serde(default)]
    pub(crate) roll: Roll,
}

/// The part of one unit in a change that goes through the units of its service one after another, so that the service
/// keeps answering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Roll {
    /// None.
    #[default]
    None,
    /// It goes on as it is until its turn comes; then it starts anew (`Start`), or leaves (`Vanish`).
    Waits(Next),
    /// It was started anew in its turn and is not ready yet; others wait for it.
    Trial,
    /// The change was stopped before its turn came: it goes on as it is.
    Spared,
}

/// What happens when a service comes to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Next {
    /// It stays so.
    Stay,
    /// It starts again (`restart`, or `start` while it was stopping).
    Start,
    /// It failed, and is tried again after a while.
    Retry,
    /// It is no longer part of the ecosystem.
    Vanish,
}

/// Where a service stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Nothing of it exists.
    Rest(End),
    /// Nothing of it exists; it starts again when its time has come.
    Backoff {
        /// How it ended.
        cause: String,
    },
    /// It shall start; nothing of it exists.
    Queued,
    /// Layers, ids, network and bundle are being made.
    Preparing,
    /// Everything is there; it waits for its dependencies.
    Prepared,
    /// The keeper is creating it.
    Starting,
    /// It runs.
    Running {
        /// Its check passed, or it has none.
        ready: bool,
    },
    /// It is on its way to rest.
    Closing {
        /// What has to happen first.
        awaits: Awaits,
        /// How it will rest.
        end: End,
    },
}

/// What a closing service waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Awaits {
    /// The preparation's answer.
    Preparation,
    /// The keeper's answer to its creation.
    Creation,
    /// The end of those that depend on it and are ending too.
    Dependents,
    /// That no more connections are led to it, and that it has taken those that were.
    Withdrawal,
    /// Its own end; it was told.
    Exit,
}

/// Why a service rests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    /// It was told to, or never started.
    Stopped,
    /// A job that ended with 0.
    Completed,
    /// It ended by itself, could not be made, or was not ready in time.
    Failed {
        /// One line.
        cause: String,
        /// What a command that waited for it exits with.
        exit: i32,
    },
    /// A dependency failed.
    Blocked {
        /// One line, beginning with `blocked by`.
        cause: String,
    },
}

/// What the user sees of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// The state's word.
    pub(crate) phase: Phase,
    /// The health's word.
    pub(crate) health: Health,
    /// Why, when something is wrong.
    pub(crate) cause: Option<String>,
    /// How often it was started again.
    pub(crate) restarts: u32,
}

impl Unit {
    /// A service that was never started.
    pub(crate) fn new(traits: Traits) -> Self {
        Self {
            traits,
            next: Next::Stay,
            stage: Stage::Rest(End::Stopped),
            run: 0,
            turn: Turn::default(),
            record: Record::default(),
            sick: None,
            roll: Roll::None,
            shown: None,
        }
    }

    /// What has to survive.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            stage: self.stage.clone(),
            next: self.next,
            run: self.run,
            turn: self.turn,
            record: self.record,
            sick: self.sick.clone(),
            roll: self.roll,
        }
    }

    /// Whether connections of its service are led to it: it is ready, its check does not fail, it is not ending.
    pub(crate) fn serves(&self) -> bool {
        self.stage == (Stage::Running { ready: true }) && self.sick.is_none()
    }

    /// Whether a command that waits for it has to wait longer.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.stage {
            Stage::Rest(_) => self.next == Next::Stay,
            Stage::Backoff { .. } => self.is_looping(),
            Stage::Running { ready } => *ready && !matches!(self.roll, Roll::Waits(_)),
            Stage::Closing { end, .. } => self.next == Next::Stay && matches!(end, End::Failed { .. }),
            _ => false,
        }
    }

    /// Whether nothing of it exists and nothing will.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::Rest(_)) && self.next == Next::Stay
    }

    /// Whether the clock may start it.
    pub(crate) fn is_armed(&self) -> bool {
        self.traits.schedule.is_some() && self.turn.armed
    }

    /// Whether it was told to end and has not.
    pub(crate) fn is_told_to_end(&self) -> bool {
        matches!(
            self.stage,
            Stage::Closing {
                awaits: Awaits::Exit,
                ..
            }
        )
    }

    /// Whether it fails again and again.
    pub(crate) fn is_looping(&self) -> bool {
        self.record.failures >= CRASH_LOOP
    }

    /// Whether its policy has it started again after this end.
    pub(crate) fn is_retried(&self, failed: bool) -> bool {
        match self.traits.restart {
            Restart::No => false,
            Restart::Proven => failed && self.record.proven,
            Restart::OnFailure(most) => failed && most.is_none_or(|most| self.record.failures < most),
            Restart::Always | Restart::UnlessStopped => failed || !self.traits.job,
        }
    }

    /// Why it is not what it should be.
    pub(crate) fn end(&self) -> Option<&End> {
        match &self.stage {
            Stage::Rest(end) | Stage::Closing { end, .. } => Some(end),
            _ => None,
        }
    }

    /// The words for it.
    pub(crate) fn view(&self) -> View {
        let phase = match &self.stage {
            Stage::Rest(End::Stopped) if self.is_armed() => Phase::Scheduled,
            Stage::Rest(end) => end.phase(),
            Stage::Backoff { .. } => Phase::Backoff,
            Stage::Queued | Stage::Prepared => Phase::Waiting,
            Stage::Preparing => Phase::Preparing,
            Stage::Starting => Phase::Starting,
            Stage::Running { .. } => Phase::Running,
            Stage::Closing { end, .. } if *end == End::Stopped => Phase::Stopping,
            Stage::Closing { end, .. } => end.phase(),
        };
        View {
            phase,
            health: self.health(),
            cause: self.cause(),
            restarts: self.record.restarts,
        }
    }

    fn cause(&self) -> Option<String> {
        match &self.stage {
            Stage::Backoff { cause } if self.is_looping() => {
                let most = match self.traits.restart {
                    Restart::OnFailure(Some(most)) => format!("/{most}"),
                    _ => String::new(),
                };
                Some(format!("crash-loop {}{most}: {cause}", self.record.failures))
            }
            Stage::Backoff { cause } => Some(cause.clone()),
            Stage::Running { .. } => self.sick.clone(),
            _ => self.end().and_then(End::cause).map(str::to_owned),
        }
    }

    fn health(&self) -> Health {
        match &self.stage {
            _ if !self.traits.checked => Health::None,
            Stage::Running { .. } if self.sick.is_some() => Health::Unhealthy,
            Stage::Running { ready: true } => Health::Healthy,
            Stage::Starting | Stage::Running { ready: false } => Health::Starting,
            Stage::Closing {
                end: End::Failed { .. },
                ..
            } => Health::Unhealthy,
            _ => Health::None,
        }
    }
}

impl End {
    fn phase(&self) -> Phase {
        match self {
            Self::Stopped => Phase::Stopped,
            Self::Completed => Phase::Completed,
            Self::Failed { .. } => Phase::Failed,
            Self::Blocked { .. } => Phase::Blocked,
        }
    }

    pub(crate) fn cause(&self) -> Option<&str> {
        match self {
            Self::Stopped | Self::Completed => None,
            Self::Failed { cause, .. } | Self::Blocked { cause } => Some(cause),
        }
    }
}
