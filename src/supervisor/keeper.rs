//! The keeper as the supervisor talks to it: calls with answers, and the ends of sandboxes as messages.

use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pactown_runtime::client::Client;
use pactown_runtime::error::Failure;
use pactown_runtime::error::FailureKind;
use pactown_runtime::protocol::{Call, Listed, What};
use tokio::sync::{mpsc, oneshot};

use super::engine::Message;

type Pending = Arc<Mutex<HashMap<u64, oneshot::Sender<What>>>>;

/// One connection, subscribed to the ends of sandboxes.
#[derive(Clone)]
pub(super) struct Keeper {
    client: Client,
    pending: Pending,
    socket: PathBuf,
}

impl Keeper {
    /// Connects; from now on `messages` gets every end of a sandbox, and the keeper's own.
    pub(super) fn connect(socket: &Path, messages: mpsc::UnboundedSender<Message>) -> io::Result<Self> {
        let client = Client::connect(socket)?;
        let pending = Pending::default();
        let keeper = Self {
            client: client.clone(),
            pending: Arc::clone(&pending),
            socket: socket.to_owned(),
        };
        std::thread::spawn(move || listen(&client, &pending, &messages));
        keeper.client.send(Call::Subscribe, &[])?;
        Ok(keeper)
    }

    /// The keeper's socket, for connections of somebody's own.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Carries out a call.
    pub(super) async fn ask(&self, call: Call) -> Result<What, Failure> {
        self.send(call, &[])?
            .await
            .map_err(|_| gone("it ended"))
            .and_then(verdict)
    }

    /// The same from a blocking task, with descriptors.
    pub(super) fn ask_blocking(&self, call: Call, descriptors: &[BorrowedFd<'_>]) -> Result<What, Failure> {
        self.send(call, descriptors)?
            .blocking_recv()
            .map_err(|_| gone("it ended"))
            .and_then(verdict)
    }

    /// Sends a call whose outcome shows in events.
    pub(super) fn tell(&self, call: Call) {
        let _ = self.client.send(call, &[]);
    }

    /// Has the keeper hold descriptors, in place of what it holds under this key.
    pub(super) fn hand_over(&self, key: &str, descriptors: &[BorrowedFd]) -> io::Result<()> {
        let key = key.to_owned();
        self.client.send(Call::Hold { key }, descriptors).map(drop)
    }

    /// Everything that lives, or has ended and was not forgotten.
    pub(super) async fn list(&self) -> Result<Vec<Listed>, Failure> {
        match self.ask(Call::List).await? {
            What::Listed { sandboxes } => Ok(sandboxes),
            _ => Err(gone("it answered something else")),
        }
    }

    /// Sends a call; its answer, which may be read much later.
    pub(super) fn send(
        &self,
        call: Call,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<oneshot::Receiver<What>, Failure> {
        let (answer, wait) = oneshot::channel();
        // Held over the sending: the answer must not arrive before its place is known.
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let seq = self
            .client
            .send(call, descriptors)
            .map_err(|error| gone(&error.to_string()))?;
        pending.insert(seq, answer);
        Ok(wait)
    }
}

fn listen(client: &Client, pending: &Pending, messages: &mpsc::UnboundedSender<Message>) {
    while let Ok(Some((event, _))) = client.receive() {
        let heard = match (event.seq, event.what) {
            (Some(seq), what) => {
                let waiting = pending
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&seq);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(what);
                }
                true
            }
            (None, What::Exited { id, status }) => messages.send(Message::Exited(id, status)).is_ok(),
            _ => true,
        };
        if !heard {
            return;
        }
    }
    pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let _ = messages.send(Message::KeeperGone);
}

fn verdict(what: What) -> Result<What, Failure> {
    match what {
        What::Failed { step, causes, kind } => Err(Failure { step, causes, kind }),
        what => Ok(what),
    }
}

fn gone(cause: &str) -> Failure {
    Failure::new(FailureKind::Environment, "ask the keeper", cause)
}
