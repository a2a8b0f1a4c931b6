//! Random sequences of events, and of supervisors that die: nothing is forgotten, everything ends when told to.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::config::ecosystem::Overlap;
use crate::supervisor::step::resume::{Tidings, resume};
use crate::supervisor::unit::Standing;

/// What the world owes an answer for.
#[derive(Default)]
pub(super) struct World {
    preparing: BTreeSet<(ServiceName, u64)>,
    creating: BTreeSet<(ServiceName, u64)>,
    alive: BTreeSet<ServiceName>,
    told: BTreeSet<ServiceName>,
    waiting: BTreeSet<(ServiceName, u64)>,
    /// Who is taken out of the spread, and who has been.
    withdrawing: BTreeSet<(ServiceName, u64)>,
    withdrawn: BTreeSet<(ServiceName, u64)>,
    /// Who gets connections.
    led_to: BTreeSet<ServiceName>,
    finished: bool,
}

impl World {
    pub(super) fn take(&mut self, actions: Vec<Action>, state: &State) {
        for action in actions {
            match action {
                Action::Spread => {
                    let ready = state.spread.values().flat_map(|spread| &spread.ready);
                    self.led_to = ready.cloned().collect();
                }
                Action::Withdraw(name, run, _) => {
                    assert!(!self.led_to.contains(&name), "rules come first: {name}");
                    self.withdrawing.insert((name, run));
                }
                Action::Signal(name, _) if !state.ending && state.is_spread(&name) => {
                    let run = state.units[&name].run;
                    assert!(
                        self.withdrawn.contains(&(name.clone(), run)),
                        "told too early: {name}"
                    );
                    assert!(!self.led_to.contains(&name), "led to: {name}");
                    self.told.insert(name);
                }
                Action::Prepare(name, run) => assert!(self.preparing.insert((name, run))),
                Action::Create(name, run) => {
                    assert!(!self.alive.contains(&name), "{name} would run twice");
                    assert!(
                        self.creating.iter().all(|(other, _)| *other != name),
                        "{name} is made twice"
                    );
                    self.creating.insert((name, run));
                }
                Action::Signal(name, _) | Action::Kill(name) => {
                    assert!(self.alive.contains(&name), "only the living are told: {name}");
                    self.told.insert(name);
                }
                Action::Discard(name) => assert!(!self.alive.contains(&name), "{name} lives"),
                Action::Retry(name, run, _) => drop(self.waiting.insert((name, run))),
                Action::Finish => self.finished = true,
                _ => {}
            }
        }
    }

    /// Answers one debt; the number chooses which.
    pub(super) fn answer(&mut self, choice: usize, fails: bool) -> Option<Event> {
        if let Some((name, run)) = pick(&self.preparing, choice) {
            self.preparing.remove(&(name.clone(), run));
            return Some(if fails {
                let cause = "build".to_owned();
                Event::Unmade {
                    name,
                    run,
                    cause,
                    exit: 1,
                }
            } else {
                Event::Prepared(name, run)
            });
        }
        if let Some((name, run)) = pick(&self.creating, choice) {
            self.creating.remove(&(name.clone(), run));
            self.alive.insert(name.clone());
            return Some(Event::Created(name, run));
        }
        if let Some((name, run)) = pick(&self.waiting, choice) {
            self.waiting.remove(&(name.clone(), run));
            return Some(Event::Retry(name, run));
        }
        if let Some((name, run)) = pick(&self.withdrawing, choice) {
            self.withdrawing.remove(&(name.clone(), run));
            self.withdrawn.insert((name.clone(), run));
            return Some(Event::Withdrawn(name, run));
        }
        let name = pick(&self.told, choice)?;
        Some(self.die(&name))
    }

    /// The supervisor dies and another takes over: answers that were under way are lost, creations are done or not.
    pub(super) fn succession(&mut self, state: &mut State) {
        self.preparing.clear();
        self.withdrawing.clear();
        self.withdrawn.clear();
        self.told.clear();
        self.waiting.clear();
        for (index, (name, _)) in std::mem::take(&mut self.creating).into_iter().enumerate() {
            if index % 2 == 0 {
                self.alive.insert(name);
            }
        }
        let old = std::mem::take(state);
        let mut tidings = Vec::new();
        for (name, unit) in old.units {
            let text = serde_json::to_string(&unit.standing()).expect("text");
            let standing: Standing = serde_json::from_str(&text).expect("standing");
            let (mut heir, lives) = (Unit::new(unit.traits), self.alive.contains(&name));
            let told = resume(&mut heir, standing, lives, false);
            tidings.push((name.clone(), heir.run, told));
            state.units.insert(name, heir);
        }
        for (name, run, told) in tidings {
            let event = match told {
                Tidings::Created => Event::Created(name, run),
                Tidings::Died => exit(&name, 1),
                Tidings::Waits => {
                    self.waiting.insert((name, run));
                    continue;
                }
                Tidings::Stray => {
                    self.alive.remove(&name);
                    continue;
                }
                Tidings::None => continue,
            };
            let actions = step(state, event);
            self.take(actions, state);
        }
        let actions = step(state, Event::Stop(Vec::new()));
        self.take(actions, state);
    }

    pub(super) fn is_alive(&self, name: &str) -> bool {
        self.alive.contains(name)
    }

    /// Everything was said to be over, and nothing lives.
    pub(super) fn is_over(&self) -> bool {
        self.finished && self.alive.is_empty()
    }

    pub(super) fn die(&mut self, name: &str) -> Event {
        self.told.remove(name);
        self.alive.remove(name);
        exit(name, 1)
    }
}

fn pick<T: Clone + Ord>(set: &BTreeSet<T>, choice: usize) -> Option<T> {
    set.iter().nth(choice % set.len().max(1)).cloned()
}

proptest! {
    #[test]
    fn any_sequence_of_events_ends_when_everything_is_told_to(
        needs in proptest::collection::vec(proptest::collection::vec(0_usize..6, 0..3), 6),
        clockwork in proptest::collection::vec(0_usize..6, 6),
        policies in proptest::collection::vec(0_usize..5, 6),
        script in proptest::collection::vec((0_u8..16, 0_usize..6, any::<bool>()), 0..120),
    ) {
        let (mut state, mut world) = (State::default(), World::default());
        let names: Vec<String> = (0..6).map(|n| format!("s{n}")).collect();
        let units: Vec<(ServiceName, Traits)> = needs.iter().enumerate().map(|(n, needs)| {
            let needs: Vec<_> = needs.iter().filter(|m| **m < n && clockwork[**m] > 2).map(|m| (names[*m].as_str(), Condition::Healthy)).collect();
            let mut traits = traits(&needs);
            let all = [Restart::Proven, Restart::No, Restart::OnFailure(Some(2)), Restart::Always, Restart::UnlessStopped];
            traits.service.clone_from(&names[n]);
            traits.restart = all[policies[n]];
            traits.on_unhealthy = [OnUnhealthy::None, OnUnhealthy::Restart, OnUnhealthy::Stop][policies[n] % 3];
            traits.needs.iter_mut().for_each(|need| need.restart = policies[n] > 2);
            if clockwork[n] < 3 {
                (traits.job, traits.checked) = (true, false);
                traits.schedule = super::schedule::scheduled([Overlap::Skip, Overlap::Queue, Overlap::Replace][clockwork[n]]).schedule;
            }
            (names[n].clone(), traits)
        }).collect();
        for (what, which, flag) in script {
            let name = names[which].clone();
            let run = state.units.get(&name).map_or(0, |unit| unit.run);
            let event = match what {
                0 => Some(Event::Want(Want {
                    units: units[..=which].to_vec(), run: names[..=which].to_vec(),
                    renew: if flag { vec![names[0].clone()] } else { vec![] }, now: vec![names[which].clone()], sequential: flag && which > 3,
                })),
                1 => Some(Event::Stop(vec![name])),
                2 => Some(Event::Healthy(name, run)),
                3 => Some(Event::Late { name, run, cause: "late".to_owned() }),
                4 => Some(Event::GraceOver(name, run)),
                5 if world.alive.contains(&name) => Some(world.die(&name)),
                6 => Some(Event::Sick { name, run, cause: "sick".to_owned() }),
                7 => Some(Event::Steady(name, run)),
                9 | 10 => Some(Event::Due(name)),
                8 if flag => {
                    world.succession(&mut state);
                    None
                }
                _ => world.answer(which, flag),
            };
            let actions = event.map(|event| step(&mut state, event));
            world.take(actions.unwrap_or_default(), &state);
        }
        let actions = step(&mut state, Event::Down { kill: false, grace: None });
        world.take(actions, &state);
        let mut turns = 0;
        while let Some(event) = world.answer(turns, false) {
            for event in [event, Event::Due(names[turns % names.len()].clone())] {
                let actions = step(&mut state, event);
                world.take(actions, &state);
            }
            turns += 1;
            prop_assert!(turns < 1000, "{state:?}");
        }
        prop_assert!(world.is_over(), "{state:?}");
    }
}
