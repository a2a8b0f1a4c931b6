//! The ecosystem that tests are asked of: the running one, or a copy that is brought up for them, with free ports and
//! nothing of the user's data, and that leaves nothing behind.

use std::collections::BTreeMap;
use std::time::Duration;

use super::suites::{self, Plan};
use crate::commands::evidence::Recorder;
use crate::commands::follow::{self, Outcome, Signals, View};
use crate::commands::{Context, preflight, run, up};
use crate::config::ecosystem::ServiceName;
use crate::control::api::{DownRequest, Goal, ServiceStatus, UpRequest, WaitRequest};
use crate::control::client::ProgressStream;
use crate::desired::Desired;
use crate::error::Error;
use crate::instance::Instance;
use crate::markpact::Recipe;
use crate::markpact::recipe::WorkloadKind;
use crate::session::{self, Session};
use crate::testing::run::Site;

/// The name of the copy; a second one at the same time is `test-2`.
const LABEL: &str = "test";

/// What tests are asked of.
pub(super) struct Town<'a> {
    view: View<'a>,
    session: Session,
    /// As it runs.
    desired: Desired,
    /// Whether it was brought up here, and ends with this command.
    pub(super) is_ours: bool,
    /// The connection that owns the run, once there is one.
    owner: Option<ProgressStream>,
}

impl<'a> Town<'a> {
    /// Finds the running ecosystem, or brings a copy up, and waits until it is ready. On failure nothing of it is left.
    ///
    /// # Errors
    /// It does not come up (why is shown), time is up, a signal came.
    pub(super) async fn enter(
        context: &'a Context,
        plan: &Plan,
        recorder: &Recorder<'_>,
        signals: &mut Signals,
        limit: Option<Duration>,
    ) -> Result<Self, Error> {
        let running = match plan.is_alone {
            true => None,
            false => Session::find(&plan.desired.instance)?,
        };
        match running {
            Some(session) => Self::join(context, plan, recorder, session, signals, limit).await,
            None => Self::found(context, plan, recorder, signals, limit).await,
        }
    }

    /// The running one, as it is.
    async fn join(
        context: &'a Context,
        plan: &Plan,
        recorder: &Recorder<'_>,
        session: Session,
        signals: &mut Signals,
        limit: Option<Duration>,
    ) -> Result<Self, Error> {
        let running: Desired = session.client.get_json("/v1/desired").await?;
        for (name, recipe) in &plan.desired.recipes {
            if running
                .recipes
                .get(name)
                .is_some_and(|old| !runs_the_same(old, recipe))
            {
                context.output.notice(&format!(
                    "{name} runs from an older `{}`; 'pactown up -d' applies the new one",
                    recipe.readme.display()
                ));
            }
        }
        let mut town = Self {
            view: silent(context),
            session,
            desired: plan.desired.clone(),
            is_ours: false,
            owner: None,
        };
        match town.wait(context, plan, signals, limit).await {
            Ok(()) => Ok(town),
            Err(error) => {
                town.record(context, recorder).await;
                Err(error)
            }
        }
    }

    /// Until those that are asked, and those that ask, are healthy.
    async fn wait(
        &mut self,
        context: &Context,
        plan: &Plan,
        signals: &mut Signals,
        limit: Option<Duration>,
    ) -> Result<(), Error> {
        let stays = |name: &ServiceName| plan.desired.recipes[name].workload.kind == WorkloadKind::Service;
        let services: Vec<ServiceName> = suites::needed(&plan.suites).into_iter().filter(stays).collect();
        let request = WaitRequest {
            services: services.clone(),
            goal: Goal::Healthy,
        };
        let mut stream = self.session.client.post_stream("/v1/wait", &request).await?;
        match follow::until_settled(&mut stream, &mut self.view, signals, limit).await? {
            Outcome::Settled(0) => Ok(()),
            Outcome::Settled(_) | Outcome::Ended => Err(Error::Failed(format!(
                "the tests need {}, not all of which run",
                services.join(", ")
            ))),
            Outcome::Interrupted(number) => Err(Error::Child(128 + number)),
            Outcome::TimedOut => Err(self.late(context, limit).await),
        }
    }

    /// Takes for `--bundle` what only a running ecosystem tells.
    pub(super) async fn record(&self, context: &Context, recorder: &Recorder<'_>) {
        if recorder.is_wanted() {
            let rows = follow::rows(&self.session, &self.view).await;
            recorder.take(context, &self.desired, &rows, &self.view.plan);
        }
    }

    /// Why each service that is not ready is not.
    async fn late(&self, context: &Context, limit: Option<Duration>) -> Error {
        let rows = follow::rows(&self.session, &self.view).await;
        up::late(context, &self.desired, &rows, limit)
    }

    /// A copy of its own. With `--instance` it is that instance, whose data stay.
    async fn found(
        context: &'a Context,
        plan: &Plan,
        recorder: &Recorder<'_>,
        signals: &mut Signals,
        limit: Option<Duration>,
    ) -> Result<Self, Error> {
        let is_named = plan.desired.instance.label.is_some();
        let mut desired = plan.desired.clone();
        let mut attempt = 1;
        let session = loop {
            if !is_named {
                desired = copy_of(&plan.desired, attempt);
            }
            preflight::check(context, &desired)?;
            let session = Session::ensure(&desired)?;
            if session.is_new || is_named {
                break session;
            }
            attempt += 1;
        };
        if !is_named {
            run::make_room()?;
        }
        let mut town = Self {
            view: silent(context),
            session,
            desired,
            is_ours: true,
            owner: None,
        };
        match town.bring_up(context, &plan.services, signals, limit).await {
            Ok(()) => Ok(town),
            Err(error) => {
                town.record(context, recorder).await;
                town.leave(signals).await?;
                Err(error)
            }
        }
    }

    /// Has the copy become `desired`: what changed is started anew.
    pub(super) async fn apply(
        &mut self,
        context: &Context,
        plan: &Plan,
        signals: &mut Signals,
    ) -> Result<(), Error> {
        let mut desired = plan.desired.clone();
        desired.instance = self.desired.instance.clone();
        if self.desired.ecosystem.sandbox_root == self.desired.instance.scratch() {
            move_out(&mut desired);
        }
        self.desired = desired;
        self.bring_up(context, &plan.services, signals, None).await
    }

    async fn bring_up(
        &mut self,
        context: &Context,
        services: &[ServiceName],
        signals: &mut Signals,
        limit: Option<Duration>,
    ) -> Result<(), Error> {
        let request = UpRequest {
            desired: Box::new(self.desired.clone()),
            services: services.to_vec(),
            attached: true,
            no_health: false,
            sequential: false,
            workers: up::WORKERS,
            strict_ports: false,
            remove_orphans: true,
            force_recreate: false,
        };
        let stream = self.session.client.post_stream("/v1/up", &request).await?;
        let stream = self.owner.insert(stream);
        match follow::until_settled(stream, &mut self.view, signals, limit).await? {
            Outcome::Settled(0) => Ok(()),
            Outcome::Settled(code) => Err(up::failed(context, &self.desired, &self.view, code)),
            Outcome::TimedOut => Err(self.late(context, limit).await),
            Outcome::Interrupted(number) => Err(Error::Child(128 + number)),
            Outcome::Ended => Err(up::gone()),
        }
    }

    /// Where everything is.
    pub(super) async fn site(&self) -> Result<Site, Error> {
        let rows: Vec<ServiceStatus> = self.session.client.get_json("/v1/services").await?;
        let mut units = BTreeMap::new();
        for row in rows {
            if let Some(address) = row.address {
                units.entry(row.service).or_insert((row.name, address));
            }
        }
        Ok(Site {
            instance: self.desired.instance.clone(),
            units,
        })
    }

    /// Keeps the run for as long as it is waited for; returns when it is gone. A supervisor that dies is followed by
    /// another, which must learn that the run is still somebody's.
    pub(super) async fn hold(&mut self) -> Error {
        let Some(stream) = &mut self.owner else {
            return std::future::pending().await;
        };
        loop {
            match stream.next().await {
                Ok(Some(_)) => {}
                Ok(None) => return up::gone(),
                Err(_) => {
                    let instance = self.desired.instance.clone();
                    let answers = tokio::task::spawn_blocking(move || session::is_answering(&instance));
                    let _ = answers.await;
                    match self.session.client.post_stream("/v1/attach", &()).await {
                        Ok(another) => *stream = another,
                        Err(error) => return error,
                    }
                }
            }
        }
    }

    /// Ends what was brought up, and removes what it wrote. A signal meanwhile kills what is left.
    pub(super) async fn leave(mut self, signals: &mut Signals) -> Result<(), Error> {
        if !self.is_ours {
            return Ok(());
        }
        let instance = &self.desired.instance;
        match self.session.client.is_alive().await {
            true => follow::bring_down(
                &self.session,
                instance,
                DownRequest::default(),
                &mut self.view,
                signals,
            )
            .await
            .map(drop),
            false => self.session.wait_for_end(instance),
        }
    }
}

fn silent(context: &Context) -> View<'_> {
    let mut view = View::new(&context.output);
    view.silent = true;
    view
}

/// The ecosystem as an instance of its own.
fn copy_of(desired: &Desired, attempt: u32) -> Desired {
    let mut copy = desired.clone();
    let label = match attempt {
        1 => LABEL.to_owned(),
        attempt => format!("{LABEL}-{attempt}"),
    };
    copy.instance = Instance::new(&copy.ecosystem.name, &copy.ecosystem.file, Some(&label));
    move_out(&mut copy);
    copy
}

/// Nothing is written beside the user's files: what the copy writes goes with the rest of the instance.
fn move_out(desired: &mut Desired) {
    desired.ecosystem.sandbox_root = desired.instance.scratch();
    for service in desired.ecosystem.services.values_mut() {
        service.sandbox_path = None;
    }
}

/// Whether a service made of one is a service made of the other.
fn runs_the_same(one: &Recipe, other: &Recipe) -> bool {
    let files = |recipe: &Recipe| -> Vec<(String, String, u32)> {
        let file = recipe.files.iter();
        file.map(|file| (file.path.clone(), file.content.clone(), file.mode))
            .collect()
    };
    let deps = |recipe: &Recipe| -> Vec<String> {
        let deps = recipe.deps.iter().flat_map(|block| &block.requirements);
        deps.map(|(_, text)| text.clone()).collect()
    };
    let run = |recipe: &Recipe| recipe.run.as_ref().map(|run| run.command.clone());
    files(one) == files(other)
        && deps(one) == deps(other)
        && run(one) == run(other)
        && one.workload == other.workload
}
