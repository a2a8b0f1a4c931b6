//! What was decided, carried out: each action starts something that answers with a message, or tells somebody.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pactown_runtime::cgroup::Usage;
use pactown_runtime::error::FailureKind;
use pactown_runtime::protocol::{Call, LogFile, What};

use super::agenda::Appointment;
use super::engine::{Engine, Message};
use super::loosened;
use super::making::{self, Site};
use super::probe::Contact;
use super::stamp::now_usec;
use super::step::{Action, Event};
use super::unit::Stage;
use super::unmade::Unmade;
use crate::config::ecosystem::{HealthCheck, UnitName};
use crate::control::api::{Phase, Progress, ServiceStatus};
use crate::state::ProcessRecord;
use crate::{health, logs};

/// A log file is rotated beyond this size, in bytes.
const LOG_BYTES: u64 = 10 << 20;
/// How many files of a log are kept.
const LOG_FILES: u32 = 5;
/// How long a recovery is waited for at a time.
const LONG: Duration = Duration::from_secs(3600);
/// Log lines that go with a failure.
const LAST_LINES: usize = 20;

impl Engine {
    pub(super) async fn act(&mut self, action: Action) {
        match action {
            Action::Prepare(name, run) => self.prepare(name, run),
            Action::Abandon(name) => self.abandon(&name),
            Action::Create(name, run) => self.create(name, run),
            Action::Probe(name, run, limit) => self.probe(name, run, limit),
            Action::EndProbe(name) => {
                if let Some(probe) = self.probes.remove(&name) {
                    probe.abort();
                }
            }
            Action::Signal(id, signal) => {
                self.stopping(&id);
                self.keeper.tell(Call::Signal { id, signal });
            }
            Action::Kill(id) => self.keeper.tell(Call::Kill { id }),
            Action::Spread => self.respread(),
            Action::Withdraw(name, run, grace) => self.withdraw(name, run, grace),
            Action::Halted { service, by, spared } => self.halted(&service, &by, &spared),
            Action::Watch(name, run) => self.watch(name, run),
            Action::Steady(name, run, time) => self.after(time, Event::Steady(name, run)),
            Action::Retry(name, run, time) => {
                let usec = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                self.tries.insert(name.clone(), now_usec().saturating_add(usec));
                self.after(time, Event::Retry(name, run));
            }
            Action::Grace(name, run, time) => self.grace(name, run, time),
            Action::Discard(name) => self.discard(name),
            Action::Due(name, outcome) => self.tell_due(&name, outcome),
            Action::Report(name) => self.report(&name),
            Action::Explain(name) => self.explain(name),
            Action::Forget(name) => self.forget(&name).await,
            Action::Finish => self.finish().await,
        }
    }

    fn prepare(&mut self, name: UnitName, run: u64) {
        let Some(site) = self.site.clone() else {
            return;
        };
        if let Some(print) = site.prints.get(&name) {
            self.fingerprints.insert(name.clone(), print.clone());
        }
        let given_up = Arc::new(AtomicBool::new(false));
        self.abandoned.insert(name.clone(), Arc::clone(&given_up));
        let before = self.discards.remove(&name);
        let (workers, messages) = (Arc::clone(&self.workers), self.messages.clone());
        tokio::task::spawn_local(async move {
            if let Some(discard) = before {
                let _ = discard.await;
            }
            let permit = workers.acquire_owned().await;
            let (lines, service) = (messages.clone(), name.clone());
            let work = move || {
                let mut on_line = |line: &str| {
                    let _ = lines.send(Message::Line(service.clone(), line.to_owned()));
                };
                if given_up.load(Ordering::Relaxed) {
                    return Err(interrupted());
                }
                site.make(&service, &mut on_line)
            };
            let outcome = tokio::task::spawn_blocking(work).await;
            drop(permit);
            let outcome = outcome.unwrap_or_else(|error| Err(broken(&error)));
            let _ = messages.send(Message::Made(name, run, outcome));
        });
    }

    /// Ends the builds that the preparation may be waiting for, and keeps it from beginning another.
    fn abandon(&mut self, name: &str) {
        if let Some(given_up) = self.abandoned.get(name) {
            given_up.store(true, Ordering::Relaxed);
        }
        let Some(site) = &self.site else { return };
        let plans = site.member(name).and_then(|member| {
            let recipe = site.recipe(member)?;
            site.tools.layers(&member.service.name, recipe).ok()
        });
        for plan in plans.into_iter().flatten() {
            self.keeper.tell(Call::Kill {
                id: plan.build_name(),
            });
        }
    }

    fn create(&mut self, name: UnitName, run: u64) {
        let call = Call::Create {
            id: name.clone(),
            bundle: self.instance.bundle(&name),
            log: LogFile {
                path: self.instance.log_file(&name),
                max_bytes: LOG_BYTES,
                files: LOG_FILES,
                run,
            },
        };
        let (keeper, messages) = (self.keeper.clone(), self.messages.clone());
        tokio::task::spawn_local(async move {
            let message = match keeper.ask(call).await {
                Ok(What::Created { pid, start_time, .. }) => Message::Created(name, run, (pid, start_time)),
                Ok(_) => Message::NotCreated(name, run, broken(&"the keeper answered something else")),
                Err(failure) => {
                    let exit = match failure.kind {
                        FailureKind::NotFound | FailureKind::NotExecutable => 1,
                        FailureKind::Environment => 3,
                        FailureKind::Request => 125,
                    };
                    let cause = format!("cannot {failure}");
                    let details = Vec::new();
                    Message::NotCreated(name, run, Unmade { cause, details, exit })
                }
            };
            let _ = messages.send(message);
        });
    }

    /// The sandbox runs.
    pub(super) async fn created(&mut self, name: UnitName, run: u64, (pid, start_time): (i32, u64)) {
        let alive = self.state.units.get(&name).is_some_and(|unit| {
            unit.run == run && matches!(unit.stage, Stage::Starting | Stage::Closing { .. })
        });
        if alive {
            let process = ProcessRecord {
                pid,
                start_time,
                started_at_usec: now_usec(),
            };
            self.running.insert(name.clone(), process);
            self.exits.remove(&name);
            self.look_out(&name);
            self.hear(&name, run);
        }
        self.advance(Event::Created(name, run)).await;
    }

    pub(super) fn probe(&mut self, name: UnitName, run: u64, limit: Duration) {
        let Some((check, address)) = self.check_of(&name) else {
            return;
        };
        let inside = self.contact(&name);
        let messages = self.messages.clone();
        let service = name.clone();
        let task = tokio::task::spawn_local(async move {
            let message = match health::until_healthy(&check, address.into(), &inside, limit).await {
                Ok(()) => Message::Event(Event::Healthy(service, run)),
                Err(answer) => Message::Late(service, run, answer),
            };
            let _ = messages.send(message);
        });
        self.probes.insert(name, task.abort_handle());
    }

    /// Goes on asking what is ready, for as long as it runs.
    pub(super) fn watch(&mut self, name: UnitName, run: u64) {
        let Some((check, address)) = self.check_of(&name) else {
            return;
        };
        let inside = self.contact(&name);
        let process = self.running.get(&name).copied();
        // Of one that was sick when the last supervisor died, the recovery comes first.
        let unit = self.state.units.get(&name);
        let mut is_sick = unit.is_some_and(|unit| unit.sick.is_some());
        let (messages, service) = (self.messages.clone(), name.clone());
        let task = tokio::task::spawn_local(async move {
            loop {
                if !std::mem::take(&mut is_sick) {
                    let age = process.map(|process| process.age()).unwrap_or_default();
                    let cause = health::until_unhealthy(&check, address.into(), &inside, age).await;
                    let name = service.clone();
                    let sick = Event::Sick { name, run, cause };
                    if messages.send(Message::Event(sick)).is_err() {
                        return;
                    }
                }
                while health::until_healthy(&check, address.into(), &inside, LONG)
                    .await
                    .is_err()
                {}
                let _ = messages.send(Message::Event(Event::Well(service.clone(), run)));
            }
        });
        if let Some(before) = self.probes.insert(name, task.abort_handle()) {
            before.abort();
        }
    }

    fn check_of(&self, name: &str) -> Option<(HealthCheck, Ipv4Addr)> {
        let site = self.site.as_ref()?;
        let check = site.member(name)?.service.health.clone()?;
        Some((check, *self.network.as_ref()?.addresses.get(name)?))
    }

    fn contact(&self, name: &str) -> Contact {
        let ear = self.ears.get(name).map(|(ear, _)| Arc::clone(ear));
        Contact::new(self.keeper.socket(), name, self.instance.log_file(name), ear)
    }

    pub(super) fn after(&self, time: Duration, event: Event) {
        let messages = self.messages.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(time).await;
            let _ = messages.send(Message::Event(event));
        });
    }

    fn discard(&mut self, name: UnitName) {
        let (instance, keeper) = (self.instance.clone(), self.keeper.clone());
        let site: Option<Arc<Site>> = self.site.clone();
        // When everything ends, the router takes all its links along at once; one by one each costs grace periods.
        let wires = self.wires.clone().filter(|_| !self.state.ending);
        let service = name.clone();
        let task = tokio::task::spawn_blocking(move || {
            making::discard(&instance, site.as_ref(), wires.as_ref(), &keeper, &service);
        });
        self.discards.insert(name, task);
    }

    fn report(&mut self, name: &str) {
        if let Some(status) = self.status(name, false) {
            self.chronicle.row(&status, self.exits.get(name));
            self.audience.tell(&Progress::Service {
                status: Box::new(status),
            });
        }
    }

    fn explain(&mut self, name: UnitName) {
        let cause = self.state.units.get(&name).and_then(|unit| unit.view().cause);
        let log = logs::last_run(&self.instance.log_file(&name), LAST_LINES);
        let details = self.details.remove(&name).unwrap_or_default();
        self.look_at(&name);
        let pid = self.running.get(&name).map(|record| record.pid);
        let witness = pid.and_then(|pid| crate::why::witness(pid, &self.instance.cgroup(&name)));
        self.chronicle.evidence(&name, &details, witness);
        self.audience.tell(&Progress::Failure {
            details,
            cause: cause.unwrap_or_default(),
            log,
            service: name,
        });
    }

    async fn forget(&mut self, name: &str) {
        self.strike(name);
        self.fingerprints.shift_remove(name);
        self.exits.remove(name);
        self.look_no_more(name);
        let ecosystem = self.site.as_ref().map(|site| &site.desired.ecosystem);
        // The service's own address and ports outlive the one unit that had its name.
        let stays = |name: &str| ecosystem.is_some_and(|ecosystem| ecosystem.services.contains_key(name));
        if !stays(name) {
            super::ports::release(&self.keeper, name).await;
            if let Some(network) = &mut self.network {
                network.published.shift_remove(name);
                network.addresses.shift_remove(name);
            }
        }
        self.write_network();
    }

    /// The row of `ps`; with what it uses at the moment when `usage` is asked for.
    pub(super) fn status(&self, name: &str, usage: bool) -> Option<ServiceStatus> {
        let unit = self.state.units.get(name)?;
        let view = unit.view();
        let running = self.running.get(name);
        let network = self.network.as_ref();
        let last = self.exits.get(name);
        let used = match (usage, running, last) {
            (true, Some(_), _) => self.used_by(name),
            (true, None, Some(last)) => Usage {
                memory: None,
                ..last.usage
            },
            _ => Usage::default(),
        };
        Some(ServiceStatus {
            name: name.to_owned(),
            service: unit.traits.service.clone(),
            replica: unit.traits.replica,
            state: view.phase,
            health: view.health,
            cause: view.cause.map(|cause| self.chronicle.shown(cause)),
            status_text: self
                .ears
                .get(name)
                .and_then(|(ear, _)| ear.status())
                .map(|text| self.chronicle.shown(text)),
            pid: running.map(|record| record.pid),
            address: network.and_then(|network| Some((*network.addresses.get(name)?).into())),
            ports: network
                .and_then(|network| network.published.get(&unit.traits.service).cloned())
                .unwrap_or_default(),
            started_at_usec: running.map(|record| record.started_at_usec),
            exit_code: last.map(|record| record.status.code()),
            cpu_usec: used.cpu_usec.or(last.and_then(|record| record.usage.cpu_usec)),
            memory_bytes: used.memory,
            limits: self.limits_of(name, &used),
            run: unit.run,
            restarts: view.restarts,
            next_try_usec: self
                .tries
                .get(name)
                .copied()
                .filter(|_| view.phase == Phase::Backoff),
            next_run: self
                .appointments
                .get(name)
                .and_then(Appointment::next)
                .map(|time| time.to_string()),
            notices: loosened::of(
                self.site
                    .as_ref()
                    .and_then(|site| site.desired.ecosystem.services.get(name)),
            ),
        })
    }
}

fn interrupted() -> Unmade {
    Unmade {
        cause: "interrupted".to_owned(),
        details: Vec::new(),
        exit: 1,
    }
}

fn broken(cause: &dyn std::fmt::Display) -> Unmade {
    Unmade {
        cause: format!("pactown's own fault: {cause}"),
        details: Vec::new(),
        exit: 125,
    }
}
