//! What a wish changes: units that go, come, start anew, or stay as they are.

use super::event::{Action, Want};
use super::failure::take_along;
use super::schedule::disarm;
use super::{close, roll};
use crate::config::ecosystem::UnitName;
use crate::supervisor::unit::{End, Next, Record, Roll, Stage, Traits, Unit};
use crate::supervisor::units::State;

pub(super) fn take_wish(state: &mut State, want: Want, actions: &mut Vec<Action>) {
    if state.ending {
        return;
    }
    state.sequential = want.sequential;
    dismiss(state, &want, actions);
    // A scheduled job is made anew for its next run; the present one goes on.
    let waits = |name: &UnitName| {
        let own = want.units.iter().find(|(own, _)| own == name);
        own.is_some_and(|(_, traits)| traits.schedule.is_some()) && !want.now.contains(name)
    };
    let waiting: Vec<_> = want.run.iter().filter(|name| waits(name)).cloned().collect();
    let renew: Vec<_> = want.renew.iter().filter(|name| !waits(name)).cloned().collect();
    for (name, traits) in want.units {
        describe(state, name, traits, actions);
    }
    for name in &renew {
        forgive(state, name);
        roll::renew(state, name, actions);
        let alone = |unit: &Unit| unit.traits.replica.is_none();
        if state.units.get(name).is_some_and(alone) {
            take_along(state, name, actions);
        }
    }
    for name in &want.run {
        if let Some(unit) = state.units.get_mut(name) {
            set_going(unit, waiting.contains(name));
        }
    }
}

/// Those that are wished no more leave.
fn dismiss(state: &mut State, want: &Want, actions: &mut Vec<Action>) {
    let wished = |name: &UnitName| want.units.iter().any(|(wanted, _)| wanted == name);
    let gone: Vec<_> = state.units.keys().filter(|name| !wished(name)).cloned().collect();
    for name in &gone {
        let successors = is_replaced_by(state, name, want);
        disarm(state, name);
        roll::retire(state, name, successors, actions);
    }
}

/// Whether units of another kind come in its place: replicas for the one of a plain service, or that one for them.
fn is_replaced_by(state: &State, name: &str, want: &Want) -> bool {
    let Some(unit) = state.units.get(name) else {
        return false;
    };
    let (service, number) = (&unit.traits.service, unit.traits.replica);
    let takes_over = |(other, traits): &(UnitName, Traits)| {
        traits.service == *service && traits.replica.is_some() != number.is_some() && want.run.contains(other)
    };
    want.units.iter().any(takes_over)
}

/// A unit is this from now on. What becomes a job on a schedule, or ceases to be one, ends first.
fn describe(state: &mut State, name: UnitName, traits: Traits, actions: &mut Vec<Action>) {
    let scheduled = |unit: &Unit| unit.traits.schedule.is_some();
    let before = state.units.get(&name).map(scheduled);
    if before.is_some_and(|before| before != traits.schedule.is_some()) {
        disarm(state, &name);
        close(state, &name, &End::Stopped, Next::Stay, actions);
    }
    match state.units.get_mut(&name) {
        Some(unit) => unit.traits = traits,
        None => drop(state.units.insert(name, Unit::new(traits))),
    }
}

/// Somebody asked for its start: what it did before does not count any more.
pub(super) fn forgive(state: &mut State, name: &str) {
    if let Some(unit) = state.units.get_mut(name) {
        unit.record = Record::default();
    }
}

/// It shall run, or waits for its time.
fn set_going(unit: &mut Unit, waits: bool) {
    // It is what is wished now, or waits for its turn to be.
    if unit.roll == Roll::Spared || unit.roll == Roll::Waits(Next::Vanish) {
        unit.roll = Roll::None;
    }
    unit.turn.armed = unit.traits.schedule.is_some();
    if waits {
        return;
    }
    // A job that is done stays done; `renew` names it when it must run again.
    let done = unit.stage == Stage::Rest(End::Completed) && !unit.turn.armed;
    if let Stage::Backoff { .. } = unit.stage {
        unit.stage = Stage::Rest(End::Stopped);
    }
    if matches!(unit.stage, Stage::Closing { .. }) || (matches!(unit.stage, Stage::Rest(_)) && !done) {
        unit.record = Record::default();
        unit.next = Next::Start;
    }
}
