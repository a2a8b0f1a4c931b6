//! Shapes of the control API: routes, requests, answers and progress lines. Data only.
//!
//! | route | request | answer |
//! |---|---|---|
//! | `GET /v1/health` | | `{"ok": true, "pid": n, "instance": name}` |
//! | `GET /v1/services` | | array of [`ServiceStatus`] |
//! | `GET /v1/desired` | | [`crate::desired::Desired`] without the caller's environment |
//! | `POST /v1/up` | [`UpRequest`] | NDJSON stream of [`Progress`] |
//! | `POST /v1/resolve` | [`ResolveRequest`] | NDJSON stream of [`Progress`], one [`Progress::Resolved`] a service; nothing of it runs |
//! | `POST /v1/build` | [`BuildRequest`] | NDJSON stream of [`Progress`], one [`Progress::Built`] a service; nothing of it runs |
//! | `POST /v1/down` | [`DownRequest`] | NDJSON stream of [`Progress`] |
//! | `POST /v1/attach` | | NDJSON stream of [`Progress`]; its connection owns the run from now on |
//! | `POST /v1/detach` | | `{}`; the run is nobody's: it outlives every connection |
//! | `POST /v1/wait` | [`WaitRequest`] | NDJSON stream of [`Progress`]: settled once reached, or never to be; owns nothing |
//! | `POST /v1/scale` | [`ScaleRequest`] | NDJSON stream of [`Progress`] |
//! | `POST /v1/services/{name}/{start,stop,restart}` | [`ServiceRequest`] | NDJSON stream of [`Progress`] |
//!
//! Errors are `{"error": {"message", "causes", "exit_code"}}` with a fitting HTTP status.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::ecosystem::{ServiceName, UnitName};
use crate::desired::Desired;
use crate::lockfile::Resolution;
use crate::roster::{Scale, Seat};

/// `POST /v1/up`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct UpRequest {
    /// What shall run from now on.
    pub desired: Box<Desired>,
    /// Only these and what they need; empty = all.
    pub services: Vec<ServiceName>,
    /// This connection owns the run: when it closes, everything is brought down in order.
    pub attached: bool,
    /// Do not wait for health checks (`--no-health`).
    pub no_health: bool,
    /// One service after another (`--sequential`).
    pub sequential: bool,
    /// Most preparations at the same time (`--workers`).
    pub workers: usize,
    /// A taken preferred port is an error.
    pub strict_ports: bool,
    /// What runs and is no longer in the file is stopped (`--remove-orphans`).
    pub remove_orphans: bool,
    /// Everything starts anew, changed or not (`--force-recreate`).
    pub force_recreate: bool,
}

/// `POST /v1/resolve`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResolveRequest {
    /// The wish; what it is locked to is not resolved again.
    pub desired: Box<Desired>,
    /// The dependencies of these services.
    pub services: Vec<ServiceName>,
    /// Of these now, although they were resolved before.
    pub anew: Vec<ServiceName>,
}

/// `POST /v1/build`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildRequest {
    /// The wish.
    pub desired: Box<Desired>,
    /// The build blocks of these services.
    pub services: Vec<ServiceName>,
}

/// `POST /v1/down`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DownRequest {
    /// Also remove named volumes.
    pub volumes: bool,
    /// SIGKILL at once instead of the ordered stop.
    pub kill: bool,
    /// Grace in seconds instead of each service's own.
    pub timeout: Option<f64>,
}

/// `POST /v1/services/{name}/…`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServiceRequest {
    /// A new wish (restart re-reads the file); `None` = as it was.
    pub desired: Option<Box<Desired>>,
    /// Also its dependents.
    pub with_dependents: bool,
}

/// `POST /v1/scale`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScaleRequest {
    /// How many replicas of each of these services shall run.
    pub scale: Scale,
}

/// `POST /v1/wait`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WaitRequest {
    /// These services.
    pub services: Vec<ServiceName>,
    /// All of them in this state at the same time.
    pub goal: Goal,
}

/// A state that can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// It runs, and its check passed if it has one.
    Healthy,
    /// A job that ended with 0.
    Completed,
    /// Nothing of it runs, for whatever reason.
    Stopped,
    /// It runs.
    Running,
}

impl std::fmt::Display for Goal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Healthy => "healthy",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Running => "running",
        })
    }
}

/// Where a service stands. The words of `ps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its dependencies are not satisfied yet.
    Waiting,
    /// Its layers are being made.
    Preparing,
    /// Its sandbox is being made.
    Starting,
    /// It runs.
    Running,
    /// A job that ended with 0.
    Completed,
    /// It ended by itself, or could not be made, or never became ready.
    Failed,
    /// A dependency failed.
    Blocked,
    /// It ended and will be started again.
    Backoff,
    /// It was told to stop.
    Stopping,
    /// It was stopped, or never started.
    Stopped,
    /// A job that waits for its time and has no last run to tell of.
    Scheduled,
}

/// Health as `ps` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No check.
    None,
    /// Not passed yet.
    Starting,
    /// Passed.
    Healthy,
    /// Never passed in time.
    Unhealthy,
}

/// A host address that leads to the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Address on the host.
    pub host: IpAddr,
    /// Port on the host.
    pub host_port: u16,
    /// Port inside.
    pub port: u16,
    /// `tcp` or `udp`.
    pub transport: String,
}

/// One row of `ps`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Name of the sandbox: the service's, or `<service>-<n>` for a replica.
    pub name: UnitName,
    /// The service.
    pub service: ServiceName,
    /// Its number among the replicas; `None` = the service has none.
    pub replica: Option<u32>,
    /// Where it stands.
    pub state: Phase,
    /// Its health.
    pub health: Health,
    /// Why it is not running or not healthy, one line.
    pub cause: Option<String>,
    /// What it says of itself (`STATUS=` of sd_notify), while it runs.
    pub status_text: Option<String>,
    /// Host pid of the sandbox's pid 1.
    pub pid: Option<i32>,
    /// Sandbox address.
    pub address: Option<IpAddr>,
    /// Published ports.
    pub ports: Vec<Published>,
    /// Start, microseconds since the Unix epoch.
    pub started_at_usec: Option<u64>,
    /// Exit code (128 + signal) of the last end.
    pub exit_code: Option<i32>,
    /// CPU time used, microseconds.
    pub cpu_usec: Option<u64>,
    /// Memory in use, bytes.
    pub memory_bytes: Option<u64>,
    /// Number of its present or last start, from 1; 0 = never started. `logs --run` takes it.
    pub run: u64,
    /// Starts after an end or a failed check that nobody asked for.
    pub restarts: u32,
    /// In `backoff`: when the next start is tried, microseconds since the Unix epoch.
    pub next_try_usec: Option<u64>,
    /// Of a scheduled job: its next run, RFC 3339 in UTC.
    pub next_run: Option<String>,
    /// The limits that its present or last run came up against.
    #[serde(default)]
    pub limits: Vec<String>,
    /// What isolation was not applied (`best-effort`), or loosened.
    pub notices: Vec<String>,
}

impl ServiceStatus {
    /// Whose sandbox it is.
    pub fn seat(&self) -> Seat {
        Seat {
            service: self.service.clone(),
            replica: self.replica,
        }
    }

    /// The row of a sandbox of which nothing exists.
    pub fn resting(seat: &Seat) -> Self {
        Self {
            name: seat.unit(),
            service: seat.service.clone(),
            replica: seat.replica,
            state: Phase::Stopped,
            health: Health::None,
            cause: None,
            status_text: None,
            pid: None,
            address: None,
            ports: Vec::new(),
            started_at_usec: None,
            exit_code: None,
            cpu_usec: None,
            memory_bytes: None,
            run: 0,
            restarts: 0,
            next_try_usec: None,
            next_run: None,
            limits: Vec::new(),
            notices: Vec::new(),
        }
    }
}

/// One line of a progress stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Progress {
    /// What will be done, one operation with its cause a line (`plan::Plan`'s text form).
    Plan {
        /// The lines.
        lines: Vec<String>,
    },
    /// A service changed.
    Service {
        /// Its new row.
        status: Box<ServiceStatus>,
    },
    /// A line that a build printed.
    Build {
        /// The service it is for.
        service: ServiceName,
        /// The line.
        line: String,
    },
    /// What the dependencies of a service are resolved to.
    Resolved {
        /// The service.
        service: ServiceName,
        /// One for each language.
        resolutions: Vec<Resolution>,
    },
    /// What the build blocks of a service made.
    Built {
        /// The service.
        service: ServiceName,
        /// The layer that holds it.
        layer: PathBuf,
    },
    /// Something the user should read once (a port that moved, a fallback that was taken).
    Notice {
        /// The text.
        text: String,
    },
    /// A service failed: with what is needed to understand it.
    Failure {
        /// The service.
        service: ServiceName,
        /// One line.
        cause: String,
        /// Evidence, such as the tool's last lines or the probe's last answer.
        details: Vec<String>,
        /// Its last log lines.
        log: Vec<String>,
    },
    /// The request has come to its end; an attached `up` goes on streaming.
    Settled {
        /// Exit code of the command (compat: 0, 1, 3, 124).
        exit_code: i32,
    },
}
