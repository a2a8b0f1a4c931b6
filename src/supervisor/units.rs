//! All services together: whose needs are satisfied, who goes before whom, what a command that waits for some of them may
//! be told. Plain data and questions about it.

use indexmap::IndexMap;

use super::unit::{End, Need, Next, Roll, Stage, Unit};
use crate::config::ecosystem::{Condition, ServiceName, UnitName};

/// All units of the instance, in the file's order, and what is asked of them as a whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The units.
    pub(crate) units: IndexMap<UnitName, Unit>,
    /// One after another (`--sequential`).
    pub(crate) sequential: bool,
    /// Everything is to end, and the instance with it.
    pub(crate) ending: bool,
    /// Somebody said how long the end may take: nobody gets longer.
    pub(crate) strict: bool,
    /// Everything is to end by SIGKILL, without order.
    pub(crate) hurry: bool,
    /// Over which units connections were last said to be spread.
    pub(crate) spread: IndexMap<ServiceName, Spread>,
}

/// The units of a service that has replicas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spread {
    /// All that there are, and shall be.
    pub(crate) units: Vec<UnitName>,
    /// Those that take connections.
    pub(crate) ready: Vec<UnitName>,
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

    /// The other units of the same service.
    pub(crate) fn siblings<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a UnitName, &'a Unit)> {
        let service = self.units.get(name).map(|unit| unit.traits.service.as_str());
        let same = move |(other, unit): &(&UnitName, &Unit)| {
            Some(unit.traits.service.as_str()) == service && *other != name
        };
        self.units.iter().filter(same)
    }

    /// Whether connections reach it only because they are led to it: its service has replicas.
    pub(crate) fn is_spread(&self, name: &str) -> bool {
        let own = self.units.get(name).map(|unit| (unit, name));
        let siblings = self.siblings(name).map(|(_, unit)| unit);
        siblings
            .chain(own.map(|(unit, _)| unit))
            .any(|unit| unit.traits.replica.is_some())
    }

    /// The units of each service, and which of them are ready for connections.
    pub(crate) fn services(&self) -> IndexMap<ServiceName, Spread> {
        let mut found: IndexMap<ServiceName, Spread> = IndexMap::new();
        for (name, unit) in &self.units {
            let spread = match found.get_mut(&unit.traits.service) {
                Some(spread) => spread,
                None => found.entry(unit.traits.service.clone()).or_default(),
            };
            spread.units.push(name.clone());
            if unit.serves() {
                spread.ready.push(name.clone());
            }
        }
        found
    }

    /// The same of those services only that have replicas.
    pub(crate) fn spread_now(&self) -> IndexMap<ServiceName, Spread> {
        if self.units.values().all(|unit| unit.traits.replica.is_none()) {
            return IndexMap::new();
        }
        let mut found = self.services();
        found.retain(|service, spread| spread.units.iter().any(|unit| unit != service));
        found
    }

    /// Whether one that depends on `name` is ending too and has not ended: `name` goes after it.
    pub(crate) fn is_needed_by_leaver(&self, name: &str) -> bool {
        self.units.values().any(|unit| {
            matches!(unit.stage, Stage::Closing { .. })
                && unit.traits.needs.iter().any(|need| need.name == name)
        })
    }

    /// The exit code for a command that waits for `names` (unknown ones count as settled), once all are settled.
    pub(crate) fn settled(&self, names: &[UnitName]) -> Option<i32> {
        let mut code = 0;
        for (name, unit) in names.iter().filter_map(|name| self.units.get_key_value(name)) {
            if !unit.is_settled() && !self.is_stuck(unit) && !self.waits_in_vain(name, unit) {
                return None;
            }
            code = code.max(match (&unit.stage, unit.end()) {
                (_, Some(End::Failed { exit, .. })) => *exit,
                (_, Some(End::Blocked { .. })) => 1,
                // It is not what was asked for.
                (Stage::Running { .. }, _) if matches!(unit.roll, Roll::Spared | Roll::Waits(_)) => 1,
                (Stage::Running { .. }, _) | (_, Some(_)) => 0,
                // In a crash loop, or waiting for one that is.
                _ => 1,
            });
        }
        Some(code)
    }

    /// Whether its turn does not come because another replica waits for one that fails again and again.
    fn waits_in_vain(&self, name: &str, unit: &Unit) -> bool {
        matches!(unit.roll, Roll::Waits(_)) && self.siblings(name).any(|(_, other)| self.is_stuck(other))
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
