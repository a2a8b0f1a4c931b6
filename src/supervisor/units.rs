//! All services together: whose needs are satisfied, who goes before whom, what a command that waits for some of them may
//! be told. Plain data and questions about it.

use indexmap::IndexMap;

use super::unit::{End, Need, Next, Stage, Unit};
use crate::config::ecosystem::{Condition, ServiceName};

/// All services of the instance, in the file's order, and what is asked of them as a whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The services.
    pub(crate) units: IndexMap<ServiceName, Unit>,
    /// One after another (`--sequential`).
    pub(crate) sequential: bool,
    /// Everything is to end, and the instance with it.
    pub(crate) ending: bool,
    /// Somebody said how long the end may take: nobody gets longer.
    pub(crate) strict: bool,
    /// Everything is to end by SIGKILL, without order.
    pub(crate) hurry: bool,
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
            Some(_) if matches!(unit.next, Next::Start | Next::Retry) => Verdict::Wait,
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
            if !unit.is_settled() && !self.is_stuck(unit) {
                return None;
            }
            code = code.max(match (&unit.stage, unit.end()) {
                (_, Some(End::Failed { exit, .. })) => *exit,
                (_, Some(End::Blocked { .. })) => 1,
                (Stage::Running { .. }, _) | (_, Some(_)) => 0,
                // In a crash loop, or waiting for one that is.
                _ => 1,
            });
        }
        Some(code)
    }

    /// Whether it waits for one that fails again and again, or for one that does so. The graph has no cycles.
    fn is_stuck(&self, unit: &Unit) -> bool {
        let waits = matches!(unit.stage, Stage::Queued | Stage::Preparing | Stage::Prepared);
        let stuck = |need: &Need| {
            let needed = self.units.get(&need.name);
            self.need(need) == Verdict::Wait
                && needed.is_some_and(|needed| {
                    matches!(needed.stage, Stage::Backoff { .. }) && needed.is_looping()
                        || self.is_stuck(needed)
                })
        };
        waits && unit.traits.needs.iter().any(stuck)
    }
}
