//! Requests of the control API, answered: each is a question, or a wish that becomes an event.

use std::time::Duration;

use indexmap::IndexMap;

use super::audience::Awaited;
use super::engine::{Engine, Message};
use super::keepsake;
use super::step::Event;
use super::wish::Wish;
use crate::config::did_you_mean;
use crate::config::ecosystem::{Service, ServiceName, UnitName, replica_number};
use crate::control::api::{
    DownRequest, Progress, ScaleRequest, ServiceRequest, ServiceStatus, UpRequest, WaitRequest,
};
use crate::control::server::{Answer, Refusal, Request, Verb};
use crate::desired::Desired;
use crate::events::Kind;
use crate::resolver::Graph;
use crate::roster::{self, Roster, Scale};
use crate::state::{self, InstanceRecord};

impl Engine {
    pub(super) async fn answer(&mut self, request: Request) {
        match request {
            Request::Services(answer) => {
                let _ = answer.send(self.rows());
            }
            Request::Settled(answer) => {
                self.chronicle.settle().await;
                let _ = answer.send(self.rows());
            }
            Request::Desired(answer) => {
                let _ = answer.send(self.without_values());
            }
            Request::Up(request, answer) => self.on_up(*request, answer).await,
            Request::Resolve(request, answer) => self.on_resolve(*request, answer).await,
            Request::Build(request, answer) => self.on_build(*request, answer).await,
            Request::Down(request, answer) => self.on_down(&request, answer).await,
            Request::Attach(answer) => {
                let number = self.stream(answer, Awaited::Nothing, true, Vec::new());
                self.own(number);
            }
            Request::Detach(answer) => {
                self.owner = None;
                self.attached = false;
                self.remember();
                let _ = answer.send(());
            }
            Request::Scale(request, answer) => self.on_scale(request, answer).await,
            Request::Wait(request, answer) => self.on_wait(request, answer).await,
            Request::Service(name, verb, request, answer) => {
                self.on_service(name, verb, request, answer).await
            }
        }
    }

    async fn on_up(&mut self, request: UpRequest, answer: Answer) {
        self.no_health = request.no_health;
        self.workers = std::sync::Arc::new(tokio::sync::Semaphore::new(request.workers.max(1)));
        let all = request.desired.ecosystem.services.keys();
        let wish = Wish {
            renew: all.filter(|_| request.force_recreate).cloned().collect(),
            scale: self.scale_without(&request.services),
            desired: *request.desired,
            names: request.services,
            now: Vec::new(),
            sequential: request.sequential,
            strict_ports: request.strict_ports,
            remove_orphans: request.remove_orphans,
        };
        self.chronicle.note(Kind::Up, None);
        match self.accept(wish).await {
            Err(refusal) => {
                self.chronicle.note(Kind::Failed, Some(&refusal.message));
                self.refuse(answer, refusal).await;
            }
            Ok(accepted) => {
                let mut awaited = accepted.wanted;
                // Their time may come in a year.
                awaited.retain(|name| !self.is_scheduled(name));
                let number = self.stream(
                    answer,
                    Awaited::Settled(awaited),
                    request.attached,
                    accepted.progress,
                );
                if request.attached {
                    self.own(number);
                }
                self.advance(Event::Want(accepted.want)).await;
            }
        }
    }

    async fn on_down(&mut self, request: &DownRequest, answer: Answer) {
        self.remove_volumes |= request.volumes;
        self.remember_ending();
        self.chronicle.note(Kind::Down, None);
        self.stream(answer, Awaited::End, true, Vec::new());
        // Whoever owned the run has nothing more to say: their leaving must not order another end.
        self.owner = None;
        self.advance(Event::Down {
            kill: request.kill,
            grace: request
                .timeout
                .map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 1e6))),
        })
        .await;
    }

    async fn on_wait(&mut self, request: WaitRequest, answer: Answer) {
        if self.site.is_none() {
            let _ = answer.send(Err(refusal("nothing was asked to run yet", 1)));
            return;
        }
        let mut units = Vec::new();
        for name in &request.services {
            match self.meant(name) {
                Ok(meant) => units.extend(meant),
                Err(refusal) => {
                    let _ = answer.send(Err(refusal));
                    return;
                }
            }
        }
        let awaited = Awaited::Reached(units, request.goal);
        self.stream(answer, awaited, false, Vec::new());
        self.settle_audience().await;
    }

    async fn on_service(&mut self, name: ServiceName, verb: Verb, request: ServiceRequest, answer: Answer) {
        let desired = match request.desired {
            Some(desired) => Some(match &self.site {
                Some(site) => desired.supplied_as(&site.desired.supply),
                None => *desired,
            }),
            None => self.site.as_ref().map(|site| site.desired.clone()),
        };
        let Some(desired) = desired else {
            return self
                .refuse(answer, refusal("nothing was asked to run yet", 1))
                .await;
        };
        // The file may have it by now.
        let is_new = desired.ecosystem.services.contains_key(&name);
        let units = match self.meant(&name) {
            Err(refusal) if !is_new => {
                let _ = answer.send(Err(refusal));
                return;
            }
            units => units.unwrap_or_default(),
        };
        let mut names = vec![name.clone()];
        if request.with_dependents
            && let Ok(graph) = Graph::of(&desired.ecosystem)
        {
            let own = roster::services_of(&desired.ecosystem, &names);
            let dependents = graph.with_dependents(&own).into_iter();
            names.extend(dependents.filter(|one| !own.contains(one)));
        }
        if verb == Verb::Stop {
            let others = names[1..]
                .iter()
                .flat_map(|name| self.meant(name).unwrap_or_default());
            let units: Vec<UnitName> = others.chain(units).collect();
            self.stream(answer, Awaited::Rest(units.clone()), false, Vec::new());
            return self.advance(Event::Stop(units)).await;
        }
        let wish = Wish {
            desired,
            scale: self.scale.clone(),
            names: names.clone(),
            renew: if verb == Verb::Restart { names } else { Vec::new() },
            now: vec![name],
            sequential: false,
            strict_ports: false,
            remove_orphans: false,
        };
        self.take(wish, answer).await;
    }

    /// Other numbers of replicas; all else stays as it was asked for last.
    async fn on_scale(&mut self, request: ScaleRequest, answer: Answer) {
        let Some(desired) = self.site.as_ref().map(|site| site.desired.clone()) else {
            return self
                .refuse(answer, refusal("nothing was asked to run yet", 1))
                .await;
        };
        let services = &desired.ecosystem.services;
        if let Some(name) = request.scale.keys().find(|name| !services.contains_key(*name)) {
            let _ = answer.send(Err(unknown(name, services, &Roster::default())));
            return;
        }
        let names = request.scale.keys().cloned().collect();
        let mut scale = self.scale.clone();
        scale.extend(request.scale);
        let wish = Wish {
            desired,
            scale,
            names,
            renew: Vec::new(),
            now: Vec::new(),
            sequential: false,
            strict_ports: false,
            remove_orphans: false,
        };
        self.take(wish, answer).await;
    }

    /// Accepts the wish and begins with it, or refuses it.
    async fn take(&mut self, wish: Wish, answer: Answer) {
        match self.accept(wish).await {
            Err(refusal) => self.refuse(answer, refusal).await,
            Ok(accepted) => {
                self.stream(
                    answer,
                    Awaited::Settled(accepted.wanted),
                    false,
                    accepted.progress,
                );
                self.advance(Event::Want(accepted.want)).await;
            }
        }
    }

    /// The units that a name means: all of a service, or one.
    fn meant(&self, name: &str) -> Result<Vec<UnitName>, Refusal> {
        let units = self.state.units.iter();
        let meant = units.filter(|(unit, known)| *unit == name || known.traits.service == name);
        let meant: Vec<_> = meant.map(|(unit, _)| unit.clone()).collect();
        let services = self.site.as_ref().map(|site| &site.desired.ecosystem.services);
        let Some((site, services)) = self.site.as_ref().zip(services) else {
            return Ok(meant);
        };
        match meant.is_empty() && !services.contains_key(name) {
            true => Err(unknown(name, services, &site.roster)),
            false => Ok(meant),
        }
    }

    /// An `up` follows the file: what was asked for by hand counts only for the services that it is not about.
    fn scale_without(&self, services: &[ServiceName]) -> Scale {
        let mut scale = self.scale.clone();
        scale.retain(|name, _| !services.is_empty() && !services.contains(name));
        scale
    }

    /// Gives the request a stream, beginning with `first`.
    fn stream(&mut self, answer: Answer, awaited: Awaited, stays: bool, first: Vec<Progress>) -> u64 {
        let (number, lines, closing) = self.audience.add(awaited, stays);
        for progress in first {
            if let Progress::Notice { text } = &progress {
                self.chronicle.note(Kind::Notice, Some(text));
            }
            self.audience.tell_one(number, progress);
        }
        let messages = self.messages.clone();
        let watcher = tokio::task::spawn_local(async move {
            closing.closed().await;
            let _ = messages.send(Message::Closed(number));
        });
        self.audience.watch(number, watcher.abort_handle());
        let _ = answer.send(Ok(lines));
        number
    }

    fn rows(&self) -> Vec<ServiceStatus> {
        let names = self.state.units.keys();
        names.filter_map(|name| self.status(name, true)).collect()
    }

    /// Refuses; an instance in which nothing was ever wished ends with that.
    pub(super) async fn refuse(&mut self, answer: Answer, refusal: Refusal) {
        let unused = self.state.units.is_empty();
        if unused {
            self.remember_ending();
        }
        self.chronicle.settle().await;
        let _ = answer.send(Err(refusal));
        if unused {
            self.end_in_order().await;
        }
    }

    fn is_scheduled(&self, name: &str) -> bool {
        let site = self.site.as_ref();
        let service = site.and_then(|site| site.desired.ecosystem.services.get(name));
        service.is_some_and(|service| service.schedule.is_some())
    }

    fn own(&mut self, number: u64) {
        self.owner = Some(number);
        self.attached = true;
        self.remember();
    }

    fn without_values(&self) -> Option<Desired> {
        Some(self.site.as_ref()?.desired.without_values())
    }

    /// Writes the wish down for the next supervisor.
    pub(super) fn remember(&self) {
        self.write_instance(false);
    }

    /// Gives the keeper what is never written.
    pub(super) fn remember_values(&self) {
        let desired = self.site.as_ref().map(|site| &site.desired);
        if let Some(Err(error)) = desired.map(|desired| keepsake::give(&self.keeper, desired)) {
            super::tell(&format!(
                "the next supervisor will not know the environment and the secrets: {error}"
            ));
        }
    }

    /// From now on, nothing that is told shows a secret; and no memory that holds one is swapped.
    pub(super) fn hide_values(&mut self) {
        let masker = self.site.as_ref().and_then(|site| site.desired.secrets.masker());
        if masker.is_some()
            && let Err(error) = pactown_runtime::secrets::stay_in_memory()
        {
            super::tell(&format!("secrets may be swapped: {error}"));
        }
        self.chronicle.hide(masker);
    }

    /// Writes down that everything ends: nobody may take this instance for one that goes on.
    pub(super) fn remember_ending(&self) {
        self.write_instance(true);
    }

    fn write_instance(&self, ending: bool) {
        let Some(desired) = self.without_values() else {
            return;
        };
        let record = InstanceRecord {
            desired,
            wanted: self.wanted.clone(),
            scale: self.scale.clone(),
            no_health: self.no_health,
            attached: self.attached,
            ending: ending || self.state.ending,
        };
        if let Err(error) = state::write(&self.instance.record(), &record) {
            super::tell(&crate::error::chain(&error));
        }
    }
}

/// That there is nothing of this name, and what may be meant.
pub(super) fn unknown(name: &str, services: &IndexMap<ServiceName, Service>, roster: &Roster) -> Refusal {
    let replica_of = services
        .keys()
        .find(|service| replica_number(service, name).is_some());
    let mut refusal = refusal(&format!("there is no service '{name}'"), 2);
    refusal.hint = match replica_of {
        Some(service) => Some(match roster.of_service(service).count() {
            1 => format!("'{service}' runs once"),
            count => format!("'{service}' has {count} replicas; 'pactown scale' makes more"),
        }),
        None => did_you_mean(name, services.keys().map(String::as_str)),
    };
    refusal
}

/// A refusal of one line.
pub(super) fn refusal(message: &str, exit_code: i32) -> Refusal {
    Refusal {
        message: message.to_owned(),
        causes: Vec::new(),
        hint: None,
        exit_code,
    }
}
