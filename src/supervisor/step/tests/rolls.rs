//! Replicas: who is led to, who starts anew when, and what random events cannot make of it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::storm::World;
use super::*;

fn replica(service: &str, number: u32) -> (String, Traits) {
    let mut traits = traits(&[]);
    traits.service = service.to_owned();
    traits.replica = Some(number);
    (format!("{service}-{number}"), traits)
}

fn wish(units: &[(String, Traits)], renew: &[String]) -> Event {
    Event::Want(Want {
        units: units.to_vec(),
        run: units.iter().map(|(name, _)| name.clone()).collect(),
        renew: renew.to_vec(),
        now: Vec::new(),
        sequential: false,
    })
}

fn replicas(count: u32) -> Vec<(String, Traits)> {
    (1..=count).map(|number| replica("api", number)).collect()
}

/// Brings one up from its preparation on; what is done at last.
fn rise(state: &mut State, unit: &str) -> Vec<String> {
    let run = state.units[unit].run;
    step(state, Event::Prepared(name(unit), run));
    step(state, Event::Created(name(unit), run));
    words(&step(state, Event::Healthy(name(unit), run)))
}

/// The end of one that was told to withdraw; what is done at last.
fn fall(state: &mut State, unit: &str) -> Vec<String> {
    let run = state.units[unit].run;
    let told = words(&step(state, Event::Withdrawn(name(unit), run)));
    assert_eq!(told, [format!("signal {unit} 15")]);
    words(&step(state, exit(unit, 0)))
}

fn three() -> State {
    let mut state = State::default();
    step(&mut state, wish(&replicas(3), &[]));
    for unit in ["api-1", "api-2", "api-3"] {
        assert_eq!(rise(&mut state, unit), ["spread"]);
    }
    assert_eq!(state.spread["api"].ready, ["api-1", "api-2", "api-3"]);
    state
}

fn all() -> Vec<String> {
    replicas(3).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn one_after_another_is_taken_out_ends_starts_and_comes_back() {
    let mut state = three();
    let mut got = words(&step(&mut state, wish(&replicas(3), &all())));
    for unit in ["api-1", "api-2", "api-3"] {
        assert_eq!(got, ["spread".to_owned(), format!("withdraw {unit}")]);
        assert!(!state.spread["api"].ready.contains(&name(unit)));
        assert_eq!(state.settled(&all()), None);
        let ended = fall(&mut state, unit);
        assert_eq!(ended, [format!("discard {unit}"), format!("prepare {unit}")]);
        got = rise(&mut state, unit);
    }
    assert_eq!(got, ["spread"]);
    assert_eq!(state.settled(&all()), Some(0));
    assert!(state.units.values().all(|unit| unit.run == 2));
}

#[test]
fn a_new_one_that_fails_stops_the_change() {
    let mut state = three();
    step(&mut state, wish(&replicas(3), &all()));
    fall(&mut state, "api-1");
    step(&mut state, Event::Prepared(name("api-1"), 2));
    step(&mut state, Event::Created(name("api-1"), 2));
    let got = words(&step(&mut state, exit("api-1", 1)));
    assert_eq!(
        got,
        ["explain api-1", "discard api-1", "halted by api-1: api-2 api-3"]
    );
    assert_eq!(state.settled(&all()), Some(1));
    assert_eq!(state.spread["api"].ready, ["api-2", "api-3"]);
    let again = words(&step(&mut state, wish(&replicas(3), &all())));
    assert_eq!(again, ["prepare api-1"], "what does not serve goes first");
    assert_eq!(rise(&mut state, "api-1"), ["spread", "withdraw api-2"]);
}

#[test]
fn a_sick_one_is_taken_out_and_changed_first() {
    let mut state = three();
    let sick = Event::Sick {
        name: name("api-3"),
        run: 1,
        cause: "503".to_owned(),
    };
    assert_eq!(words(&step(&mut state, sick)), ["spread"]);
    assert_eq!(state.spread["api"].ready, ["api-1", "api-2"]);
    let got = words(&step(&mut state, wish(&replicas(3), &all())));
    assert_eq!(got, ["withdraw api-3"]);
}

#[test]
fn fewer_stop_at_once_and_replicas_and_the_plain_one_wait_for_each_other() {
    let mut state = three();
    let got = words(&step(&mut state, wish(&replicas(1), &[])));
    assert_eq!(got, ["spread", "withdraw api-2", "withdraw api-3"]);
    for unit in ["api-2", "api-3"] {
        let gone = fall(&mut state, unit);
        assert_eq!(gone[1..], [format!("discard {unit}"), format!("forget {unit}")]);
    }
    let mut plain = traits(&[]);
    plain.service = name("api");
    let got = words(&step(&mut state, wish(&[(name("api"), plain)], &[])));
    assert_eq!(got, ["spread", "prepare api"], "the replica goes on");
    assert_eq!(rise(&mut state, "api"), ["spread", "withdraw api-1"]);
    assert_eq!(state.spread["api"].ready, ["api"]);
    let gone = fall(&mut state, "api-1");
    assert_eq!(gone, ["spread", "discard api-1", "forget api-1"]);
    assert!(state.spread.is_empty(), "its address is its own again");
}

#[test]
fn dependents_that_ask_to_are_started_along_once_at_the_end() {
    let mut state = State::default();
    let mut web = traits(&[("api-1", Condition::Healthy), ("api-2", Condition::Healthy)]);
    web.needs.iter_mut().for_each(|need| need.restart = true);
    web.service = name("web");
    let mut units = replicas(2);
    units.push((name("web"), web));
    step(&mut state, wish(&units, &[]));
    for unit in ["api-1", "api-2", "web"] {
        rise(&mut state, unit);
    }
    step(&mut state, wish(&units, &all()));
    fall(&mut state, "api-1");
    assert_eq!(rise(&mut state, "api-1"), ["spread", "withdraw api-2"]);
    fall(&mut state, "api-2");
    assert_eq!(rise(&mut state, "api-2"), ["spread", "signal web 15"]);
}

/// Units that served until a change took them down, and that do not serve again yet.
#[derive(Default)]
struct Rolled(BTreeSet<String>);

impl Rolled {
    /// What ended by itself was not taken down.
    fn watch(&mut self, before: &State, after: &State, ended: Option<&str>) {
        for (name, unit) in &after.units {
            if Some(name.as_str()) == ended {
                continue;
            }
            let served = before.units.get(name).is_some_and(Unit::serves);
            if served && !unit.serves() && unit.roll == Roll::Trial {
                self.0.insert(name.clone());
            }
        }
        let trial = |name: &String| after.units.get(name).is_some_and(|unit| unit.roll == Roll::Trial);
        self.0.retain(trial);
    }
}

/// So many replicas of `api`, or the one sandbox of a plain one, and `web`, which needs all of them.
fn of_count(count: usize, checked: bool, policy: usize) -> Vec<(String, Traits)> {
    let mut units = replicas(u32::try_from(count).unwrap());
    if count == 0 {
        let mut plain = traits(&[]);
        plain.service = "api".to_owned();
        units.push(("api".to_owned(), plain));
    }
    for (_, traits) in &mut units {
        traits.checked = checked;
        traits.restart = [
            Restart::Proven,
            Restart::No,
            Restart::OnFailure(Some(2)),
            Restart::Always,
            Restart::UnlessStopped,
        ][policy];
        traits.on_unhealthy = [OnUnhealthy::None, OnUnhealthy::Restart, OnUnhealthy::Stop][policy % 3];
    }
    let needs: Vec<_> = units
        .iter()
        .map(|(name, _)| (name.as_str(), Condition::Healthy))
        .collect();
    let mut web = traits(&needs);
    web.service = "web".to_owned();
    web.needs.iter_mut().for_each(|need| need.restart = policy > 2);
    units.push(("web".to_owned(), web));
    units
}

proptest! {
    #[test]
    fn a_change_never_takes_two_down_and_everything_ends_when_told_to(
        checked in any::<bool>(),
        policy in 0_usize..5,
        script in proptest::collection::vec((0_u8..16, 0_usize..5, any::<bool>()), 0..160),
    ) {
        let (mut state, mut world, mut rolled) = (State::default(), World::default(), Rolled::default());
        let of_count = |count: usize| of_count(count, checked, policy);
        let mut count = 3;
        for (what, which, flag) in script {
            let name = match which { 0 => "api".to_owned(), 4 => "web".to_owned(), n => format!("api-{n}") };
            let run = state.units.get(&name).map_or(0, |unit| unit.run);
            let before = state.clone();
            let event = match what {
                0 | 1 => {
                    if what == 1 { count = which.min(3); }
                    let units = of_count(count);
                    let renew = units.iter().filter(|_| flag).map(|(name, _)| name.clone());
                    let renew = renew.filter(|name| state.units.contains_key(name) && name != "web").collect::<Vec<_>>();
                    Some(wish(&units, &renew))
                }
                2 if flag => Some(Event::Stop(vec![name])),
                3 | 4 => Some(Event::Healthy(name, run)),
                5 => Some(Event::Late { name, run, cause: "late".to_owned() }),
                6 => Some(Event::GraceOver(name, run)),
                7 if world.is_alive(&name) => Some(world.die(&name)),
                8 => Some(Event::Sick { name, run, cause: "sick".to_owned() }),
                9 => Some(Event::Well(name, run)),
                10 => Some(Event::Steady(name, run)),
                11 if flag => { world.succession(&mut state); None }
                _ => world.answer(which, flag),
            };
            if let Some(event) = event {
                let ended = match &event { Event::Exited { name, .. } => Some(name.clone()), _ => None };
                let actions = step(&mut state, event);
                world.take(actions, &state);
                rolled.watch(&before, &state, ended.as_deref());
                prop_assert!(rolled.0.len() < 2, "{:?} {state:#?}", rolled.0);
            }
        }
        let actions = step(&mut state, Event::Down { kill: false, grace: None });
        world.take(actions, &state);
        let mut turns = 0;
        while let Some(event) = world.answer(turns, false) {
            let actions = step(&mut state, event);
            world.take(actions, &state);
            turns += 1;
            prop_assert!(turns < 1000, "{state:?}");
        }
        prop_assert!(world.is_over(), "{state:?}");
    }

    /// Without anything that goes wrong, a change goes through all of them.
    #[test]
    fn a_change_that_works_reaches_everyone(count in 1_u32..5, choices in proptest::collection::vec(0_usize..4, 400)) {
        let (mut state, mut world) = (State::default(), World::default());
        let units = replicas(count);
        let names: Vec<String> = units.iter().map(|(name, _)| name.clone()).collect();
        let mut choices = choices.into_iter();
        for renew in [&[][..], &names] {
            let actions = step(&mut state, wish(&units, renew));
            world.take(actions, &state);
            while state.settled(&names) != Some(0) {
                let choice = choices.next();
                prop_assert!(choice.is_some(), "{state:?}");
                let well = state.units.iter().find(|(_, unit)| unit.stage == Stage::Running { ready: false });
                let event = match well.map(|(name, unit)| Event::Healthy(name.clone(), unit.run)) {
                    Some(event) => event,
                    None => world.answer(choice.unwrap_or(0), false).expect("something is owed"),
                };
                let actions = step(&mut state, event);
                world.take(actions, &state);
                let serving = state.units.values().filter(|unit| unit.serves()).count();
                let least = usize::try_from(count - 1).unwrap();
                prop_assert!(renew.is_empty() || serving >= least, "{state:?}");
            }
        }
        prop_assert!(state.units.values().all(|unit| unit.run == 2));
    }
}
