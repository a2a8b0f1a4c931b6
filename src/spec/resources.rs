//! Limits of a sandbox's cgroup, defaults filled in. Pure.

use oci_spec::runtime::{
    LinuxCpu, LinuxCpuBuilder, LinuxMemory, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources,
    LinuxResourcesBuilder,
};

use super::{SandboxPlan, built};
use crate::host::HostFacts;

/// Most processes and threads when `limits.pids` is not written.
pub const PIDS: u32 = 1024;
/// Most memory when `limits.memory` is not written, on a machine that has twice as much.
const MEMORY: u64 = 2 << 30;
/// Length of a CPU accounting period in microseconds (the kernel's default).
const PERIOD: u64 = 100_000;
/// The shortest quota that the kernel accepts, in microseconds.
const SHORTEST_QUOTA: i64 = 1_000;

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

/// The cgroup's limits. Swap counts as memory: a service must not push the host into swapping.
pub(super) fn resources(plan: &SandboxPlan) -> LinuxResources {
    let pids = i64::from(plan.limits.pids.unwrap_or(PIDS));
    let mut resources = LinuxResourcesBuilder::default()
        .memory(memory(plan))
        .pids(built(LinuxPidsBuilder::default().limit(pids).build()));
    if let Some(cpu) = plan.limits.cpus.map(cpu) {
        resources = resources.cpu(cpu);
    }
    built(resources.build())
}

fn memory(plan: &SandboxPlan) -> LinuxMemory {
    let limit = i64::try_from(memory_limit(plan)).unwrap_or(i64::MAX);
    let memory = LinuxMemoryBuilder::default().limit(limit);
    built(
        if plan.host.swap_accounting {
            memory.swap(limit)
        } else {
            memory
        }
        .build(),
    )
}

fn cpu(cpus: f64) -> LinuxCpu {
    let quota = ((cpus * PERIOD as f64).round() as i64).max(SHORTEST_QUOTA);
    built(LinuxCpuBuilder::default().period(PERIOD).quota(quota).build())
}
