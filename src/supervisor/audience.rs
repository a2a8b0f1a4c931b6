//! Who listens: the progress streams of requests, and what each of them waits for.

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::AbortHandle;

use super::reach::{Reach, reach};
use super::unit::Unit;
use super::units::State;
use crate::config::ecosystem::ServiceName;
use crate::control::api::{Goal, Progress};

/// What a request waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Awaited {
    /// These services are ready, completed, failed or blocked.
    Settled(Vec<ServiceName>),
    /// These services are at rest.
    Rest(Vec<ServiceName>),
    /// These services are in this state, or cannot get there any more.
    Reached(Vec<ServiceName>, Goal),
    /// The whole instance has ended.
    End,
    /// Nothing: it only listens.
    Nothing,
}

/// One stream.
struct Listener {
    number: u64,
    lines: UnboundedSender<Progress>,
    awaited: Awaited,
    /// Goes on listening after what it waited for.
    stays: bool,
    /// Sees the reader leave; holds the stream open.
    watcher: Option<AbortHandle>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(watcher) = &self.watcher {
            watcher.abort();
        }
    }
}

/// All streams.
#[derive(Default)]
pub(super) struct Audience {
    listeners: Vec<Listener>,
    count: u64,
}

impl Audience {
    /// A new stream: its number, its end to be read, and one to see whether somebody still reads.
    pub(super) fn add(
        &mut self,
        awaited: Awaited,
        stays: bool,
    ) -> (u64, UnboundedReceiver<Progress>, UnboundedSender<Progress>) {
        let (lines, read) = mpsc::unbounded_channel();
        self.count += 1;
        self.listeners.push(Listener {
            number: self.count,
            lines: lines.clone(),
            awaited,
            stays,
            watcher: None,
        });
        (self.count, read, lines)
    }

    /// Lets `watcher` end with the stream.
    pub(super) fn watch(&mut self, number: u64, watcher: AbortHandle) {
        match self
            .listeners
            .iter_mut()
            .find(|listener| listener.number == number)
        {
            Some(listener) => listener.watcher = Some(watcher),
            None => watcher.abort(),
        }
    }

    /// Tells everybody. Who does not hear it has left: their watcher says so, on which the end of a run may depend, and
    /// they go then.
    pub(super) fn tell(&mut self, progress: &Progress) {
        for listener in &self.listeners {
            let _ = listener.lines.send(progress.clone());
        }
    }

    /// Tells one.
    pub(super) fn tell_one(&self, number: u64, progress: Progress) {
        if let Some(listener) = self.listeners.iter().find(|listener| listener.number == number) {
            let _ = listener.lines.send(progress);
        }
    }

    /// Whether somebody's wait is over.
    pub(super) fn is_due(&self, state: &State) -> bool {
        let due = |listener: &Listener| verdict(&listener.awaited, state).is_some();
        self.listeners.iter().any(due)
    }

    /// Takes leave of those whose wait is over; not of those who have left, as above.
    pub(super) fn settle(&mut self, state: &State) {
        self.listeners.retain_mut(|listener| {
            let Some((exit_code, why)) = verdict(&listener.awaited, state) else {
                return true;
            };
            if let Some(why) = why {
                let _ = listener.lines.send(why);
            }
            listener.awaited = Awaited::Nothing;
            let has_left = listener.lines.send(Progress::Settled { exit_code }).is_err();
            has_left || listener.stays
        });
    }

    /// Everything has ended: whoever waited for that is told so; all streams end.
    pub(super) fn dismiss(&mut self, exit_code: i32) {
        for listener in self.listeners.drain(..) {
            let exit_code = match listener.awaited {
                Awaited::Reached(_, Goal::Stopped) => 0,
                Awaited::Reached(..) => 1,
                _ => exit_code,
            };
            let _ = listener.lines.send(Progress::Settled { exit_code });
        }
    }

    /// Forgets a stream.
    pub(super) fn remove(&mut self, number: u64) {
        self.listeners.retain(|listener| listener.number != number);
    }
}

/// The exit code, once what is awaited has come, and what is to be said before it.
fn verdict(awaited: &Awaited, state: &State) -> Option<(i32, Option<Progress>)> {
    let code = match awaited {
        Awaited::Nothing | Awaited::End => None,
        Awaited::Reached(names, goal) => return reached(reach(state, names, *goal)),
        Awaited::Settled(names) => state.settled(names),
        Awaited::Rest(names) => names
            .iter()
            .filter_map(|name| state.units.get(name))
            .all(Unit::is_at_rest)
            .then_some(0),
    };
    code.map(|code| (code, None))
}

fn reached(reach: Reach) -> Option<(i32, Option<Progress>)> {
    match reach {
        Reach::Reached => Some((0, None)),
        Reach::Pending => None,
        Reach::Never { service, cause } => Some((
            1,
            Some(Progress::Failure {
                service,
                cause,
                details: Vec::new(),
                log: Vec::new(),
            }),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_left_is_watched_until_that_was_told() {
        let mut audience = Audience::default();
        let (number, read, _lines) = audience.add(Awaited::Nothing, true);
        let watcher = tokio::spawn(std::future::pending::<()>());
        audience.watch(number, watcher.abort_handle());
        drop(read);
        audience.tell(&Progress::Notice { text: String::new() });
        tokio::task::yield_now().await;
        assert!(
            !watcher.is_finished(),
            "it would never say that the owner of a run has left"
        );
        audience.remove(number);
        assert!(watcher.await.is_err_and(|error| error.is_cancelled()));
    }
}
