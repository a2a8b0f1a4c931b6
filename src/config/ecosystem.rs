//! The validated ecosystem: what every later part works on. Plain data, no YAML, no files.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

pub use super::egress::Egress;
pub use super::exceptions::{Device, Exceptions, Seccomp};
pub use super::import::Import;
pub use super::limits::Limits;
pub use super::secrets::{Secret, SecretName, SecretSource, SecretUse};
pub use super::units::{MOST_REPLICAS, UnitName, replica_number, taken_by_replica, unit_name};

/// Where something stands in a source file: 1-based line and column (in characters).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    /// Line, from 1; 0 when it comes from a default.
    pub line: usize,
    /// Column, from 1; 0 when it comes from a default.
    pub column: usize,
}

/// A valid service name: a DNS label, `[a-z0-9][a-z0-9-]{0,62}`.
pub type ServiceName = String;

/// One ecosystem file, resolved and valid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ecosystem {
    /// Absolute path of the YAML file.
    pub file: PathBuf,
    /// `name`.
    pub name: String,
    /// `version`.
    pub version: String,
    /// `description`.
    pub description: String,
    /// `base_port`: first port for services without one.
    pub base_port: u16,
    /// `sandbox_root`, absolute (relative ones are relative to the file).
    pub sandbox_root: PathBuf,
    /// `network`: a label for the instance's network.
    pub network: String,
    /// `strict_ports`: a taken preferred port is an error.
    pub strict_ports: bool,
    /// `loopback_compat`: localhost compatibility inside sandboxes.
    pub loopback_compat: bool,
    /// `isolation`.
    pub isolation: Isolation,
    /// `registry`.
    pub registry: Registry,
    /// What it asks a registry for, as it is written.
    #[serde(default)]
    pub imports: Vec<Import>,
    /// `secrets`: where they come from; no value.
    pub secrets: IndexMap<SecretName, Secret>,
    /// `limits`: what all services together may use.
    #[serde(default)]
    pub limits: Limits,
    /// Services in the file's order.
    pub services: IndexMap<ServiceName, Service>,
}

/// What happens when the host lacks a feature that isolation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Refuse, naming the feature (exit code 3).
    #[default]
    Strict,
    /// Go on, listing what was not applied.
    BestEffort,
}

/// `registry:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// `url`; empty when none is written.
    pub url: String,
    /// `namespace`; empty when none is written.
    pub namespace: String,
    /// `auth_token`, when it was filled in from a variable. A secret: never written anywhere.
    #[serde(skip)]
    pub token: Option<String>,
}

/// `stop_grace` when none is written.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// One service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Where its key stands in the file.
    pub place: Place,
    /// Absolute path of its README.
    pub readme: PathBuf,
    /// Where `readme` is written (or the service, when it is the default).
    pub readme_place: Place,
    /// `from:` what of a registry it is.
    #[serde(default)]
    pub from: Option<String>,
    /// The port it listens on inside (`PORT`), explicit or assigned from `base_port`; preferred on the host.
    pub port: u16,
    /// Whether `port` was written in the file.
    pub port_explicit: bool,
    /// `ports:` extended publications; a demand: a taken host port is an error.
    pub ports: Vec<PortMapping>,
    /// `env:` after interpolation, in the file's order.
    pub env: IndexMap<String, String>,
    /// `env_passthrough:` names taken from the caller's environment.
    pub env_passthrough: Vec<String>,
    /// `depends_on`.
    pub depends_on: Vec<Dependency>,
    /// `health_check`; `None` = only that it runs.
    pub health: Option<HealthCheck>,
    /// `health_check: none`: neither its README's check nor that of its port counts.
    pub unchecked: bool,
    /// `timeout`: how long a start may take until ready.
    pub timeout: Duration,
    /// `restart`: when it is started again after an end that nobody asked for.
    pub restart: Restart,
    /// `on_unhealthy`.
    pub on_unhealthy: OnUnhealthy,
    /// `schedule`: it is a job that the wall clock starts.
    pub schedule: Option<Schedule>,
    /// `stop_signal`, a signal number; SIGTERM by default.
    pub stop_signal: i32,
    /// `stop_grace`: time between the stop signal and SIGKILL.
    pub stop_grace: Duration,
    /// `replicas`: how many of it run, each in a sandbox of its own; `None` = one, under the service's own name.
    pub replicas: Option<u32>,
    /// `sandbox_path`, absolute: its own upper directory.
    pub sandbox_path: Option<PathBuf>,
    /// `volumes:` named, kept data.
    pub volumes: Vec<Volume>,
    /// `mounts:` binds of host paths.
    pub mounts: Vec<BindMount>,
    /// `limits:`.
    pub limits: Limits,
    /// `egress:`.
    pub egress: Egress,
    /// `build_hosts:` what its builds may reach besides the package hosts, `name` or `name:port`.
    pub build_hosts: Vec<String>,
    /// `host_access:` ports of the host it may open.
    pub host_access: Vec<u16>,
    /// `user: root` → uid 0 inside, still without capabilities.
    pub run_as_root: bool,
    /// `toolchains:` absolute directories bound read-only at the same place, their `bin` in front of PATH.
    pub toolchains: Vec<PathBuf>,
    /// `secrets:` files below `/run/secrets`.
    pub secrets: Vec<SecretUse>,
    /// `rootfs:` directory that replaces the host view.
    pub rootfs: Option<PathBuf>,
    /// `hooks.pre_start:` shell text that runs in the sandbox before the run block does.
    #[serde(default)]
    pub pre_start: Option<String>,
    /// `security:`, `devices:` and `read_only:`.
    pub exceptions: Exceptions,
}

/// When a service that ended, or never became ready, is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Nothing was written: after a failure, of what has run well for a while. What fails before that is a failed start.
    #[default]
    Proven,
    /// Never.
    No,
    /// After a failure; at most so many times in a row.
    OnFailure(Option<u32>),
    /// After every end; a job's success is none.
    Always,
    /// As `Always`; a service that was stopped by hand stays stopped, which holds for every policy here.
    UnlessStopped,
}

/// What happens when a running service fails its health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnhealthy {
    /// It is shown.
    #[default]
    None,
    /// It is started again.
    Restart,
    /// It is stopped.
    Stop,
}

/// When a job is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Five fields of cron, or a nickname such as `@hourly`; checked.
    pub cron: String,
    /// IANA name of the time zone; `None` = the host's own.
    pub timezone: Option<String>,
    /// What happens when its time comes and the run before has not ended.
    pub overlap: Overlap,
}

impl Schedule {
    /// In the host's time zone, with nothing but defaults.
    pub fn new(cron: String) -> Self {
        Self {
            cron,
            timezone: None,
            overlap: Overlap::default(),
        }
    }
}

/// What happens to a run whose time comes before the last one has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// It does not happen.
    #[default]
    Skip,
    /// It begins when the last one has ended. One waits at most.
    Queue,
    /// The last one is stopped for it.
    Replace,
}

impl Service {
    /// Whether it says on a socket how it is (`health_check: {notify: true}`).
    pub fn notifies(&self) -> bool {
        let probe = self.health.as_ref().map(|check| &check.probe);
        matches!(probe, Some(Probe::Notify { .. }))
    }
}

/// One entry of `ports:`: `[ADDRESS:]HOST:CONTAINER[/tcp|udp]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Address on the host, 127.0.0.1 by default.
    pub host: IpAddr,
    /// Port on the host.
    pub host_port: u16,
    /// Port inside.
    pub port: u16,
    /// UDP instead of TCP.
    pub udp: bool,
    /// Where it stands.
    pub place: Place,
}

/// One entry of `depends_on`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The service it names.
    pub name: ServiceName,
    /// `version`, `*` by default.
    pub version: String,
    /// `endpoint`, after interpolation: text given to the dependent as the URL. `{host}` and `{port}` are filled in.
    pub endpoint: Option<String>,
    /// `env_var`: an extra variable with the URL.
    pub env_var: Option<String>,
    /// `condition`; `None` = by kind: healthy with a check, completed for a job, else started.
    pub condition: Option<Condition>,
    /// `required: false`: a failed dependency does not block.
    pub required: bool,
    /// `restart: true`: when the dependency is started again, so is the dependent.
    pub restart: bool,
    /// `port`: which port of the dependency the endpoint means.
    pub port: Option<u16>,
    /// Where it stands.
    pub place: Place,
}

/// When a dependency counts as satisfied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its process runs.
    Started,
    /// Its health check passed.
    Healthy,
    /// It ended with exit code 0.
    Completed,
}

/// `health_check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// Pause between probes of a service that is ready; before, they follow each other faster.
    pub interval: Duration,
    /// Limit of one probe.
    pub timeout: Duration,
    /// Consecutive failures until a service that was healthy is unhealthy.
    pub retries: u32,
    /// After the start of its process: failures in this time do not count.
    pub start_period: Duration,
}

impl HealthCheck {
    /// Default of `interval`.
    pub const INTERVAL: Duration = Duration::from_secs(10);
    /// Default of `timeout`.
    pub const TIMEOUT: Duration = Duration::from_secs(2);
    /// Default of `retries`.
    pub const RETRIES: u32 = 3;

    /// This probe, and the default of everything else.
    pub fn new(probe: Probe) -> Self {
        Self {
            probe,
            interval: Self::INTERVAL,
            timeout: Self::TIMEOUT,
            retries: Self::RETRIES,
            start_period: Duration::ZERO,
        }
    }
}

/// The kinds of health probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// `GET path` on the service's port; a status in the range (inclusive) is healthy.
    Http {
        /// Path and query, begins with `/`.
        path: String,
        /// The port inside; the service's own by default.
        port: u16,
        /// Lowest and highest accepted status; 200 to 399 by default.
        expect: (u16, u16),
        /// Headers of the request: names and values.
        headers: Vec<(String, String)>,
        /// What the body must be like.
        body: Option<BodyMatch>,
    },
    /// A TCP connection to this port succeeds.
    Tcp {
        /// The port inside.
        port: u16,
    },
    /// A command inside the sandbox exits 0.
    Exec {
        /// argv; a string in YAML becomes `sh -c`.
        command: Vec<String>,
    },
    /// A line of the output of the present run contains this text. Once seen, it stays true.
    Log {
        /// The text.
        text: String,
    },
    /// The service says `READY=1` on the socket named by `NOTIFY_SOCKET` (sd_notify(3)).
    Notify {
        /// `interval` was written: the service is asked (`WATCHDOG_USEC`) to say `WATCHDOG=1` within it.
        watchdog: bool,
    },
}

/// What the body of an HTTP answer must be like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyMatch {
    /// It contains this text.
    Contains(String),
    /// This regular expression matches somewhere in it.
    Regex(String),
}

/// `volumes: [name:/path/inside[:ro]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Name, unique per ecosystem; two services naming it share it.
    pub name: String,
    /// Absolute path inside.
    pub target: String,
    /// Read-only.
    pub read_only: bool,
    /// Where it stands.
    pub place: Place,
}

/// `mounts: [HOST:INSIDE[:ro|rw]]`, read-only unless asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindMount {
    /// Absolute path on the host (relative ones are relative to the file).
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: String,
    /// Writable from inside.
    pub writable: bool,
    /// Where it stands.
    pub place: Place,
}
