//! The keeper protocol: what the supervisor, the CLI and the keeper say to each other.
//!
//! One `SOCK_SEQPACKET` unix socket, `<instance>/keeper.sock`, mode 0600, root only. Every packet is one
//! JSON document, [`Request`] towards the keeper and [`Event`] from it; file descriptors travel beside it
//! as `SCM_RIGHTS`. Big things (the OCI spec) travel as a path to a bundle, never in a packet.
//!
//! ```text
//!  supervisor                      keeper                        pid 1 of the sandbox
//!    Userns{id, bundle}  ─────────►  clone a holder, keep its ns
//!    Create{id, bundle} ────────►  clone3 ───────────────────►   join cgroup, netns; build root; pivot
//!    ◄──────────── Created{pid}    EOF on the status pipe   ◄──  fork; child drops everything; execve
//!    ◄──────────── Failed{step}    a report on that pipe    ◄──  the step that failed
//!    ◄──────────── Exited{status}  waitid + exit record     ◄──  exits as the service did
//!  CLI
//!    Exec{id, process} + 3 fds ─►  clone, setns into the sandbox ► execve
//!    ◄──────────── ExecExited      waitid
//! ```
//!
//! A connection that closes takes its own `Exec` processes with it and nothing else.
//! This file holds no socket code and no policy.

use std::path::PathBuf;

use oci_spec::runtime::Process;
use serde::{Deserialize, Serialize};

use crate::cgroup::Usage;
use crate::error::FailureKind;

/// The largest packet, in bytes, that either side sends.
pub const MAX_PACKET: usize = 128 * 1024;

/// What a client asks of the keeper. `seq` comes back in the answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the client; the answer to this request carries the same number.
    pub seq: u64,
    /// What is asked.
    pub call: Call,
}

/// The calls of the keeper.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Call {
    /// Receive `Exited` events of every sandbox on this connection from now on. Answer: `Done`.
    Subscribe,
    /// Do ahead of `Create` what does not need to wait for it: read the bundle, make (or keep, when the same exist
    /// already) the user namespaces of sandbox `id` and of its id-mapped mounts, compile the filter, fill the root's
    /// tmpfs. Answer: `Done`.
    Prepare {
        /// The sandbox.
        id: String,
        /// Directory with the `config.json`.
        bundle: PathBuf,
    },
    /// Create and start sandbox `id` from the OCI bundle directory. Answer: `Created` or `Failed`.
    Create {
        /// The sandbox; unique among those that live.
        id: String,
        /// Directory with the `config.json` (OCI runtime spec).
        bundle: PathBuf,
        /// Where stdout and stderr go.
        log: LogFile,
    },
    /// Send a signal to pid 1 of the sandbox, which forwards it to the service. Answer: `Done`.
    Signal {
        /// The sandbox.
        id: String,
        /// The signal number.
        signal: i32,
    },
    /// End the sandbox at once: SIGKILL to pid 1, which takes its pid namespace along. Answer: `Done`.
    Kill {
        /// The sandbox.
        id: String,
    },
    /// Run one more process in a running sandbox. Carries 3 descriptors (stdin, stdout, stderr), or, with
    /// `terminal: true` in `process`, none: the `ExecStarted` answer then carries the pty master.
    /// Answer: `ExecStarted` or `Failed`, later `ExecExited`.
    Exec {
        /// The sandbox.
        id: String,
        /// `args`, `cwd`, `env` and `user` as in OCI. An empty `env` means the service's own; an empty
        /// `cwd` means the service's own. Capabilities, limits and seccomp are always the sandbox's.
        process: Box<Process>,
    },
    /// Keep the descriptors that come along (for example a bound, never listening port) until released.
    /// A second `Hold` under one key replaces the first. Answer: `Done`.
    Hold {
        /// The name to release them by.
        key: String,
    },
    /// Close the descriptors held under `key`, and end locks (flock(2)) on them; unknown keys are fine. Answer: `Done`.
    Release {
        /// The name given to `Hold`.
        key: String,
    },
    /// Hand out what is held under `key`, which stays held: how the next supervisor gets back what the one before it
    /// had open. Answer: `Held`, with duplicates of the descriptors in the order in which they came; none for unknown
    /// keys.
    Held {
        /// The name given to `Hold`.
        key: String,
    },
    /// Start a helper process of the supervisor's (the name forwarder): the keeper's own program with
    /// `argv`, as `uid`/`gid`, without capabilities. The two descriptors that come along are its stdin and stdout.
    /// It is killed when the keeper ends. Answer: `Created` or `Failed`; `Signal`, `Kill` and `Exited` work as for a sandbox.
    Helper {
        /// Its name among sandboxes.
        id: String,
        /// Arguments, without the program name.
        argv: Vec<String>,
        /// User id on the host.
        uid: u32,
        /// Group id on the host.
        gid: u32,
    },
    /// Forget an ended sandbox: its user namespace and exit record. Unknown ids are fine. Answer: `Done`.
    Forget {
        /// The sandbox.
        id: String,
    },
    /// Append whole lines, in the log's format, to a log that is no sandbox's. Nobody waits for the disk: what it does not
    /// take within a second is dropped, counted and told in the log. Answer: `Done` once the lines are in the file or the
    /// disk hangs, `Failed` when the log cannot be opened, or too many lines wait for the disk.
    Append {
        /// Where they go; `run` does not count.
        log: LogFile,
        /// Each ends with a newline.
        lines: String,
    },
    /// Everything that lives or has ended and was not forgotten. Answer: `Listed`.
    List,
    /// End the keeper once the supervisor has exited; sandboxes that still live are killed. Answer: `Done`.
    Shutdown,
}

/// A log file in the CRI format (`<RFC 3339 time> <stdout|stderr> <F|P> <text>`), rotated by size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogFile {
    /// The current file; rotated ones get `.1`, `.2`, … appended. Its directory is created.
    pub path: PathBuf,
    /// Rotate beyond this many bytes.
    pub max_bytes: u64,
    /// How many files are kept, the current one included.
    pub files: u32,
    /// Number of the run that begins, told in the log's `system` line `starting run=N`.
    #[serde(default)]
    pub run: u64,
}

/// What the keeper says. Answers carry the request's `seq`; `Exited` of subscribers has none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// The request this answers.
    pub seq: Option<u64>,
    /// What happened.
    pub what: What,
}

/// The things a keeper reports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    /// The call was carried out.
    Done,
    /// The service runs: its `execve` succeeded.
    Created {
        /// The sandbox.
        id: String,
        /// Host pid of the sandbox's pid 1.
        pid: i32,
        /// Start time of that pid in clock ticks since boot (`/proc/<pid>/stat` field 22): with the pid, its identity.
        start_time: u64,
    },
    /// A call failed; nothing of it is left.
    Failed {
        /// The step that failed, a short verb phrase naming its object: "mount `/proc`".
        step: String,
        /// Why, outermost cause first.
        causes: Vec<String>,
        /// Whose fault: decides the exit code.
        kind: FailureKind,
    },
    /// A sandbox has ended: pid 1 is reaped, its log drained, its cgroup removed.
    Exited {
        /// The sandbox.
        id: String,
        /// How the service ended.
        status: ExitRecord,
    },
    /// The process of an `Exec` runs.
    ExecStarted {
        /// Its pid on the host.
        pid: i32,
    },
    /// The process of an `Exec` has ended.
    ExecExited {
        /// How.
        status: ExitStatus,
    },
    /// Answer to `Held`; its descriptors come along.
    Held {
        /// How many they are.
        count: usize,
    },
    /// Answer to `List`.
    Listed {
        /// In order of creation.
        sandboxes: Vec<Listed>,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", content = "value", rename_all = "snake_case")]
pub enum ExitStatus {
    /// `exit(code)`.
    Code(i32),
    /// Ended by this signal.
    Signal(i32),
    /// Ended while nobody could see how (the keeper's init was killed).
    Unknown,
}

impl ExitStatus {
    /// The shell's number for it: the code, or 128 + signal; 137 when unknown.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::Unknown => 137,
        }
    }
}

/// What is remembered of an ended sandbox; also written to `<bundle>/exit.json` (tmp + rename).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// How the service ended.
    pub status: ExitStatus,
    /// What its control groups had counted until then.
    #[serde(default)]
    pub usage: Usage,
    /// End, microseconds since the Unix epoch.
    pub ended_at_usec: u64,
}

impl ExitRecord {
    /// Whether the kernel killed something in it for lack of memory.
    pub fn oom_killed(&self) -> bool {
        self.usage.hits.oom_kills > 0
    }
}

/// One row of `List`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Listed {
    /// The sandbox.
    pub id: String,
    /// Its bundle.
    pub bundle: Option<PathBuf>,
    /// Host pid and start time of pid 1 while it lives.
    pub pid: Option<(i32, u64)>,
    /// Set once it has ended.
    pub exit: Option<ExitRecord>,
}
