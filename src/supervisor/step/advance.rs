//! What follows without a further event: units come nearer to running, or to their end, as far as others allow.

use std::time::Duration;

use super::schedule::take_turn;
use super::{Action, close, roll};
use crate::supervisor::unit::{Awaits, End, Next, Roll, Stage, Unit};
use crate::supervisor::units::{State, Verdict};

/// One pass over all units; true when something moved, because others may move then.
pub(super) fn advance(state: &mut State, actions: &mut Vec<Action>) -> bool {
    let mut moved = false;
    for index in 0..state.units.len() {
        let Some((name, unit)) = state.units.get_index_mut(index) else {
            break;
        };
        take_turn(unit);
        let (name, stage, next) = (name.clone(), unit.stage.clone(), unit.next);
        if let Roll::Waits(next) = unit.roll
            && roll::take_turn(state, &name, next, actions)
        {
            moved = true;
            continue;
        }
        moved |= match stage {
            Stage::Rest(_) if next != Next::Stay => leave_rest(state, &name, next, actions),
            Stage::Queued | Stage::Preparing | Stage::Prepared => approach(state, &name, &stage, actions),
            Stage::Closing {
                awaits: Awaits::Dependents,
                ..
            } => withdraw(state, &name, actions),
            // There is no time for it any more.
            Stage::Closing {
                awaits: Awaits::Withdrawal,
                ..
            } if state.ending => tell_to_end(state, &name, actions),
            _ => false,
        };
    }
    moved
}

fn leave_rest(state: &mut State, name: &str, next: Next, actions: &mut Vec<Action>) -> bool {
    if next == Next::Vanish {
        state.units.shift_remove(name);
        actions.push(Action::Forget(name.to_owned()));
        return true;
    }
    let Some(unit) = state.units.get_mut(name) else {
        return false;
    };
    unit.next = Next::Stay;
    if next == Next::Retry {
        let cause = unit.view().cause.unwrap_or_default();
        unit.stage = Stage::Backoff { cause };
        let pause = pause(name, unit.record.failures);
        actions.push(Action::Retry(name.to_owned(), unit.run, pause));
    } else {
        unit.run += 1;
        unit.sick = None;
        // Whatever it is made from now is what is wished.
        if unit.roll == Roll::Spared {
            unit.roll = Roll::None;
        }
        unit.stage = Stage::Queued;
    }
    true
}

/// The pause before a start is tried again: 100 ms, doubled for each failure in a row, at most 30 s; and up to a
/// tenth more, by the name, so that services that fail together do not come back together.
fn pause(name: &str, failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(30);
    let doubled = FIRST
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(MOST);
    let scatter = name.bytes().fold(failures, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    });
    doubled + doubled * (scatter % 100) / 1000
}

/// Brings a unit nearer to running, or blocks it.
fn approach(state: &mut State, name: &str, stage: &Stage, actions: &mut Vec<Action>) -> bool {
    let verdict = state.verdict(name);
    if let Verdict::Blocked(cause) = verdict {
        roll::failed(state, name, actions);
        close(state, name, &End::Blocked { cause }, Next::Stay, actions);
        return true;
    }
    let turn = !state.sequential || is_first_unsettled(state, name);
    let Some(unit) = state.units.get_mut(name) else {
        return false;
    };
    let run = unit.run;
    match stage {
        // Preparation does not wait for dependencies: layers are built while they start.
        Stage::Queued if turn => {
            unit.stage = Stage::Preparing;
            actions.push(Action::Prepare(name.to_owned(), run));
            true
        }
        Stage::Prepared if verdict == Verdict::Go => {
            unit.stage = Stage::Starting;
            actions.push(Action::Create(name.to_owned(), run));
            true
        }
        _ => false,
    }
}

/// Whether no other unit that could start before it is on its way (`--sequential`).
fn is_first_unsettled(state: &State, name: &str) -> bool {
    let busy = |other: &Unit| {
        matches!(
            other.stage,
            Stage::Preparing | Stage::Prepared | Stage::Starting | Stage::Running { ready: false }
        )
    };
    state.verdict(name) == Verdict::Go && !state.units.values().any(busy)
}

/// Takes it out of the spread of its service, if that has one, before it is told to end.
fn withdraw(state: &mut State, name: &str, actions: &mut Vec<Action>) -> bool {
    if !state.hurry && state.is_needed_by_leaver(name) {
        return false;
    }
    // With everything that ends, its clients do.
    if state.ending || !state.is_spread(name) {
        return tell_to_end(state, name, actions);
    }
    let Some(unit) = state.units.get_mut(name) else {
        return false;
    };
    if let Stage::Closing { awaits, .. } = &mut unit.stage {
        *awaits = Awaits::Withdrawal;
    }
    actions.push(Action::Withdraw(name.to_owned(), unit.run, unit.traits.grace));
    true
}

pub(super) fn tell_to_end(state: &mut State, name: &str, actions: &mut Vec<Action>) -> bool {
    let hurry = state.hurry;
    let Some(unit) = state.units.get_mut(name) else {
        return false;
    };
    if let Stage::Closing { awaits, .. } = &mut unit.stage {
        *awaits = Awaits::Exit;
    }
    if hurry {
        actions.push(Action::Kill(name.to_owned()));
    } else {
        actions.push(Action::Signal(name.to_owned(), unit.traits.signal));
        actions.push(Action::Grace(name.to_owned(), unit.run, unit.traits.grace));
    }
    true
}

/// Tells of the rows that have changed.
pub(super) fn report(state: &mut State, actions: &mut Vec<Action>) {
    for (name, unit) in &mut state.units {
        let view = unit.view();
        if unit.shown.as_ref() != Some(&view) {
            unit.shown = Some(view);
            actions.push(Action::Report(name.clone()));
        }
    }
}
