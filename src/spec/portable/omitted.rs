//! What of a service an OCI bundle cannot say: said to whoever asks for one. Pure.

use bytesize::ByteSize;
use serde::Serialize;

use crate::config::ecosystem::{Ecosystem, Egress, Limits, STOP_GRACE, Service};

/// Something that holds under pactown and is not in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Omission {
    /// The key of the ecosystem file, or the part of the sandbox.
    pub key: &'static str,
    /// What is missing, and what follows.
    pub text: String,
}

/// What the bundle of `service` lacks, one of `ecosystem`.
pub fn omissions(ecosystem: &Ecosystem, service: &Service) -> Vec<Omission> {
    let mut found = of_the_network(service);
    found.extend(of_the_life(service));
    found.extend(of_the_sandbox(service));
    found.extend(of_the_limits(&ecosystem.limits, &service.limits));
    found
}

fn one(key: &'static str, text: impl Into<String>) -> Omission {
    Omission {
        key,
        text: text.into(),
    }
}

fn when(condition: bool, key: &'static str, text: &str) -> Option<Omission> {
    condition.then(|| one(key, text))
}

fn of_the_network(service: &Service) -> Vec<Omission> {
    let mut found = vec![one(
        "network",
        "its network is a new one with nothing but a loopback; /etc/hosts and /etc/resolv.conf name addresses of pactown's",
    )];
    let needed: Vec<&str> = service
        .depends_on
        .iter()
        .map(|needed| needed.name.as_str())
        .collect();
    if !needed.is_empty() {
        let names = needed.join(", ");
        let text = format!("neither the order of the start nor a way to {names}");
        found.push(one("depends_on", text));
    }
    let ports = service.port_explicit || !service.ports.is_empty();
    found.extend(when(ports, "port", "no port is published on the host"));
    let egress = service.egress != Egress::All;
    found.extend(when(
        egress,
        "egress",
        "where it may connect to is its network's to say",
    ));
    let host = !service.host_access.is_empty();
    found.extend(when(
        host,
        "host_access",
        "the host's ports are its network's to open",
    ));
    found
}

fn of_the_life(service: &Service) -> Vec<Omission> {
    let mut found = vec![one(
        "init",
        "the program is pid 1 itself: nobody reaps orphans, and a signal that it does not handle has no effect, SIGKILL excepted",
    )];
    found.extend(when(
        service.health.is_some(),
        "health_check",
        "nobody asks how it is",
    ));
    let policy = service.restart != crate::config::ecosystem::Restart::default();
    found.extend(when(policy, "restart", "nobody starts it again"));
    found.extend(when(
        service.schedule.is_some(),
        "schedule",
        "nobody starts it when its time comes",
    ));
    found.extend(when(
        service.replicas.is_some(),
        "replicas",
        "each bundle is one of them, and nothing spreads connections",
    ));
    let signal = service.stop_signal != rustix::process::Signal::TERM.as_raw();
    if signal {
        let text = format!("the signal to stop it with is {}", service.stop_signal);
        found.push(one("stop_signal", text));
    }
    if service.stop_grace != STOP_GRACE {
        let seconds = service.stop_grace.as_secs_f64();
        let text = format!("that it is given {seconds} s to end is for whoever stops it to know");
        found.push(one("stop_grace", text));
    }
    found
}

fn of_the_sandbox(service: &Service) -> Vec<Omission> {
    let mut found = vec![
        one(
            "landlock",
            "the second layer of file access rules; mounts and ids say the same",
        ),
        one(
            "app",
            "/app, the home and the volumes are copies: what is written there stays in the bundle",
        ),
    ];
    let writable = service.mounts.iter().any(|mount| mount.writable);
    let text = "writable ones need a runtime with id-mapped mounts (runc 1.2, crun 1.9)";
    found.extend(when(writable, "mounts", text));
    let devices = !service.exceptions.devices.is_empty();
    let text = "the nodes are bound from the host and keep their owners";
    found.extend(when(devices, "devices", text));
    let secrets = !service.secrets.is_empty();
    let text = "no value is in it, and there is no /run/secrets: bind a folder with the files there";
    found.extend(when(secrets, "secrets", text));
    found
}

fn of_the_limits(all: &Limits, own: &Limits) -> Vec<Omission> {
    let mut found = Vec::new();
    if let Some(size) = own.disk {
        let size = ByteSize(size).display().iec();
        let text = format!("nothing holds /app and the home to {size}");
        found.push(one("disk", text));
    }
    let together = *all != Limits::default();
    let text = "its own are in the bundle; those that hold over all services together are not";
    found.extend(when(together, "limits", text));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ecosystem::{Place, SecretUse};
    use crate::desired::tests::{empty, service};

    #[test]
    fn limits_secrets_and_the_time_to_end_are_named_where_they_are_written() {
        let mut ecosystem = empty().ecosystem;
        let mut api = service("api");
        let keys = |ecosystem: &Ecosystem, service: &Service| -> Vec<&str> {
            let all = omissions(ecosystem, service);
            all.into_iter().map(|one| one.key).collect()
        };
        let named = ["disk", "limits", "secrets", "stop_grace"];
        let plain = keys(&ecosystem, &api);
        assert!(named.iter().all(|key| !plain.contains(key)), "{plain:?}");
        ecosystem.limits.pids = Some(100);
        api.limits.disk = Some(64 << 20);
        api.stop_grace = std::time::Duration::from_secs(30);
        api.secrets.push(SecretUse {
            source: "key".to_owned(),
            target: "key".to_owned(),
            place: Place::default(),
        });
        let written = keys(&ecosystem, &api);
        assert!(named.iter().all(|key| written.contains(key)), "{written:?}");
        let disk = omissions(&ecosystem, &api)
            .into_iter()
            .find(|one| one.key == "disk");
        assert!(disk.is_some_and(|one| one.text.ends_with("64.0 MiB")));
    }
}
