//! An [`Ecosystem`] → the file that spells out every key, in the file's own grammar: reading it gives the same again.

use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::ecosystem::{
    BindMount, BodyMatch, Condition, Dependency, Device, Ecosystem, Egress, Exceptions, HealthCheck,
    Isolation, Limits, PortMapping, Probe, Registry, Seccomp, Service, Volume,
};
use super::grammar::ALL_LIMITS;
use super::interpolate::escaped;
use super::{health, restart, scalars, schedule, secrets};

/// The normal form. An automatic `port` stays null: it follows from `base_port` and the order.
pub fn normal_form(ecosystem: &Ecosystem) -> Value {
    let directory = ecosystem.file.parent().unwrap_or(Path::new(""));
    let isolation = match ecosystem.isolation {
        Isolation::Strict => "strict",
        Isolation::BestEffort => "best-effort",
    };
    let services = ecosystem.services.iter();
    let services: Map<String, Value> = services
        .map(|(name, service)| (name.clone(), service_form(service, directory)))
        .collect();
    let form = json!({
        "name": ecosystem.name,
        "version": ecosystem.version,
        "description": ecosystem.description,
        "base_port": ecosystem.base_port,
        "sandbox_root": scalars::path_text(directory, &ecosystem.sandbox_root),
        "network": ecosystem.network,
        "registry": registry_form(&ecosystem.registry),
        "limits": all_limits_form(&ecosystem.limits),
        "strict_ports": ecosystem.strict_ports,
        "loopback_compat": ecosystem.loopback_compat,
        "isolation": isolation,
        "secrets": secrets::form(&ecosystem.secrets, directory),
        "services": services,
    });
    literal(form)
}

/// What was written, without the token.
fn registry_form(registry: &Registry) -> Value {
    let written = [("url", &registry.url), ("namespace", &registry.namespace)];
    let entries = written.into_iter().filter(|(_, text)| !text.is_empty());
    entries
        .map(|(name, text)| (name.to_owned(), Value::from(text.as_str())))
        .collect::<Map<_, _>>()
        .into()
}

/// Every text with its dollar signs doubled.
fn literal(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(escaped(&text)),
        Value::Array(items) => items.into_iter().map(literal).collect(),
        Value::Object(entries) => entries
            .into_iter()
            .map(|(key, value)| (key, literal(value)))
            .collect(),
        other => other,
    }
}

fn service_form(service: &Service, directory: &Path) -> Value {
    let path = |path: &std::path::PathBuf| scalars::path_text(directory, path);
    json!({
        "readme": service.from.is_none().then(|| path(&service.readme)),
        "from": service.from,
        "port": service.port_explicit.then_some(service.port),
        "ports": service.ports.iter().map(port_form).collect::<Vec<_>>(),
        "env": environment(&service.env),
        "env_passthrough": service.env_passthrough,
        "depends_on": service.depends_on.iter().map(dependency_form).collect::<Vec<_>>(),
        "health_check": checked_form(service),
        "timeout": duration_form(service.timeout),
        "restart": restart::word(service.restart),
        "on_unhealthy": restart::ON_UNHEALTHY.iter().find(|(_, one)| *one == service.on_unhealthy).map(|(word, _)| word),
        "schedule": service.schedule.as_ref().map(schedule::form),
        "stop_signal": scalars::signal_text(service.stop_signal),
        "stop_grace": duration_form(service.stop_grace),
        "limits": limits_form(&service.limits),
        "volumes": service.volumes.iter().map(volume_form).collect::<Vec<_>>(),
        "mounts": service.mounts.iter().map(|mount| mount_form(mount, directory)).collect::<Vec<_>>(),
        "egress": egress_form(&service.egress),
        "build_hosts": service.build_hosts,
        "host_access": service.host_access,
        "user": if service.run_as_root { "root" } else { "app" },
        "toolchains": service.toolchains.iter().map(path).collect::<Vec<_>>(),
        "secrets": secrets::uses_form(&service.secrets),
        "rootfs": service.rootfs.as_ref().map(path),
        "hooks": service.pre_start.as_ref().map(|text| json!({"pre_start": text})),
        "replicas": service.replicas,
        "sandbox_path": service.sandbox_path.as_ref().map(path),
        "security": security_form(&service.exceptions, directory),
        "devices": service.exceptions.devices.iter().map(device_form).collect::<Vec<_>>(),
        "read_only": !service.exceptions.writable_root,
    })
}

fn security_form(exceptions: &Exceptions, directory: &Path) -> Value {
    let seccomp = match &exceptions.seccomp {
        Seccomp::Default => "default".to_owned(),
        Seccomp::Unconfined => "unconfined".to_owned(),
        Seccomp::File { path, .. } => scalars::path_text(directory, path),
    };
    json!({"capabilities": exceptions.capabilities, "seccomp": seccomp, "debug": exceptions.debug})
}

fn device_form(device: &Device) -> Value {
    let mode = if device.writable { "rw" } else { "ro" };
    json!(format!("{}:{mode}", device.path))
}

fn environment(env: &IndexMap<String, String>) -> Value {
    env.iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect()
}

fn port_form(mapping: &PortMapping) -> Value {
    let host = match mapping.host.is_ipv6() {
        true => format!("[{}]", mapping.host),
        false => mapping.host.to_string(),
    };
    let protocol = if mapping.udp { "/udp" } else { "" };
    json!(format!("{host}:{}:{}{protocol}", mapping.host_port, mapping.port))
}

fn dependency_form(dependency: &Dependency) -> Value {
    let condition = dependency.condition.map(|condition| match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Completed => "completed",
    });
    json!({
        "name": dependency.name,
        "version": dependency.version,
        "endpoint": dependency.endpoint,
        "env_var": dependency.env_var,
        "condition": condition,
        "required": dependency.required,
        "restart": dependency.restart,
        "port": dependency.port,
    })
}

fn checked_form(service: &Service) -> Value {
    match &service.health {
        Some(check) => health_form(check),
        None if service.unchecked => json!("none"),
        None => Value::Null,
    }
}

/// The probe, and of the times those that have a meaning with it.
fn health_form(check: &HealthCheck) -> Value {
    let mut form = probe_form(&check.probe);
    let mut times = vec![
        ("interval", duration_form(check.interval)),
        ("timeout", duration_form(check.timeout)),
        ("retries", json!(check.retries)),
        ("start_period", duration_form(check.start_period)),
    ];
    times.retain(|(name, _)| health::has_meaning(&check.probe, name));
    // Written, it would ask the service for a watchdog.
    if matches!(check.probe, Probe::Notify { watchdog: false }) {
        times.retain(|(name, _)| *name != "interval");
    }
    form.extend(times.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(form)
}

fn probe_form(probe: &Probe) -> Map<String, Value> {
    let mut form = Map::new();
    match probe {
        Probe::Http {
            path,
            port,
            expect: (low, high),
            headers,
            body,
        } => {
            form.insert("http".into(), json!(path));
            form.insert("port".into(), json!(port));
            form.insert("expect".into(), json!(format!("{low}-{high}")));
            if !headers.is_empty() {
                let headers: Map<String, Value> =
                    headers.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
                form.insert("headers".into(), Value::Object(headers));
            }
            match body {
                Some(BodyMatch::Contains(text)) => drop(form.insert("body".into(), json!(text))),
                Some(BodyMatch::Regex(regex)) => drop(form.insert("body_regex".into(), json!(regex))),
                None => {}
            }
        }
        Probe::Tcp { port } => {
            form.insert("tcp".into(), json!(port));
        }
        Probe::Exec { command } => {
            form.insert("exec".into(), json!(command));
        }
        Probe::Log { text } => {
            form.insert("log".into(), json!(text));
        }
        Probe::Notify { .. } => {
            form.insert("notify".into(), json!(true));
        }
    }
    form
}

fn duration_form(duration: Duration) -> Value {
    json!(scalars::duration_text(duration))
}

/// Those keys that have a meaning for all together.
fn all_limits_form(limits: &Limits) -> Value {
    let mut form = serde_json::to_value(limits).unwrap_or_default();
    if let Some(form) = form.as_object_mut() {
        form.retain(|name, _| ALL_LIMITS.iter().any(|key| key.name == name));
    }
    form
}

fn limits_form(limits: &Limits) -> Value {
    serde_json::to_value(limits).unwrap_or_default()
}

fn volume_form(volume: &Volume) -> Value {
    let mode = if volume.read_only { "ro" } else { "rw" };
    json!(format!("{}:{}:{mode}", volume.name, volume.target))
}

fn mount_form(mount: &BindMount, directory: &Path) -> Value {
    let mode = if mount.writable { "rw" } else { "ro" };
    json!(format!(
        "{}:{}:{mode}",
        scalars::path_text(directory, &mount.source),
        mount.target
    ))
}

fn egress_form(egress: &Egress) -> Value {
    match egress {
        Egress::All => json!("all"),
        Egress::None => json!("none"),
        Egress::Only(list) => json!(list),
    }
}
