//! The one owner of the supervisor's state: messages come in one after another, [`step`] decides, actions go out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use indexmap::IndexMap;
use pactown_runtime::cgroup::Usage;
use pactown_runtime::protocol::ExitRecord;
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinHandle};

use super::agenda::Appointment;
use super::audience::Audience;
use super::chronicle::Chronicle;
use super::clock::Clock;
use super::inbox::Ear;
use super::keeper::Keeper;
use super::limits::Lookout;
use super::making::Site;
use super::step::{Event, step};
use super::units::State;
use super::unmade::Unmade;
use super::wires::Wires;
use crate::config::ecosystem::UnitName;
use crate::control::api::Progress;
use crate::control::server::Request;
use crate::events::{Kind, limits};
use crate::health::notify::Said;
use crate::instance::Instance;
use crate::roster::Scale;
use crate::state::{NetworkRecord, ProcessRecord, ServiceRecord};

/// What comes in.
pub(super) enum Message {
    /// A request of the control API.
    Request(Request),
    /// Something happened to a service.
    Event(Event),
    /// A preparation is over: remarks for the user, or why it failed.
    Made(UnitName, u64, Result<Vec<String>, Unmade>),
    /// The keeper has created a sandbox: pid and start time of its pid 1.
    Created(UnitName, u64, (i32, u64)),
    /// The keeper could not create a sandbox.
    NotCreated(UnitName, u64, Unmade),
    /// A service was not ready in time: the probe's last answer.
    Late(UnitName, u64, String),
    /// Rules could not be put into force; why.
    Unspread(String),
    /// A service said something of itself.
    Said(UnitName, u64, Said),
    /// A line of a build.
    Line(UnitName, String),
    /// A sandbox or helper has ended.
    Exited(String, ExitRecord),
    /// Somebody stopped reading a stream.
    Closed(u64),
    /// Something that the user should read once.
    Notice(String),
    /// Nobody came back to own an attached run.
    Orphaned,
    /// It is time to look whether a limit was reached.
    Look,
    /// A scheduled job may be due, or the wall clock was set.
    Clock,
    /// The keeper was asked to end everything.
    Terminated,
    /// The keeper is dead, and every sandbox with it; or it could not tell us something, and a new supervisor has to ask.
    KeeperGone,
}

/// All state of the supervisor.
pub(super) struct Engine {
    pub(super) instance: Instance,
    pub(super) keeper: Keeper,
    pub(super) messages: mpsc::UnboundedSender<Message>,
    /// What [`step`] knows.
    pub(super) state: State,
    /// What the present wish is made with.
    pub(super) site: Option<Arc<Site>>,
    pub(super) wires: Option<Wires>,
    /// What others take away of the network is put back.
    pub(super) tended: bool,
    pub(super) network: Option<NetworkRecord>,
    /// What each unit was last made from.
    pub(super) fingerprints: IndexMap<UnitName, Value>,
    /// What runs.
    pub(super) running: HashMap<UnitName, ProcessRecord>,
    /// What was last written down of each unit.
    pub(super) written: HashMap<UnitName, ServiceRecord>,
    /// When the next start of what failed is tried, microseconds since the Unix epoch.
    pub(super) tries: HashMap<UnitName, u64>,
    /// When the wall clock starts each scheduled job next.
    pub(super) appointments: IndexMap<UnitName, Appointment>,
    pub(super) clock: Option<Clock>,
    /// How many replicas of which services were asked for by hand.
    pub(super) scale: Scale,
    /// The units that were asked for last, with what they need.
    pub(super) wanted: Vec<UnitName>,
    /// How each unit ended last.
    pub(super) exits: HashMap<UnitName, ExitRecord>,
    /// Evidence for a failure that is about to be explained.
    pub(super) details: HashMap<UnitName, Vec<String>>,
    pub(super) audience: Audience,
    pub(super) chronicle: Chronicle,
    pub(super) lookout: Lookout,
    /// The stream whose end is the end of everything.
    pub(super) owner: Option<u64>,
    /// The run belongs to a command; kept on disk.
    pub(super) attached: bool,
    /// Probes under way.
    pub(super) probes: HashMap<UnitName, AbortHandle>,
    /// What hears those that notify.
    pub(super) ears: HashMap<UnitName, (Arc<Ear>, AbortHandle)>,
    /// Since when each was told to end, and its last wish for more time that was heard since.
    pub(super) stopping_since: HashMap<UnitName, (Instant, Option<u32>)>,
    /// Timers of those that were told to end.
    pub(super) graces: HashMap<UnitName, AbortHandle>,
    /// Preparations that were given up.
    pub(super) abandoned: HashMap<UnitName, Arc<AtomicBool>>,
    /// Removals under way: a new start of the same service comes after them.
    pub(super) discards: HashMap<UnitName, JoinHandle<()>>,
    /// How many preparations run at the same time.
    pub(super) workers: Arc<Semaphore>,
    /// Health checks are left out.
    pub(super) no_health: bool,
    /// Named volumes go with the end.
    pub(super) remove_volumes: bool,
    pub(super) finished: bool,
    /// The connection to the keeper is lost.
    pub(super) cut_off: bool,
}

/// Preparations at the same time until a request says otherwise.
const WORKERS: usize = 4;

impl Engine {
    /// An engine without services.
    pub(super) fn new(instance: Instance, keeper: Keeper, messages: mpsc::UnboundedSender<Message>) -> Self {
        Self {
            chronicle: Chronicle::of(&instance, keeper.clone()),
            instance,
            keeper,
            messages,
            state: State::default(),
            site: None,
            wires: None,
            tended: false,
            network: None,
            fingerprints: IndexMap::new(),
            running: HashMap::new(),
            written: HashMap::new(),
            tries: HashMap::new(),
            scale: Scale::new(),
            appointments: IndexMap::new(),
            clock: None,
            wanted: Vec::new(),
            exits: HashMap::new(),
            details: HashMap::new(),
            audience: Audience::default(),
            lookout: Lookout::default(),
            owner: None,
            attached: false,
            probes: HashMap::new(),
            ears: HashMap::new(),
            stopping_since: HashMap::new(),
            graces: HashMap::new(),
            abandoned: HashMap::new(),
            discards: HashMap::new(),
            workers: Arc::new(Semaphore::new(WORKERS)),
            no_health: false,
            remove_volumes: false,
            finished: false,
            cut_off: false,
        }
    }

    /// Whether everything has ended and this process may.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Takes one message.
    pub(super) async fn handle(&mut self, message: Message) {
        match message {
            Message::Request(request) => self.answer(request).await,
            Message::Event(event) => self.advance(event).await,
            Message::Made(name, run, outcome) => self.made(name, run, outcome).await,
            Message::Created(name, run, pid) => self.created(name, run, pid).await,
            Message::NotCreated(name, run, unmade) => self.unmade(name, run, unmade).await,
            Message::Late(name, run, answer) => self.late(name, run, &answer).await,
            Message::Unspread(cause) => self.unspread(&cause),
            Message::Said(name, run, said) => self.said(name, run, said).await,
            Message::Line(service, line) => self.audience.tell(&Progress::Build { service, line }),
            Message::Exited(id, record) => self.exited(id, record).await,
            Message::Closed(number) => self.closed(number).await,
            Message::Notice(text) => {
                self.chronicle.note(Kind::Notice, Some(&text));
                self.audience.tell(&Progress::Notice { text });
            }
            Message::Orphaned if self.owner.is_none() && self.attached => self.end_in_order().await,
            Message::Orphaned => {}
            Message::Clock => self.on_clock().await,
            Message::Look => self.look(),
            Message::Terminated => self.end_in_order().await,
            // Nothing can be made without it, and nothing be known.
            Message::KeeperGone => (self.finished, self.cut_off) = (true, true),
        }
    }

    /// Lets [`step`] decide, and carries it out.
    pub(super) async fn advance(&mut self, event: Event) {
        let actions = step(&mut self.state, event);
        self.keep_appointments();
        // Before anything is done: a stop that was begun is gone on with by the next supervisor, not taken for a crash.
        self.write_down();
        for action in actions {
            self.act(action).await;
        }
        self.settle_audience().await;
    }

    /// Takes leave of those whose wait is over. What they will ask for next must find what happened in its file.
    pub(super) async fn settle_audience(&mut self) {
        if self.audience.is_due(&self.state) {
            self.chronicle.settle().await;
        }
        self.audience.settle(&self.state);
    }

    /// Everything ends, in order.
    pub(super) async fn end_in_order(&mut self) {
        self.remember_ending();
        self.chronicle.note(Kind::Down, None);
        self.advance(Event::Down {
            kill: false,
            grace: None,
        })
        .await;
    }

    async fn made(&mut self, name: UnitName, run: u64, outcome: Result<Vec<String>, Unmade>) {
        self.abandoned.remove(&name);
        match outcome {
            Ok(notices) => {
                for text in notices {
                    self.audience.tell(&Progress::Notice { text });
                }
                self.advance(Event::Prepared(name, run)).await;
            }
            Err(unmade) => self.unmade(name, run, unmade).await,
        }
    }

    async fn unmade(&mut self, name: UnitName, run: u64, unmade: Unmade) {
        self.details.insert(name.clone(), unmade.details);
        self.advance(Event::Unmade {
            name,
            run,
            cause: unmade.cause,
            exit: unmade.exit,
        })
        .await;
    }

    async fn late(&mut self, name: UnitName, run: u64, answer: &str) {
        let limit = self.state.units.get(&name).map(|unit| unit.traits.timeout);
        let limit = limit.unwrap_or_default().as_secs_f64();
        let cause = format!("not healthy within {limit} s: {answer}");
        self.advance(Event::Late { name, run, cause }).await;
    }

    pub(super) async fn exited(&mut self, id: String, record: ExitRecord) {
        if id == super::wish::FORWARDER && !self.state.ending {
            self.start_forwarder().await;
        }
        if !self.state.units.contains_key(&id) {
            return;
        }
        self.running.remove(&id);
        self.hear_no_more(&id);
        self.reckon(&id, &record).await;
        let (code, cause) = (record.status.code(), self.ended(&record));
        self.exits.insert(id.clone(), record);
        self.advance(Event::Exited {
            name: id,
            code,
            cause,
        })
        .await;
    }

    async fn closed(&mut self, number: u64) {
        self.audience.remove(number);
        if self.owner == Some(number) {
            self.owner = None;
            self.end_in_order().await;
        }
    }

    /// How a service ended, in one line.
    fn ended(&self, record: &ExitRecord) -> String {
        let how = how_it_ended(record);
        if !record.oom_killed() {
            return how;
        }
        let room = limits::room(&record.usage);
        if record.usage.was_out_of_memory() {
            return format!("{how}: its memory limit was reached{room}");
        }
        let all = self.used_by_all().filter(Usage::was_out_of_memory);
        match all {
            Some(all) => format!(
                "{how}: the memory limit of all services together was reached{}",
                limits::room(&all)
            ),
            None => format!("{how}: this machine was out of memory{room}"),
        }
    }
}

fn how_it_ended(record: &ExitRecord) -> String {
    use pactown_runtime::protocol::ExitStatus::{Code, Signal, Unknown};
    match record.status {
        Code(code) => format!("exited with code {code}"),
        Signal(signal) => match nix::sys::signal::Signal::try_from(signal) {
            Ok(name) => format!("killed by {name}"),
            Err(_) => format!("killed by signal {signal}"),
        },
        Unknown => "ended from outside".to_owned(),
    }
}
