//! The thread that writes: it takes what waits, up to a limit, into one transaction.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::blobs::Blobs;
use super::{Batch, StoreError};

/// Writers that share a transaction at most.
const SHARED: usize = 256;

/// Writes within a transaction; the answer is kept until the transaction is on disk.
/// Without a batch, the transaction could not even begin.
type Act = Box<dyn FnOnce(Result<&mut Batch<'_>, StoreError>) -> Answer + Send>;

/// Gives the writer its answer; with `Some`, the transaction as a whole failed.
type Answer = Box<dyn FnOnce(Option<StoreError>) + Send>;

/// The sender's end of the thread.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Act>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, blobs: Arc<Blobs>) -> Result<Self, StoreError> {
        let (queue, acts) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("registry-writer".to_owned())
            .spawn(move || write_all(connection, &blobs, &acts))
            .map_err(StoreError::file("starting the writer"))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    pub(super) async fn submit<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, answer) = oneshot::channel();
        let act: Act = Box::new(move |batch| {
            let outcome = batch.and_then(|batch| batch.apart(act));
            Box::new(move |failure| {
                // Whoever asked may have gone; the deed stands.
                let _ = sender.send(failure.map_or(outcome, Err));
            })
        });
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(act).map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_all(mut connection: Connection, blobs: &Blobs, acts: &mpsc::Receiver<Act>) {
    while let Ok(first) = acts.recv() {
        let mut together = vec![first];
        together.extend(acts.try_iter().take(SHARED - 1));
        write_together(&mut connection, blobs, together);
    }
}

/// One transaction. Nobody hears of a success before all of it is on disk.
fn write_together(connection: &mut Connection, blobs: &Blobs, acts: Vec<Act>) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = StoreError::from(error);
            return acts.into_iter().for_each(|act| act(Err(repeat(&error)))(None));
        }
    };
    let mut batch = Batch::new(&transaction, blobs);
    let answers: Vec<Answer> = acts.into_iter().map(|act| act(Ok(&mut batch))).collect();
    let finished = batch.finish();
    let outcome = finished.and_then(|()| transaction.commit().map_err(StoreError::from));
    for answer in answers {
        answer(outcome.as_ref().err().map(repeat));
    }
}

/// The same failure, for each of those who shared the transaction.
fn repeat(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full => StoreError::Full,
        StoreError::Busy => StoreError::Busy,
        other => StoreError::File(
            "writing the store",
            std::io::Error::other(crate::error::chain(other)),
        ),
    }
}
