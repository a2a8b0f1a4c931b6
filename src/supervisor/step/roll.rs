//! Changes that go through the units of a service one after another: each starts anew, or makes room, only while others
//! take the connections.

use super::close;
use super::event::Action;
use super::failure::take_along;
use crate::supervisor::unit::{End, Next, Roll, Stage, Unit};
use crate::supervisor::units::State;

/// Has a unit start anew: in its turn when it serves beside others, else at once.
pub(super) fn renew(state: &mut State, name: &str, actions: &mut Vec<Action>) {
    let Some(unit) = state.units.get_mut(name) else {
        return;
    };
    match unit.traits.replica {
        Some(_) if unit.serves() => unit.roll = Roll::Waits(Next::Start),
        _ => begin(state, name, Next::Start, actions),
    }
}

/// Has a unit leave that is not wished any more. One that is replaced by others goes when they are ready: `successors`
/// says that they come.
pub(super) fn retire(state: &mut State, name: &str, successors: bool, actions: &mut Vec<Action>) {
    match state.units.get_mut(name) {
        Some(unit) if successors && unit.serves() => unit.roll = Roll::Waits(Next::Vanish),
        _ => close(state, name, &End::Stopped, Next::Vanish, actions),
    }
}

/// Lets a unit that waits begin, if its turn has come.
pub(super) fn take_turn(state: &mut State, name: &str, next: Next, actions: &mut Vec<Action>) -> bool {
    let comes = match next {
        Next::Vanish => is_replaced(state, name),
        _ => is_next(state, name),
    };
    if comes {
        begin(state, name, next, actions);
    }
    comes
}

fn begin(state: &mut State, name: &str, next: Next, actions: &mut Vec<Action>) {
    close(state, name, &End::Stopped, next, actions);
    if let Some(unit) = state.units.get_mut(name)
        && unit.traits.replica.is_some()
        && next == Next::Start
    {
        unit.roll = Roll::Trial;
    }
}

/// What does not serve need not wait. Of those that do, one goes at a time, and those whose check fails go first.
fn is_next(state: &State, name: &str) -> bool {
    let Some(unit) = state.units.get(name) else {
        return false;
    };
    let runs = unit.stage == (Stage::Running { ready: true });
    let precedes = |other: &Unit| {
        let waits = other.roll == Roll::Waits(Next::Start);
        waits && other.sick.is_some() && unit.sick.is_none()
    };
    !runs
        || state
            .siblings(name)
            .all(|(_, other)| is_calm(other) && !precedes(other))
}

/// It is neither on its way up nor on its way down.
fn is_calm(unit: &Unit) -> bool {
    match unit.stage {
        Stage::Rest(_) => unit.next == Next::Stay,
        Stage::Running { ready } => ready,
        Stage::Backoff { .. } => true,
        _ => false,
    }
}

/// Whether those that take its place do so: one at least, and none is still to come.
fn is_replaced(state: &State, name: &str) -> bool {
    let serves = |unit: &Unit| unit.serves();
    if !state.units.get(name).is_some_and(serves) {
        return true;
    }
    let stays = |unit: &&Unit| unit.next != Next::Vanish && unit.roll != Roll::Waits(Next::Vanish);
    let (mut any, mut all) = (false, true);
    for unit in state.siblings(name).map(|(_, unit)| unit).filter(stays) {
        let idle = unit.is_at_rest() && matches!(unit.end(), Some(End::Stopped | End::Completed));
        any |= serves(unit);
        all &= serves(unit) || idle;
    }
    any && all
}

/// It is ready: the next one may go. When the last one is, those that asked to start along do.
pub(super) fn passed(state: &mut State, name: &str, actions: &mut Vec<Action>) {
    if !ends_trial(state, name) {
        return;
    }
    let goes_on = |unit: &Unit| matches!(unit.roll, Roll::Trial | Roll::Waits(Next::Start));
    if !state.siblings(name).any(|(_, unit)| goes_on(unit)) {
        take_along(state, name, actions);
    }
}

/// It failed before it was ready: what worked so far is not risked for it.
pub(super) fn failed(state: &mut State, name: &str, actions: &mut Vec<Action>) {
    if !ends_trial(state, name) {
        return;
    }
    let service = state.units[name].traits.service.clone();
    let mut spared = Vec::new();
    for (other, unit) in &mut state.units {
        if unit.traits.service == service && unit.roll == Roll::Waits(Next::Start) {
            unit.roll = Roll::Spared;
            spared.push(other.clone());
        }
    }
    if !spared.is_empty() {
        actions.push(Action::Halted {
            service,
            by: name.to_owned(),
            spared,
        });
    }
}

/// Whether it was on trial; it is not any more.
fn ends_trial(state: &mut State, name: &str) -> bool {
    let unit = state.units.get_mut(name);
    let on_trial = unit.filter(|unit| unit.roll == Roll::Trial);
    on_trial.map(|unit| unit.roll = Roll::None).is_some()
}
