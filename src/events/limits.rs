//! Limits that were reached, in words: for the row of `ps`, and for events. Pure.

use bytesize::ByteSize;
use pactown_runtime::cgroup::Usage;
use pactown_runtime::disk::Space;

use super::decide::STARVED;

/// How much more often than when it was last told a limit must have been reached to be told again.
const MORE: u64 = 10;
/// Periods of the CPU quota that make a share worth telling: one second.
const PERIODS: u64 = 10;

/// What was told of one run so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    oom_kills: u64,
    memory_high: u64,
    pids: u64,
    cpu: bool,
    disk: bool,
    /// Periods of the CPU quota at the last look: all, and those in which it was used up.
    periods: (u64, u64),
}

/// What is new since it was last told, one line each; what is told is remembered. Killed processes are told of one that
/// lives on: an end for lack of memory has an event of its own.
pub fn news(told: &mut Told, now: &Usage, disk: Option<Space>, lives: bool) -> Vec<String> {
    let hits = &now.hits;
    let grown = |told: &mut u64, count: u64| {
        let is_new = count > 0 && (*told == 0 || count >= told.saturating_mul(MORE));
        if is_new {
            *told = count;
        }
        is_new
    };
    let mut lines = Vec::new();
    if lives && grown(&mut told.oom_kills, hits.oom_kills) {
        lines.push(killed(now));
    }
    if grown(&mut told.memory_high, hits.memory_high) {
        lines.push(slowed(hits.memory_high));
    }
    if grown(&mut told.pids, hits.pids) {
        lines.push(refused(now));
    }
    let since = (
        hits.cpu_periods.saturating_sub(told.periods.0),
        hits.cpu_throttled.saturating_sub(told.periods.1),
    );
    if since.0 >= PERIODS {
        told.periods = (hits.cpu_periods, hits.cpu_throttled);
        let share = since.1 as f64 / since.0 as f64;
        if share >= STARVED && !std::mem::replace(&mut told.cpu, true) {
            lines.push(throttled(share));
        }
    }
    if let Some(disk) = disk.filter(|disk| disk.is_full()) {
        let first = !std::mem::replace(&mut told.disk, true);
        lines.extend(first.then(|| full(disk.size)));
    }
    lines
}

/// What it came up against in all, shortly. Killed processes only of one that lives on: else they are its end.
pub fn words(now: &Usage, disk: Option<Space>, lives: bool) -> Vec<String> {
    let hits = &now.hits;
    let mut words = Vec::new();
    words.extend((lives && hits.oom_kills > 0).then(|| killed(now)));
    words.extend((hits.memory_high > 0).then(|| slowed(hits.memory_high)));
    words.extend((hits.pids > 0).then(|| refused(now)));
    let starved = hits.cpu_periods >= PERIODS && hits.throttled() >= STARVED;
    words.extend(starved.then(|| throttled(hits.throttled())));
    words.extend(disk.filter(|disk| disk.is_full()).map(|disk| full(disk.size)));
    words
}

/// `(limit 256 MiB, peak 256 MiB)`: what is known of it.
pub fn room(usage: &Usage) -> String {
    let known = [("limit", usage.memory_limit), ("peak", usage.memory_peak)];
    let known = known
        .into_iter()
        .filter_map(|(word, bytes)| Some(format!("{word} {}", size(bytes?))));
    let known: Vec<String> = known.collect();
    match known.is_empty() {
        true => String::new(),
        false => format!(" ({})", known.join(", ")),
    }
}

fn killed(usage: &Usage) -> String {
    let plural = if usage.hits.oom_kills == 1 { "" } else { "es" };
    let count = usage.hits.oom_kills;
    format!("memory: {count} process{plural} killed{}", room(usage))
}

fn slowed(times: u64) -> String {
    format!("memory: slowed down {times} times above memory_high")
}

fn refused(usage: &Usage) -> String {
    let limit = usage.pids_limit.map(|limit| format!(" (limit {limit})"));
    let (count, limit) = (usage.hits.pids, limit.unwrap_or_default());
    format!("processes: refused {count} times{limit}")
}

fn throttled(share: f64) -> String {
    let share = (share * 100.0).round();
    format!("cpu: its quota was used up in {share} % of the periods")
}

fn full(room: u64) -> String {
    format!("disk: full ({} for files)", size(room))
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use pactown_runtime::cgroup::Hits;

    use super::*;

    fn used(hits: Hits) -> Usage {
        Usage {
            pids_limit: Some(64),
            memory_limit: Some(64 << 20),
            memory_peak: Some(64 << 20),
            hits,
            ..Usage::default()
        }
    }

    #[test]
    fn a_limit_is_told_when_it_is_reached_and_when_it_is_reached_much_more_often() {
        let mut told = Told::default();
        let mut at = |pids| {
            let now = used(Hits {
                pids,
                ..Hits::default()
            });
            news(&mut told, &now, None, true)
        };
        assert_eq!(at(0), [""; 0]);
        assert_eq!(at(3), ["processes: refused 3 times (limit 64)"]);
        assert_eq!(at(29), [""; 0]);
        assert_eq!(at(30).len(), 1);
    }

    #[test]
    fn a_quota_is_told_once_when_it_is_used_up_most_of_the_time() {
        let mut told = Told::default();
        let mut at = |cpu_periods, cpu_throttled| {
            let now = used(Hits {
                cpu_periods,
                cpu_throttled,
                ..Hits::default()
            });
            news(&mut told, &now, None, true)
        };
        assert_eq!(at(50, 0), [""; 0]);
        assert_eq!(
            at(100, 45),
            ["cpu: its quota was used up in 90 % of the periods"],
            "of the last second"
        );
        assert_eq!(at(150, 95), [""; 0]);
    }

    #[test]
    fn a_full_disk_and_killed_processes_are_named() {
        let mut told = Told::default();
        let full = Some(Space {
            used: 99,
            size: 1 << 20,
            available: 0,
        });
        let now = used(Hits {
            oom_kills: 1,
            ..Hits::default()
        });
        assert_eq!(
            news(&mut told, &now, full, true),
            [
                "memory: 1 process killed (limit 64.0 MiB, peak 64.0 MiB)",
                "disk: full (1.0 MiB for files)"
            ]
        );
        assert_eq!(news(&mut told, &now, full, true), [""; 0]);
        assert_eq!(words(&now, full, true).len(), 2);
        assert_eq!(news(&mut Told::default(), &now, None, false), [""; 0]);
    }
}
