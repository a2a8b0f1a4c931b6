//! What an ecosystem has used since it came up: peaks and sums of each sandbox, over all its runs, from the events of
//! their ends and from what runs now. Pure; also after `down`.

pub mod budget;
pub mod suggest;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::config::ecosystem::{ServiceName, UnitName};
use crate::events::{Event, Kind, Used};

/// What one sandbox has used, or all together. What the kernel did not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the sandbox; `all` for all together.
    pub name: UnitName,
    /// The service; `None` for all together.
    pub service: Option<ServiceName>,
    /// How often it was started.
    pub runs: u64,
    /// Whether it runs now.
    pub running: bool,
    /// How long it has run, seconds.
    pub wall_seconds: f64,
    /// CPU time, seconds.
    pub cpu_seconds: Option<f64>,
    /// Most memory in use at any time, bytes.
    pub memory_peak: Option<u64>,
    /// Most processes and threads at any time.
    pub pids_peak: Option<u64>,
    /// Read from disks, bytes.
    pub read_bytes: Option<u64>,
    /// Written to disks, bytes.
    pub write_bytes: Option<u64>,
    /// Received, bytes.
    pub rx_bytes: Option<u64>,
    /// Sent, bytes.
    pub tx_bytes: Option<u64>,
    /// Most of its limited disk in use at the end of a run, bytes.
    pub disk_bytes: Option<u64>,
    /// Starts that nobody asked for.
    pub restarts: u32,
    /// How often limits were reached.
    pub hits: Hits,
}

/// How often limits were reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hits {
    /// Processes that the kernel killed for lack of memory.
    pub oom_kills: u64,
    /// Times that memory was taken back at the limit.
    pub memory: u64,
    /// Times that it was slowed down above `memory_high`.
    pub memory_high: u64,
    /// Forks that were refused.
    pub pids: u64,
    /// CPU periods in which the quota was used up.
    pub cpu: u64,
    /// Runs that ended with a full disk.
    pub disk: u64,
}

/// The whole report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// One row for each sandbox that ran, in the order of their first starts.
    pub services: Vec<Row>,
    /// All together: the peaks are those of the sum, the time is that of the longest, the rest is the sum.
    pub all: Row,
}

/// One sandbox that runs now.
#[derive(Debug, Clone)]
pub struct Living {
    /// Its name.
    pub name: UnitName,
    /// How long, seconds.
    pub seconds: f64,
    /// What it has used so far.
    pub used: Used,
}

/// The report of the life that `life` tells of; `living` runs now, and `all` is what all together have used by now.
pub fn report(life: &[Event], living: &[Living], all: Option<&Used>) -> Report {
    let mut rows: IndexMap<UnitName, Row> = IndexMap::new();
    for event in life {
        if let Some(unit) = event.unit() {
            let row = rows.entry(unit.clone()).or_insert_with(|| Row {
                name: unit,
                service: event.service.clone(),
                ..Row::default()
            });
            row.take(event);
        }
    }
    for one in living {
        if let Some(row) = rows.get_mut(&one.name) {
            row.running = true;
            row.wall_seconds += one.seconds;
            row.add(&one.used);
        }
    }
    rows.retain(|_, row| row.runs > 0);
    let services: Vec<Row> = rows.into_values().collect();
    let ended = life.iter().rev().find(|event| is_end_of_all(event));
    let all = all.or(ended.and_then(|event| event.used.as_deref()));
    Report {
        all: together(&services, all),
        services,
    }
}

fn is_end_of_all(event: &Event) -> bool {
    event.kind == Kind::Stopped && event.service.is_none()
}

/// Sums, and the peaks that the common group has seen: those of the single ones need not have been at the same time.
fn together(rows: &[Row], all: Option<&Used>) -> Row {
    let mut sum = Row {
        name: "all".to_owned(),
        ..Row::default()
    };
    for row in rows {
        sum.runs += row.runs;
        sum.running |= row.running;
        sum.wall_seconds = sum.wall_seconds.max(row.wall_seconds);
        sum.cpu_seconds = both(sum.cpu_seconds, row.cpu_seconds, |a, b| a + b);
        sum.add_bytes(row.read_bytes, row.write_bytes, row.rx_bytes, row.tx_bytes);
        sum.disk_bytes = both(sum.disk_bytes, row.disk_bytes, |a, b| a + b);
        sum.restarts += row.restarts;
        sum.hits.add(&row.hits);
    }
    if let Some(all) = all {
        (sum.memory_peak, sum.pids_peak) = (all.memory_peak, all.pids_peak);
        let own = Hits::of(all);
        // Kills are counted where they happen; what is refused by the common limit is counted there, and only that.
        sum.hits.memory += own.memory;
        sum.hits.memory_high += own.memory_high;
        sum.hits.cpu += own.cpu;
    }
    sum
}

fn both<T>(one: Option<T>, other: Option<T>, join: impl Fn(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(join(one, other)),
        (one, other) => one.or(other),
    }
}

impl Row {
    fn take(&mut self, event: &Event) {
        match event.kind {
            Kind::Started => self.runs += 1,
            Kind::Exited => {
                self.wall_seconds += event.duration_ms.unwrap_or(0) as f64 / 1e3;
                if let Some(used) = &event.used {
                    self.add(used);
                }
            }
            // Not the service's own count: that begins anew with each start that somebody asks for.
            Kind::Restarting => self.restarts += 1,
            _ => {}
        }
    }

    fn add(&mut self, used: &Used) {
        let seconds = used.cpu_usec.map(|usec| usec as f64 / 1e6);
        self.cpu_seconds = both(self.cpu_seconds, seconds, |a, b| a + b);
        self.memory_peak = both(self.memory_peak, used.memory_peak, u64::max);
        self.pids_peak = both(self.pids_peak, used.pids_peak, u64::max);
        self.disk_bytes = both(self.disk_bytes, used.disk_bytes, u64::max);
        self.add_bytes(used.read_bytes, used.write_bytes, used.rx_bytes, used.tx_bytes);
        self.hits.add(&Hits::of(used));
    }

    fn add_bytes(&mut self, read: Option<u64>, write: Option<u64>, rx: Option<u64>, tx: Option<u64>) {
        let sum = |a: u64, b: u64| a.saturating_add(b);
        self.read_bytes = both(self.read_bytes, read, sum);
        self.write_bytes = both(self.write_bytes, write, sum);
        self.rx_bytes = both(self.rx_bytes, rx, sum);
        self.tx_bytes = both(self.tx_bytes, tx, sum);
    }
}

impl Hits {
    fn of(used: &Used) -> Self {
        Self {
            oom_kills: used.hits.oom_kills,
            memory: used.hits.memory,
            memory_high: used.hits.memory_high,
            pids: used.hits.pids,
            cpu: used.hits.cpu_throttled,
            disk: u64::from(used.disk_full),
        }
    }

    fn add(&mut self, more: &Self) {
        self.oom_kills += more.oom_kills;
        self.memory += more.memory;
        self.memory_high += more.memory_high;
        self.pids += more.pids;
        self.cpu += more.cpu;
        self.disk += more.disk;
    }

    /// `memory killed 1, pids 12`: those that are not 0.
    pub fn words(&self) -> String {
        let counts = [
            ("oom-killed", self.oom_kills),
            ("memory", self.memory),
            ("memory_high", self.memory_high),
            ("pids", self.pids),
            ("cpu", self.cpu),
            ("disk full", self.disk),
        ];
        let counts = counts.iter().filter(|(_, count)| *count > 0);
        let words: Vec<String> = counts.map(|(name, count)| format!("{name} {count}")).collect();
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, name: &str) -> Event {
        Event {
            service: Some(name.to_owned()),
            ..Event::new(kind)
        }
    }

    fn ended(name: &str, cpu_usec: u64, memory_peak: u64) -> Event {
        let used = Used {
            cpu_usec: Some(cpu_usec),
            memory_peak: Some(memory_peak),
            rx_bytes: Some(5),
            disk_full: true,
            ..Used::default()
        };
        Event {
            duration_ms: Some(1500),
            used: Some(Box::new(used)),
            ..event(Kind::Exited, name)
        }
    }

    #[test]
    fn runs_are_summed_and_peaks_are_the_highest() {
        let life = [
            event(Kind::Started, "api"),
            ended("api", 1_000_000, 50),
            event(Kind::Started, "api"),
            ended("api", 500_000, 70),
            event(Kind::Blocked, "web"),
        ];
        let report = report(&life, &[], None);
        assert_eq!(report.services.len(), 1, "what never ran has no row");
        let api = &report.services[0];
        assert_eq!((api.runs, api.memory_peak, api.rx_bytes), (2, Some(70), Some(10)));
        assert_eq!((api.cpu_seconds, api.wall_seconds), (Some(1.5), 3.0));
        assert_eq!(api.hits.words(), "disk full 2");
        assert_eq!(
            (report.all.memory_peak, report.all.cpu_seconds),
            (None, Some(1.5))
        );
    }

    #[test]
    fn restarts_are_counted_whatever_the_service_counts() {
        let again = |restarts| Event {
            restarts: Some(restarts),
            ..event(Kind::Restarting, "api")
        };
        let started = || event(Kind::Started, "api");
        // Somebody has asked for a start before the last one.
        let life = [started(), again(1), started(), again(2), started(), again(1)];
        let report = report(&life, &[], None);
        assert_eq!((report.services[0].restarts, report.all.restarts), (3, 3));
    }

    #[test]
    fn what_runs_counts_too_and_the_peak_of_all_is_their_own() {
        let life = [
            event(Kind::Started, "api"),
            ended("api", 1_000_000, 50),
            event(Kind::Started, "api"),
        ];
        let living = [Living {
            name: "api".into(),
            seconds: 2.0,
            used: Used {
                cpu_usec: Some(250_000),
                memory_peak: Some(60),
                ..Used::default()
            },
        }];
        let all = Used {
            memory_peak: Some(55),
            ..Used::default()
        };
        let report = report(&life, &living, Some(&all));
        let api = &report.services[0];
        assert!(api.running);
        assert_eq!((api.wall_seconds, api.memory_peak), (3.5, Some(60)));
        assert_eq!(
            (report.all.memory_peak, report.all.cpu_seconds),
            (Some(55), Some(1.25))
        );
    }

    #[test]
    fn after_the_end_the_peak_of_all_is_in_the_last_event() {
        let all = Used {
            memory_peak: Some(90),
            ..Used::default()
        };
        let life = [
            event(Kind::Started, "api"),
            ended("api", 1, 50),
            Event {
                used: Some(Box::new(all)),
                ..Event::new(Kind::Stopped)
            },
        ];
        assert_eq!(report(&life, &[], None).all.memory_peak, Some(90));
    }
}
