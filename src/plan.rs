//! Desired and observed → what will be done to each service, and why. Pure, printable.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::config::ecosystem::{Service, ServiceName};
use crate::desired::Desired;
use crate::prepare::LayerPlan;
use crate::resolver::{Source, Variable};

/// What will be done to one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It does not run and shall.
    Start,
    /// The wall clock will start it.
    Schedule,
    /// It runs, made from something else than what is wished.
    Restart,
    /// It runs and is no longer wished.
    Stop,
    /// It is as it should be.
    Keep,
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What.
    pub verb: Verb,
    /// To whom.
    pub service: ServiceName,
    /// Why.
    pub causes: Vec<String>,
}

/// What is known of a service that exists already.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// What it was made from.
    pub fingerprint: Value,
    /// It runs, or is a job that has done its work, or one that waits for its time.
    pub in_place: bool,
}

/// What will be done, in start order; stops come last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan(pub Vec<Operation>);

/// The plan for `wanted` (in start order) against what is `observed`. `fingerprints` holds what each wanted service
/// would be made from.
pub fn plan(
    desired: &Desired,
    wanted: &[ServiceName],
    fingerprints: &IndexMap<ServiceName, Value>,
    observed: &IndexMap<ServiceName, Observed>,
) -> Plan {
    let start = |service: &ServiceName| {
        let config = desired.ecosystem.services.get(service);
        let schedule = config.and_then(|service| service.schedule.as_ref());
        let (verb, causes) = match observed.get(service).filter(|observed| observed.in_place) {
            None => match schedule {
                Some(schedule) => (Verb::Schedule, vec![schedule.cron.clone()]),
                None => (Verb::Start, vec!["not running".to_owned()]),
            },
            Some(observed) => {
                let causes = differences(
                    &observed.fingerprint,
                    fingerprints.get(service).unwrap_or(&Value::Null),
                );
                (
                    match (causes.is_empty(), schedule) {
                        (true, _) => Verb::Keep,
                        // It counts from the next run on.
                        (false, Some(_)) => Verb::Schedule,
                        (false, None) => Verb::Restart,
                    },
                    causes,
                )
            }
        };
        Operation {
            verb,
            service: service.clone(),
            causes,
        }
    };
    let mut operations: Vec<Operation> = wanted.iter().map(start).collect();
    let gone = observed
        .iter()
        .filter(|(name, observed)| observed.in_place && !desired.ecosystem.services.contains_key(*name));
    operations.extend(gone.map(|(name, _)| Operation {
        verb: Verb::Stop,
        service: name.clone(),
        causes: vec!["no longer in the file".to_owned()],
    }));
    Plan(operations)
}

impl Plan {
    /// The services with this verb.
    pub fn with(&self, verb: Verb) -> Vec<ServiceName> {
        let matching = self.0.iter().filter(|operation| operation.verb == verb);
        matching.map(|operation| operation.service.clone()).collect()
    }

    /// One line per operation that changes something, or `unchanged`.
    pub fn lines(&self) -> Vec<String> {
        let changes: Vec<String> = self
            .0
            .iter()
            .filter(|operation| operation.verb != Verb::Keep)
            .map(|operation| {
                let verb = match operation.verb {
                    Verb::Start => "start",
                    Verb::Schedule => "schedule",
                    Verb::Restart => "restart",
                    Verb::Stop => "stop",
                    Verb::Keep => "keep",
                };
                format!("{verb} {}: {}", operation.service, operation.causes.join(", "))
            })
            .collect();
        match (changes.is_empty(), self.0.len()) {
            (false, _) => changes,
            (true, 1) => vec![format!("{}: unchanged", self.0[0].service)],
            (true, count) => vec![format!("all {count} services: unchanged")],
        }
    }
}

/// Everything that decides a service, by group and name; two equal ones need no restart. What comes from the
/// caller's terminal is left out: another terminal is no reason to restart a server.
pub fn fingerprint(
    desired: &Desired,
    service: &Service,
    environment: &[Variable],
    layers: &[LayerPlan],
) -> Value {
    let recipe = desired.recipes.get(&service.name);
    let env: Map<String, Value> = environment
        .iter()
        .filter(|variable| variable.source != Source::Caller)
        .map(|variable| (variable.name.clone(), variable.value.clone().into()))
        .collect();
    let layers: Map<String, Value> = layers
        .iter()
        .map(|layer| (layer.kind().to_owned(), layer.key.clone().into()))
        .collect();
    let needs: Map<String, Value> = service
        .depends_on
        .iter()
        .map(|dependency| {
            let needed = desired.ecosystem.services.get(&dependency.name);
            let ports = needed.map(|needed| {
                json!([
                    needed.port,
                    needed
                        .ports
                        .iter()
                        .map(|mapping| mapping.port)
                        .collect::<Vec<_>>()
                ])
            });
            (dependency.name.clone(), json!([ports, dependency.port]))
        })
        .collect();
    json!({
        "env": env,
        "layer": layers,
        "dependency": needs,
        "run": recipe.and_then(|recipe| recipe.run.as_ref()).map(|run| &run.command),
        "workload": recipe.map(|recipe| &recipe.workload),
        "port": service.port,
        "ports": service.ports.iter().map(|m| json!([m.host, m.host_port, m.port, m.udp])).collect::<Vec<_>>(),
        "health_check": service.health,
        "schedule": service.schedule,
        "volumes": service.volumes.iter().map(|v| json!([v.name, v.target, v.read_only])).collect::<Vec<_>>(),
        "mounts": service.mounts.iter().map(|m| json!([m.source, m.target, m.writable])).collect::<Vec<_>>(),
        "limits": service.limits,
        "egress": service.egress,
        "host_access": service.host_access,
        "user": service.run_as_root,
        "toolchains": service.toolchains,
        "rootfs": service.rootfs,
        "security": security(service),
        "devices": service.exceptions.devices.iter().map(|device| json!([device.path, device.writable])).collect::<Vec<_>>(),
        "read_only": !service.exceptions.writable_root,
        "sandbox_path": service.sandbox_path,
        "loopback_compat": desired.ecosystem.loopback_compat,
    })
}

fn security(service: &Service) -> Value {
    let exceptions = &service.exceptions;
    json!({
        "capabilities": exceptions.capabilities,
        "seccomp": exceptions.seccomp,
        "debug": exceptions.debug,
    })
}

/// What differs between two fingerprints, in words.
fn differences(before: &Value, after: &Value) -> Vec<String> {
    let empty = Map::new();
    let (before, after) = (
        before.as_object().unwrap_or(&empty),
        after.as_object().unwrap_or(&empty),
    );
    let mut found = Vec::new();
    for (group, new) in after {
        match (before.get(group), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                found.extend(changed_names(old, new).map(|name| format!("{group} {name} changed")));
            }
            (old, new) if old != Some(new) => found.push(format!("{group} changed")),
            _ => {}
        }
    }
    found
}

fn changed_names<'a>(
    old: &'a Map<String, Value>,
    new: &'a Map<String, Value>,
) -> impl Iterator<Item = &'a String> {
    let changed = new.iter().filter(|(name, value)| old.get(*name) != Some(*value));
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    changed.chain(gone).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resolver::tests::{desired, service};

    fn fingerprint_of(desired: &Desired, name: &str) -> Value {
        let service = service(desired, name);
        let variables = crate::resolver::variables(desired, service, &crate::prepare::Extras::default());
        fingerprint(desired, service, &variables, &[])
    }

    fn observed(desired: &Desired) -> IndexMap<ServiceName, Observed> {
        let one = |name: &String| Observed {
            fingerprint: fingerprint_of(desired, name),
            in_place: true,
        };
        desired
            .ecosystem
            .services
            .keys()
            .map(|name| (name.clone(), one(name)))
            .collect()
    }

    fn plan_of(desired: &Desired, seen: &IndexMap<ServiceName, Observed>) -> Plan {
        let names: Vec<ServiceName> = desired.ecosystem.services.keys().cloned().collect();
        let prints = names
            .iter()
            .map(|name| (name.clone(), fingerprint_of(desired, name)))
            .collect();
        plan(desired, &names, &prints, seen)
    }

    #[test]
    fn nothing_changed_is_said_once() {
        let wish = desired(&[("api", 8000, &[]), ("web", 8001, &["api"])]);
        let plan = plan_of(&wish, &observed(&wish));
        assert_eq!(plan.lines(), ["all 2 services: unchanged"]);
    }

    #[test]
    fn only_what_changed_restarts_and_says_why() {
        let before = desired(&[("api", 8000, &[]), ("web", 8001, &["api"]), ("old", 8002, &[])]);
        let mut after = desired(&[("api", 8000, &[]), ("web", 8001, &["api"]), ("new", 8003, &[])]);
        let api = after.ecosystem.services.get_mut("api").unwrap();
        api.env.insert("LOG_LEVEL".into(), "debug".into());
        after.caller.env.insert("TERM".into(), "dumb".into());
        let plan = plan_of(&after, &observed(&before));
        assert_eq!(
            plan.lines(),
            [
                "restart api: env LOG_LEVEL changed",
                "start new: not running",
                "stop old: no longer in the file"
            ]
        );
        assert_eq!(plan.with(Verb::Keep), ["web"]);
    }

    #[test]
    fn a_dependency_that_moved_restarts_those_that_were_told_its_port() {
        let before = desired(&[("api", 8000, &[]), ("web", 8001, &["api"])]);
        let after = desired(&[("api", 9000, &[]), ("web", 8001, &["api"])]);
        let lines = plan_of(&after, &observed(&before)).lines();
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("restart web: ") && line.contains("API_URL")),
            "{lines:?}"
        );
    }
}
