//! What services use, moment by moment: one [`Sample`] per service from the rows of the control API, its control
//! group and its network namespace.
//!
//! [`counters`] is pure, [`read`] only reads. Nothing here decides what is shown.

mod counters;
mod read;

use std::collections::HashMap;

use serde::Serialize;

pub(crate) use counters::traffic;
pub use counters::{Counters, Rates, rates};
pub(crate) use read::now;

use crate::config::ecosystem::{ServiceName, UnitName};
use crate::control::api::{Health, Phase, ServiceStatus};
use crate::instance::Instance;

/// What one service uses at one moment. What the kernel does not tell, or what cannot be told of a service that does
/// not run, is `None`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// When: RFC 3339, UTC.
    pub ts: String,
    /// The sandbox: the service, or one of its replicas.
    pub name: UnitName,
    /// The service.
    pub service: ServiceName,
    /// Its number among the replicas.
    pub replica: Option<u32>,
    /// CPU since the sample before, percent of one CPU: 200 is two CPUs.
    pub cpu_percent: Option<f64>,
    /// CPU time since its start, microseconds.
    pub cpu_usec: Option<u64>,
    /// Memory in use, bytes.
    pub memory_bytes: Option<u64>,
    /// Its limit, bytes.
    pub memory_limit: Option<u64>,
    /// Processes and threads, the sandbox's init among them.
    pub pids: Option<u64>,
    /// Their limit.
    pub pids_limit: Option<u64>,
    /// Received over the network since its start, bytes.
    pub rx_bytes: Option<u64>,
    /// Sent, bytes.
    pub tx_bytes: Option<u64>,
    /// Received since the sample before, bytes per second.
    pub rx_rate: Option<f64>,
    /// Sent, bytes per second.
    pub tx_rate: Option<f64>,
    /// Read from block devices since its start, bytes; only on cgroup v2 with the `io` controller.
    pub read_bytes: Option<u64>,
    /// Written to block devices, bytes; as above.
    pub write_bytes: Option<u64>,
    /// Starts that nobody asked for.
    pub restarts: u32,
    /// Since its start, seconds.
    pub uptime_s: Option<f64>,
    /// Where it stands.
    pub state: Phase,
    /// Its health.
    pub health: Health,
}

/// Takes samples of one instance; remembers the last ones, for the rates.
#[derive(Debug)]
pub struct Sampler {
    instance: Instance,
    last: HashMap<ServiceName, Counters>,
}

impl Sampler {
    /// Of this instance. The first samples have no rates.
    pub fn new(instance: Instance) -> Self {
        Self {
            instance,
            last: HashMap::new(),
        }
    }

    /// One sample for each of `rows`, now.
    pub fn sample(&mut self, rows: &[ServiceStatus]) -> Vec<Sample> {
        let samples = rows.iter().map(|row| self.one(row)).collect();
        self.last
            .retain(|name, _| rows.iter().any(|row| row.name == *name));
        samples
    }

    fn one(&mut self, row: &ServiceStatus) -> Sample {
        let now = read::now(&self.instance, row);
        let rates = match self.last.get(&row.name) {
            Some(previous) => rates(previous, &now),
            None => Rates::default(),
        };
        let sample = sample(row, &now, rates);
        self.last.insert(row.name.clone(), now);
        sample
    }
}

/// Puts together what the row, the counters and the rates say.
fn sample(row: &ServiceStatus, now: &Counters, rates: Rates) -> Sample {
    let used = now.used;
    let started = row.started_at_usec.filter(|_| row.pid.is_some());
    Sample {
        ts: moment(now.wall_usec),
        name: row.name.clone(),
        service: row.service.clone(),
        replica: row.replica,
        cpu_percent: rates.cpu_percent,
        cpu_usec: used.cpu_usec,
        memory_bytes: used.memory,
        memory_limit: used.memory_limit,
        pids: used.pids,
        pids_limit: used.pids_limit,
        rx_bytes: now.network.map(|(received, _)| received),
        tx_bytes: now.network.map(|(_, sent)| sent),
        rx_rate: rates.received,
        tx_rate: rates.sent,
        read_bytes: used.read_bytes,
        write_bytes: used.write_bytes,
        restarts: row.restarts,
        uptime_s: started.map(|started| now.wall_usec.saturating_sub(started) as f64 / 1e6),
        state: row.state,
        health: row.health,
    }
}

/// Microseconds since the Unix epoch as RFC 3339.
fn moment(usec: u64) -> String {
    let time = i64::try_from(usec).ok();
    let time = time.and_then(|usec| jiff::Timestamp::from_microsecond(usec).ok());
    format!("{:.6}", time.unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::output::tests::row;

    /// A sample of a running service with these figures.
    pub(crate) fn figures(name: &str, cpu_percent: f64, memory_bytes: u64) -> Sample {
        Sample {
            cpu_percent: Some(cpu_percent),
            memory_bytes: Some(memory_bytes),
            ..sample(
                &row(name, Phase::Running, Health::Healthy),
                &Counters::default(),
                Rates::default(),
            )
        }
    }

    #[test]
    fn a_sample_says_what_its_sources_say() {
        let mut running = row("web", Phase::Running, Health::Healthy);
        running.pid = Some(7);
        running.started_at_usec = Some(1_000_000);
        running.restarts = 2;
        let now = Counters {
            wall_usec: 3_500_000,
            network: Some((10, 20)),
            ..Counters::default()
        };
        let told = sample(&running, &now, Rates::default());
        assert_eq!(told.ts, "1970-01-01T00:00:03.500000Z");
        assert_eq!(told.uptime_s, Some(2.5));
        assert_eq!((told.rx_bytes, told.tx_bytes), (Some(10), Some(20)));
        assert_eq!((told.restarts, told.cpu_percent), (2, None));
        running.pid = None;
        assert_eq!(sample(&running, &now, Rates::default()).uptime_s, None);
    }
}
