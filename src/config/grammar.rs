//! Every key of the file, once: its name, what it means, its shape, and whether it works yet. The checks and the
//! schema both read these tables.

use super::schema::Shape;

mod dependency;
mod hooks;
mod limits;

pub(crate) use dependency::{CONDITIONS, DEPENDENCY, FROM_FORM};
pub(crate) use hooks::HOOKS;
pub(crate) use limits::{ALL_LIMITS, LIMITS};

/// One key of a mapping.
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it may hold, for the schema.
    pub(crate) shape: Shape,
    /// What it means.
    pub(crate) about: &'static str,
    /// Its default as JSON, when it has one.
    pub(crate) default: Option<&'static str>,
    /// For a key whose feature comes later: the values that change nothing. `None`: it works.
    pub(crate) later: Option<&'static [&'static str]>,
}

pub(super) const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key {
        name,
        shape,
        about,
        default: None,
        later: None,
    }
}

impl Key {
    const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }
}

const fn later(name: &'static str, neutral: &'static [&'static str], about: &'static str) -> Key {
    Key {
        name,
        shape: Shape::Later,
        about,
        default: None,
        later: Some(neutral),
    }
}

/// The top level.
pub(crate) const TOP: &[Key] = &[
    key("name", Shape::Text, "Name of the ecosystem.").or("\"unnamed-ecosystem\""),
    key("version", Shape::Version, "Version, for publishing.").or("\"0.1.0\""),
    key("description", Shape::Text, "Description, for publishing.").or("\"\""),
    key(
        "base_port",
        Shape::Port,
        "First port for services without 'port'.",
    )
    .or("8000"),
    key(
        "sandbox_root",
        Shape::Text,
        "Where what services write is kept, relative to this file.",
    )
    .or("\"./.pactown-sandboxes\""),
    key("network", Shape::Text, "A label for the network.").or("\"pactown-net\""),
    key(
        "registry",
        Shape::Object(REGISTRY),
        "Where services are published to and pulled from.",
    ),
    key(
        "strict_ports",
        Shape::Bool,
        "A taken 'port' is an error instead of moving to the next free one.",
    )
    .or("false"),
    key(
        "loopback_compat",
        Shape::Bool,
        "Inside, 127.0.0.1:<port of a dependency> leads to it.",
    )
    .or("true"),
    key(
        "isolation",
        Shape::Choice(&["strict", "best-effort"]),
        "What happens when this host cannot isolate fully.",
    )
    .or("\"strict\""),
    key(
        "limits",
        Shape::Object(ALL_LIMITS),
        "Limits of all services together.",
    ),
    key(
        "services",
        Shape::MapOf(SERVICE),
        "The services by name, in the order of their automatic ports.",
    ),
    key(
        "secrets",
        Shape::Secrets,
        "Secrets by name: where their values come from; 'up' reads them.",
    ),
];

/// `registry:`.
pub(crate) const REGISTRY: &[Key] = &[
    key(
        "url",
        Shape::Text,
        "The registry: https://HOST[:PORT], oci://HOST[:PORT]/PATH, a path to a store, or local; without it the one logged in to, or your own store.",
    ),
    key("namespace", Shape::Text, "Namespace in the registry.").or("\"default\""),
    key(
        "auth_token",
        Shape::Text,
        "Token; never written out. Give it as a variable, not literally.",
    ),
];

/// A service.
pub(crate) const SERVICE: &[Key] = &[
    key(
        "readme",
        Shape::Text,
        "Its README, relative to this file; '<name>/README.md' by default.",
    ),
    key(
        "port",
        Shape::Port,
        "The port it listens on inside (PORT), preferred on 127.0.0.1; from 'base_port' by default.",
    ),
    key(
        "ports",
        Shape::Ports,
        "Demanded publications: [ADDRESS:]HOST:INSIDE[/udp], or one number for both.",
    ),
    key(
        "env",
        Shape::Environment,
        "Variables; they win over everything injected.",
    ),
    key(
        "env_passthrough",
        Shape::Texts,
        "Names of variables taken over from the caller.",
    ),
    key("depends_on", Shape::Dependencies, "Services it needs."),
    key(
        "health_check",
        Shape::Health,
        "How to tell that it is ready and stays so: a path, a mapping, or 'none'; with 'port' or 'ports' a TCP connection by default.",
    ),
    key(
        "timeout",
        Shape::Duration,
        "How long a start may take until it is ready.",
    )
    .or("60"),
    key("stop_signal", Shape::Signal, "How it is asked to stop.").or("\"SIGTERM\""),
    key(
        "stop_grace",
        Shape::Duration,
        "How long it may take to stop before it is killed.",
    )
    .or("10"),
    key("limits", Shape::Object(LIMITS), "Limits of resources."),
    key("volumes", Shape::Texts, "Kept data: name:/path/inside[:ro]."),
    key(
        "mounts",
        Shape::Texts,
        "Host paths: ./host:/inside[:rw], read-only unless asked.",
    ),
    key(
        "egress",
        Shape::Egress,
        "What it may reach outside: all, none, or a list of ADDRESS[/PREFIX][:PORT].",
    )
    .or("\"all\""),
    key(
        "build_hosts",
        Shape::Texts,
        "Hosts that its builds may reach besides the package hosts: NAME[:PORT].",
    ),
    key(
        "host_access",
        Shape::PortList,
        "Ports of the host it may open at host.pactown.internal.",
    ),
    key(
        "user",
        Shape::Choice(&["app", "root"]),
        "'root': uid 0 inside, still without any capability.",
    )
    .or("\"app\""),
    key(
        "toolchains",
        Shape::Texts,
        "Directories bound read-only, their bin in front of PATH.",
    ),
    key(
        "rootfs",
        Shape::Text,
        "A directory that replaces the host's programs.",
    ),
    key(
        "sandbox_path",
        Shape::Text,
        "Where its own files are kept; below 'sandbox_root' by default.",
    ),
    key(
        "restart",
        Shape::Restart,
        "When it is started again: no, on-failure[:N], always, unless-stopped. Left out: after a failure, once it has run well for 10 seconds.",
    ),
    key(
        "auto_restart",
        Shape::Bool,
        "true: 'restart: on-failure', false: 'restart: no'; 'restart' wins.",
    ),
    key(
        "on_unhealthy",
        Shape::Choice(&["none", "restart", "stop"]),
        "What happens when it fails its health check while it runs.",
    )
    .or("\"none\""),
    key(
        "replicas",
        Shape::Replicas,
        "How many of it run, as <name>-1, <name>-2, … in sandboxes of their own behind one address; left out: one, as <name>.",
    ),
    key(
        "schedule",
        Shape::Schedule,
        "When it is run, as a job: five fields of cron, a nickname such as @hourly, or a mapping.",
    ),
    key(
        "secrets",
        Shape::SecretUses,
        "Secrets it gets as /run/secrets/NAME, mode 0400, in memory.",
    ),
    key(
        "security",
        Shape::Object(SECURITY),
        "Exceptions from the isolation; 'ps' and 'inspect' show them.",
    ),
    key("devices", Shape::Texts, "Devices it may open: /dev/NAME[:ro]."),
    key(
        "read_only",
        Shape::Bool,
        "false: what it writes to the root file system is kept until it ends, instead of being refused.",
    )
    .or("true"),
    later("target", &["web"], "What is built."),
    later("framework", &[], "What it is built with."),
    later("build_cmd", &[], "How it is built."),
    later("build_targets", &[], "What it is built for."),
    key(
        "hooks",
        Shape::Object(HOOKS),
        "Commands around its start, in its sandbox.",
    ),
    key(
        "from",
        Shape::Text,
        "What of a registry it is, instead of 'readme': [NAMESPACE/]NAME[@RANGE].",
    ),
];

/// `health_check:` as a mapping.
pub(crate) const HEALTH: &[Key] = &[
    key("http", Shape::Text, "GET this path."),
    key("tcp", Shape::Port, "Open this port."),
    key(
        "exec",
        Shape::Command,
        "Run this command inside: shell text, or a list of arguments.",
    ),
    key(
        "port",
        Shape::Port,
        "The port inside for 'http'; the service's own by default.",
    ),
    key(
        "log",
        Shape::Text,
        "Wait for a line of its output that contains this text.",
    ),
    key(
        "notify",
        Shape::Bool,
        "Wait for READY=1 on the socket named by NOTIFY_SOCKET, as of systemd.",
    ),
    key("expect", Shape::Statuses, "Accepted status or range for 'http'.").or("\"200-399\""),
    key(
        "headers",
        Shape::Headers,
        "Headers of the request for 'http': names and values.",
    ),
    key(
        "body",
        Shape::Version,
        "Text that the body for 'http' must contain.",
    ),
    key(
        "body_regex",
        Shape::Text,
        "Regular expression that must match in the body for 'http'.",
    ),
    key(
        "interval",
        Shape::Duration,
        "Pause between probes of a service that is ready; with 'notify' the time between two WATCHDOG=1.",
    )
    .or("10"),
    key("timeout", Shape::Duration, "Limit of one probe.").or("2"),
    key(
        "retries",
        Shape::Count,
        "Consecutive failures until it is unhealthy.",
    )
    .or("3"),
    key(
        "start_period",
        Shape::Duration,
        "After a start: failures in this time do not count.",
    )
    .or("0"),
];

/// `schedule:` as a mapping.
pub(crate) const SCHEDULE: &[Key] = &[
    key(
        "cron",
        Shape::Text,
        "Minute, hour, day of the month, month and weekday, or a nickname.",
    ),
    key(
        "timezone",
        Shape::Text,
        "Name of a time zone, as Europe/Warsaw; the host's own by default.",
    ),
    key(
        "overlap",
        Shape::Choice(&["skip", "queue", "replace"]),
        "What happens when its time comes before the last run has ended.",
    )
    .or("\"skip\""),
];

/// `security:`.
pub(crate) const SECURITY: &[Key] = &[
    key(
        "capabilities",
        Shape::Texts,
        "Capabilities in its user namespace, such as CHOWN and SETUID.",
    ),
    key(
        "seccomp",
        Shape::Text,
        "default, unconfined, or a profile as in the OCI runtime spec.",
    )
    .or("\"default\""),
    key("debug", Shape::Bool, "true: its processes may trace each other.").or("false"),
];

#[cfg(test)]
mod tests {
    use super::super::secrets::{SECRET, SECRET_USE};
    use super::*;

    #[test]
    fn keys_are_unique_and_explained() {
        for table in [
            TOP, SECRET, SECRET_USE, REGISTRY, SERVICE, DEPENDENCY, HEALTH, SCHEDULE, LIMITS, ALL_LIMITS,
            SECURITY, HOOKS,
        ] {
            let mut names: Vec<_> = table.iter().map(|key| key.name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), table.len());
            assert!(table.iter().all(|key| key.about.ends_with('.')));
        }
    }
}
