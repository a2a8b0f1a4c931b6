//! Limits that a host cannot apply, known before anything is made. Pure.

use crate::config::ecosystem::{Ecosystem, Limits};
use crate::host::HostFacts;

/// A limit that cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Whose limit it is, and why it cannot be applied, with the controller and the file.
    pub what: String,
    /// The next step.
    pub next: String,
}

/// All limits of the file that this host cannot apply.
pub fn lacks(ecosystem: &Ecosystem, host: &HostFacts) -> Vec<Lack> {
    let mut found = of_one(ALL, &ecosystem.limits, host);
    found.extend(rate_of_all(&ecosystem.limits, host));
    for service in ecosystem.services.values() {
        found.extend(of_one(&service.name, &service.limits, host));
    }
    found
}

/// Who the limits at the top level are for, in messages.
const ALL: &str = "all services together";

/// On v1 a rate of a group does not bound the groups in it (cgroup-v1/blkio-controller.rst, "Hierarchical Cgroups").
fn rate_of_all(all: &Limits, host: &HostFacts) -> Option<Lack> {
    let written = [("io_read", all.io_read), ("io_write", all.io_write)];
    let (name, _) = written.into_iter().find(|(_, rate)| rate.is_some())?;
    (host.capacity.version("io") == Some(false)).then(|| Lack {
        what: format!(
            "{ALL}: cannot apply `{name}`: on cgroup v1 `blkio.throttle` bounds one group, not those in it together"
        ),
        next: format!("write `{name}` below each service, or boot with `systemd.unified_cgroup_hierarchy=1`"),
    })
}

fn of_one(owner: &str, limits: &Limits, host: &HostFacts) -> Vec<Lack> {
    let written = [
        ("memory", limits.memory.is_some(), controller(host, "memory")),
        ("memory_high", limits.memory_high.is_some(), memory_high(host)),
        ("swap", limits.swap.is_some(), swap(host)),
        ("cpus", limits.cpus.is_some(), controller(host, "cpu")),
        ("cpu_weight", limits.cpu_weight.is_some(), controller(host, "cpu")),
        ("pids", limits.pids.is_some(), controller(host, "pids")),
        ("io_read", limits.io_read.is_some(), rate(host)),
        ("io_write", limits.io_write.is_some(), rate(host)),
        ("io_weight", limits.io_weight.is_some(), io_weight(host)),
        (
            "open_files",
            limits.open_files.is_some(),
            open_files(limits, host),
        ),
        ("disk", limits.disk.is_some(), disk(host)),
    ];
    let lack = |(name, is_written, lack): (&str, bool, Option<(String, String)>)| {
        let (why, next) = lack.filter(|_| is_written)?;
        Some(Lack {
            what: format!("{owner}: cannot apply `{name}`: {why}"),
            next,
        })
    };
    written.into_iter().filter_map(lack).collect()
}

fn controller(host: &HostFacts, name: &str) -> Option<(String, String)> {
    host.capacity.version(name).is_none().then(|| {
        (
            format!("there is no `{name}` cgroup controller"),
            format!("boot with `cgroup_enable={name}`, or mount it; `pactown doctor` lists what there is"),
        )
    })
}

fn memory_high(host: &HostFacts) -> Option<(String, String)> {
    controller(host, "memory").or_else(|| {
        (host.capacity.version("memory") == Some(false)).then(|| {
            (
                "`memory.high` is a file of cgroup v2, and the memory controller is on v1 here".to_owned(),
                "take it out, or boot with `systemd.unified_cgroup_hierarchy=1`".to_owned(),
            )
        })
    })
}

fn swap(host: &HostFacts) -> Option<(String, String)> {
    controller(host, "memory").or_else(|| {
        (!host.swap_accounting).then(|| {
            (
                "the kernel does not count swap: there is no `memory.memsw.limit_in_bytes`".to_owned(),
                "boot with `swapaccount=1`, or take it out".to_owned(),
            )
        })
    })
}

fn rate(host: &HostFacts) -> Option<(String, String)> {
    let missing = host.capacity.version("io").is_none();
    missing.then(|| {
        (
            "there is no `io` (v1: `blkio`) cgroup controller".to_owned(),
            "mount it; `pactown doctor` lists what there is".to_owned(),
        )
    })
}

fn io_weight(host: &HostFacts) -> Option<(String, String)> {
    rate(host).or_else(|| {
        host.capacity.io_weights.is_none().then(|| {
            let disk = host.capacity.disks.first();
            let disk = disk.map_or("<disk>", |disk| disk.name.as_str());
            (
                "no disk has a scheduler that minds weights (`io.bfq.weight`, `io.weight`)".to_owned(),
                format!("write `bfq` to `/sys/block/{disk}/queue/scheduler`, or take it out"),
            )
        })
    })
}

fn open_files(limits: &Limits, host: &HostFacts) -> Option<(String, String)> {
    let wanted = limits.open_files.filter(|wanted| *wanted > host.open_files)?;
    Some((
        format!(
            "{wanted} is more than pactown itself may have, {}",
            host.open_files
        ),
        format!("raise that with `ulimit -Hn {wanted}`, or `LimitNOFILE=` of the unit"),
    ))
}

fn disk(host: &HostFacts) -> Option<(String, String)> {
    if host.capacity.mkfs.is_none() {
        let next = "install e2fsprogs".to_owned();
        return Some(("there is no `mkfs.ext4`".to_owned(), next));
    }
    (!host.capacity.loops).then(|| {
        (
            "there are no loop devices: `/dev/loop-control` cannot be opened".to_owned(),
            "load the module with `modprobe loop`; a container needs `/dev/loop-control` and `/dev/loop*`"
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Capacity, Weigher};

    fn host(v2: bool) -> HostFacts {
        let controllers = ["memory", "cpu", "pids", if v2 { "io" } else { "blkio" }];
        HostFacts {
            open_files: 1000,
            swap_accounting: true,
            capacity: Capacity {
                controllers: controllers.map(|name| (name.to_owned(), v2)).into(),
                io_weights: Some(Weigher::Bfq),
                mkfs: Some("/usr/sbin/mkfs.ext4".into()),
                loops: true,
                ..Capacity::default()
            },
            ..HostFacts::default()
        }
    }

    fn every() -> Limits {
        Limits {
            memory: Some(1 << 30),
            memory_high: Some(1 << 29),
            swap: Some(1 << 20),
            cpus: Some(1.0),
            cpu_weight: Some(10),
            pids: Some(10),
            io_read: Some(1 << 20),
            io_write: Some(1 << 20),
            io_weight: Some(10),
            open_files: Some(1000),
            connections: Some(10),
            disk: Some(1 << 30),
            tmp: Some(1 << 20),
        }
    }

    fn names(limits: &Limits, host: &HostFacts) -> Vec<String> {
        let found = of_one("api", limits, host);
        let name = |lack: &Lack| lack.what.split('`').nth(1).unwrap_or_default().to_owned();
        found.iter().map(name).collect()
    }

    #[test]
    fn a_host_with_everything_lacks_nothing() {
        assert_eq!(names(&every(), &host(true)), [""; 0]);
        assert_eq!(names(&every(), &host(false)), ["memory_high"]);
    }

    #[test]
    fn rates_of_all_together_hold_on_v2_only() {
        let all = Limits {
            io_write: Some(1 << 20),
            ..Limits::default()
        };
        let lack = rate_of_all(&all, &host(false)).unwrap();
        assert!(lack.what.contains("cannot apply `io_write`"), "{lack:?}");
        assert_eq!(rate_of_all(&all, &host(true)), None);
        assert_eq!(rate_of_all(&Limits::default(), &host(false)), None);
    }

    #[test]
    fn what_is_written_and_not_there_is_named() {
        let bare = HostFacts::default();
        let all = [
            "memory",
            "memory_high",
            "swap",
            "cpus",
            "cpu_weight",
            "pids",
            "io_read",
            "io_write",
            "io_weight",
            "open_files",
            "disk",
        ];
        assert_eq!(names(&every(), &bare), all);
        assert_eq!(names(&Limits::default(), &bare), [""; 0], "nothing is written");
    }
}
