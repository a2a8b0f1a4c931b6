//! What comes into [`step`](super::step) and what goes out of it. Data only.

use std::time::Duration;

use crate::config::ecosystem::{ServiceName, UnitName};
use crate::supervisor::unit::Traits;

/// What can happen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// The user's wish: these services make up the ecosystem.
    Want(Want),
    /// The time of this scheduled job has come.
    Due(UnitName),
    /// These shall stop; each after those of them that depend on it.
    Stop(Vec<UnitName>),
    /// Everything shall end, and the instance with it.
    Down {
        /// SIGKILL at once, without order.
        kill: bool,
        /// Instead of each service's own grace.
        grace: Option<Duration>,
    },
    /// A preparation is done.
    Prepared(UnitName, u64),
    /// A preparation or creation failed; nothing of it is left but what `Discard` removes.
    Unmade {
        /// The service.
        name: UnitName,
        /// Its run.
        run: u64,
        /// One line.
        cause: String,
        /// What a command that waits for it exits with.
        exit: i32,
    },
    /// The keeper created it: its process runs.
    Created(UnitName, u64),
    /// Its check passed.
    Healthy(UnitName, u64),
    /// Its check failed so often that it counts, while it runs.
    Sick {
        /// The service.
        name: UnitName,
        /// Its run.
        run: u64,
        /// One line, the probe's last answer.
        cause: String,
    },
    /// Its check passes again.
    Well(UnitName, u64),
    /// It has been running well for a while.
    Steady(UnitName, u64),
    /// The time of its next try has come.
    Retry(UnitName, u64),
    /// Its time to become ready is over; why it is not.
    Late {
        /// The service.
        name: UnitName,
        /// Its run.
        run: u64,
        /// One line, the probe's last answer.
        cause: String,
    },
    /// No new connection is led to it, and none waits to be accepted.
    Withdrawn(UnitName, u64),
    /// It is ending, and says that it needs longer.
    Extended {
        /// The service.
        name: UnitName,
        /// Its run.
        run: u64,
        /// From now on.
        time: Duration,
        /// Since it was told to end.
        elapsed: Duration,
    },
    /// Its grace is over.
    GraceOver(UnitName, u64),
    /// It ended.
    Exited {
        /// The service.
        name: UnitName,
        /// Shell's number of its end.
        code: i32,
        /// One line for it.
        cause: String,
    },
}

/// The whole wish of an `up`.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Want {
    /// All units of the file.
    pub(crate) units: Vec<(UnitName, Traits)>,
    /// Those that shall run (closed under dependency).
    pub(crate) run: Vec<UnitName>,
    /// Those that run already and must start anew.
    pub(crate) renew: Vec<UnitName>,
    /// Scheduled jobs that run at once; the others wait for their time.
    pub(crate) now: Vec<UnitName>,
    /// One after another.
    pub(crate) sequential: bool,
}

/// What has to be done. Every action that can fail is answered by an event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// Make layers, ids, network and bundle. Answer: `Prepared` or `Unmade`.
    Prepare(UnitName, u64),
    /// Give up a preparation early; it is answered all the same.
    Abandon(UnitName),
    /// Have the keeper create it. Answer: `Created` or `Unmade`.
    Create(UnitName, u64),
    /// Probe until it passes, it ends, or this time is over. Answer: `Healthy` or `Late`.
    Probe(UnitName, u64, Duration),
    /// Go on probing what is ready. Answers: `Sick`, `Well`, in turns.
    Watch(UnitName, u64),
    /// Answer `Steady` after this time.
    Steady(UnitName, u64, Duration),
    /// Answer `Retry` after this time.
    Retry(UnitName, u64, Duration),
    /// Lead connections to those that are ready now, and to no others. Every action after it comes when that is in
    /// force, or is in line behind it.
    Spread,
    /// Once no new connection is led to it, and it has accepted those that were, or this time is over, answer
    /// `Withdrawn`.
    Withdraw(UnitName, u64, Duration),
    /// A change that went from replica to replica was stopped, because `by` failed; `spared` go on as they are.
    Halted {
        /// The service.
        service: ServiceName,
        /// The unit that failed.
        by: UnitName,
        /// Those whose turn did not come.
        spared: Vec<UnitName>,
    },
    /// Stop probing.
    EndProbe(UnitName),
    /// Send this signal. Answer, at last: `Exited`.
    Signal(UnitName, i32),
    /// SIGKILL. Answer: `Exited`.
    Kill(UnitName),
    /// Answer `GraceOver` after this time, and not after the one that was said before.
    Grace(UnitName, u64, Duration),
    /// Remove what the preparation made.
    Discard(UnitName),
    /// The time of a scheduled job came: tell what became of it.
    Due(UnitName, Due),
    /// Its row changed.
    Report(UnitName),
    /// It failed: tell why.
    Explain(UnitName),
    /// It is no longer part of the ecosystem.
    Forget(UnitName),
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
