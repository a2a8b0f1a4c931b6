//! Whether services have reached a state that somebody waits for, still may, or never will. Pure.

use super::unit::{Next, Unit};
use super::units::State;
use crate::config::ecosystem::ServiceName;
use crate::control::api::{Goal, Health, Phase};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// All are there.
    Reached,
    /// Not all are, yet.
    Pending,
    /// One can no longer get there unless it is asked to.
    Never {
        /// Which.
        service: ServiceName,
        /// Why, one line.
        cause: String,
    },
}

/// Where `names` stand on their way to `goal`.
pub(super) fn reach(state: &State, names: &[ServiceName], goal: Goal) -> Reach {
    let mut reached = true;
    for name in names {
        match one(state.units.get(name), name, goal) {
            Ok(there) => reached &= there,
            Err(cause) => {
                return Reach::Never {
                    service: name.clone(),
                    cause,
                };
            }
        }
    }
    match reached {
        true => Reach::Reached,
        false => Reach::Pending,
    }
}

/// Whether it is there; `Err` when it never will be.
fn one(unit: Option<&Unit>, name: &str, goal: Goal) -> Result<bool, String> {
    let Some(unit) = unit else {
        return match goal {
            Goal::Stopped => Ok(true),
            _ => Err("it is no longer part of the ecosystem".to_owned()),
        };
    };
    let view = unit.view();
    let running = view.phase == Phase::Running;
    let there = match goal {
        Goal::Running => running,
        Goal::Healthy => running && matches!(view.health, Health::Healthy | Health::None),
        Goal::Completed => unit.is_at_rest() && view.phase == Phase::Completed,
        Goal::Stopped => unit.is_at_rest(),
    };
    if there || matches!(unit.next, Next::Start | Next::Retry) {
        return Ok(there);
    }
    if goal == Goal::Completed && !unit.traits.job {
        return Err("it is no job: it does not end by itself".to_owned());
    }
    if goal == Goal::Stopped || is_on_its_way(view.phase, goal) {
        return Ok(false);
    }
    Err(match (view.phase, view.cause) {
        (_, Some(cause)) => cause,
        (Phase::Completed, None) => "it has completed".to_owned(),
        _ => format!("it is stopped, start it with 'pactown start {name}'"),
    })
}

/// Whether a service in this phase may get to the goal by itself.
fn is_on_its_way(phase: Phase, goal: Goal) -> bool {
    match phase {
        Phase::Waiting | Phase::Preparing | Phase::Starting | Phase::Running | Phase::Backoff => true,
        Phase::Scheduled => true,
        // Its sandbox has ended with 0 and is being removed.
        Phase::Completed => goal == Goal::Completed,
        Phase::Failed | Phase::Blocked | Phase::Stopping | Phase::Stopped => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::ecosystem::{OnUnhealthy, Restart};
    use crate::supervisor::unit::{Awaits, End, Stage, Traits};

    fn state(stage: Stage, next: Next, job: bool) -> State {
        let traits = Traits {
            service: "api".to_owned(),
            replica: None,
            needs: Vec::new(),
            job,
            schedule: None,
            checked: !job,
            timeout: Duration::from_secs(60),
            restart: Restart::No,
            on_unhealthy: OnUnhealthy::None,
            signal: 15,
            grace: Duration::from_secs(10),
        };
        let mut unit = Unit::new(traits);
        unit.stage = stage;
        unit.next = next;
        let mut state = State::default();
        state.units.insert("web".to_owned(), unit);
        state
    }

    fn of(stage: Stage, job: bool) -> [Reach; 4] {
        let state = state(stage, Next::Stay, job);
        [Goal::Running, Goal::Healthy, Goal::Completed, Goal::Stopped]
            .map(|goal| reach(&state, &["web".to_owned()], goal))
    }

    fn never(cause: &str) -> Reach {
        Reach::Never {
            service: "web".to_owned(),
            cause: cause.to_owned(),
        }
    }

    const NO_JOB: &str = "it is no job: it does not end by itself";
    const STOPPED: &str = "it is stopped, start it with 'pactown start web'";

    #[test]
    fn a_service_on_its_way_is_waited_for() {
        use Reach::{Pending, Reached};
        assert_eq!(
            of(Stage::Queued, false),
            [Pending, Pending, never(NO_JOB), Pending]
        );
        assert_eq!(
            of(Stage::Running { ready: false }, false),
            [Reached, Pending, never(NO_JOB), Pending]
        );
        assert_eq!(
            of(Stage::Running { ready: true }, false),
            [Reached, Reached, never(NO_JOB), Pending]
        );
        assert_eq!(
            of(Stage::Running { ready: true }, true),
            [Reached, Reached, Pending, Pending]
        );
    }

    #[test]
    fn an_end_is_told_with_its_cause() {
        use Reach::{Pending, Reached};
        let failed = || End::Failed {
            cause: "exited with code 3".to_owned(),
            exit: 1,
        };
        let code = || never("exited with code 3");
        assert_eq!(of(Stage::Rest(failed()), true), [code(), code(), code(), Reached]);
        let closing = |end| Stage::Closing {
            awaits: Awaits::Exit,
            end,
        };
        assert_eq!(of(closing(failed()), true), [code(), code(), code(), Pending]);
        let stopped = || never(STOPPED);
        assert_eq!(
            of(closing(End::Stopped), true),
            [stopped(), stopped(), stopped(), Pending]
        );
        assert_eq!(
            of(Stage::Rest(End::Stopped), false),
            [stopped(), stopped(), never(NO_JOB), Reached]
        );
        let done = || never("it has completed");
        assert_eq!(
            of(Stage::Rest(End::Completed), true),
            [done(), done(), Reached, Reached]
        );
        assert_eq!(
            of(closing(End::Completed), true),
            [done(), done(), Pending, Pending]
        );
    }

    #[test]
    fn one_that_starts_again_is_waited_for_and_one_that_is_gone_is_stopped() {
        let state = state(Stage::Rest(End::Stopped), Next::Start, false);
        let names = ["web".to_owned()];
        assert_eq!(reach(&state, &names, Goal::Healthy), Reach::Pending);
        assert_eq!(reach(&state, &names, Goal::Stopped), Reach::Pending);
        let gone = ["old".to_owned()];
        assert_eq!(reach(&state, &gone, Goal::Stopped), Reach::Reached);
        assert!(matches!(reach(&state, &gone, Goal::Running), Reach::Never { .. }));
    }
}
