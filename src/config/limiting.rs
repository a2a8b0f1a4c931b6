//! `limits:` of a service and of the ecosystem → [`Limits`].

use super::ecosystem::Limits;
use super::grammar::{ALL_LIMITS, Key, LIMITS};
use super::report::Report;
use super::scalars;
use super::tree::{Node, Value};

/// The smallest memory, `/tmp` or rate: less is a missing unit.
const LEAST: u64 = 1 << 20;
/// The smallest disk: a file system needs some of it for itself.
const LEAST_DISK: u64 = 16 << 20;

/// The limits of the ecosystem as a whole.
pub(crate) fn of_all(root: &Node, report: &Report) -> Limits {
    let limits = read(root, ALL_LIMITS, report);
    // A service has a limit of memory in any case. All together have none by default, and so nothing that swap is beside.
    if limits.swap.is_some()
        && let Some(node) = root.get("limits")
        && let (Some(swap), None) = (node.get("swap"), node.get("memory"))
    {
        let help = "'swap' is what all services together may have beyond 'memory'";
        report.error(swap.mark, "'swap' needs 'memory' beside it", help);
    }
    limits
}

/// The limits of a service; `all` are those of the ecosystem.
pub(crate) fn of_service(service: &Node, all: &Limits, report: &Report) -> Limits {
    let limits = read(service, LIMITS, report);
    if let Some(node) = service.get("limits") {
        refuse_more(node, &limits, all, report);
        refuse_two_places(service, node, report);
    }
    limits
}

fn read(owner: &Node, table: &[Key], report: &Report) -> Limits {
    let Some(node) = owner.get("limits").filter(|node| !node.is_null()) else {
        return Limits::default();
    };
    if !report.is_map("limits", node) {
        return Limits::default();
    }
    report.check_keys(node, table, "'limits'");
    let size = |name: &str, least| node.get(name).and_then(|value| size(name, value, least, report));
    let weight = |name: &str| node.get(name).and_then(|value| weight(name, value, report));
    let count = |name: &str| node.get(name).and_then(|value| report.count(name, value));
    let limits = Limits {
        memory: size("memory", LEAST),
        memory_high: size("memory_high", LEAST),
        swap: size("swap", 0),
        cpus: node.get("cpus").and_then(|value| report.positive("cpus", value)),
        cpu_weight: weight("cpu_weight"),
        pids: count("pids"),
        io_read: size("io_read", LEAST),
        io_write: size("io_write", LEAST),
        io_weight: weight("io_weight"),
        open_files: count("open_files").map(u64::from),
        connections: count("connections"),
        disk: size("disk", LEAST_DISK),
        tmp: size("tmp", LEAST),
    };
    if let (Some(high), Some(memory), Some(value)) =
        (limits.memory_high, limits.memory, node.get("memory_high"))
        && high > memory
    {
        let help = "what is slowed down at 'memory_high' is killed at 'memory'";
        report.error(value.mark, "'memory_high' is more than 'memory'", help);
    }
    limits
}

fn size(name: &str, node: &Node, least: u64, report: &Report) -> Option<u64> {
    const HELP: &str = "write '256M' or '1GiB'; a number alone is bytes";
    let size = match &node.value {
        Value::Text(text) | Value::Number(text) => scalars::size(text),
        _ => None,
    };
    match size {
        None => report.wrong(name, "a size", node, HELP),
        Some(bytes) if bytes < least => {
            report.wrong(name, &format!("at least {}M", least >> 20), node, HELP);
            return None;
        }
        Some(_) => {}
    }
    size
}

/// As for systemd's `CPUWeight=` and `IOWeight=`.
fn weight(name: &str, node: &Node, report: &Report) -> Option<u32> {
    const MOST: u32 = 10_000;
    let weight = report.count(name, node)?;
    if weight > MOST {
        report.wrong(name, "from 1 to 10000", node, "100 is the default");
        return None;
    }
    Some(weight)
}

/// No service alone may have more than all together.
fn refuse_more(node: &Node, own: &Limits, all: &Limits, report: &Report) {
    let whole = |value: Option<u64>| value.map(|value| value as f64);
    let pairs = [
        ("memory", whole(own.memory), whole(all.memory)),
        ("swap", whole(own.swap), whole(all.swap)),
        ("cpus", own.cpus, all.cpus),
        ("pids", own.pids.map(f64::from), all.pids.map(f64::from)),
        ("io_read", whole(own.io_read), whole(all.io_read)),
        ("io_write", whole(own.io_write), whole(all.io_write)),
    ];
    for (name, own, all) in pairs {
        if let (Some(own), Some(all), Some(value)) = (own, all, node.get(name))
            && own > all
        {
            let message = format!("'{name}' is more than all services together may have");
            report.error(value.mark, message, "see 'limits' at the top level");
        }
    }
}

/// What has a limited disk is kept in an image of its own, not in a directory.
fn refuse_two_places(service: &Node, limits: &Node, report: &Report) {
    if let (Some(disk), Some(_)) = (limits.get("disk"), service.get("sandbox_path")) {
        let message = "'disk' and 'sandbox_path' exclude each other";
        let help = "with a limited disk its files are in an image of pactown's own: take one of the two out";
        report.error(disk.mark, message, help);
    }
}
