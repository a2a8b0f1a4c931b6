//! Limits: OCI `resources` → the controllers' files, each read back. The only file that uses cgroups-rs, whose setters
//! know both layouts; whose builder is not used, because it drops errors of the memory controller.

use std::fs;
use std::path::Path;

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::Cgroup;
use crate::error::{During, Failure, Result};
use crate::protocol::FailureKind;

/// Applies what is set in `resources`; what cannot be applied is an error.
pub(super) fn apply(cgroup: &Cgroup, resources: &LinuxResources) -> Result<()> {
    if let Some(memory) = resources.memory() {
        apply_memory(cgroup, memory)?;
    }
    if let Some(cpu) = resources.cpu() {
        apply_cpu(cgroup, cpu)?;
    }
    if let Some(limit) = resources.pids().as_ref().map(oci_spec::runtime::LinuxPids::limit) {
        apply_pids(cgroup, limit)?;
    }
    Ok(())
}

fn directory(cgroup: &Cgroup, controller: &str, limit: &str) -> Result<(std::path::PathBuf, bool)> {
    cgroup.controller(controller).ok_or_else(|| {
        Failure::new(
            FailureKind::Environment,
            format!("apply {limit}"),
            format!("the `{controller}` cgroup controller is not available"),
        )
    })
}

fn apply_memory(cgroup: &Cgroup, memory: &LinuxMemory) -> Result<()> {
    let Some(limit) = memory.limit() else {
        return Ok(());
    };
    let (directory, v2) = directory(cgroup, "memory", "the memory limit")?;
    let controller = MemController::new(directory.clone(), directory.clone(), v2);
    controller
        .set_limit(limit)
        .during(|| format!("set the memory limit of {limit} bytes"))?;
    read_back(
        &directory.join(if v2 { "memory.max" } else { "memory.limit_in_bytes" }),
        limit,
    )?;
    if v2 {
        // A service that has lost one of its processes is no service: all of it ends, and is started anew.
        let file = directory.join("memory.oom.group");
        fs::write(&file, "1").during(|| format!("write `{}`", file.display()))?;
        read_back(&file, 1)?;
    }
    // Swap would let the limit be exceeded silently. OCI counts memory + swap, as v1 does; v2 counts swap alone.
    // Kernels without swap accounting lack the file: then there is nothing to close.
    let file = directory.join(if v2 {
        "memory.swap.max"
    } else {
        "memory.memsw.limit_in_bytes"
    });
    if let Some(total) = memory.swap().filter(|_| file.exists()) {
        let value = if v2 { total - limit } else { total };
        controller
            .set_memswap_limit(value)
            .during(|| format!("set the swap limit of {value} bytes"))?;
        read_back(&file, value)?;
    }
    Ok(())
}

fn apply_cpu(cgroup: &Cgroup, cpu: &LinuxCpu) -> Result<()> {
    let Some(quota) = cpu.quota() else { return Ok(()) };
    let (directory, v2) = directory(cgroup, "cpu", "the CPU limit")?;
    let period = cpu.period().unwrap_or(100_000);
    let controller = CpuController::new(directory.clone(), directory.clone(), v2);
    let set = controller.set_cfs_quota_and_period(Some(quota), Some(period));
    set.during(|| format!("set the CPU limit of {quota} µs in {period} µs"))?;
    read_back(
        &directory.join(if v2 { "cpu.max" } else { "cpu.cfs_quota_us" }),
        quota,
    )
}

fn apply_pids(cgroup: &Cgroup, limit: i64) -> Result<()> {
    let (directory, v2) = directory(cgroup, "pids", "the pids limit")?;
    let controller = PidController::new(directory.clone(), directory.clone(), v2);
    controller
        .set_pid_max(MaxValue::Value(limit))
        .during(|| format!("set the pids limit of {limit}"))?;
    read_back(&directory.join("pids.max"), limit)
}

/// The kernel rounds memory down to pages; anything else must read as it was written.
fn read_back(file: &Path, wanted: i64) -> Result<()> {
    let text = fs::read_to_string(file).during(|| format!("read back `{}`", file.display()))?;
    let value: Option<i64> = text.split_whitespace().next().and_then(|word| word.parse().ok());
    match value {
        Some(value) if value <= wanted && wanted - value < 65_536 => Ok(()),
        _ => Err(Failure::new(
            FailureKind::Environment,
            format!("read back `{}`", file.display()),
            format!("wrote {wanted}, the kernel says {}", text.trim()),
        )),
    }
}
