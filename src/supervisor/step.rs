//! The supervisor's decisions: an event comes in, the state changes, actions come out. Pure: no clock, no channel, no
//! file. Every rule of order (start, block, stop, restart, end) is here and nowhere else.

mod advance;

use std::time::Duration;

use super::unit::{Awaits, End, Next, Stage, State, Traits, Unit};
use crate::config::ecosystem::ServiceName;
use advance::{advance, report};

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// The user's wish: these services make up the ecosystem.
    Want(Want),
    /// These shall stop; each after those of them that depend on it.
    Stop(Vec<ServiceName>),
    /// Everything shall end, and the instance with it.
    Down {
        /// SIGKILL at once, without order.
        kill: bool,
        /// Instead of each service's own grace.
        grace: Option<Duration>,
    },
    /// A preparation is done.
    Prepared(ServiceName, u64),
    /// A preparation or creation failed; nothing of it is left but what `Discard` removes.
    Unmade {
        /// The service.
        name: ServiceName,
        /// Its run.
        run: u64,
        /// One line.
        cause: String,
        /// What a command that waits for it exits with.
        exit: i32,
    },
    /// The keeper created it: its process runs.
    Created(ServiceName, u64),
    /// Its check passed.
    Healthy(ServiceName, u64),
    /// Its time to become ready is over; why it is not.
    Late {
        /// The service.
        name: ServiceName,
        /// Its run.
        run: u64,
        /// One line, the probe's last answer.
        cause: String,
    },
    /// Its grace is over.
    GraceOver(ServiceName, u64),
    /// It ended.
    Exited {
        /// The service.
        name: ServiceName,
        /// Shell's number of its end.
        code: i32,
        /// One line for it.
        cause: String,
    },
}

/// The whole wish of an `up`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Want {
    /// All services of the file.
    pub(crate) units: Vec<(ServiceName, Traits)>,
    /// Those that shall run (closed under dependency).
    pub(crate) run: Vec<ServiceName>,
    /// Those that run already and must start anew.
    pub(crate) renew: Vec<ServiceName>,
    /// One after another.
    pub(crate) sequential: bool,
}

/// What has to be done. Every action that can fail is answered by an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Make layers, ids, network and bundle. Answer: `Prepared` or `Unmade`.
    Prepare(ServiceName, u64),
    /// Give up a preparation early; it is answered all the same.
    Abandon(ServiceName),
    /// Have the keeper create it. Answer: `Created` or `Unmade`.
    Create(ServiceName, u64),
    /// Probe until it passes, it ends, or this time is over. Answer: `Healthy` or `Late`.
    Probe(ServiceName, u64, Duration),
    /// Stop probing.
    EndProbe(ServiceName),
    /// Send this signal. Answer, at last: `Exited`.
    Signal(ServiceName, i32),
    /// SIGKILL. Answer: `Exited`.
    Kill(ServiceName),
    /// Answer `GraceOver` after this time.
    Grace(ServiceName, u64, Duration),
    /// Remove what the preparation made.
    Discard(ServiceName),
    /// Its row changed.
    Report(ServiceName),
    /// It failed: tell why.
    Explain(ServiceName),
    /// It is no longer part of the ecosystem.
    Forget(ServiceName),
    /// All has ended: the instance is finished.
    Finish,
}

/// Takes one event.
pub(crate) fn step(state: &mut State, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    apply(state, event, &mut actions);
    while advance(state, &mut actions) {}
    report(state, &mut actions);
    if state.ending && state.units.values().all(Unit::is_at_rest) {
        actions.push(Action::Finish);
    }
    actions
}

fn apply(state: &mut State, event: Event, actions: &mut Vec<Action>) {
    match event {
        Event::Want(want) => take_wish(state, want, actions),
        Event::Stop(names) => {
            for name in &names {
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
        Event::Healthy(name, run) => healthy(state, &name, run),
        Event::Late { name, run, cause } => late(state, &name, run, cause, actions),
        Event::GraceOver(name, run) => grace_over(state, &name, run, actions),
        Event::Exited { name, code, cause } => exited(state, &name, code, cause, actions),
    }
}

/// The unit, when `run` is its present one: answers to earlier runs mean nothing.
fn present<'a>(state: &'a mut State, name: &str, run: u64) -> Option<&'a mut Unit> {
    state.units.get_mut(name).filter(|unit| unit.run == run)
}

fn take_wish(state: &mut State, want: Want, actions: &mut Vec<Action>) {
    if state.ending {
        return;
    }
    state.sequential = want.sequential;
    let gone: Vec<_> = state
        .units
        .keys()
        .filter(|name| !want.units.iter().any(|(wanted, _)| wanted == *name))
        .cloned()
        .collect();
    for name in &gone {
        close(state, name, &End::Stopped, Next::Vanish, actions);
    }
    for name in &want.renew {
        close(state, name, &End::Stopped, Next::Start, actions);
    }
    for (name, traits) in want.units {
        match state.units.get_mut(&name) {
            Some(unit) => unit.traits = traits,
            None => drop(state.units.insert(name, Unit::new(traits))),
        }
    }
    for name in &want.run {
        let Some(unit) = state.units.get_mut(name) else {
            continue;
        };
        // A job that is done stays done; `renew` names it when it must run again.
        let done = unit.stage == Stage::Rest(End::Completed);
        if matches!(unit.stage, Stage::Closing { .. }) || (matches!(unit.stage, Stage::Rest(_)) && !done) {
            unit.next = Next::Start;
        }
    }
}

fn down(state: &mut State, kill: bool, grace: Option<Duration>, actions: &mut Vec<Action>) {
    state.ending = true;
    let names: Vec<_> = state.units.keys().cloned().collect();
    for (name, unit) in &mut state.units {
        if let Some(grace) = grace {
            unit.traits.grace = grace;
        }
        let told = matches!(
            unit.stage,
            Stage::Closing {
                awaits: Awaits::Exit,
                ..
            }
        );
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
    let awaits = match unit.stage {
        Stage::Rest(_) | Stage::Closing { .. } => return,
        Stage::Queued => {
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
            unit.stage = Stage::Rest(failure);
            actions.push(Action::Discard(name.to_owned()));
            actions.push(Action::Explain(name.to_owned()));
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
            unit.stage = Stage::Running { ready };
        }
        Stage::Closing { awaits, .. } if *awaits == Awaits::Creation => *awaits = Awaits::Dependents,
        _ => {}
    }
}

fn healthy(state: &mut State, name: &str, run: u64) {
    if let Some(unit) = present(state, name, run)
        && let Stage::Running { ready } = &mut unit.stage
    {
        // A job is ready when it is done, whatever it serves meanwhile.
        *ready = !unit.traits.job;
    }
}

fn late(state: &mut State, name: &str, run: u64, cause: String, actions: &mut Vec<Action>) {
    let is_late = present(state, name, run).is_some_and(|unit| unit.stage == Stage::Running { ready: false });
    if is_late {
        actions.push(Action::Explain(name.to_owned()));
        close(state, name, &End::Failed { cause, exit: 1 }, Next::Stay, actions);
    }
}

fn grace_over(state: &mut State, name: &str, run: u64, actions: &mut Vec<Action>) {
    let waits = |unit: &Unit| {
        matches!(
            unit.stage,
            Stage::Closing {
                awaits: Awaits::Exit,
                ..
            }
        )
    };
    if present(state, name, run).is_some_and(|unit| waits(unit)) {
        actions.push(Action::Kill(name.to_owned()));
    }
}

fn exited(state: &mut State, name: &str, code: i32, cause: String, actions: &mut Vec<Action>) {
    let Some(unit) = state.units.get_mut(name) else {
        return;
    };
    let end = match &unit.stage {
        Stage::Running { .. } | Stage::Starting if unit.traits.job && code == 0 => End::Completed,
        Stage::Running { .. } | Stage::Starting => {
            actions.push(Action::Explain(name.to_owned()));
            End::Failed { cause, exit: 1 }
        }
        Stage::Closing {
            awaits: Awaits::Dependents | Awaits::Exit | Awaits::Creation,
            end,
        } => end.clone(),
        _ => return,
    };
    actions.push(Action::EndProbe(name.to_owned()));
    actions.push(Action::Discard(name.to_owned()));
    unit.stage = Stage::Rest(end);
}

#[cfg(test)]
mod tests;
