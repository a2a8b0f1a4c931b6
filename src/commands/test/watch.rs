//! `test --watch`: the tests once more whenever a README or the ecosystem file changes, as the kernel tells it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::suites::{self, Plan};
use super::town::Town;
use crate::cli::TestArguments;
use crate::commands::Context;
use crate::commands::evidence::Recorder;
use crate::commands::follow::Signals;
use crate::error::Error;

/// A change is over when nothing more happens for so many milliseconds: editors write in several steps.
const QUIET: u8 = 50;

/// Stays until a signal comes.
pub(super) async fn stay(context: &Context, arguments: &TestArguments, mut plan: Plan) -> Result<(), Error> {
    let mut signals = Signals::catch()?;
    let recorder = Recorder::new("test", None, &plan.desired)?;
    let town = Town::enter(context, &plan, &recorder, &mut signals, None).await;
    drop(recorder);
    let mut town = town?;
    let result = loop {
        // Before the tests: what changes while they run counts.
        let mut changes = match Changes::of(suites::files(&plan)) {
            Ok(changes) => changes,
            Err(error) => break Err(unwatchable(&error)),
        };
        let started = Instant::now();
        match super::ask(context, arguments, &plan, &mut town, &mut signals, None).await {
            Ok(outcomes) => context.output.tests(&outcomes, started.elapsed()),
            Err(error) => break Err(error),
        }
        match next(context, arguments, &mut town, &mut signals, &mut changes).await {
            Ok(next) => plan = next,
            Err(error) => break Err(error),
        }
    };
    town.leave(&mut signals).await?;
    result
}

/// Waits for a change that can be tested: a broken file, or one that does not come up, is told and waited over.
async fn next(
    context: &Context,
    arguments: &TestArguments,
    town: &mut Town<'_>,
    signals: &mut Signals,
    changes: &mut Changes,
) -> Result<Plan, Error> {
    context.output.notice("waiting for a change; Ctrl-C ends");
    loop {
        tokio::select! {
            seen = changes.next() => if !seen { return Err(unwatchable(&io::ErrorKind::BrokenPipe.into())) },
            error = town.hold() => return Err(error),
            number = signals.next() => return Err(Error::Child(128 + number)),
        }
        let plan = suites::load(context, arguments).and_then(|plan| {
            plan.refuse_nothing(arguments)?;
            Ok(plan)
        });
        let applied = match plan {
            Ok(plan) if town.is_ours => town.apply(context, &plan, signals).await.map(|()| plan),
            other => other,
        };
        match applied {
            Ok(plan) => return Ok(plan),
            Err(error @ (Error::Child(_) | Error::Lost(_))) => return Err(error),
            Err(error) => context.output.error(&error),
        }
    }
}

fn unwatchable(error: &io::Error) -> Error {
    Error::Environment {
        message: format!("the files cannot be watched: {error}"),
        hint: Some("`sysctl fs.inotify.max_user_instances` may be too low".to_owned()),
    }
}

/// Changes of some files: of their directories, as editors put a new file in the place of the old one. A thread of its
/// own waits for them, and ends with this value.
struct Changes {
    told: UnboundedReceiver<()>,
    _alive: OwnedFd,
}

impl Changes {
    fn of(files: Vec<PathBuf>) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
        for file in &files {
            if let Some(directory) = file.parent() {
                inotify.add_watch(directory, events)?;
            }
        }
        let names = files
            .iter()
            .filter_map(|file| file.file_name().map(ToOwned::to_owned));
        let names = names.collect();
        let (end, alive) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let (tell, told) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let watch = Watch { inotify, names, end };
            while watch.next() && tell.send(()).is_ok() {}
        });
        Ok(Self { told, _alive: alive })
    }

    /// Waits for one, and until it is over; `false` when no more can be seen.
    async fn next(&mut self) -> bool {
        self.told.recv().await.is_some()
    }
}

/// The thread's side.
struct Watch {
    inotify: Inotify,
    names: BTreeSet<OsString>,
    end: OwnedFd,
}

impl Watch {
    /// Waits for a change of one of the files, and until it is quiet; `false` at the end.
    fn next(&self) -> bool {
        let mut has_changed = false;
        loop {
            let timeout = if has_changed {
                PollTimeout::from(QUIET)
            } else {
                PollTimeout::NONE
            };
            match self.wait(timeout) {
                None => return false,
                Some(false) if has_changed => return true,
                Some(_) => has_changed |= self.is_ours(),
            }
        }
    }

    /// Whether something happened in the directories; `None`: nobody waits any more.
    fn wait(&self, timeout: PollTimeout) -> Option<bool> {
        let mut fds = [
            PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.end.as_fd(), PollFlags::empty()),
        ];
        loop {
            match poll(&mut fds, timeout) {
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return None,
                Ok(_) if fds[1].any().unwrap_or(true) => return None,
                Ok(count) => return Some(count > 0),
            }
        }
    }

    fn is_ours(&self) -> bool {
        let mut is_ours = false;
        while let Ok(events) = self.inotify.read_events() {
            is_ours |= events
                .iter()
                .any(|event| event.name.as_ref().is_none_or(|name| self.names.contains(name)));
        }
        is_ours
    }
}
