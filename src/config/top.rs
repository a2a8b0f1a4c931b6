//! The tree of a whole file → an [`Ecosystem`]. Always gives one, for further checks; the report says whether it is valid.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::ecosystem::{
    Ecosystem, Import, Isolation, Limits, MOST_REPLICAS, PortMapping, Registry, Service, taken_by_replica,
    unit_name,
};
use super::grammar::{REGISTRY, SERVICE, TOP};
use super::imports;
use super::limiting;
use super::report::{Mark, Report};
use super::scalars;
use super::secrets;
use super::service::{self, Surroundings};
use super::tree::{Key, Node, Value, shortened};
use crate::lockfile::ArtifactLock;

/// What services share.
pub(crate) struct Context<'a> {
    /// Where problems go.
    pub(crate) report: &'a Report<'a>,
    /// The file's directory.
    pub(crate) directory: &'a Path,
    /// Says why a README cannot be read, when it cannot.
    pub(crate) unreadable: &'a dyn Fn(&Path) -> Option<String>,
    /// The names below `secrets` of the ecosystem.
    pub(crate) secrets: &'a [String],
    /// The text of another file, or why there is none.
    pub(crate) text_of: &'a dyn Fn(&Path) -> Result<String, String>,
    /// `registry.namespace`; empty when none is written.
    pub(crate) namespace: &'a str,
    /// What the lock has of registries; `None`: that is not decided yet.
    pub(crate) locked: Option<&'a [ArtifactLock]>,
}

/// A service before its details: what the automatic ports depend on.
struct Draft<'n> {
    key: &'n Key,
    node: &'n Node,
    written: Option<u16>,
    ports: Vec<PortMapping>,
}

/// The ecosystem of this tree.
pub(crate) fn ecosystem(file: &Path, root: &Node, context: &Context) -> Ecosystem {
    let report = context.report;
    report.check_keys(root, TOP, "the ecosystem");
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("the file must hold a mapping, not {}", root.described());
        report.error(root.mark, message, "begin with 'name:' and 'services:'");
    }
    let text = |name: &str| root.get(name).and_then(|node| report.text(name, node));
    let flag = |name: &str| root.get(name).and_then(|node| report.boolean(name, node));
    let base_port = root
        .get("base_port")
        .and_then(|node| report.port("base_port", node));
    let base_port = base_port.unwrap_or(8000);
    let secrets = secrets::secrets(root, context);
    let names: Vec<String> = secrets.keys().cloned().collect();
    let registry = registry(root, report);
    let context = &Context {
        secrets: &names,
        namespace: &registry.namespace,
        ..*context
    };
    let limits = limiting::of_all(root, report);
    let (services, imports) = services(root, base_port, &limits, context);
    Ecosystem {
        file: file.to_owned(),
        name: name(root, report),
        version: version(root, report),
        description: description(root, report),
        base_port,
        sandbox_root: sandbox_root(root, context),
        network: text("network").unwrap_or("pactown-net").to_owned(),
        strict_ports: flag("strict_ports").unwrap_or(false),
        loopback_compat: flag("loopback_compat").unwrap_or(true),
        isolation: isolation(root, report),
        registry: registry.clone(),
        services,
        imports,
        limits,
        secrets,
    }
}

fn name(root: &Node, report: &Report) -> String {
    const DEFAULT: &str = "unnamed-ecosystem";
    let Some(node) = root.get("name") else {
        if matches!(root.value, Value::Map(_)) {
            report.warn(
                Mark::default(),
                format!("no 'name': it is called '{DEFAULT}'"),
                "add 'name:'",
            );
        }
        return DEFAULT.to_owned();
    };
    report.text("name", node).unwrap_or(DEFAULT).to_owned()
}

fn version(root: &Node, report: &Report) -> String {
    const DEFAULT: &str = "0.1.0";
    match root.get("version") {
        None => DEFAULT.to_owned(),
        Some(node) => match &node.value {
            Value::Number(text) => {
                report.warn(
                    node.mark,
                    format!("'version' is a number, taken as text '{text}'"),
                    "write it in quotes",
                );
                text.clone()
            }
            _ => report.text("version", node).unwrap_or(DEFAULT).to_owned(),
        },
    }
}

fn description(root: &Node, report: &Report) -> String {
    let node = root.get("description");
    node.and_then(|node| report.any_text("description", node))
        .unwrap_or_default()
        .to_owned()
}

fn sandbox_root(root: &Node, context: &Context) -> PathBuf {
    let node = root.get("sandbox_root");
    let text = node.and_then(|node| context.report.text("sandbox_root", node));
    scalars::path_from(context.directory, text.unwrap_or(".pactown-sandboxes"))
}

fn isolation(root: &Node, report: &Report) -> Isolation {
    const WORDS: &[(&str, Isolation)] = &[
        ("strict", Isolation::Strict),
        ("best-effort", Isolation::BestEffort),
    ];
    let node = root.get("isolation");
    node.and_then(|node| report.choice("isolation", node, WORDS))
        .unwrap_or_default()
}

fn registry(root: &Node, report: &Report) -> Registry {
    let node = root
        .get("registry")
        .filter(|node| report.is_map("registry", node));
    if let Some(node) = node {
        report.check_keys(node, REGISTRY, "'registry'");
    }
    let text = |name: &str| node?.get(name).and_then(|node| report.text(name, node));
    Registry {
        url: text("url").unwrap_or("").to_owned(),
        namespace: text("namespace").unwrap_or("").to_owned(),
        token: node.and_then(|node| token(node, report)),
    }
}

/// A token in the file is a secret in the wrong place, and its text goes nowhere; one that a variable fills in counts.
fn token(registry: &Node, report: &Report) -> Option<String> {
    let (key, value) = registry.entry("auth_token")?;
    if value.filled {
        return report.text("auth_token", value).map(ToOwned::to_owned);
    }
    let help = "take it out of the file: 'auth_token: ${PACTOWN_REGISTRY_TOKEN:-}'";
    report.warn(
        key.mark,
        "'auth_token' is a secret in plain text, and is ignored",
        help,
    );
    None
}

fn services(
    root: &Node,
    base_port: u16,
    limits: &Limits,
    context: &Context,
) -> (IndexMap<String, Service>, Vec<Import>) {
    let report = context.report;
    let node = root.get("services");
    let entries = node.map_or(&[][..], |node| report.entries("services", node));
    let empty = |node: &Node| matches!(&node.value, Value::Map(entries) if entries.is_empty());
    if matches!(root.value, Value::Map(_)) && node.is_none_or(empty) {
        report.warn(mark(root), "there are no services", "add one below 'services:'");
    }
    let expanded = imports::expand(entries, context.namespace, context.locked.unwrap_or(&[]), report);
    let drafts: Vec<Draft> = expanded
        .entries
        .iter()
        .map(|(key, node)| draft(key, node, report))
        .collect();
    refuse_doubled_ports(&drafts, report);
    refuse_doubled_names(&drafts, report);
    let ports = assign(base_port, &drafts, report);
    let names: Vec<&str> = drafts.iter().map(|draft| draft.key.text.as_str()).collect();
    let service = |(draft, port): (Draft, u16)| {
        let surroundings = Surroundings {
            names: &names,
            port,
            port_explicit: draft.written.is_some(),
            ports: draft.ports,
            limits,
        };
        let service = service::service(draft.key, draft.node, surroundings, context);
        (service.name.clone(), service)
    };
    let services = drafts.into_iter().zip(ports).map(service).collect();
    (services, expanded.imports)
}

/// Where `services:` stands, or the file as a whole.
fn mark(root: &Node) -> Mark {
    let Value::Map(entries) = &root.value else {
        return Mark::default();
    };
    let key = entries.iter().find(|(key, _)| key.text == "services");
    key.map(|(key, _)| key.mark).unwrap_or_default()
}

fn draft<'n>(key: &'n Key, node: &'n Node, report: &Report) -> Draft<'n> {
    check_name(key, report);
    let name = shortened(&key.text);
    if !node.is_null() && report.is_map(&name, node) {
        report.check_keys(node, SERVICE, &format!("service '{name}'"));
    }
    Draft {
        key,
        node,
        written: node.get("port").and_then(|port| report.port("port", port)),
        ports: node
            .get("ports")
            .map(|ports| super::publish::ports(ports, report))
            .unwrap_or_default(),
    }
}

fn check_name(key: &Key, report: &Report) {
    if scalars::is_service_name(&key.text) {
        return;
    }
    let message = format!("'{}' is not a service name", shortened(&key.text));
    let rule = "lower-case letters, digits and '-', at most 63, not '-' first";
    let help = match scalars::service_name_for(&key.text) {
        Some(name) => format!("call it '{name}': {rule}"),
        None => rule.to_owned(),
    };
    report.error(key.mark, message, help);
}

/// Ports in the file's order: written, else the first of `ports`, else `base_port` + index or the next free one.
fn assign(base_port: u16, drafts: &[Draft], report: &Report) -> Vec<u16> {
    let fixed = |draft: &Draft| draft.written.or(draft.ports.first().map(|mapping| mapping.port));
    let mut taken: std::collections::HashSet<u16> = drafts.iter().filter_map(fixed).collect();
    let mut assigned = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.iter().enumerate() {
        let port = fixed(draft).or_else(|| {
            let first = u16::try_from(index)
                .ok()
                .and_then(|index| base_port.checked_add(index))?;
            (first..=u16::MAX).find(|port| taken.insert(*port))
        });
        if port.is_none() {
            let message = format!(
                "no port is left for '{}' above 'base_port' {base_port}",
                shortened(&draft.key.text)
            );
            report.error(
                draft.key.mark,
                message,
                "choose a lower 'base_port', or write 'port'",
            );
        }
        assigned.push(port.unwrap_or(base_port));
    }
    assigned
}

/// A replica's name is a host name, and no other service may have it.
fn refuse_doubled_names(drafts: &[Draft], report: &Report) {
    for draft in drafts {
        let Some(node) = draft.node.get("replicas") else {
            continue;
        };
        let (Value::Number(text) | Value::Text(text)) = &node.value else {
            continue;
        };
        let count = text.parse().unwrap_or(0).min(MOST_REPLICAS);
        let name = shortened(&draft.key.text);
        let others = drafts.iter().map(|other| other.key.text.as_str());
        if let Some(taken) = taken_by_replica(&draft.key.text, count, others) {
            let message = format!("'{taken}' would be a replica of '{name}', and is a service already");
            let help = "rename one of the two, or write fewer replicas";
            report.error(node.mark, message, help);
        }
        let last = unit_name(&draft.key.text, Some(count));
        if count > 0 && scalars::is_service_name(&draft.key.text) && !scalars::is_service_name(&last) {
            let message = format!("the names of the replicas of '{name}' are longer than 63 characters");
            report.error(node.mark, message, "choose a shorter name");
        }
    }
}

/// A host port can be demanded once, whichever service asks.
fn refuse_doubled_ports(drafts: &[Draft], report: &Report) {
    let mut before: Vec<&PortMapping> = Vec::new();
    for mapping in drafts.iter().flat_map(|draft| &draft.ports) {
        let overlap = |other: &&&PortMapping| {
            let same =
                other.host == mapping.host || other.host.is_unspecified() || mapping.host.is_unspecified();
            same && (other.host_port, other.udp) == (mapping.host_port, mapping.udp)
        };
        if let Some(other) = before.iter().find(overlap) {
            let message = format!("host port {} is published twice", mapping.host_port);
            let help = format!("the first one is in line {}", other.place.line);
            let mark = Mark {
                place: mapping.place,
                length: 1,
            };
            report.error(mark, message, help);
        }
        before.push(mapping);
    }
}
