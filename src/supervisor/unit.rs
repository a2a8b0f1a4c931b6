//! What the supervisor knows of each service, in the terms that decisions need: stages, wishes, ends. Plain data and
//! questions about it; transitions are in [`super::step`], side effects elsewhere.

use std::time::Duration;

use indexmap::IndexMap;

use crate::config::ecosystem::{Condition, ServiceName};
use crate::control::api::{Health, Phase};

/// All services of the instance, in the file's order, and what is asked of them as a whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The services.
    pub(crate) units: IndexMap<ServiceName, Unit>,
    /// One after another (`--sequential`).
    pub(crate) sequential: bool,
    /// Everything is to end, and the instance with it.
    pub(crate) ending: bool,
    /// Everything is to end by SIGKILL, without order.
    pub(crate) hurry: bool,
}

/// What a service is, as far as order and time are concerned.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Traits {
    /// What it waits for.
    pub(crate) needs: Vec<Need>,
    /// It ends by itself; code 0 is success.
    pub(crate) job: bool,
    /// Its readiness is probed.
    pub(crate) checked: bool,
    /// From its process's start until ready.
    pub(crate) timeout: Duration,
    /// The signal that asks it to end.
    pub(crate) signal: i32,
    /// From that signal until SIGKILL.
    pub(crate) grace: Duration,
}

/// One dependency.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Need {
    /// The service.
    pub(crate) name: ServiceName,
    /// When it counts.
    pub(crate) condition: Condition,
    /// Whether its failure blocks.
    pub(crate) required: bool,
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
    /// What was last reported.
    pub(crate) shown: Option<View>,
}

/// What happens when a service comes to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It stays so.
    Stay,
    /// It starts again (`restart`, or `start` while it was stopping).
    Start,
    /// It is no longer part of the ecosystem.
    Vanish,
}

/// Where a service stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stage {
    /// Nothing of it exists.
    Rest(End),
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// The preparation's answer.
    Preparation,
    /// The keeper's answer to its creation.
    Creation,
    /// The end of those that depend on it and are ending too.
    Dependents,
    /// Its own end; it was told.
    Exit,
}

/// Why a service rests.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

/// Whether a service may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All dependencies are satisfied.
    Go,
    /// One is not, yet.
    Wait,
    /// One cannot be any more; why.
    Blocked(String),
}

impl Unit {
    /// A service that was never started.
    pub(crate) fn new(traits: Traits) -> Self {
        Self {
            traits,
            next: Next::Stay,
            stage: Stage::Rest(End::Stopped),
            run: 0,
            shown: None,
        }
    }

    /// Whether a command that waits for it has to wait longer.
    pub(crate) fn is_settled(&self) -> bool {
        match &self.stage {
            Stage::Rest(_) => self.next == Next::Stay,
            Stage::Running { ready } => *ready,
            Stage::Closing { end, .. } => self.next == Next::Stay && matches!(end, End::Failed { .. }),
            _ => false,
        }
    }

    /// Whether nothing of it exists and nothing will.
    pub(crate) fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::Rest(_)) && self.next == Next::Stay
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
            Stage::Rest(end) => end.phase(),
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
            cause: self.end().and_then(End::cause).map(str::to_owned),
        }
    }

    fn health(&self) -> Health {
        match &self.stage {
            _ if !self.traits.checked => Health::None,
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

    fn cause(&self) -> Option<&str> {
        match self {
            Self::Stopped | Self::Completed => None,
            Self::Failed { cause, .. } | Self::Blocked { cause } => Some(cause),
        }
    }
}

impl State {
    /// Whether the needs of `name` are satisfied. Unknown dependencies (external endpoints) are.
    pub(crate) fn verdict(&self, name: &str) -> Verdict {
        let mut verdict = Verdict::Go;
        for need in self.units.get(name).map_or(&[][..], |unit| &unit.traits.needs) {
            match self.need(need) {
                Verdict::Go => {}
                Verdict::Wait => verdict = Verdict::Wait,
                blocked => return blocked,
            }
        }
        verdict
    }

    fn need(&self, need: &Need) -> Verdict {
        let Some(unit) = self.units.get(&need.name) else {
            return Verdict::Go;
        };
        let satisfied = match (&unit.stage, need.condition) {
            (Stage::Rest(End::Completed), _) | (Stage::Running { .. }, Condition::Started) => true,
            (Stage::Running { ready }, Condition::Healthy) => *ready,
            _ => false,
        };
        if satisfied {
            return Verdict::Go;
        }
        match unit.end() {
            Some(_) if unit.next == Next::Start => Verdict::Wait,
            Some(_) if !need.required => Verdict::Go,
            Some(end) => {
                let cause = end.cause().unwrap_or("stopped");
                Verdict::Blocked(format!("blocked by {} ({cause})", need.name))
            }
            None => Verdict::Wait,
        }
    }

    /// Whether one that depends on `name` is ending too and has not ended: `name` goes after it.
    pub(crate) fn is_needed_by_leaver(&self, name: &str) -> bool {
        self.units.values().any(|unit| {
            matches!(unit.stage, Stage::Closing { .. })
                && unit.traits.needs.iter().any(|need| need.name == name)
        })
    }

    /// The exit code for a command that waits for `names` (unknown ones count as settled), once all are settled.
    pub(crate) fn settled(&self, names: &[ServiceName]) -> Option<i32> {
        let mut code = 0;
        for unit in names.iter().filter_map(|name| self.units.get(name)) {
            if !unit.is_settled() {
                return None;
            }
            code = code.max(match unit.end() {
                Some(End::Failed { exit, .. }) => *exit,
                Some(End::Blocked { .. }) => 1,
                _ => 0,
            });
        }
        Some(code)
    }
}
