//! From two rows of a service, before and after, to what happened. Pure.

use pactown_runtime::protocol::ExitRecord;

use super::{Event, Kind};
use crate::control::api::{Health, Phase, ServiceStatus};

/// Share of the CPU periods spent waiting for quota from which on that is worth telling, and a cause of lateness.
pub const STARVED: f64 = 0.5;

/// What happened to a service between the two rows; `last` is how it ended last, `now` microseconds since the Unix
/// epoch. The events have no time and no witness yet.
pub fn decide(
    before: Option<&ServiceStatus>,
    after: &ServiceStatus,
    last: Option<&ExitRecord>,
    now: u64,
) -> Vec<Event> {
    let kinds = kinds(before, after, last.is_some_and(|record| record.oom_killed()));
    let event = |kind| fill(kind, before, after, last, now);
    kinds.into_iter().map(event).collect()
}

fn kinds(before: Option<&ServiceStatus>, after: &ServiceStatus, oom: bool) -> Vec<Kind> {
    let old = before.map(|row| row.state);
    let mut kinds = Vec::new();
    if before.is_some_and(|row| row.pid.is_some()) && after.pid.is_none() {
        kinds.extend(oom.then_some(Kind::Oom));
        kinds.push(Kind::Exited);
    }
    if before.is_some_and(|row| after.restarts > row.restarts) {
        kinds.push(Kind::Restarting);
    }
    if old == Some(after.state) {
        kinds.extend(health(before, after));
        return kinds;
    }
    let was_preparing = old == Some(Phase::Preparing);
    match after.state {
        Phase::Waiting if was_preparing => kinds.push(Kind::Prepared),
        Phase::Waiting => {}
        Phase::Preparing => kinds.push(Kind::Preparing),
        Phase::Starting => {
            kinds.extend(was_preparing.then_some(Kind::Prepared));
            kinds.push(Kind::Starting);
        }
        // The first look at a service that runs already: it was taken over.
        Phase::Running if old.is_none() => kinds.push(Kind::Adopted),
        Phase::Running => {
            kinds.push(Kind::Started);
            kinds.extend(health(before, after));
        }
        Phase::Completed => kinds.push(Kind::Completed),
        Phase::Failed => {
            // It lives on for a moment: the check never passed.
            kinds.extend(after.pid.is_some().then_some(Kind::Unhealthy));
            kinds.push(Kind::Failed);
        }
        Phase::Blocked => kinds.push(Kind::Blocked),
        Phase::Backoff => kinds.push(Kind::Backoff),
        Phase::Stopping => kinds.push(Kind::Stopping),
        // Its time is told when it comes.
        Phase::Scheduled => {}
        // Never started: nothing happened.
        Phase::Stopped if old.is_none() => {}
        Phase::Stopped => kinds.push(Kind::Stopped),
    }
    kinds
}

fn health(before: Option<&ServiceStatus>, after: &ServiceStatus) -> Option<Kind> {
    if after.state != Phase::Running {
        return None;
    }
    match (before.map(|row| row.health), after.health) {
        (Some(Health::Healthy), Health::Healthy) => None,
        (Some(Health::Unhealthy), Health::Healthy) => Some(Kind::Recovered),
        (_, Health::Healthy) => Some(Kind::Ready),
        (Some(Health::Unhealthy), Health::Unhealthy) => None,
        (_, Health::Unhealthy) => Some(Kind::Unhealthy),
        _ => None,
    }
}

fn fill(
    kind: Kind,
    before: Option<&ServiceStatus>,
    after: &ServiceStatus,
    last: Option<&ExitRecord>,
    now: u64,
) -> Event {
    let began = before
        .and_then(|row| row.started_at_usec)
        .or(after.started_at_usec);
    let lasted = |until: u64| began.map(|began| until.saturating_sub(began) / 1000);
    let mut event = Event::of(after, kind);
    match kind {
        Kind::Started | Kind::Adopted => {
            event.pid = after.pid;
            event.port = after.ports.first().map(|published| published.host_port);
        }
        Kind::Ready => event.duration_ms = lasted(now),
        Kind::Exited | Kind::Oom => {
            event.exit_code = after.exit_code;
            event.memory_peak = last.and_then(|record| record.usage.memory_peak);
            event.duration_ms = lasted(last.map_or(now, |record| record.ended_at_usec));
            event.pid = before.and_then(|row| row.pid);
        }
        Kind::Unhealthy | Kind::Failed | Kind::Blocked | Kind::Backoff => {
            event.cause = after.cause.clone();
            event.restarts = Some(after.restarts).filter(|count| *count > 0);
        }
        Kind::Restarting => event.restarts = Some(after.restarts),
        _ => {}
    }
    event
}

#[cfg(test)]
mod tests {
    use pactown_runtime::cgroup::{Hits, Usage};
    use pactown_runtime::protocol::ExitStatus;

    use super::*;
    use crate::output::tests::row;

    fn at(state: Phase, health: Health, pid: Option<i32>) -> ServiceStatus {
        ServiceStatus {
            pid,
            started_at_usec: pid.map(|_| 1_000_000),
            run: 1,
            ..row("api", state, health)
        }
    }

    fn words(rows: &[ServiceStatus], last: Option<&ExitRecord>) -> Vec<&'static str> {
        let mut words = Vec::new();
        let mut before = None;
        for row in rows {
            words.extend(
                decide(before, row, last, 3_000_000)
                    .iter()
                    .map(|event| event.kind.word()),
            );
            before = Some(row);
        }
        words
    }

    #[test]
    fn a_start_is_told_step_by_step_however_the_steps_fall_together() {
        let (none, starting) = (Health::None, Health::Starting);
        let start = [
            at(Phase::Stopped, none, None),
            at(Phase::Preparing, none, None),
            at(Phase::Waiting, none, None),
            at(Phase::Starting, starting, None),
            at(Phase::Running, starting, Some(7)),
            at(Phase::Running, Health::Healthy, Some(7)),
        ];
        let told = ["preparing", "prepared", "starting", "started", "ready"];
        assert_eq!(words(&start, None), told);
        let mut quick = start.to_vec();
        quick.remove(2);
        assert_eq!(words(&quick, None), told, "no wait in between");
        let ready = decide(Some(&start[4]), &start[5], None, 3_000_000);
        assert_eq!(ready[0].duration_ms, Some(2000));
    }

    #[test]
    fn an_end_says_how_and_how_long() {
        let record = ExitRecord {
            status: ExitStatus::Signal(9),
            usage: Usage {
                memory_peak: Some(64 << 20),
                hits: Hits {
                    oom_kills: 1,
                    ..Hits::default()
                },
                ..Usage::default()
            },
            ended_at_usec: 1_200_000,
        };
        let before = at(Phase::Running, Health::None, Some(7));
        let after = ServiceStatus {
            exit_code: Some(137),
            cause: Some("killed by SIGKILL".into()),
            ..at(Phase::Failed, Health::None, None)
        };
        let events = decide(Some(&before), &after, Some(&record), 3_000_000);
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Oom, Kind::Exited, Kind::Failed]);
        assert_eq!(
            (
                events[1].exit_code,
                events[1].duration_ms,
                events[1].memory_peak,
                events[1].pid
            ),
            (Some(137), Some(200), Some(64 << 20), Some(7))
        );
        assert_eq!(events[2].cause.as_deref(), Some("killed by SIGKILL"));
    }

    #[test]
    fn a_job_exits_and_completes() {
        let rows = [
            at(Phase::Starting, Health::None, None),
            at(Phase::Running, Health::None, Some(7)),
            at(Phase::Completed, Health::None, None),
        ];
        assert_eq!(words(&rows, None), ["starting", "started", "exited", "completed"]);
    }

    #[test]
    fn lateness_is_unhealthiness_and_a_check_may_fail_and_pass_again() {
        let rows = [
            at(Phase::Starting, Health::Starting, None),
            at(Phase::Running, Health::Healthy, Some(7)),
            at(Phase::Running, Health::Unhealthy, Some(7)),
            at(Phase::Running, Health::Healthy, Some(7)),
            at(Phase::Failed, Health::Unhealthy, Some(7)),
        ];
        assert_eq!(
            words(&rows, None),
            [
                "starting",
                "started",
                "ready",
                "unhealthy",
                "recovered",
                "unhealthy",
                "failed"
            ]
        );
    }

    #[test]
    fn a_loop_of_restarts_names_each_of_them() {
        let mut rows = [
            at(Phase::Starting, Health::None, None),
            at(Phase::Running, Health::None, Some(7)),
            at(Phase::Backoff, Health::None, None),
            at(Phase::Starting, Health::None, None),
            at(Phase::Running, Health::None, Some(8)),
        ];
        rows[3].restarts = 1;
        rows[4].restarts = 1;
        assert_eq!(
            words(&rows, None),
            [
                "starting",
                "started",
                "exited",
                "backoff",
                "restarting",
                "starting",
                "started"
            ]
        );
    }

    #[test]
    fn the_first_look_at_what_runs_is_adoption_and_at_what_rests_is_nothing() {
        assert_eq!(
            words(&[at(Phase::Running, Health::Healthy, Some(7))], None),
            ["adopted"]
        );
        assert_eq!(words(&[at(Phase::Stopped, Health::None, None)], None), [""; 0]);
        let stop = [
            at(Phase::Running, Health::None, Some(7)),
            at(Phase::Stopping, Health::None, Some(7)),
            at(Phase::Stopped, Health::None, None),
        ];
        assert_eq!(words(&stop, None), ["adopted", "stopping", "exited", "stopped"]);
    }
}
