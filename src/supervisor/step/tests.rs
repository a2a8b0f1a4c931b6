//! Scripted event sequences: no clock, no process.

mod failures;
mod rolls;
mod schedule;
mod storm;

use super::*;
use crate::config::ecosystem::{Condition, OnUnhealthy, Restart, ServiceName};
use crate::control::api::Phase;
use crate::supervisor::unit::{Need, Traits};

fn traits(needs: &[(&str, Condition)]) -> Traits {
    Traits {
        service: String::new(),
        replica: None,
        needs: needs
            .iter()
            .map(|(name, condition)| Need {
                name: (*name).to_owned(),
                condition: *condition,
                required: true,
                restart: false,
            })
            .collect(),
        job: false,
        schedule: None,
        checked: true,
        timeout: Duration::from_secs(30),
        restart: Restart::Proven,
        on_unhealthy: OnUnhealthy::None,
        signal: 15,
        grace: Duration::from_secs(10),
    }
}

/// The only sandbox of the service with its name, unless it says otherwise.
fn alone(name: &str, traits: &Traits) -> Traits {
    let mut traits = traits.clone();
    if traits.service.is_empty() {
        traits.service = name.to_owned();
    }
    traits
}

fn want(units: &[(&str, Traits)]) -> Event {
    Event::Want(Want {
        units: units
            .iter()
            .map(|(name, traits)| ((*name).to_owned(), alone(name, traits)))
            .collect(),
        run: units.iter().map(|(name, _)| (*name).to_owned()).collect(),
        ..Want::default()
    })
}

/// The actions that touch the world, as short words.
fn words(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .filter_map(|action| {
            Some(match action {
                Action::Prepare(name, _) => format!("prepare {name}"),
                Action::Abandon(name) => format!("abandon {name}"),
                Action::Create(name, _) => format!("create {name}"),
                Action::Probe(name, ..) => format!("probe {name}"),
                Action::Signal(name, signal) => format!("signal {name} {signal}"),
                Action::Kill(name) => format!("kill {name}"),
                Action::Discard(name) => format!("discard {name}"),
                Action::Explain(name) => format!("explain {name}"),
                Action::Forget(name) => format!("forget {name}"),
                Action::Finish => "finish".to_owned(),
                Action::Retry(name, ..) => format!("retry {name}"),
                Action::Spread => "spread".to_owned(),
                Action::Withdraw(name, ..) => format!("withdraw {name}"),
                Action::Halted { by, spared, .. } => format!("halted by {by}: {}", spared.join(" ")),
                Action::Due(name, outcome) => format!("{outcome:?} {name}"),
                Action::EndProbe(_) | Action::Grace(..) | Action::Report(_) => return None,
                Action::Watch(..) | Action::Steady(..) => return None,
            })
        })
        .collect()
}

fn name(text: &str) -> ServiceName {
    text.to_owned()
}

fn exit(text: &str, code: i32) -> Event {
    Event::Exited {
        name: name(text),
        code,
        cause: format!("exited with code {code}"),
    }
}

fn chain() -> State {
    let mut state = State::default();
    let api = traits(&[("db", Condition::Healthy)]);
    let got = step(&mut state, want(&[("db", traits(&[])), ("api", api)]));
    assert_eq!(words(&got), ["prepare db", "prepare api"], "layers do not wait");
    state
}

fn running() -> State {
    let mut state = chain();
    for event in [
        Event::Prepared(name("db"), 1),
        Event::Prepared(name("api"), 1),
        Event::Created(name("db"), 1),
        Event::Healthy(name("db"), 1),
        Event::Created(name("api"), 1),
        Event::Healthy(name("api"), 1),
    ] {
        step(&mut state, event);
    }
    assert_eq!(state.settled(&[name("db"), name("api")]), Some(0));
    state
}

#[test]
fn a_dependent_is_created_when_its_dependency_is_healthy() {
    let mut state = chain();
    assert_eq!(words(&step(&mut state, Event::Prepared(name("api"), 1))), [""; 0]);
    assert_eq!(
        words(&step(&mut state, Event::Prepared(name("db"), 1))),
        ["create db"]
    );
    assert_eq!(
        words(&step(&mut state, Event::Created(name("db"), 1))),
        ["probe db"]
    );
    assert_eq!(
        words(&step(&mut state, Event::Healthy(name("db"), 1))),
        ["create api"]
    );
    assert_eq!(state.settled(&[name("api")]), None);
}

#[test]
fn started_is_enough_when_asked() {
    let mut state = State::default();
    let api = traits(&[("db", Condition::Started)]);
    step(&mut state, want(&[("db", traits(&[])), ("api", api)]));
    step(&mut state, Event::Prepared(name("api"), 1));
    step(&mut state, Event::Prepared(name("db"), 1));
    let got = words(&step(&mut state, Event::Created(name("db"), 1)));
    assert_eq!(got, ["probe db", "create api"]);
}

#[test]
fn a_job_lets_its_dependents_go_with_code_0_and_blocks_them_otherwise() {
    for (code, expected) in [(0, Phase::Starting), (1, Phase::Blocked)] {
        let mut state = State::default();
        let mut seed = traits(&[]);
        (seed.job, seed.checked) = (true, false);
        let api = traits(&[("seed", Condition::Completed)]);
        step(&mut state, want(&[("seed", seed), ("api", api)]));
        for event in [
            Event::Prepared(name("seed"), 1),
            Event::Prepared(name("api"), 1),
            Event::Created(name("seed"), 1),
        ] {
            step(&mut state, event);
        }
        assert_eq!(state.settled(&[name("seed")]), None, "a job is ready when done");
        step(&mut state, exit("seed", code));
        let view = state.units["api"].view();
        assert_eq!(view.phase, expected);
        if code == 1 {
            assert_eq!(
                view.cause.as_deref(),
                Some("blocked by seed (exited with code 1)")
            );
            assert_eq!(state.settled(&[name("seed"), name("api")]), Some(1));
        }
    }
}

#[test]
fn death_ends_the_wait_and_is_explained_once() {
    let mut state = chain();
    step(&mut state, Event::Prepared(name("db"), 1));
    step(&mut state, Event::Created(name("db"), 1));
    let got = words(&step(&mut state, exit("db", 3)));
    assert_eq!(got, ["explain db", "discard db", "abandon api"]);
    assert!(
        step(&mut state, Event::Healthy(name("db"), 1)).is_empty(),
        "stale"
    );
    let got = words(&step(&mut state, Event::Prepared(name("api"), 1)));
    assert_eq!(got, ["discard api"]);
    assert_eq!(state.units["api"].view().phase, Phase::Blocked);
}

#[test]
fn what_is_not_ready_in_time_fails_and_is_stopped() {
    let mut state = chain();
    step(&mut state, Event::Prepared(name("db"), 1));
    step(&mut state, Event::Created(name("db"), 1));
    let late = Event::Late {
        name: name("db"),
        run: 1,
        cause: "connection refused".to_owned(),
    };
    let got = words(&step(&mut state, late));
    assert_eq!(got[0], "explain db");
    assert_eq!(state.units["db"].view().phase, Phase::Failed);
    assert_eq!(state.settled(&[name("db")]), Some(1), "nobody waits for its end");
    step(&mut state, Event::Prepared(name("api"), 1));
    assert_eq!(words(&step(&mut state, exit("db", 143))), ["discard db"]);
    assert_eq!(state.units["db"].view().phase, Phase::Failed);
}

#[test]
fn stopping_goes_backwards_and_the_stubborn_are_killed() {
    let mut state = running();
    let down = Event::Down {
        kill: false,
        grace: None,
    };
    assert_eq!(
        words(&step(&mut state, down)),
        ["signal api 15"],
        "db is still needed"
    );
    let got = words(&step(&mut state, Event::GraceOver(name("api"), 1)));
    assert_eq!(got, ["kill api"]);
    let got = words(&step(&mut state, exit("api", 137)));
    assert_eq!(got, ["discard api", "signal db 15"]);
    let got = words(&step(&mut state, exit("db", 0)));
    assert_eq!(got, ["discard db", "finish"]);
}

#[test]
fn who_asks_for_longer_while_it_stops_gets_it_up_to_ten_times_its_grace() {
    let mut state = running();
    step(&mut state, Event::Stop(vec![name("api")]));
    let ask = |state: &mut State, seconds, elapsed| {
        let got = step(
            state,
            Event::Extended {
                name: name("api"),
                run: 1,
                time: Duration::from_secs(seconds),
                elapsed: Duration::from_secs(elapsed),
            },
        );
        got.into_iter().find_map(|action| match action {
            Action::Grace(_, _, time) => Some(time.as_secs()),
            _ => None,
        })
    };
    assert_eq!(ask(&mut state, 30, 5), Some(30));
    assert_eq!(ask(&mut state, 1, 2), Some(8), "never less than it had");
    assert_eq!(ask(&mut state, 3600, 40), Some(60), "its grace is 10 s");
    assert_eq!(ask(&mut state, 3600, 140), Some(0));
    let grace = Some(Duration::from_secs(1));
    step(&mut state, Event::Down { kill: false, grace });
    assert_eq!(ask(&mut state, 30, 5), None, "somebody said how long it may take");
    let mut state = running();
    assert_eq!(ask(&mut state, 30, 5), None, "it was not told to end");
}

#[test]
fn a_second_ctrl_c_kills_all() {
    let mut state = running();
    let down = |kill| Event::Down { kill, grace: None };
    step(&mut state, down(false));
    let mut got = words(&step(&mut state, down(true)));
    got.sort();
    assert_eq!(got, ["kill api", "kill db"]);
}

#[test]
fn a_second_wish_changes_nothing_and_a_changed_service_starts_anew() {
    let mut state = running();
    let units = || {
        let api = traits(&[("db", Condition::Healthy)]);
        vec![(name("db"), traits(&[])), (name("api"), api)]
    };
    let mut again = Want {
        units: units(),
        run: vec![name("db"), name("api")],
        ..Want::default()
    };
    assert!(step(&mut state, Event::Want(again.clone())).is_empty());
    again.renew = vec![name("db")];
    let got = words(&step(&mut state, Event::Want(again)));
    assert_eq!(got, ["signal db 15"], "api is left alone");
    let got = words(&step(&mut state, exit("db", 0)));
    assert_eq!(got, ["discard db", "prepare db"]);
}

#[test]
fn a_service_that_left_the_file_is_stopped_and_forgotten() {
    let mut state = running();
    let got = words(&step(&mut state, want(&[("db", traits(&[]))])));
    assert_eq!(got, ["signal api 15"]);
    let got = words(&step(&mut state, exit("api", 0)));
    assert_eq!(got, ["discard api", "forget api"]);
    assert_eq!(state.units.len(), 1);
}

#[test]
fn an_optional_dependency_does_not_block() {
    let mut state = State::default();
    let mut api = traits(&[("db", Condition::Healthy)]);
    api.needs[0].required = false;
    step(&mut state, want(&[("db", traits(&[])), ("api", api)]));
    step(&mut state, Event::Prepared(name("api"), 1));
    let unmade = Event::Unmade {
        name: name("db"),
        run: 1,
        cause: "no".to_owned(),
        exit: 3,
    };
    let got = words(&step(&mut state, unmade));
    assert_eq!(got, ["discard db", "explain db", "create api"]);
}

#[test]
fn sequential_means_one_after_another() {
    let mut state = State::default();
    let Event::Want(mut wish) = want(&[("a", traits(&[])), ("b", traits(&[]))]) else {
        unreachable!()
    };
    wish.sequential = true;
    assert_eq!(words(&step(&mut state, Event::Want(wish))), ["prepare a"]);
    step(&mut state, Event::Prepared(name("a"), 1));
    step(&mut state, Event::Created(name("a"), 1));
    let got = words(&step(&mut state, Event::Healthy(name("a"), 1)));
    assert_eq!(got, ["prepare b"]);
}
