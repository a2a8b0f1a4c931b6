//! One service's mapping → a [`Service`]. Knows the names of its neighbours, not what is in them.

use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;

use super::ecosystem::{Egress, Limits, Place, PortMapping, STOP_GRACE, Service};
use super::grammar::HOOKS;
use super::health::Written;
use super::report::Report;
use super::top::Context;
use super::tree::{Key, Node, Value, shortened};
use super::{
    dependencies, health, imports, limiting, publish, restart, scalars, schedule, secrets, security, storage,
};
use crate::lockfile::NAME;

/// What is known about a service from the rest of the file.
pub(crate) struct Surroundings<'a> {
    /// All services of the file.
    pub(crate) names: &'a [&'a str],
    /// Its port.
    pub(crate) port: u16,
    /// Whether `port` is written.
    pub(crate) port_explicit: bool,
    /// Its `ports`.
    pub(crate) ports: Vec<PortMapping>,
    /// The limits of all services together.
    pub(crate) limits: &'a Limits,
}

/// The service of this entry of `services`.
pub(crate) fn service(key: &Key, node: &Node, around: Surroundings, context: &Context) -> Service {
    let report = context.report;
    let duration = |name: &str, zero| {
        node.get(name)
            .and_then(|value| report.duration(name, value, zero))
    };
    let path = |name: &str| node.get(name).and_then(|value| path(name, value, context));
    let (readme, readme_place) = match node.get("from") {
        Some(from) => fetched(node, from, context),
        None => readme(key, node, context),
    };
    let (volumes, mounts) = storage::volumes_and_mounts(node, context);
    let checked = node
        .get("health_check")
        .and_then(|value| health::check(value, around.port, report));
    Service {
        name: key.text.clone(),
        place: key.mark.place,
        readme,
        readme_place,
        from: node
            .get("from")
            .and_then(|value| report.text("from", value))
            .map(str::to_owned),
        port: around.port,
        port_explicit: around.port_explicit,
        ports: around.ports,
        env: env(node, report),
        env_passthrough: env_passthrough(node, report),
        depends_on: dependencies::depends_on(key, node, around.names, report),
        unchecked: matches!(checked, Some(Written::None)),
        health: checked.and_then(Written::check),
        timeout: duration("timeout", false).unwrap_or(Duration::from_secs(60)),
        restart: restart::restart(node, report),
        on_unhealthy: restart::on_unhealthy(node, report),
        schedule: node
            .get("schedule")
            .and_then(|value| schedule::schedule(value, report)),
        stop_signal: stop_signal(node, report),
        stop_grace: duration("stop_grace", true).unwrap_or(STOP_GRACE),
        replicas: replicas(node, report),
        sandbox_path: path("sandbox_path"),
        volumes,
        mounts,
        limits: limiting::of_service(node, around.limits, report),
        egress: node
            .get("egress")
            .map_or_else(|| egress(node), |value| publish::egress(value, report)),
        build_hosts: build_hosts(node, report),
        host_access: host_access(node, report),
        run_as_root: run_as_root(node, report),
        toolchains: toolchains(node, context),
        secrets: secrets::uses(node, context),
        rootfs: path("rootfs"),
        pre_start: pre_start(node, report),
        exceptions: security::exceptions(node, context),
    }
}

fn pre_start(node: &Node, report: &Report) -> Option<String> {
    let hooks = node.get("hooks").filter(|node| report.is_map("hooks", node))?;
    report.check_keys(hooks, HOOKS, "'hooks'");
    let hook = hooks.get("pre_start")?;
    let text = report.text("pre_start", hook)?;
    if text.trim().is_empty() || text.contains('\0') {
        report.error(
            hook.mark,
            "'pre_start' is no shell command",
            "write a command, or take it out",
        );
    }
    Some(text.to_owned())
}

fn readme(key: &Key, node: &Node, context: &Context) -> (PathBuf, Place) {
    let written = node.get("readme");
    let text = written.and_then(|value| context.report.text("readme", value));
    let default = format!("{}/README.md", key.text);
    let path = scalars::path_from(context.directory, text.unwrap_or(&default));
    let mark = written.map_or(key.mark, |value| value.mark);
    if (written.is_none() || text.is_some())
        && let Some(why) = (context.unreadable)(&path)
    {
        let message = format!("the README of '{}' cannot be read: {why}", shortened(&key.text));
        let help = match written {
            Some(_) => format!("expected at {}", path.display()),
            None => format!(
                "expected at {}; set 'readme' when it is elsewhere",
                path.display()
            ),
        };
        context.report.error(mark, message, help);
    }
    (path, mark.place)
}

/// The README of a service that comes from a registry.
fn fetched(node: &Node, from: &Node, context: &Context) -> (PathBuf, Place) {
    let report = context.report;
    if let Some((readme, _)) = node.entry("readme") {
        let help = "take one of the two out";
        report.error(
            readme.mark,
            "a service with 'from' has its README from there",
            help,
        );
    }
    let Some(locked) = context.locked else {
        return (PathBuf::new(), from.mark.place);
    };
    let Some(artifact) = imports::locked_as(from, context.namespace, locked) else {
        let text = match &from.value {
            Value::Text(text) => shortened(text),
            _ => from.described(),
        };
        let message = format!("'{text}' of the registry is not in `{NAME}`");
        let help = "`pactown lock` finds and fetches it; `pactown up` asks before it runs it";
        report.error(from.mark, message, help);
        return (PathBuf::new(), from.mark.place);
    };
    let path = artifact.readme(context.directory);
    if let Some(why) = (context.unreadable)(&path) {
        let message = format!("{}@{} cannot be read: {why}", artifact.name, artifact.version);
        let help = format!("expected at {}; `pactown lock` fetches it again", path.display());
        report.error(from.mark, message, help);
    }
    (path, from.mark.place)
}

/// Where none is written: what comes from a registry has no way out.
fn egress(node: &Node) -> Egress {
    match node.get("from") {
        Some(_) => Egress::None,
        None => Egress::default(),
    }
}

fn path(name: &str, node: &Node, context: &Context) -> Option<PathBuf> {
    let text = context.report.text(name, node)?;
    Some(scalars::path_from(context.directory, text))
}

fn env(node: &Node, report: &Report) -> IndexMap<String, String> {
    let Some(node) = node.get("env") else {
        return IndexMap::new();
    };
    if matches!(node.value, Value::List(_)) {
        report.wrong(
            "env",
            "a mapping",
            node,
            "write 'NAME: value' instead of '- NAME=value'",
        );
        return IndexMap::new();
    }
    let mut env = IndexMap::new();
    for (key, value) in report.entries("env", node) {
        check_variable(&key.text, "env", key.mark, report);
        if let Some(text) = report.scalar(&shortened(&key.text), value) {
            env.insert(key.text.clone(), text);
        }
    }
    env
}

fn check_variable(name: &str, place: &str, mark: super::report::Mark, report: &Report) -> bool {
    let good = scalars::is_variable_name(name);
    if !good {
        let message = format!("'{}' in '{place}' is not a variable name", shortened(name));
        report.error(mark, message, "use letters, digits and '_', not a digit first");
    }
    good
}

fn env_passthrough(node: &Node, report: &Report) -> Vec<String> {
    let items = node
        .get("env_passthrough")
        .map_or(&[][..], |value| report.items("env_passthrough", value));
    let name = |item: &Node| {
        let name = report.text("env_passthrough", item)?;
        check_variable(name, "env_passthrough", item.mark, report).then(|| name.to_owned())
    };
    items.iter().filter_map(name).collect()
}

fn stop_signal(node: &Node, report: &Report) -> i32 {
    const SIGTERM: i32 = 15;
    let Some(node) = node.get("stop_signal") else {
        return SIGTERM;
    };
    let (Value::Text(text) | Value::Number(text)) = &node.value else {
        report.wrong("stop_signal", "a signal", node, "write 'SIGTERM'");
        return SIGTERM;
    };
    scalars::signal(text).unwrap_or_else(|| {
        let names: Vec<String> = scalars::signal_names().collect();
        let full = text.to_ascii_uppercase();
        let near = super::report::did_you_mean(&full, names.iter().map(String::as_str));
        let help =
            near.unwrap_or_else(|| "write a name such as 'SIGTERM', or a number from 1 to 64".to_owned());
        report.wrong("stop_signal", "a signal", node, help);
        SIGTERM
    })
}

fn build_hosts(node: &Node, report: &Report) -> Vec<String> {
    let items = node
        .get("build_hosts")
        .map_or(&[][..], |value| report.items("build_hosts", value));
    let hosts = items.iter().filter_map(|item| {
        let text = report.text("build_hosts", item)?;
        if is_host(text) {
            return Some(text.to_lowercase());
        }
        let message = format!("'{text}' in 'build_hosts' is no NAME[:PORT]");
        report.error(
            item.mark,
            message,
            "write, for example, files.example.org or files.example.org:8443",
        );
        None
    });
    hosts.collect()
}

/// `name` or `name:port`.
fn is_host(text: &str) -> bool {
    let (name, port) = text
        .split_once(':')
        .map_or((text, "1"), |(name, port)| (name, port));
    let label = |label: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(inside)
    };
    name.len() <= 253 && name.split('.').all(label) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn host_access(node: &Node, report: &Report) -> Vec<u16> {
    let items = node
        .get("host_access")
        .map_or(&[][..], |value| report.items("host_access", value));
    let mut ports: Vec<u16> = items
        .iter()
        .filter_map(|item| report.port("host_access", item))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn replicas(node: &Node, report: &Report) -> Option<u32> {
    let value = node.get("replicas")?;
    if node.get("schedule").is_some() {
        let message = "a job on a schedule cannot have replicas";
        report.error(value.mark, message, "take 'replicas' out");
    }
    report.replicas("replicas", value)
}

fn run_as_root(node: &Node, report: &Report) -> bool {
    const WORDS: &[(&str, bool)] = &[("app", false), ("root", true)];
    let node = node.get("user");
    node.and_then(|node| report.choice("user", node, WORDS))
        .unwrap_or(false)
}

fn toolchains(node: &Node, context: &Context) -> Vec<PathBuf> {
    let items = node
        .get("toolchains")
        .map_or(&[][..], |value| context.report.items("toolchains", value));
    items
        .iter()
        .filter_map(|item| path("toolchains", item, context))
        .collect()
}
