//! Limits while the ecosystem runs: those of all services together, and what came up against one.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::time::Duration;

use pactown_runtime::cgroup::{Cgroup, Usage};
use pactown_runtime::disk;
use pactown_runtime::protocol::ExitRecord;

use super::engine::{Engine, Message};
use super::making::Site;
use super::requests::refusal;
use super::wish::blocking;
use crate::config::ecosystem::UnitName;
use crate::control::server::Refusal;
use crate::error::chain;
use crate::events::Used;
use crate::events::limits::{self, Told};
use crate::host::HostFacts;
use crate::instance::Instance;
use crate::stats;
use crate::{config::ecosystem::Limits, spec};

/// How often the counters are looked at: the kernel tells nobody of a quota that is used up, nor v1 of most others.
const LOOK: Duration = Duration::from_secs(5);

/// What was told of the limits of each run.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    told: HashMap<UnitName, Told>,
    begun: bool,
    /// The group of all, once it was looked for.
    all: OnceCell<Cgroup>,
}

/// Sets the limits of all services together, which hold from now on; also lower ones, unless more is in use.
fn hold(instance: &Instance, limits: &Limits, host: &HostFacts) -> Result<(), String> {
    let resources = spec::resources_of_all(limits, host);
    let held = Cgroup::hold(&instance.group(), &resources);
    held.map(drop).map_err(|failure| {
        let hint = "these are the `limits` at the top level of the file";
        format!("cannot limit all services together: {}; {hint}", chain(&failure))
    })
}

impl Engine {
    /// Puts the limits of all services together into force, and makes their group unless it is there.
    pub(super) async fn hold(&self, site: &Site) -> Result<(), Refusal> {
        let (instance, limits) = (self.instance.clone(), site.desired.ecosystem.limits.clone());
        let host = site.host.clone();
        let held = blocking(move || hold(&instance, &limits, &host)).await?;
        held.map_err(|lack| refusal(&lack, 3))
    }

    /// A run of `name` begins: nothing was told of it yet.
    pub(super) fn look_out(&mut self, name: &str) {
        self.lookout.told.remove(name);
        self.begin_looking();
    }

    /// A run of `name` goes on at which another supervisor has looked: what it came up against so far was told.
    pub(super) fn go_on_looking(&mut self, name: &str) {
        let (mut told, usage) = (Told::default(), self.used_by(name));
        limits::news(&mut told, &usage, disk::space(&self.instance.disk(name)), true);
        self.lookout.told.insert(name.to_owned(), told);
        self.begin_looking();
    }

    /// Nothing of `name` is there any more.
    pub(super) fn look_no_more(&mut self, name: &str) {
        self.lookout.told.remove(name);
    }

    fn begin_looking(&mut self) {
        if std::mem::replace(&mut self.lookout.begun, true) {
            return;
        }
        let messages = self.messages.clone();
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                if messages.send(Message::Look).is_err() {
                    return;
                }
            }
        });
    }

    /// Tells of every limit that was reached since the last look.
    pub(super) fn look(&mut self) {
        let names: Vec<UnitName> = self.running.keys().cloned().collect();
        for name in names {
            self.look_at(&name);
        }
    }

    /// The same of one that runs.
    pub(super) fn look_at(&mut self, name: &str) {
        if self.running.contains_key(name) {
            let usage = self.used_by(name);
            self.tell_limits(name, &usage, true);
        }
    }

    fn tell_limits(&mut self, name: &str, usage: &Usage, lives: bool) {
        let told = self.lookout.told.entry(name.to_owned()).or_default();
        let space = disk::space(&self.instance.disk(name));
        let news = limits::news(told, usage, space, lives);
        if news.is_empty() {
            return;
        }
        if let Some(row) = self.status(name, false) {
            for cause in news {
                self.chronicle.limit(&row, cause);
            }
        }
    }

    /// What a run that has just ended came up against, and what it has used.
    pub(super) async fn reckon(&mut self, name: &str, record: &ExitRecord) {
        self.tell_limits(name, &record.usage, false);
        let netns = self.instance.netns_dir().join(name);
        let links = tokio::task::spawn_blocking(move || pactown_netns::links(&netns)).await;
        let traffic = links.ok().and_then(Result::ok);
        let traffic = traffic.as_deref().and_then(stats::traffic).unzip();
        let space = disk::space(&self.instance.disk(name));
        let used = Used {
            rx_bytes: traffic.0,
            tx_bytes: traffic.1,
            disk_bytes: space.map(|space| space.used),
            disk_full: space.is_some_and(|space| space.is_full()),
            ..Used::of(&record.usage)
        };
        self.chronicle.used(name, used);
    }

    /// What the control groups of `name` have counted.
    pub(super) fn used_by(&self, name: &str) -> Usage {
        let group = self
            .all()
            .and_then(|all| all.another(&self.instance.cgroup(name)).ok());
        group.map(|group| group.usage()).unwrap_or_default()
    }

    /// The same of all services together.
    pub(super) fn used_by_all(&self) -> Option<Usage> {
        self.all().map(Cgroup::usage)
    }

    fn all(&self) -> Option<&Cgroup> {
        let all = &self.lookout.all;
        all.get().or_else(|| {
            let found = Cgroup::open(&self.instance.group()).ok()?;
            Some(all.get_or_init(|| found))
        })
    }

    /// The limits that `name` came up against, for its row.
    pub(super) fn limits_of(&self, name: &str, usage: &Usage) -> Vec<String> {
        limits::words(
            usage,
            disk::space(&self.instance.disk(name)),
            self.running.contains_key(name),
        )
    }
}
