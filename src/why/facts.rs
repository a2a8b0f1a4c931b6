//! What a diagnosis is made from, read: rows, records, events, logs, the files and the kernel. Concludes nothing.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::{Cause, Diagnosis, diagnose, witness};
use crate::config::ecosystem::{Dependency, Probe, Service, ServiceName, UnitName};
use crate::control::api::{Health, Phase, ServiceStatus};
use crate::desired::Desired;
use crate::events::{self, Event, Kind, Witness};
use crate::host::HostFacts;
use crate::instance::Instance;
use crate::logs;
use crate::markpact::recipe::WorkloadKind;
use crate::roster::{Roster, Seat};
use crate::spec;

/// Lines of a log that are looked at.
const LINES: usize = 80;

/// All about one sandbox of a service.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name.
    pub name: UnitName,
    /// Its row of `ps`.
    pub row: ServiceStatus,
    /// Whether the ecosystem runs.
    pub alive: bool,
    /// What the files say.
    pub config: Config,
    /// The other services.
    pub peers: Vec<Peer>,
    /// Shell's number of its last end.
    pub exit_code: Option<i32>,
    /// How long it ran then, milliseconds.
    pub ran_ms: Option<u64>,
    /// When that was, microseconds since the Unix epoch.
    pub ended_usec: Option<u64>,
    /// Whether the kernel killed something at the memory limit.
    pub oom: bool,
    /// Most memory in use, bytes.
    pub peak: Option<u64>,
    /// Lines that came with the failure, such as an installer's.
    pub details: Vec<String>,
    /// The last lines of the last run.
    pub log: Vec<String>,
    /// What the kernel knows, or knew when it failed.
    pub witness: Option<Witness>,
    /// Dependencies that are not there yet, with their states.
    pub waits_for: Vec<String>,
    /// What blocks it, at the beginning of the chain.
    pub root: Option<Box<Diagnosis>>,
    /// Now, microseconds since the Unix epoch.
    pub now_usec: u64,
}

/// What the ecosystem file and the README say of a service, with places.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The ecosystem file, relative to its folder.
    pub file: String,
    /// Line of the service in it; 0 = unknown.
    pub line: usize,
    /// The README, relative to that folder.
    pub readme: String,
    /// `path` of each file block, and the README's line of its opening fence.
    pub blocks: Vec<(String, usize)>,
    /// The README's line of the run block's opening fence.
    pub run_line: Option<usize>,
    /// It is a job.
    pub job: bool,
    /// `PORT`.
    pub port: u16,
    /// Whether the file names it.
    pub port_explicit: bool,
    /// What its check asks.
    pub probe: Option<Probe>,
    /// Limit of one probe.
    pub probe_timeout: Option<Duration>,
    /// Memory limit, bytes.
    pub memory: u64,
    /// Limit of processes and threads.
    pub pids: u32,
    /// Limit of its disk, bytes.
    pub disk: Option<u64>,
    /// CPU limit, CPUs.
    pub cpus: Option<f64>,
    /// Declared dependencies.
    pub depends_on: Vec<ServiceName>,
    /// Ports inside that connections from outside are led to 127.0.0.1 for.
    pub inbound: Vec<u16>,
}

/// A sandbox of the ecosystem.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name.
    pub name: UnitName,
    /// Its port.
    pub port: u16,
    /// Its address, while it runs.
    pub address: Option<IpAddr>,
}

/// The facts of every service, in the file's order. `rows` are those of a supervisor; `None` = there is none, and what
/// is known comes from the events.
pub fn gather(instance: &Instance, desired: &Desired, rows: Option<&[ServiceStatus]>) -> Vec<Facts> {
    let all = events::read(instance);
    let life = events::of_this_life(&all);
    let known = match rows {
        Some(rows) => rows.to_vec(),
        None => rows_of(life, desired),
    };
    let host = HostFacts::read();
    let memory = spec::default_memory(&host);
    let facts = known.iter().map(|row| {
        let own: Vec<&Event> = of_last_run(life, &row.name);
        let mut facts = of_service(instance, desired, row, &own, rows.is_some());
        facts.remember(life);
        if facts.config.memory == 0 {
            facts.config.memory = memory;
        }
        facts.waits_for = waits_for(desired, &known, &row.service);
        facts.peers = peers(desired, &known);
        facts
    });
    let facts: Vec<Facts> = facts.collect();
    let roots: Vec<Option<Box<Diagnosis>>> = facts.iter().map(|one| root(&facts, one)).collect();
    let with_root = facts.into_iter().zip(roots);
    with_root.map(|(facts, root)| Facts { root, ..facts }).collect()
}

fn of_service(
    instance: &Instance,
    desired: &Desired,
    row: &ServiceStatus,
    own: &[&Event],
    alive: bool,
) -> Facts {
    let last = |kinds: &[Kind]| own.iter().rev().find(|event| kinds.contains(&event.kind));
    let exit = last(&[Kind::Exited]);
    let failure = last(&[Kind::Failed, Kind::Backoff]);
    let refused = |cause: &String| cause.contains("memory limit was reached");
    // Not of those whose check passes: the kernel walks all its connections for one table of sockets.
    let asked = row.pid.filter(|_| row.health != Health::Healthy);
    let seen = asked.and_then(|pid| witness(pid, &instance.cgroup(&row.name)));
    let config = desired.ecosystem.services.get(&row.service);
    Facts {
        name: row.name.clone(),
        alive,
        config: config
            .map(|service| written(desired, service))
            .unwrap_or_default(),
        peers: Vec::new(),
        exit_code: exit.and_then(|event| event.exit_code).or(row.exit_code),
        ran_ms: exit.and_then(|event| event.duration_ms),
        ended_usec: None,
        oom: last(&[Kind::Oom]).is_some() || row.cause.as_ref().is_some_and(refused),
        peak: exit.and_then(|event| event.memory_peak),
        details: failure.map(|event| event.details.clone()).unwrap_or_default(),
        log: log(instance, row, own),
        witness: seen.or_else(|| failure.and_then(|event| event.witness.clone())),
        waits_for: Vec::new(),
        root: None,
        now_usec: now_usec(),
        row: row.clone(),
    }
}

impl Facts {
    /// The last end of one that was restarted since: it is of an earlier run.
    fn remember(&mut self, life: &[Event]) {
        let ended = |event: &&Event| event.kind == Kind::Exited && event.unit().as_ref() == Some(&self.name);
        let Some(end) = life.iter().rev().find(ended) else {
            return;
        };
        self.ended_usec = end.usec().and_then(|usec| u64::try_from(usec).ok());
        if self.row.restarts > 0 {
            self.exit_code = self.exit_code.or(end.exit_code);
            self.ran_ms = self.ran_ms.or(end.duration_ms);
        }
    }
}

/// Its last lines, unless they are of a run before this one: a log outlives an ecosystem.
fn log(instance: &Instance, row: &ServiceStatus, own: &[&Event]) -> Vec<String> {
    let started = own
        .iter()
        .any(|event| matches!(event.kind, Kind::Started | Kind::Exited));
    if !started && row.pid.is_none() {
        return Vec::new();
    }
    logs::last_run(&instance.log_file(&row.name), LINES)
}

fn written(desired: &Desired, service: &Service) -> Config {
    let ecosystem = &desired.ecosystem;
    let folder = ecosystem.file.parent().unwrap_or(Path::new("/"));
    let short = |path: &Path| path.strip_prefix(folder).unwrap_or(path).display().to_string();
    let recipe = desired.recipes.get(&service.name);
    let inbound = service.ports.iter().map(|mapping| mapping.port);
    let blocks = recipe.into_iter().flat_map(|recipe| &recipe.files);
    Config {
        file: short(&ecosystem.file),
        line: service.place.line,
        readme: short(&service.readme),
        blocks: blocks
            .map(|block| (block.path.clone(), block.lines.first))
            .collect(),
        run_line: recipe.and_then(|recipe| Some(recipe.run.as_ref()?.lines?.first)),
        job: recipe.is_some_and(|recipe| recipe.workload.kind == WorkloadKind::Job),
        port: service.port,
        port_explicit: service.port_explicit,
        probe: service.health.as_ref().map(|check| check.probe.clone()),
        probe_timeout: service.health.as_ref().map(|check| check.timeout),
        memory: service.limits.memory.unwrap_or(0),
        pids: service.limits.pids.unwrap_or(spec::PIDS),
        disk: service.limits.disk,
        cpus: service.limits.cpus,
        depends_on: service.depends_on.iter().map(|need| need.name.clone()).collect(),
        inbound: inbound.chain([service.port]).collect(),
    }
}

fn of_last_run<'a>(life: &'a [Event], name: &str) -> Vec<&'a Event> {
    let own = || life.iter().filter(|event| event.unit().as_deref() == Some(name));
    let run = own().filter_map(|event| event.run).max();
    own().filter(|event| event.run == run).collect()
}

/// The rows of an ecosystem without a supervisor, as its events left them.
fn rows_of(life: &[Event], desired: &Desired) -> Vec<ServiceStatus> {
    let refusal = life
        .iter()
        .rev()
        .find(|event| event.service.is_none() && event.kind == Kind::Failed);
    let row = |(name, seat): (&UnitName, &Seat)| {
        let own = of_last_run(life, name);
        let mut row = ServiceStatus::resting(seat);
        row.run = own.iter().filter_map(|event| event.run).max().unwrap_or(0);
        let cause = refusal.and_then(|event| event.cause.clone());
        let meant = cause.filter(|cause| cause.starts_with(&format!("{name}: ")));
        if own.is_empty() && meant.is_some() {
            (row.state, row.cause) = (Phase::Failed, meant);
        }
        for event in own {
            match event.kind {
                Kind::Failed | Kind::Backoff => (row.state, row.cause) = (Phase::Failed, event.cause.clone()),
                Kind::Blocked => (row.state, row.cause) = (Phase::Blocked, event.cause.clone()),
                Kind::Completed => row.state = Phase::Completed,
                Kind::Exited => row.exit_code = event.exit_code,
                Kind::Starting | Kind::Stopped => row.state = Phase::Stopped,
                _ => {}
            }
        }
        row
    };
    Roster::of_file(&desired.ecosystem).units().map(row).collect()
}

fn peers(desired: &Desired, rows: &[ServiceStatus]) -> Vec<Peer> {
    let services = desired.ecosystem.services.values();
    let peers = services.flat_map(|service| {
        let own = rows.iter().filter(|row| row.service == service.name);
        own.map(|row| Peer {
            name: row.name.clone(),
            port: service.port,
            address: row.address,
        })
    });
    peers.collect()
}

fn waits_for(desired: &Desired, rows: &[ServiceStatus], name: &str) -> Vec<String> {
    let Some(service) = desired.ecosystem.services.get(name) else {
        return Vec::new();
    };
    let met = |row: &&ServiceStatus| match row.state {
        Phase::Running => matches!(row.health, Health::Healthy | Health::None),
        state => state == Phase::Completed,
    };
    let unmet = |need: &Dependency| {
        let own = rows.iter().filter(|row| row.service == need.name);
        let unmet = own.filter(|row| !met(row));
        unmet
            .map(|row| format!("{} ({})", row.name, word(row)))
            .collect::<Vec<_>>()
    };
    service.depends_on.iter().flat_map(unmet).collect()
}

/// The row's state in a word, for a sentence.
fn word(row: &ServiceStatus) -> &'static str {
    match row.state {
        Phase::Running => "not healthy yet",
        Phase::Waiting => "waiting",
        Phase::Preparing => "preparing",
        Phase::Starting => "starting",
        Phase::Completed => "completed",
        Phase::Failed => "failed",
        Phase::Blocked => "blocked",
        Phase::Backoff => "restarting",
        Phase::Stopping => "stopping",
        Phase::Stopped => "stopped",
        Phase::Scheduled => "scheduled",
    }
}

/// What the chain of blocked services begins with.
fn root(all: &[Facts], blocked: &Facts) -> Option<Box<Diagnosis>> {
    let mut seen = BTreeSet::new();
    let mut at = blocked;
    while at.row.state == Phase::Blocked && seen.insert(&at.name) {
        let blocker = at.row.cause.as_deref()?.strip_prefix("blocked by ")?;
        let blocker = blocker.split(' ').next()?;
        at = all.iter().find(|facts| facts.name == blocker)?;
    }
    (at.row.state != Phase::Blocked).then(|| Box::new(diagnose(at)))
}

fn now_usec() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or(0)
}

/// Diagnoses of what is not as it should be, causes before what they block.
pub fn wrong(facts: &[Facts]) -> Vec<Diagnosis> {
    let mut found: Vec<Diagnosis> = facts
        .iter()
        .map(diagnose)
        .filter(|one| one.kind.is_wrong())
        .collect();
    found.sort_by_key(|one| match one.kind {
        Cause::Blocked => 1,
        Cause::Waiting => 2,
        _ => 0,
    });
    found
}
