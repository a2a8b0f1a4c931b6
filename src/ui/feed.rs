//! What a view is fed with, and what it asks for: the rows each second, log lines as they come, the graph, and the
//! requests that its keys mean. Everything comes back as a message.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::time::MissedTickBehavior;

use super::model::{Action, KEPT, LogLine, Message, Verb};
use super::{Reread, text};
use crate::config::ecosystem::ServiceName;
use crate::control::Client;
use crate::control::api::{DownRequest, Health, Phase, Progress, ServiceRequest, ServiceStatus};
use crate::control::client::ProgressStream;
use crate::desired::Desired;
use crate::diagnostics::{Problem, Problems};
use crate::error::{Error, chain};
use crate::instance::Instance;
use crate::logs::{Follower, History, Line, Reader, Stopper, Stream};
use crate::resolver::{self, Format, Graph};
use crate::stats::Sampler;
use crate::why::facts;

/// Time between two looks at the rows.
const INTERVAL: Duration = Duration::from_secs(1);
/// The pause between two diagnoses.
const CAUSES: Duration = Duration::from_secs(3);

/// The sources of one view.
pub(super) struct Feed {
    instance: Instance,
    client: Client,
    reread: Reread,
    sender: UnboundedSender<Message>,
    watched: Vec<ServiceName>,
    follower: Option<Stopper>,
}

impl Feed {
    /// Rows come from now on.
    pub(super) fn start(
        instance: &Instance,
        client: &Client,
        reread: Reread,
        sender: UnboundedSender<Message>,
    ) -> Self {
        rows(instance.clone(), client.clone(), sender.clone());
        causes(instance.clone(), client.clone(), sender.clone());
        Self {
            instance: instance.clone(),
            client: client.clone(),
            reread,
            sender,
            watched: Vec::new(),
            follower: None,
        }
    }

    /// Begins what was asked for; how it ends comes as a message.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Service(name, verb) => {
                let (client, sender) = (self.client.clone(), self.sender.clone());
                let reread = Arc::clone(&self.reread);
                tokio::spawn(async move {
                    let outcome = service(&client, reread, &name, verb).await;
                    let _ = sender.send(Message::Done(name, verb, outcome));
                });
            }
            Action::Down => {
                let (client, sender) = (self.client.clone(), self.sender.clone());
                tokio::spawn(async move {
                    if let Err(why) = down(&client).await {
                        let _ = sender.send(Message::NotStopped(why));
                    }
                });
            }
            Action::Watch(names) => self.watch(names),
            Action::Quit(_) | Action::Fail(_) => {}
        }
    }

    fn watch(&mut self, names: Vec<ServiceName>) {
        let (client, sender) = (self.client.clone(), self.sender.clone());
        tokio::spawn(async move {
            if let Ok(desired) = client.get_json::<Desired>("/v1/desired").await {
                let _ = sender.send(Message::Graph(graph(&desired)));
            }
        });
        if names != self.watched {
            self.end_following();
            self.follower = follow(&self.instance, names.clone(), self.sender.clone());
            self.watched = names;
        }
    }

    fn end_following(&mut self) {
        if let Some(stopper) = self.follower.take() {
            stopper.stop();
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.end_following();
    }
}

/// Sends the rows and what they use, each second, until nobody takes them.
pub(super) fn rows(instance: Instance, client: Client, sender: UnboundedSender<Message>) {
    tokio::spawn(async move {
        let mut sampler = Sampler::new(instance);
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let message = match client.get_json::<Vec<ServiceStatus>>("/v1/services").await {
                Ok(rows) => {
                    let samples = sampler.sample(&rows);
                    Message::Rows(rows, samples)
                }
                Err(Error::Failed(_) | Error::Lost(_)) => Message::Gone,
                Err(error) => Message::Refused(chain(&error)),
            };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
}

/// Sends what `pactown why` says, every few seconds, until nobody takes it. What is well costs nothing.
pub(super) fn causes(instance: Instance, client: Client, sender: UnboundedSender<Message>) {
    tokio::spawn(async move {
        while !sender.is_closed() {
            let rows = client.get_json::<Vec<ServiceStatus>>("/v1/services").await;
            let rows = rows.unwrap_or_default();
            let wrong = |row: &ServiceStatus| {
                !matches!(row.state, Phase::Running | Phase::Completed) || row.health == Health::Unhealthy
            };
            let mut found = Vec::new();
            if rows.iter().any(wrong)
                && let Ok(desired) = client.get_json::<Desired>("/v1/desired").await
            {
                let instance = instance.clone();
                let gathered = tokio::task::spawn_blocking(move || {
                    facts::wrong(&facts::gather(&instance, &desired, Some(&rows)))
                });
                found = gathered.await.unwrap_or_default();
            }
            let _ = sender.send(Message::Why(found));
            tokio::time::sleep(CAUSES).await;
        }
    });
}

/// The graph of what runs, as `pactown graph` prints it.
fn graph(desired: &Desired) -> Vec<String> {
    let Ok(graph) = Graph::of(&desired.ecosystem) else {
        return vec!["services need each other in a circle".to_owned()];
    };
    let text = resolver::render(desired, &graph, Format::Text);
    text.lines().map(str::to_owned).collect()
}

async fn service(client: &Client, reread: Reread, name: &str, verb: Verb) -> Result<(), String> {
    let path = format!("/v1/services/{name}/{}", verb.word());
    // As `pactown restart`: a start takes the file as it is now, a stop must work whatever the file says.
    let desired = match verb {
        Verb::Stop => None,
        Verb::Start | Verb::Restart => Some(Box::new(now(reread).await?)),
    };
    let request = ServiceRequest {
        desired,
        with_dependents: false,
    };
    let stream = client.post_stream(&path, &request).await;
    settled(stream.map_err(|error| chain(&error))?).await
}

/// The file; of its problems the first one, because there is one line for it.
async fn now(reread: Reread) -> Result<Desired, String> {
    let read = tokio::task::spawn_blocking(move || reread()).await;
    let read = read.map_err(|error| error.to_string())?;
    read.map_err(|error| match &error {
        Error::Problems(Problems(problems)) => problems.first().map(short).unwrap_or_default(),
        error => chain(error),
    })
}

/// The folder is known here, and would leave no room.
fn short(problem: &Problem) -> String {
    let file = problem.file.file_name().unwrap_or_default().to_string_lossy();
    format!("{file}:{}: {}", problem.place.line, problem.message)
}

async fn down(client: &Client) -> Result<(), String> {
    let stream = client.post_stream("/v1/down", &DownRequest::default()).await;
    settled(stream.map_err(|error| chain(&error))?).await
}

/// Reads a request's progress to its end; the first failure that it tells of, when it fails.
async fn settled(mut stream: ProgressStream) -> Result<(), String> {
    let mut failure = None;
    loop {
        match stream.next().await {
            Ok(Some(Progress::Failure { service, cause, .. })) => {
                failure.get_or_insert(format!("{service}: {cause}"));
            }
            Ok(Some(Progress::Settled { exit_code: 0 }) | None) => return Ok(()),
            Ok(Some(Progress::Settled { exit_code })) => {
                return Err(failure.unwrap_or(format!("exit code {exit_code}")));
            }
            Ok(Some(_)) => {}
            Err(error) => return Err(chain(&error)),
        }
    }
}

/// Sends what these services have written, then what they write, on a thread of its own.
fn follow(instance: &Instance, names: Vec<ServiceName>, sender: UnboundedSender<Message>) -> Option<Stopper> {
    let paths: Vec<PathBuf> = names.iter().map(|name| instance.log_file(name)).collect();
    // Before the past is read: what is written meanwhile is not lost.
    let mut follower = match Follower::new(&paths) {
        Ok(follower) => follower,
        Err(error) => {
            let text = format!("the log cannot be followed: {error}");
            for name in names {
                let line = LogLine {
                    system: true,
                    text: text.clone(),
                };
                let _ = sender.send(Message::Past(name, vec![line]));
            }
            return None;
        }
    };
    let stopper = follower.stopper();
    std::thread::spawn(move || {
        let mut last = Vec::new();
        for (name, path) in names.iter().zip(&paths) {
            let (lines, time) = past(path);
            last.push(time);
            let _ = sender.send(Message::Past(name.clone(), lines));
        }
        let _ = follower.run(&mut |index, line| {
            // It may have been read with the past already.
            if last[index].as_ref().is_none_or(|last| line.time > *last) {
                let _ = sender.send(Message::Log(names[index].clone(), fit(&line)));
            }
        });
    });
    Some(stopper)
}

/// The last lines of a log, and when the last one was written.
fn past(path: &std::path::Path) -> (Vec<LogLine>, Option<String>) {
    let mut lines = std::collections::VecDeque::new();
    let mut time = None;
    let mut reader = Reader::new(&History::open(path), false);
    while let Ok(Some(line)) = reader.read_line() {
        if lines.len() == KEPT {
            lines.pop_front();
        }
        lines.push_back(fit(&line));
        time = Some(line.time);
    }
    (lines.into(), time)
}

fn fit(line: &Line) -> LogLine {
    LogLine {
        system: line.stream == Stream::System,
        text: text::clean(&line.text()),
    }
}
