//! Desired and observed → what will be done to each service, and why. Pure, printable.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::config::Ecosystem;
use crate::config::ecosystem::{Service, UnitName};
use crate::desired::Desired;
use crate::prepare::LayerPlan;
use crate::resolver::{Source, Variable};
use crate::roster::{Member, Roster, Scale, Seat};

/// What will be done to one unit.
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
    pub unit: UnitName,
    /// Why.
    pub causes: Vec<String>,
}

/// What is known of a unit that exists already.
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

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The services.
    pub ecosystem: &'a Ecosystem,
    /// All units that there shall be.
    pub roster: &'a Roster,
    /// The numbers of replicas among them that were asked for by hand.
    pub scale: &'a Scale,
    /// Those that were until now.
    pub scale_before: &'a Scale,
}

/// The plan for `wanted` (in start order) against what is `observed`. `fingerprints` holds what each wanted unit would
/// be made from.
pub fn plan(
    asked: &Asked,
    wanted: &[UnitName],
    fingerprints: &IndexMap<UnitName, Value>,
    observed: &IndexMap<UnitName, Observed>,
) -> Plan {
    let start = |unit: &UnitName| {
        let member = Member::named(asked.ecosystem, unit);
        let schedule = member.and_then(|member| member.service.schedule.as_ref());
        let (verb, causes) = match observed.get(unit).filter(|observed| observed.in_place) {
            None => match schedule {
                Some(schedule) => (Verb::Schedule, vec![schedule.cron.clone()]),
                None => (Verb::Start, vec!["not running".to_owned()]),
            },
            Some(observed) => {
                let causes = differences(
                    &observed.fingerprint,
                    fingerprints.get(unit).unwrap_or(&Value::Null),
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
            unit: unit.clone(),
            causes,
        }
    };
    let mut operations: Vec<Operation> = wanted.iter().map(start).collect();
    let gone = observed
        .iter()
        .filter(|(name, observed)| observed.in_place && !asked.roster.has(name));
    operations.extend(gone.map(|(name, _)| Operation {
        verb: Verb::Stop,
        unit: name.clone(),
        causes: vec![asked.why_gone(name)],
    }));
    Plan(operations)
}

impl Asked<'_> {
    /// Why this unit is not among them.
    fn why_gone(&self, unit: &str) -> String {
        let seat = Seat::named(self.ecosystem, unit);
        let Some((service, seat)) =
            seat.and_then(|seat| Some((self.ecosystem.services.get(&seat.service)?, seat)))
        else {
            return "no longer in the file".to_owned();
        };
        let file = match service.replicas {
            None => "the file says one".to_owned(),
            Some(count) => format!("the file says {count}"),
        };
        match (
            self.scale.get(&seat.service),
            self.scale_before.get(&seat.service),
        ) {
            (Some(now), _) => format!("scaled to {now}"),
            (None, Some(before)) => format!("scaled to {before} by hand, {file}"),
            (None, None) => file,
        }
    }
}

impl Plan {
    /// The units with this verb.
    pub fn with(&self, verb: Verb) -> Vec<UnitName> {
        let matching = self.0.iter().filter(|operation| operation.verb == verb);
        matching.map(|operation| operation.unit.clone()).collect()
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
                format!("{verb} {}: {}", operation.unit, operation.causes.join(", "))
            })
            .collect();
        match (changes.is_empty(), self.0.len()) {
            (false, _) => changes,
            (true, 1) => vec![format!("{}: unchanged", self.0[0].unit)],
            (true, 0) => vec!["nothing to do".to_owned()],
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
    json!({
        "env": env,
        "secret": secrets(desired, service),
        "layer": layers,
        "dependency": needs(desired, service),
        "run": recipe.and_then(|recipe| recipe.run.as_ref()).map(|run| &run.command),
        "pre_start": service.pre_start,
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

/// Ports of what it needs, which it is told.
fn needs(desired: &Desired, service: &Service) -> Map<String, Value> {
    service
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
        .collect()
}

/// What tells values apart without telling them.
fn secrets(desired: &Desired, service: &Service) -> Map<String, Value> {
    let uses = service.secrets.iter();
    uses.map(|one| {
        (
            one.target.clone(),
            json!([one.source, desired.secrets.print(&one.source)]),
        )
    })
    .collect()
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
    use crate::resolver::tests::desired;

    fn fingerprint_of(desired: &Desired, name: &str) -> Value {
        let own = crate::resolver::tests::member(desired, name);
        let service = own.service;
        let variables = crate::resolver::variables(desired, own, &crate::prepare::Extras::default());
        fingerprint(desired, service, &variables, &[])
    }

    fn observed(desired: &Desired) -> IndexMap<UnitName, Observed> {
        let one = |name: &String| Observed {
            fingerprint: fingerprint_of(desired, name),
            in_place: true,
        };
        Roster::of_file(&desired.ecosystem)
            .units()
            .map(|(name, _)| (name.clone(), one(name)))
            .collect()
    }

    fn plan_of(desired: &Desired, seen: &IndexMap<UnitName, Observed>) -> Plan {
        scaled(desired, seen, &Scale::new(), &Scale::new())
    }

    fn scaled(desired: &Desired, seen: &IndexMap<UnitName, Observed>, before: &Scale, now: &Scale) -> Plan {
        let roster = Roster::of(&desired.ecosystem, now).unwrap();
        let names: Vec<UnitName> = roster.units().map(|(name, _)| name.clone()).collect();
        let prints = names
            .iter()
            .map(|name| (name.clone(), fingerprint_of(desired, name)))
            .collect();
        let asked = Asked {
            ecosystem: &desired.ecosystem,
            roster: &roster,
            scale: now,
            scale_before: before,
        };
        plan(&asked, &names, &prints, seen)
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
    fn another_number_of_replicas_touches_only_those_that_come_and_go() {
        let mut wish = desired(&[("api", 8000, &[]), ("web", 8001, &["api"])]);
        wish.ecosystem.services["api"].replicas = Some(2);
        let scale = |count| Scale::from([("api".to_owned(), count)]);
        let seen = observed(&wish);
        let up = scaled(&wish, &seen, &Scale::new(), &scale(3));
        assert_eq!(up.lines(), ["start api-3: not running"]);
        let down = scaled(&wish, &seen, &Scale::new(), &scale(1));
        assert_eq!(down.lines(), ["stop api-2: scaled to 1"]);
        assert_eq!(down.with(Verb::Keep), ["api-1", "web"]);
        let mut three = wish.clone();
        three.ecosystem.services["api"].replicas = Some(3);
        let back = scaled(&wish, &observed(&three), &scale(3), &Scale::new());
        assert_eq!(back.lines(), ["stop api-3: scaled to 3 by hand, the file says 2"]);
        wish.ecosystem.services["api"].replicas = None;
        let plain = scaled(&wish, &seen, &Scale::new(), &Scale::new());
        assert_eq!(
            plain.lines(),
            [
                "start api: not running",
                "stop api-1: the file says one",
                "stop api-2: the file says one"
            ]
        );
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
