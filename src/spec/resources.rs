//! Limits of control groups, defaults filled in: of one sandbox, and of all sandboxes of an instance. Pure.

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxCpu, LinuxCpuBuilder, LinuxMemory, LinuxMemoryBuilder,
    LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder, LinuxThrottleDevice, LinuxThrottleDeviceBuilder,
};

use super::{SandboxPlan, built};
use crate::config::ecosystem::Limits;
use crate::host::{HostFacts, Weigher};

/// Most processes and threads when `limits.pids` is not written.
pub const PIDS: u32 = 1024;
/// Most memory when `limits.memory` is not written, on a machine that has twice as much.
const MEMORY: u64 = 2 << 30;
/// Length of a CPU accounting period in microseconds (the kernel's default).
const PERIOD: u64 = 100_000;
/// The shortest quota that the kernel accepts, in microseconds.
const SHORTEST_QUOTA: i64 = 1_000;
/// OCI: no limit.
const NONE: i64 = -1;
/// The weight of a group that has no other, on v2 and in the file.
const WEIGHT: u32 = 100;

/// Memory limit in bytes when none is written: 2 GiB or half of what is installed, whichever is smaller.
pub fn default_memory(host: &HostFacts) -> u64 {
    match host.memory_total {
        0 => MEMORY,
        total => MEMORY.min(total / 2),
    }
}

/// The memory limit in bytes of `plan`.
pub(super) fn memory_limit(plan: &SandboxPlan) -> u64 {
    plan.limits.memory.unwrap_or_else(|| default_memory(&plan.host))
}

/// The limits of one sandbox's group. Swap counts as memory: a service must not push the host into swapping.
pub(super) fn resources(plan: &SandboxPlan) -> LinuxResources {
    let limits = Limits {
        memory: Some(memory_limit(plan)),
        pids: Some(plan.limits.pids.unwrap_or(PIDS)),
        ..plan.limits.clone()
    };
    built(groups(&limits, &plan.host, None).build())
}

/// The limits of the group that holds all sandboxes of an instance. What is not written is lifted: an earlier file may
/// have said something else.
pub fn resources_of_all(limits: &Limits, host: &HostFacts) -> LinuxResources {
    built(groups(limits, host, Some(NONE)).build())
}

/// `lifted` is what stands for a limit that is not written.
fn groups(limits: &Limits, host: &HostFacts, lifted: Option<i64>) -> LinuxResourcesBuilder {
    let mut resources = LinuxResourcesBuilder::default();
    if let Some(limit) = limits.memory.map(whole).or(lifted) {
        resources = resources.memory(memory(limit, limits.swap, host));
    }
    if let Some(limit) = limits.pids.map(i64::from).or(lifted) {
        resources = resources.pids(built(LinuxPidsBuilder::default().limit(limit).build()));
    }
    if let Some(cpu) = cpu(limits, host, lifted) {
        resources = resources.cpu(cpu);
    }
    if let Some(io) = io(limits, host, lifted.is_some()) {
        resources = resources.block_io(io);
    }
    let unified = unified(limits, host, lifted.is_some());
    match unified.is_empty() {
        true => resources,
        false => resources.unified(unified),
    }
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn memory(limit: i64, swap: Option<u64>, host: &HostFacts) -> LinuxMemory {
    let memory = LinuxMemoryBuilder::default().limit(limit);
    let total = match limit {
        NONE => NONE,
        limit => limit.saturating_add(whole(swap.unwrap_or(0))),
    };
    built(
        if host.swap_accounting {
            memory.swap(total)
        } else {
            memory
        }
        .build(),
    )
}

/// Quota, and on v1 the weight, whose file has another scale there.
fn cpu(limits: &Limits, host: &HostFacts, lifted: Option<i64>) -> Option<LinuxCpu> {
    let quota = |cpus: f64| ((cpus * PERIOD as f64).round() as i64).max(SHORTEST_QUOTA);
    let quota = limits.cpus.map(quota).or(lifted);
    let is_v1 = host.capacity.version("cpu") == Some(false);
    let weight = weight(limits.cpu_weight, lifted.is_some()).filter(|_| is_v1);
    let mut cpu = LinuxCpuBuilder::default();
    if let Some(quota) = quota {
        cpu = cpu.period(PERIOD).quota(quota);
    }
    if let Some(weight) = weight {
        cpu = cpu.shares(shares(weight));
    }
    (quota.is_some() || weight.is_some()).then(|| built(cpu.build()))
}

fn weight(written: Option<u32>, lifted: bool) -> Option<u32> {
    written.or(lifted.then_some(WEIGHT))
}

/// `cpu.shares` for a weight: 1024 is what 100 is on v2 (sched-design-CFS.rst; the kernel's least is 2).
fn shares(weight: u32) -> u64 {
    (u64::from(weight) * 1024 / 100).max(2)
}

/// Rates for every disk; a rate of 0 lifts.
fn io(limits: &Limits, host: &HostFacts, lifted: bool) -> Option<LinuxBlockIo> {
    let rates = |rate: Option<u64>| -> Vec<LinuxThrottleDevice> {
        let rate = rate.or(lifted.then_some(0));
        let device = |rate: u64| {
            let disks = host.capacity.disks.iter();
            disks.map(move |disk| {
                let device = LinuxThrottleDeviceBuilder::default()
                    .major(disk.major)
                    .minor(disk.minor)
                    .rate(rate);
                built(device.build())
            })
        };
        rate.into_iter().flat_map(device).collect()
    };
    let (reads, writes) = (rates(limits.io_read), rates(limits.io_write));
    let is_v1 = host.capacity.version("io") == Some(false);
    // Where no scheduler minds weights there is no file to lift one in.
    let lifted = lifted && host.capacity.io_weights.is_some();
    let weight = weight(limits.io_weight, lifted).filter(|_| is_v1);
    if reads.is_empty() && writes.is_empty() && weight.is_none() {
        return None;
    }
    let mut io = LinuxBlockIoBuilder::default()
        .throttle_read_bps_device(reads)
        .throttle_write_bps_device(writes);
    if let Some(weight) = weight {
        io = io.weight(u16::try_from(bfq(weight)).unwrap_or(u16::MAX));
    }
    Some(built(io.build()))
}

/// BFQ knows 1 to 1000. Below 100 its scale is ours; what is above is spread over the rest, as systemd does
/// (`BFQ_WEIGHT` of its cgroup-util.h).
fn bfq(weight: u32) -> u32 {
    match weight {
        0..=WEIGHT => weight,
        more => WEIGHT + (more - WEIGHT) * 900 / 9900,
    }
}

/// What OCI has words for on v2 only.
fn unified(limits: &Limits, host: &HostFacts, lifted: bool) -> HashMap<String, String> {
    let on_v2 = |controller: &str| host.capacity.version(controller) == Some(true);
    let mut files = HashMap::new();
    if on_v2("memory") {
        let high = limits.memory_high.map(|high| high.to_string());
        let high = high.or(lifted.then(|| "max".to_owned()));
        files.extend(high.map(|high| ("memory.high".to_owned(), high)));
    }
    if on_v2("cpu") {
        let weight = weight(limits.cpu_weight, lifted);
        files.extend(weight.map(|weight| ("cpu.weight".to_owned(), weight.to_string())));
    }
    if on_v2("io") {
        let weight = weight(limits.io_weight, lifted).zip(host.capacity.io_weights);
        files.extend(weight.map(|(weight, by)| match by {
            Weigher::Bfq => ("io.bfq.weight".to_owned(), bfq(weight).to_string()),
            Weigher::IoCost => ("io.weight".to_owned(), weight.to_string()),
        }));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{Capacity, Disk};

    fn host(v2: bool) -> HostFacts {
        let controllers = ["memory", "cpu", "pids", if v2 { "io" } else { "blkio" }];
        HostFacts {
            swap_accounting: true,
            memory_total: 8 << 30,
            capacity: Capacity {
                controllers: controllers.map(|name| (name.to_owned(), v2)).into(),
                disks: vec![Disk {
                    name: "vda".into(),
                    major: 254,
                    minor: 0,
                }],
                io_weights: Some(Weigher::Bfq),
                ..Capacity::default()
            },
            ..HostFacts::default()
        }
    }

    fn all() -> Limits {
        Limits {
            memory: Some(100 << 20),
            memory_high: Some(80 << 20),
            swap: Some(10 << 20),
            cpus: Some(0.5),
            cpu_weight: Some(200),
            pids: Some(7),
            io_read: Some(1 << 20),
            io_weight: Some(10_000),
            ..Limits::default()
        }
    }

    #[test]
    fn each_version_gets_its_own_files() {
        let old = resources_of_all(&all(), &host(false));
        let cpu = old.cpu().clone().unwrap();
        assert_eq!((cpu.shares(), cpu.quota()), (Some(2048), Some(50_000)));
        let io = old.block_io().clone().unwrap();
        assert_eq!(io.weight(), Some(1000));
        assert_eq!(io.throttle_read_bps_device().as_ref().unwrap()[0].rate(), 1 << 20);
        assert_eq!(io.throttle_write_bps_device().as_ref().unwrap()[0].rate(), 0);
        assert_eq!(old.unified(), &None);
        assert_eq!(old.memory().unwrap().swap(), Some(110 << 20));

        let new = resources_of_all(&all(), &host(true));
        assert_eq!(new.cpu().clone().unwrap().shares(), None);
        let unified = new.unified().clone().unwrap();
        let file = |name: &str| unified.get(name).map(String::as_str);
        assert_eq!(file("memory.high"), Some("83886080"));
        assert_eq!(file("cpu.weight"), Some("200"));
        assert_eq!(file("io.bfq.weight"), Some("1000"));
    }

    #[test]
    fn what_all_may_is_lifted_unless_it_is_written() {
        for v2 in [false, true] {
            let none = resources_of_all(&Limits::default(), &host(v2));
            assert_eq!(none.memory().unwrap().limit(), Some(NONE));
            assert_eq!(none.memory().unwrap().swap(), Some(NONE));
            assert_eq!(none.pids().unwrap().limit(), NONE);
            assert_eq!(none.cpu().clone().unwrap().quota(), Some(NONE));
            let files = none.unified().clone().unwrap_or_default();
            let io = none.block_io().clone().unwrap();
            match v2 {
                true => assert_eq!(files.get("io.bfq.weight").map(String::as_str), Some("100")),
                false => assert_eq!(io.weight(), Some(100)),
            }
            let mut without = host(v2);
            without.capacity.io_weights = None;
            let none = resources_of_all(&Limits::default(), &without);
            assert_eq!(none.block_io().clone().unwrap().weight(), None);
            let files = none.unified().clone().unwrap_or_default();
            assert!(!files.contains_key("io.bfq.weight") && !files.contains_key("io.weight"));
        }
    }

    #[test]
    fn weights_keep_their_order_on_every_scale() {
        assert_eq!((shares(1), shares(100), shares(10_000)), (10, 1024, 102_400));
        assert_eq!((bfq(1), bfq(100), bfq(10_000)), (1, 100, 1000));
    }
}
