//! What follows from a failure: another try, an end, dependents that are taken along.

use std::time::Duration;

use super::event::Action;
use super::{close, present, roll};
use crate::config::ecosystem::OnUnhealthy;
use crate::supervisor::unit::{End, Next, Stage, Unit};
use crate::supervisor::units::State;

/// So long must a service run well for its earlier failures to be forgotten.
pub(crate) const STEADY: Duration = Duration::from_secs(10);

pub(super) fn sick(state: &mut State, name: &str, run: u64, cause: String, actions: &mut Vec<Action>) {
    let Some(unit) = present(state, name, run) else {
        return;
    };
    if unit.stage != (Stage::Running { ready: true }) {
        return;
    }
    unit.sick = Some(cause.clone());
    let next = match unit.traits.on_unhealthy {
        OnUnhealthy::None => return,
        OnUnhealthy::Restart => Next::Retry,
        OnUnhealthy::Stop => Next::Stay,
    };
    unit.record.failures += 1;
    actions.push(Action::Explain(name.to_owned()));
    let cause = format!("unhealthy: {cause}");
    close(state, name, &End::Failed { cause, exit: 1 }, next, actions);
    if next == Next::Retry {
        take_along(state, name, actions);
    }
}

pub(super) fn well(state: &mut State, name: &str, run: u64, actions: &mut Vec<Action>) {
    if let Some(unit) = present(state, name, run)
        && unit.sick.take().is_some()
    {
        actions.push(Action::Steady(name.to_owned(), run, STEADY));
    }
}

pub(super) fn steady(state: &mut State, name: &str, run: u64) {
    if let Some(unit) = present(state, name, run)
        && unit.stage == (Stage::Running { ready: true })
        && unit.sick.is_none()
    {
        unit.record.failures = 0;
        unit.record.proven = true;
    }
}

pub(super) fn retry(state: &mut State, name: &str, run: u64) {
    if let Some(unit) = present(state, name, run)
        && let Stage::Backoff { .. } = unit.stage
    {
        unit.stage = Stage::Rest(End::Stopped);
        unit.record.restarts += 1;
        unit.next = Next::Start;
    }
}

/// Counts a failure, and answers what happens when it rests.
pub(super) fn fail(unit: &mut Unit, failed: bool) -> Next {
    if !unit.is_retried(failed) {
        return Next::Stay;
    }
    unit.record.failures += 1;
    Next::Retry
}

/// Starts those again that asked to be whenever `name` is, and theirs.
pub(super) fn take_along(state: &mut State, name: &str, actions: &mut Vec<Action>) {
    let follows = |unit: &Unit| {
        let alive = matches!(
            unit.stage,
            Stage::Prepared | Stage::Starting | Stage::Running { .. }
        );
        alive
            && unit
                .traits
                .needs
                .iter()
                .any(|need| need.restart && need.name == name)
    };
    let followers: Vec<_> = state
        .units
        .iter()
        .filter(|(_, unit)| follows(unit))
        .map(|(name, _)| name.clone())
        .collect();
    for follower in followers {
        roll::renew(state, &follower, actions);
        take_along(state, &follower, actions);
    }
}
