//! Jobs that the wall clock starts: what happens when their time has come. Which time that is, is worked out in
//! [`crate::supervisor::agenda`].

use super::close;
use super::event::{Action, Due};
use super::wish::forgive;
use crate::config::ecosystem::Overlap;
use crate::supervisor::unit::{End, Next, Stage, Turn, Unit};
use crate::supervisor::units::State;

/// Its time has come.
pub(super) fn due(state: &mut State, name: &str, actions: &mut Vec<Action>) {
    let Some(unit) = state.units.get_mut(name).filter(|unit| unit.is_armed()) else {
        return;
    };
    let overlap = unit.traits.schedule.as_ref().map(|schedule| schedule.overlap);
    let runs = matches!(unit.stage, Stage::Starting | Stage::Running { .. });
    let outcome = match (&unit.stage, overlap.unwrap_or_default()) {
        // A try that was to come after a failure has come, too.
        (Stage::Rest(_) | Stage::Backoff { .. }, _) => {
            unit.stage = Stage::Rest(End::Stopped);
            unit.next = Next::Start;
            Due::Starts
        }
        (_, Overlap::Queue) if !unit.turn.queued => {
            unit.turn.queued = true;
            Due::Waits
        }
        (_, Overlap::Replace) if runs => Due::Replaces,
        _ => Due::Skipped,
    };
    match outcome {
        Due::Starts => forgive(state, name),
        Due::Replaces => close(state, name, &End::Stopped, Next::Start, actions),
        Due::Waits | Due::Skipped => {}
    }
    actions.push(Action::Due(name.to_owned(), outcome));
}

/// A run that waited for the end of the last one begins, whatever that end was.
pub(super) fn take_turn(unit: &mut Unit) {
    let rests = matches!(unit.stage, Stage::Rest(_)) && matches!(unit.next, Next::Stay | Next::Retry);
    if rests && std::mem::take(&mut unit.turn.queued) {
        unit.record = Default::default();
        unit.next = Next::Start;
    }
}

/// The clock no longer starts it.
pub(super) fn disarm(state: &mut State, name: &str) {
    if let Some(unit) = state.units.get_mut(name) {
        unit.turn = Turn::default();
    }
}
