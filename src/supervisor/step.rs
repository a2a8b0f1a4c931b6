//! The supervisor's decisions: an event comes in, the state changes, actions come out. Pure: no clock, no channel, no
//! file. Every rule of order (start, block, stop, restart, end) is here and nowhere else.

mod advance;
mod event;
mod failure;
pub(super) mod resume;
mod roll;
mod schedule;
mod wish;

use std::time::Duration;

use super::unit::{Awaits, CRASH_LOOP, End, Next, Roll, Stage, Turn, Unit};
use super::units::State;
use advance::{advance, report, tell_to_end};
use failure::{fail, retry, sick, steady, take_along, well};
use schedule::{disarm, due};
use wish::take_wish;

pub(crate) use event::{Action, Due, Event, Want};
pub(super) use failure::STEADY;

/// Takes one event.
pub(crate) fn step(state: &mut State, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    apply(state, event, &mut actions);
    while advance(state, &mut actions) {}
    report(state, &mut actions);
    let spread = state.spread_now();
    if state.spread != spread {
        state.spread = spread;
        // First of all: what is told to end gets no connection any more, and what is ready may be told of.
        actions.insert(0, Action::Spread);
    }
    if state.ending && state.units.values().all(Unit::is_at_rest) {
        actions.push(Action::Finish);
    }
    actions
}

fn apply(state: &mut State, event: Event, actions: &mut Vec<Action>) {
    match event {
        Event::Want(want) => take_wish(state, want, actions),
        Event::Due(name) => due(state, &name, actions),
        Event::Stop(names) => {
            for name in &names {
                disarm(state, name);
                close(state, name, &End::Stopped, Next::Stay, actions);
            }
        }
        Event::Down { kill, grace } => down(state, kill, grace, actions),
        Event::Prepared(name, run) => prepared(state, &name, run, actions),
        Event::Unmade {
            name,
            run,
            cause,
            exit,
        } => unmade(state, &name, run, End::Failed { cause, exit }, actions),
        Event::Created(name, run) => created(state, &name, run, actions),
        Event::Healthy(name, run) => healthy(state, &name, run, actions),
        Event::Sick { name, run, cause } => sick(state, &name, run, cause, actions),
        Event::Well(name, run) => well(state, &name, run, actions),
        Event::Steady(name, run) => steady(state, &name, run),
        Event::Retry(name, run) => retry(state, &name, run),
        Event::Late { name, run, cause } => late(state, &name, run, cause, actions),
        Event::Withdrawn(name, run) => withdrawn(state, &name, run, actions),
        Event::Extended {
            name,
            run,
            time,
            elapsed,
        } => extended(state, &name, run, time, elapsed, actions),
        Event::GraceOver(name, run) => grace_over(state, &name, run, actions),
        Event::Exited { name, code, cause } => exited(state, &name, code, cause, actions),
    }
}

/// The unit, when `run` is its present one: answers to earlier runs mean nothing.
fn present<'a>(state: &'a mut State, name: &str, run: u64) -> Option<&'a mut Unit> {
    state.units.get_mut(name).filter(|unit| unit.run == run)
}

fn down(state: &mut State, kill: bool, grace: Option<Duration>, actions: &mut Vec<Action>) {
    state.ending = true;
    state.strict |= grace.is_some();
    let names: Vec<_> = state.units.keys().cloned().collect();
    for (name, unit) in &mut state.units {
        unit.turn = Turn::default();
        if let Some(grace) = grace {
            unit.traits.grace = grace;
        }
        let told = unit.is_told_to_end();
        if kill && told {
            actions.push(Action::Kill(name.clone()));
        }
    }
    state.hurry |= kill;
    for name in &names {
        close(state, name, &End::Stopped, Next::Stay, actions);
    }
}

/// Sets the unit on its way to rest; what is at rest already takes the new `end` only when it was stopped by hand.
fn close(state: &mut State, name: &str, end: &End, next: Next, actions: &mut Vec<Action>) {
    let Some(unit) = state.units.get_mut(name) else {
        return;
    };
    unit.next = next;
    unit.roll = Roll::None;
    let awaits = match unit.stage {
        Stage::Rest(_) | Stage::Closing { .. } => return,
        Stage::Queued | Stage::Backoff { .. } => {
            unit.stage = Stage::Rest(end.clone());
            return;
        }
        Stage::Prepared => {
            actions.push(Action::Discard(name.to_owned()));
            unit.stage = Stage::Rest(end.clone());
            return;
        }
        Stage::Preparing => {
            actions.push(Action::Abandon(name.to_owned()));
            Awaits::Preparation
        }
        Stage::Starting => Awaits::Creation,
        Stage::Running { .. } => {
            actions.push(Action::EndProbe(name.to_owned()));
            Awaits::Dependents
        }
    };
    unit.stage = Stage::Closing {
        awaits,
        end: end.clone(),
    };
}

fn prepared(state: &mut State, name: &str, run: u64, actions: &mut Vec<Action>) {
    let Some(unit) = present(state, name, run) else {
        return;
    };
    match &unit.stage {
        Stage::Preparing => unit.stage = Stage::Prepared,
        Stage::Closing {
            awaits: Awaits::Preparation,
            end,
        } => {
            unit.stage = Stage::Rest(end.clone());
            actions.push(Action::Discard(name.to_owned()));
        }
        _ => {}
    }
}

fn unmade(state: &mut State, name: &str, run: u64, failure: End, actions: &mut Vec<Action>) {
    let Some(unit) = present(state, name, run) else {
        return;
    };
    match &unit.stage {
        Stage::Preparing | Stage::Starting => {
            // What has run well before can be made again, once what hinders it is over.
            if unit.record.proven {
                unit.next = fail(unit, true);
            }
            unit.stage = Stage::Rest(failure);
            actions.push(Action::Discard(name.to_owned()));
            actions.push(Action::Explain(name.to_owned()));
            roll::failed(state, name, actions);
        }
        Stage::Closing {
            awaits: Awaits::Preparation | Awaits::Creation,
            end,
        } => {
            unit.stage = Stage::Rest(end.clone());
            actions.push(Action::Discard(name.to_owned()));
        }
        _ => {}
    }
}

fn created(state: &mut State, name: &str, run: u64, actions: &mut Vec<Action>) {
    let Some(unit) = present(state, name, run) else {
        return;
    };
    match &mut unit.stage {
        Stage::Starting => {
            let traits = &unit.traits;
            if traits.checked {
                actions.push(Action::Probe(name.to_owned(), run, traits.timeout));
            }
            let ready = !traits.checked && !traits.job;
            if ready {
                actions.push(Action::Steady(name.to_owned(), run, STEADY));
            }
            unit.stage = Stage::Running { ready };
            if ready {
                roll::passed(state, name, actions);
            }
        }
        Stage::Closing { awaits, .. } if *awaits == Awaits::Creation => *awaits = Awaits::Dependents,
        _ => {}
    }
}

fn healthy(state: &mut State, name: &str, run: u64, actions: &mut Vec<Action>) {
    // A job is ready when it is done, whatever it serves meanwhile.
    if let Some(unit) = present(state, name, run).filter(|unit| !unit.traits.job)
        && let Stage::Running { ready } = &mut unit.stage
        && !*ready
    {
        *ready = true;
        actions.push(Action::Watch(name.to_owned(), run));
        actions.push(Action::Steady(name.to_owned(), run, STEADY));
        roll::passed(state, name, actions);
    }
}

fn late(state: &mut State, name: &str, run: u64, cause: String, actions: &mut Vec<Action>) {
    let Some(unit) = present(state, name, run) else {
        return;
    };
    if unit.stage == (Stage::Running { ready: false }) {
        let next = fail(unit, true);
        actions.push(Action::Explain(name.to_owned()));
        roll::failed(state, name, actions);
        close(state, name, &End::Failed { cause, exit: 1 }, next, actions);
    }
}

fn withdrawn(state: &mut State, name: &str, run: u64, actions: &mut Vec<Action>) {
    let waits = |unit: &Unit| {
        matches!(
            unit.stage,
            Stage::Closing {
                awaits: Awaits::Withdrawal,
                ..
            }
        )
    };
    if present(state, name, run).is_some_and(|unit| waits(unit)) {
        tell_to_end(state, name, actions);
    }
}

/// So many times its grace may a stop last when the service keeps saying that it needs longer.
const EXTENSION: u32 = 10;

fn extended(
    state: &mut State,
    name: &str,
    run: u64,
    time: Duration,
    elapsed: Duration,
    actions: &mut Vec<Action>,
) {
    if state.strict || state.hurry {
        return;
    }
    if let Some(unit) = present(state, name, run).filter(|unit| unit.is_told_to_end()) {
        let grace = unit.traits.grace;
        let most = grace.saturating_mul(EXTENSION);
        // Never less than it had.
        let time = time.max(grace.saturating_sub(elapsed));
        let time = time.min(most.saturating_sub(elapsed));
        actions.push(Action::Grace(name.to_owned(), run, time));
    }
}

fn grace_over(state: &mut State, name: &str, run: u64, actions: &mut Vec<Action>) {
    if present(state, name, run).is_some_and(|unit| unit.is_told_to_end()) {
        actions.push(Action::Kill(name.to_owned()));
    }
}

fn exited(state: &mut State, name: &str, code: i32, cause: String, actions: &mut Vec<Action>) {
    let Some(unit) = state.units.get_mut(name) else {
        return;
    };
    // On its way down in its turn it is no failure of the new one.
    let closing = matches!(unit.stage, Stage::Closing { .. });
    let end = match &unit.stage {
        Stage::Running { .. } | Stage::Starting if unit.traits.job && code == 0 => End::Completed,
        Stage::Running { .. } | Stage::Starting => {
            unit.next = fail(unit, code != 0);
            // A crash loop is told of when it begins, not again and again.
            if unit.next == Next::Stay || unit.record.failures <= CRASH_LOOP {
                actions.push(Action::Explain(name.to_owned()));
            }
            End::Failed { cause, exit: 1 }
        }
        Stage::Closing {
            awaits: Awaits::Dependents | Awaits::Withdrawal | Awaits::Exit | Awaits::Creation,
            end,
        } => end.clone(),
        _ => return,
    };
    actions.push(Action::EndProbe(name.to_owned()));
    actions.push(Action::Discard(name.to_owned()));
    let (completed, retried) = (end == End::Completed, unit.next == Next::Retry);
    // One that waits for its turn and has ended by itself takes it now.
    let in_turn = unit.roll;
    unit.stage = Stage::Rest(end);
    unit.sick = None;
    match in_turn {
        Roll::Trial if completed => roll::passed(state, name, actions),
        Roll::Trial if !closing => roll::failed(state, name, actions),
        _ => {}
    }
    if retried {
        take_along(state, name, actions);
    }
}

#[cfg(test)]
mod tests;
