//! The socket on which a service says how it is (sd_notify(3)): made for each run, held by the keeper, which outlives
//! the supervisor, and removed with the sandbox. What is said there is read in [`crate::health::notify`].

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pactown_runtime::client::Client;
use pactown_runtime::protocol::Call;
use tokio::sync::OnceCell;

use super::engine::{Engine, Message};
use super::keeper::Keeper;
use super::step::Event;
use crate::config::ecosystem::Service;
use crate::health::notify::{self, Inbox, Said};

/// The name under which the keeper holds the socket of `service`.
pub(super) fn key(service: &str) -> String {
    format!("notify:{service}")
}

/// Binds a new socket in `directory` that only `owner`, a uid of the host, may write to; the keeper holds it.
pub(super) fn make(directory: &Path, owner: u32, service: &str, keeper: &Keeper) -> io::Result<()> {
    remove(directory)?;
    let private = directory.parent().unwrap_or(directory);
    DirBuilder::new().recursive(true).mode(0o700).create(private)?;
    // Reached from inside only: there the directory is mounted, and the service has to pass through it.
    fs::create_dir(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(0o711))?;
    let path = directory.join(notify::NAME);
    let socket = UnixDatagram::bind(&path)?;
    chown(&path, Some(owner), None)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let key = key(service);
    keeper
        .ask_blocking(Call::Hold { key }, &[socket.as_fd()])
        .map_err(|failure| io::Error::other(failure.to_string()))?;
    Ok(())
}

/// Removes the directory; one that is gone is fine.
pub(super) fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What one run says on its socket, from its start to its end, also while it stops: heard by one, for everybody.
pub(super) struct Ear {
    keeper: PathBuf,
    service: String,
    inbox: OnceCell<Inbox>,
}

impl Ear {
    fn new(keeper: &Path, service: &str) -> Self {
        Self {
            keeper: keeper.to_owned(),
            service: service.to_owned(),
            inbox: OnceCell::new(),
        }
    }

    /// Its socket, which the keeper holds: read from the first call on.
    pub(super) async fn inbox(&self) -> Result<&Inbox, String> {
        let open = || async {
            let (socket, key) = (self.keeper.clone(), key(&self.service));
            let held = tokio::task::spawn_blocking(move || held(&socket, key)).await;
            let datagrams = held.map_err(|error| error.to_string())??;
            Inbox::listen(datagrams).map_err(|error| error.to_string())
        };
        self.inbox.get_or_try_init(open).await
    }

    /// The last status.
    pub(super) fn status(&self) -> Option<String> {
        self.inbox.get()?.said().status
    }

    /// How often it has asked for more time.
    fn extensions(&self) -> Option<u32> {
        Some(self.inbox.get()?.said().extend?.0)
    }
}

fn held(socket: &Path, key: String) -> Result<UnixDatagram, String> {
    let client = Client::connect(socket).map_err(|error| error.to_string())?;
    let (_, descriptors) = client
        .call(Call::Held { key }, &[])
        .map_err(|failure| failure.to_string())?;
    let first = descriptors.into_iter().next();
    first
        .map(UnixDatagram::from)
        .ok_or_else(|| "its socket is gone".to_owned())
}

impl Engine {
    /// Hears a service that notifies, for as long as it runs: one whose words nobody takes would wait in the middle of
    /// them.
    pub(super) fn hear(&mut self, name: &str, run: u64) {
        let site = self.site.as_ref();
        let member = site.and_then(|site| site.member(name));
        let service = member.map(|member| member.service);
        if !service.is_some_and(Service::notifies) {
            return;
        }
        let ear = Arc::new(Ear::new(self.keeper.socket(), name));
        let (messages, listener, service) = (self.messages.clone(), Arc::clone(&ear), name.to_owned());
        let task = tokio::task::spawn_local(async move {
            match listener.inbox().await {
                Ok(inbox) => {
                    let told = |said| drop(messages.send(Message::Said(service.clone(), run, said)));
                    inbox.listen_to(told).await;
                }
                Err(cause) => super::tell(&format!("{service}: its notifications are not heard: {cause}")),
            }
        });
        if let Some((_, before)) = self.ears.insert(name.to_owned(), (ear, task.abort_handle())) {
            before.abort();
        }
    }

    /// It has ended, and says nothing more.
    pub(super) fn hear_no_more(&mut self, name: &str) {
        self.stopping_since.remove(name);
        if let Some(timer) = self.graces.remove(name) {
            timer.abort();
        }
        if let Some((_, task)) = self.ears.remove(name) {
            task.abort();
        }
    }

    /// It said something. What it says of itself is shown from its [`Ear`]; that it needs longer is decided on.
    pub(super) async fn said(&mut self, name: String, run: u64, said: Said) {
        let count = said.extend.map(|(count, _)| count);
        if let (Some((_, time)), Some(since)) = (said.extend, self.stopping_since.get_mut(&name))
            && count != since.1
        {
            since.1 = count;
            let elapsed = since.0.elapsed();
            self.advance(Event::Extended {
                name,
                run,
                time,
                elapsed,
            })
            .await;
        }
    }

    /// It was told to end: from now on it may say that it needs longer.
    pub(super) fn stopping(&mut self, name: &str) {
        // What it asked for before meant something else.
        let before = self.ears.get(name).and_then(|(ear, _)| ear.extensions());
        let since = self.stopping_since.entry(name.to_owned());
        since.or_insert((Instant::now(), before));
    }

    /// Sends [`Event::GraceOver`] after this time, in the place of one that was to be sent.
    pub(super) fn grace(&mut self, name: String, run: u64, time: Duration) {
        let (messages, service) = (self.messages.clone(), name.clone());
        let timer = tokio::task::spawn_local(async move {
            tokio::time::sleep(time).await;
            let _ = messages.send(Message::Event(Event::GraceOver(service, run)));
        });
        if let Some(before) = self.graces.insert(name, timer.abort_handle()) {
            before.abort();
        }
    }
}
