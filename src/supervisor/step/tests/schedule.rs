//! Jobs that the clock starts: what a time that comes does to each stage.

use super::*;
use crate::config::ecosystem::{Overlap, Schedule};

pub(super) fn scheduled(overlap: Overlap) -> Traits {
    let mut traits = traits(&[]);
    (traits.job, traits.checked) = (true, false);
    traits.schedule = Some(Schedule {
        overlap,
        ..Schedule::new("@hourly".to_owned())
    });
    traits
}

fn armed(overlap: Overlap) -> State {
    let mut state = State::default();
    assert_eq!(
        words(&step(&mut state, want(&[("job", scheduled(overlap))]))),
        [""; 0]
    );
    assert_eq!(state.units["job"].view().phase, Phase::Scheduled);
    state
}

fn due(state: &mut State) -> Vec<String> {
    words(&step(state, Event::Due(name("job"))))
}

fn running(overlap: Overlap) -> State {
    let mut state = armed(overlap);
    assert_eq!(due(&mut state), ["Starts job", "prepare job"]);
    step(&mut state, Event::Prepared(name("job"), 1));
    step(&mut state, Event::Created(name("job"), 1));
    state
}

#[test]
fn an_up_waits_for_the_time_and_each_time_is_a_run_of_its_own() {
    let mut state = running(Overlap::Skip);
    let got = words(&step(&mut state, exit("job", 0)));
    assert_eq!(got, ["discard job"]);
    assert_eq!(
        state.units["job"].view().phase,
        Phase::Completed,
        "the last result"
    );
    step(&mut state, want(&[("job", scheduled(Overlap::Skip))]));
    assert_eq!(state.units["job"].run, 1, "another 'up' starts nothing");
    assert_eq!(due(&mut state), ["Starts job", "prepare job"]);
    assert_eq!(state.units["job"].run, 2);
}

#[test]
fn a_run_that_goes_on_is_kept_waited_for_or_replaced() {
    let mut state = running(Overlap::Skip);
    assert_eq!(due(&mut state), ["Skipped job"]);
    let mut state = running(Overlap::Queue);
    assert_eq!(due(&mut state), ["Waits job"]);
    assert_eq!(due(&mut state), ["Skipped job"], "one waits at most");
    let got = words(&step(&mut state, exit("job", 3)));
    assert_eq!(got, ["explain job", "discard job", "prepare job"]);
    let mut state = running(Overlap::Replace);
    assert_eq!(due(&mut state), ["Replaces job", "signal job 15"]);
    assert_eq!(due(&mut state), ["Skipped job"], "it is on its way out");
    let got = words(&step(&mut state, exit("job", 143)));
    assert_eq!(got, ["discard job", "prepare job"]);
}

#[test]
fn what_was_stopped_is_not_started_by_the_clock_and_an_up_brings_it_back() {
    let mut state = running(Overlap::Queue);
    due(&mut state);
    step(&mut state, Event::Stop(vec![name("job")]));
    step(&mut state, exit("job", 143));
    assert_eq!(state.units["job"].view().phase, Phase::Stopped);
    assert_eq!(due(&mut state), [""; 0]);
    step(&mut state, want(&[("job", scheduled(Overlap::Queue))]));
    assert_eq!(state.units["job"].view().phase, Phase::Scheduled);
}

#[test]
fn it_runs_at_once_when_somebody_asks() {
    let mut state = armed(Overlap::Skip);
    let Event::Want(mut wish) = want(&[("job", scheduled(Overlap::Skip))]) else {
        unreachable!()
    };
    wish.now = vec![name("job")];
    let got = words(&step(&mut state, Event::Want(wish.clone())));
    assert_eq!(got, ["prepare job"]);
    assert_eq!(state.settled(&[name("job")]), None, "it is waited for");
    step(&mut state, Event::Prepared(name("job"), 1));
    step(&mut state, Event::Created(name("job"), 1));
    step(&mut state, exit("job", 0));
    let got = words(&step(&mut state, Event::Want(wish)));
    assert_eq!(got, ["prepare job"], "each time");
}

#[test]
fn a_changed_job_finishes_its_run_and_a_service_that_becomes_one_is_stopped() {
    let mut state = running(Overlap::Skip);
    let Event::Want(mut wish) = want(&[("job", scheduled(Overlap::Replace))]) else {
        unreachable!()
    };
    wish.renew = vec![name("job")];
    assert_eq!(words(&step(&mut state, Event::Want(wish))), [""; 0]);
    assert_eq!(state.units["job"].view().phase, Phase::Running);
    let mut state = State::default();
    step(&mut state, want(&[("job", traits(&[]))]));
    step(&mut state, Event::Prepared(name("job"), 1));
    step(&mut state, Event::Created(name("job"), 1));
    let got = words(&step(&mut state, want(&[("job", scheduled(Overlap::Skip))])));
    assert_eq!(got, ["signal job 15"]);
    step(&mut state, exit("job", 0));
    assert_eq!(state.units["job"].view().phase, Phase::Scheduled);
}

#[test]
fn a_time_that_comes_in_a_pause_between_tries_is_the_next_try() {
    let mut state = running(Overlap::Skip);
    state.units["job"].traits.restart = Restart::OnFailure(None);
    step(&mut state, exit("job", 1));
    assert_eq!(state.units["job"].view().phase, Phase::Backoff);
    assert_eq!(due(&mut state), ["Starts job", "prepare job"]);
    assert_eq!(
        words(&step(&mut state, Event::Retry(name("job"), 1))),
        [""; 0],
        "not twice"
    );
}

#[test]
fn nothing_is_due_while_everything_ends() {
    let mut state = running(Overlap::Queue);
    due(&mut state);
    step(
        &mut state,
        Event::Down {
            kill: false,
            grace: None,
        },
    );
    assert_eq!(due(&mut state), [""; 0]);
    assert_eq!(
        words(&step(&mut state, exit("job", 143))),
        ["discard job", "finish"]
    );
}
