//! What comes into [`step`](super::step) and what goes out of it. Data only.

use std::time::Duration;

use crate::config::ecosystem::ServiceName;
use crate::supervisor::unit::Traits;

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// The user's wish: these services make up the ecosystem.
    Want(Want),
    /// The time of this scheduled job has come.
    Due(ServiceName),
    /// These shall stop; each after those of them that depend on it.
    Stop(Vec<ServiceName>),
    /// Everything shall end, and the instance with it.
    Down {
        /// SIGKILL at once, without order.
        kill: bool,
        /// Instead of each service's own grace.
        grace: Option<Duration>,
    },
    /// A preparation is done.
    Prepared(ServiceName, u64),
    /// A preparation or creation failed; nothing of it is left but what `Discard` removes.
    Unmade {
        /// The service.
        name: ServiceName,
        /// Its run.
        run: u64,
        /// One line.
        cause: String,
        /// What a command that waits for it exits with.
        exit: i32,
    },
    /// The keeper created it: its process runs.
    Created(ServiceName, u64),
    /// Its check passed.
    Healthy(ServiceName, u64),
    /// Its check failed so often that it counts, while it runs.
    Sick {
        /// The service.
        name: ServiceName,
        /// Its run.
        run: u64,
        /// One line, the probe's last answer.
        cause: String,
    },
    /// Its check passes again.
    Well(ServiceName, u64),
    /// It has been running well for a while.
    Steady(ServiceName, u64),
    /// The time of its next try has come.
    Retry(ServiceName, u64),
    /// Its time to become ready is over; why it is not.
    Late {
        /// The service.
        name: ServiceName,
        /// Its run.
        run: u64,
        /// One line, the probe's last answer.
        cause: String,
    },
    /// It is ending, and says that it needs longer.
    Extended {
        /// The service.
        name: ServiceName,
        /// Its run.
        run: u64,
        /// From now on.
        time: Duration,
        /// Since it was told to end.
        elapsed: Duration,
    },
    /// Its grace is over.
    GraceOver(ServiceName, u64),
    /// It ended.
    Exited {
        /// The service.
        name: ServiceName,
        /// Shell's number of its end.
        code: i32,
        /// One line for it.
        cause: String,
    },
}

/// The whole wish of an `up`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Want {
    /// All services of the file.
    pub(crate) units: Vec<(ServiceName, Traits)>,
    /// Those that shall run (closed under dependency).
    pub(crate) run: Vec<ServiceName>,
    /// Those that run already and must start anew.
    pub(crate) renew: Vec<ServiceName>,
    /// Scheduled jobs that run at once; the others wait for their time.
    pub(crate) now: Vec<ServiceName>,
    /// One after another.
    pub(crate) sequential: bool,
}

/// What has to be done. Every action that can fail is answered by an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Make layers, ids, network and bundle. Answer: `Prepared` or `Unmade`.
    Prepare(ServiceName, u64),
    /// Give up a preparation early; it is answered all the same.
    Abandon(ServiceName),
    /// Have the keeper create it. Answer: `Created` or `Unmade`.
    Create(ServiceName, u64),
    /// Probe until it passes, it ends, or this time is over. Answer: `Healthy` or `Late`.
    Probe(ServiceName, u64, Duration),
    /// Go on probing what is ready. Answers: `Sick`, `Well`, in turns.
    Watch(ServiceName, u64),
    /// Answer `Steady` after this time.
    Steady(ServiceName, u64, Duration),
    /// Answer `Retry` after this time.
    Retry(ServiceName, u64, Duration),
    /// Stop probing.
    EndProbe(ServiceName),
    /// Send this signal. Answer, at last: `Exited`.
    Signal(ServiceName, i32),
    /// SIGKILL. Answer: `Exited`.
    Kill(ServiceName),
    /// Answer `GraceOver` after this time, and not after the one that was said before.
    Grace(ServiceName, u64, Duration),
    /// Remove what the preparation made.
    Discard(ServiceName),
    /// The time of a scheduled job came: tell what became of it.
    Due(ServiceName, Due),
    /// Its row changed.
    Report(ServiceName),
    /// It failed: tell why.
    Explain(ServiceName),
    /// It is no longer part of the ecosystem.
    Forget(ServiceName),
    /// All has ended: the instance is finished.
    Finish,
}

/// What becomes of a time that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// A run begins.
    Starts,
    /// A run will begin when the last one has ended.
    Waits,
    /// The last run is stopped, and one begins.
    Replaces,
    /// None begins: the last one has not ended.
    Skipped,
}
