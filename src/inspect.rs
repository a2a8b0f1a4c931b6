//! What holds a running service, as the kernel tells: its process's files in `/proc`, and its control groups. Nothing here
//! is taken from what pactown meant to do, except [`Inspection::loosened`], which says what the file asks for.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use pactown_runtime::cgroup::Cgroup;
use serde::Serialize;

mod mounts;
mod network;
pub mod score;
mod settings;

pub use mounts::Mounted;
pub use network::{NetworkRule, rules};

/// A service as its kernel sees it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Its name.
    pub service: String,
    /// Host pid of its first process.
    pub pid: i32,
    /// Its namespaces by kind.
    pub namespaces: BTreeMap<String, Namespace>,
    /// Ids inside, on the host, and how many, a triple a line.
    pub uid_map: Vec<Vec<u32>>,
    /// The same for groups.
    pub gid_map: Vec<Vec<u32>>,
    /// Real, effective, saved and file system uid on the host.
    pub uids: Vec<u32>,
    /// Supplementary groups on the host.
    pub groups: Vec<u32>,
    /// Capability sets by name (`CapEff`…), as masks.
    pub capabilities: BTreeMap<String, u64>,
    /// `no_new_privs` is set.
    pub no_new_privileges: bool,
    /// Filters of system calls that hold.
    pub seccomp_filters: u32,
    /// The version of the Landlock that its programs are confined by; `None`: not at all. The kernel does not tell of a
    /// process: a service does not start where its domain was refused.
    pub landlock: Option<u32>,
    /// Its mounts, in the order in which they were made.
    pub mounts: Vec<Mounted>,
    /// Paths that are hidden.
    pub masked: Vec<String>,
    /// Limits of its control groups, as their files say.
    pub limits: BTreeMap<&'static str, String>,
    /// `/proc/<pid>/limits`: soft and hard by name.
    pub rlimits: BTreeMap<String, (String, String)>,
    /// Its open descriptors and what they are.
    pub descriptors: BTreeMap<u32, String>,
    /// Links of its network namespace.
    pub links: Vec<String>,
    /// The network rules that hold for it, from the inside out.
    pub network: Vec<NetworkRule>,
    /// What the file loosens.
    pub loosened: Vec<String>,
}

/// One namespace of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// `kind:[inode]`.
    pub id: String,
    /// The host's own.
    pub shared: bool,
}

/// Looks at the service whose sandbox has this pid 1 and this control group.
///
/// # Errors
/// What cannot be read of it; most often, that it has just ended.
pub fn look(
    service: &str,
    init: i32,
    cgroup: &str,
    network: Vec<NetworkRule>,
    loosened: Vec<String>,
) -> io::Result<Inspection> {
    let pid = first_child(init)?;
    let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
    let status = fields(&of("status")?);
    let number = |name: &str| status.get(name).and_then(|text| text.parse().ok());
    let numbers = |name: &str| -> Vec<u32> { words(status.get(name).map_or("", String::as_str)) };
    let all = mounts::read(&of("mountinfo")?);
    Ok(Inspection {
        service: service.to_owned(),
        pid,
        namespaces: namespaces(pid)?,
        uid_map: triples(&of("uid_map")?),
        gid_map: triples(&of("gid_map")?),
        uids: numbers("Uid"),
        groups: numbers("Groups"),
        capabilities: capabilities(&status),
        no_new_privileges: number("NoNewPrivs") == Some(1),
        seccomp_filters: number("Seccomp_filters").unwrap_or(u32::from(number("Seccomp") == Some(2))),
        landlock: pactown_runtime::landlock::version().ok(),
        masked: all
            .iter()
            .filter(|one| one.is_cover())
            .map(|one| one.target.clone())
            .collect(),
        mounts: all.into_iter().filter(|one| !one.is_cover()).collect(),
        limits: limits(cgroup),
        rlimits: rlimits(&of("limits")?),
        descriptors: descriptors(pid)?,
        links: links(&of("net/dev")?),
        network,
        loosened,
    })
}

/// The first process of the service: pid 1 is pactown's.
fn first_child(init: i32) -> io::Result<i32> {
    let text = fs::read_to_string(format!("/proc/{init}/task/{init}/children"))?;
    let first = text.split_whitespace().next().and_then(|pid| pid.parse().ok());
    first.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// `Name:  text` lines.
fn fields(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn words(text: &str) -> Vec<u32> {
    text.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

fn triples(text: &str) -> Vec<Vec<u32>> {
    text.lines().map(words).collect()
}

fn namespaces(pid: i32) -> io::Result<BTreeMap<String, Namespace>> {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];
    let link = |path: String| fs::read_link(path).map(|link| link.display().to_string());
    let mut found = BTreeMap::new();
    for kind in kinds {
        // Kernels without one have no link.
        let (Ok(id), Ok(own)) = (
            link(format!("/proc/{pid}/ns/{kind}")),
            link(format!("/proc/self/ns/{kind}")),
        ) else {
            continue;
        };
        found.insert(
            kind.to_owned(),
            Namespace {
                shared: id == own,
                id,
            },
        );
    }
    match found.is_empty() {
        true => Err(io::ErrorKind::NotFound.into()),
        false => Ok(found),
    }
}

fn capabilities(status: &BTreeMap<String, String>) -> BTreeMap<String, u64> {
    let sets = status.iter().filter(|(name, _)| name.starts_with("Cap"));
    sets.map(|(name, text)| (name.clone(), u64::from_str_radix(text, 16).unwrap_or(u64::MAX)))
        .collect()
}

/// The files that limit, of whichever version is mounted: what, controller, v1, v2; empty where that has none.
const LIMITS: &[(&str, &str, &str, &str)] = &[
    ("memory", "memory", "memory.limit_in_bytes", "memory.max"),
    (
        "memory and swap",
        "memory",
        "memory.memsw.limit_in_bytes",
        "memory.swap.max",
    ),
    ("processes", "pids", "pids.max", "pids.max"),
    ("cpu", "cpu", "cpu.cfs_quota_us", "cpu.max"),
    ("cpu weight", "cpu", "cpu.shares", "cpu.weight"),
    ("memory high", "memory", "", "memory.high"),
    ("io", "io", "", "io.max"),
    ("io read", "blkio", "blkio.throttle.read_bps_device", ""),
    ("io write", "blkio", "blkio.throttle.write_bps_device", ""),
];

fn limits(cgroup: &str) -> BTreeMap<&'static str, String> {
    let Ok(group) = Cgroup::open(cgroup) else {
        return BTreeMap::new();
    };
    let value = |(what, controller, v1, v2): &(&'static str, &str, &str, &str)| {
        let (directory, is_v2) = group.controller(controller)?;
        let text = fs::read_to_string(directory.join(if is_v2 { v2 } else { v1 })).ok()?;
        let value = text.trim().replace('\n', ", ");
        (!value.is_empty()).then_some((*what, value))
    };
    LIMITS.iter().filter_map(value).collect()
}

/// `Max open files            20000                20000                files`: columns of a fixed width.
fn rlimits(text: &str) -> BTreeMap<String, (String, String)> {
    let row = |line: &str| {
        let (name, rest) = line.split_at_checked(25)?;
        let mut values = rest.split_whitespace();
        Some((
            name.trim().to_owned(),
            (values.next()?.to_owned(), values.next()?.to_owned()),
        ))
    };
    text.lines().skip(1).filter_map(row).collect()
}

fn descriptors(pid: i32) -> io::Result<BTreeMap<u32, String>> {
    let directory = format!("/proc/{pid}/fd");
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(&directory)?.flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let target = fs::read_link(Path::new(&directory).join(entry.file_name()));
        if let (Some(number), Ok(target)) = (number, target) {
            found.insert(number, target.display().to_string());
        }
    }
    Ok(found)
}

fn links(text: &str) -> Vec<String> {
    let lines = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    lines.map(|(name, _)| name.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_looked_at() {
        let status = fields(&fs::read_to_string("/proc/self/status").unwrap());
        assert!(capabilities(&status).contains_key("CapBnd"));
        let limits = rlimits(&fs::read_to_string("/proc/self/limits").unwrap());
        assert!(limits.contains_key("Max open files"), "{limits:?}");
        let own = namespaces(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.values().all(|one| one.shared));
        assert_eq!(triples("0 2000000000 65536\n"), [[0, 2_000_000_000, 65_536]]);
    }
}
