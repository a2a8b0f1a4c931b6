//! Failures, and what policies make of them.

use super::*;

/// One service with this policy, running since ten seconds.
fn proven(policy: Restart) -> State {
    let mut state = State::default();
    let mut api = traits(&[]);
    api.restart = policy;
    step(&mut state, want(&[("api", api)]));
    for event in [
        Event::Prepared(name("api"), 1),
        Event::Created(name("api"), 1),
        Event::Healthy(name("api"), 1),
        Event::Steady(name("api"), 1),
    ] {
        step(&mut state, event);
    }
    state
}

/// Lets it come up once more after a failure; the run it has then.
fn try_again(state: &mut State) -> u64 {
    let run = state.units["api"].run;
    step(state, Event::Retry(name("api"), run));
    step(state, Event::Prepared(name("api"), run + 1));
    step(state, Event::Created(name("api"), run + 1));
    run + 1
}

#[test]
fn what_has_run_well_is_started_again_after_a_failure_and_backs_off() {
    let mut state = proven(Restart::Proven);
    assert_eq!(
        words(&step(&mut state, exit("api", 1))),
        ["explain api", "discard api", "retry api"]
    );
    assert_eq!(state.units["api"].view().phase, Phase::Backoff);
    assert_eq!(state.settled(&[name("api")]), None, "it may come back");
    try_again(&mut state);
    step(&mut state, exit("api", 1));
    try_again(&mut state);
    step(&mut state, exit("api", 1));
    let view = state.units["api"].view();
    assert_eq!(view.cause.as_deref(), Some("crash-loop 3: exited with code 1"));
    assert_eq!((view.restarts, state.settled(&[name("api")])), (2, Some(1)));
    let run = try_again(&mut state);
    step(&mut state, Event::Healthy(name("api"), run));
    step(&mut state, Event::Steady(name("api"), run));
    assert_eq!(state.units["api"].record.failures, 0, "forgotten");
}

#[test]
fn policies_decide_about_codes_counts_and_the_unproven() {
    let mut state = proven(Restart::Proven);
    step(&mut state, exit("api", 0));
    assert_eq!(
        state.units["api"].view().phase,
        Phase::Failed,
        "it ended by itself"
    );
    let mut state = proven(Restart::Always);
    step(&mut state, exit("api", 0));
    assert_eq!(state.units["api"].view().phase, Phase::Backoff);
    let mut state = proven(Restart::No);
    step(&mut state, exit("api", 1));
    assert_eq!(state.units["api"].view().phase, Phase::Failed);
    let mut state = proven(Restart::OnFailure(Some(1)));
    step(&mut state, exit("api", 1));
    try_again(&mut state);
    step(&mut state, exit("api", 1));
    assert_eq!(state.units["api"].view().phase, Phase::Failed, "once was all");
}

#[test]
fn who_is_stopped_by_hand_in_backoff_stays_stopped() {
    let mut state = proven(Restart::Always);
    step(&mut state, exit("api", 1));
    step(&mut state, Event::Stop(vec![name("api")]));
    let run = state.units["api"].run;
    assert_eq!(words(&step(&mut state, Event::Retry(name("api"), run))), [""; 0]);
    assert_eq!(state.units["api"].view().phase, Phase::Stopped);
}

#[test]
fn an_unhealthy_service_is_shown_restarted_or_stopped() {
    let sick = || Event::Sick {
        name: name("api"),
        run: 1,
        cause: "no answer".to_owned(),
    };
    let mut state = proven(Restart::Proven);
    assert_eq!(words(&step(&mut state, sick())), [""; 0]);
    assert_eq!(state.units["api"].view().cause.as_deref(), Some("no answer"));
    state.units["api"].record.proven = false;
    let got = step(&mut state, Event::Well(name("api"), 1));
    assert_eq!(state.units["api"].view().cause, None);
    assert!(
        matches!(got[..], [Action::Steady(..), ..]),
        "it may prove itself anew: {got:?}"
    );
    for (policy, phase) in [
        (OnUnhealthy::Restart, Phase::Backoff),
        (OnUnhealthy::Stop, Phase::Failed),
    ] {
        let mut state = proven(Restart::No);
        state.units["api"].traits.on_unhealthy = policy;
        assert_eq!(words(&step(&mut state, sick())), ["explain api", "signal api 15"]);
        step(&mut state, exit("api", 143));
        assert_eq!(state.units["api"].view().phase, phase);
    }
}

#[test]
fn a_restart_takes_those_along_that_asked_for_it() {
    let mut state = running();
    state.units["api"].traits.needs[0].restart = true;
    state.units["db"].traits.restart = Restart::Always;
    let got = words(&step(&mut state, exit("db", 1)));
    assert_eq!(got, ["explain db", "discard db", "retry db", "signal api 15"]);
    step(&mut state, exit("api", 0));
    step(&mut state, Event::Retry(name("db"), 1));
    step(&mut state, Event::Prepared(name("db"), 2));
    step(&mut state, Event::Prepared(name("api"), 2));
    step(&mut state, Event::Created(name("db"), 2));
    let got = words(&step(&mut state, Event::Healthy(name("db"), 2)));
    assert_eq!(got, ["create api"]);
}

#[test]
fn those_who_wait_for_a_crash_loop_wait_no_longer() {
    let mut state = chain();
    state.units["db"].traits.restart = Restart::Always;
    for run in 1..=3 {
        step(&mut state, Event::Prepared(name("db"), run));
        step(&mut state, Event::Created(name("db"), run));
        assert_eq!(state.settled(&[name("api")]), None);
        step(&mut state, exit("db", 1));
        if run < 3 {
            step(&mut state, Event::Retry(name("db"), run));
        }
    }
    assert_eq!(state.settled(&[name("api")]), Some(1));
}
