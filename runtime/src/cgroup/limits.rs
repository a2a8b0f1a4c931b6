//! Limits: OCI `resources` → the controllers' files, each read back. A value of -1 lifts a limit, as in OCI.
//!
//! Memory, CPU time and processes go through the setters of cgroups-rs, which know both layouts; its builder is not used,
//! because it drops errors of the memory controller. The rest it has no words for.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::MaxValue;
use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::Cgroup;
use crate::error::{During, Failure, FailureKind, Result};

/// OCI: no limit.
const NONE: i64 = -1;
/// A v1 memory limit from here on is none: the kernel rounds 2^63 down to whole pages, whose size differs.
const NO_MEMORY_LIMIT: i64 = 1 << 62;
/// Files that hold bytes of memory.
const MEMORY: [&str; 7] = [
    "memory.max",
    "memory.high",
    "memory.low",
    "memory.min",
    "memory.swap.max",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
];
/// Bytes of the largest page that any of our machines has.
const LARGEST_PAGE: i64 = 65_536;
/// Length of a CPU accounting period in microseconds (the kernel's default).
const PERIOD: u64 = 100_000;

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
    if let Some(io) = resources.block_io() {
        apply_io(cgroup, io)?;
    }
    let mut unified = resources.unified().iter().flatten();
    unified.try_for_each(|(file, value)| apply_unified(cgroup, file, value))
}

/// The group's directory of `controller`, and whether that is v2. Where there is no such controller: `None` when the
/// limit is none anyway.
fn directory(cgroup: &Cgroup, controller: &str, limit: &str, value: i64) -> Result<Option<(PathBuf, bool)>> {
    match cgroup.controller(controller) {
        None if value == NONE => Ok(None),
        None => Err(missing(controller, limit)),
        found => Ok(found),
    }
}

fn missing(controller: &str, limit: &str) -> Failure {
    let why = format!(
        "the `{controller}` cgroup controller is not available (`pactown doctor` lists those that are)"
    );
    Failure::new(FailureKind::Environment, format!("apply {limit}"), why)
}

fn apply_memory(cgroup: &Cgroup, memory: &LinuxMemory) -> Result<()> {
    let Some(limit) = memory.limit() else {
        return Ok(());
    };
    let Some((directory, v2)) = directory(cgroup, "memory", "the memory limit", limit)? else {
        return Ok(());
    };
    if v2 {
        if cgroup.holds_groups() {
            refuse_less_than_is_used(&directory, limit)?;
        }
        set_memory(&directory, v2, limit)?;
        // A service that has lost one of its processes is no service: all of it ends, and is started anew. Of a group
        // of groups, whose processes are others' business, nothing ends together.
        let whole = i64::from(limit != NONE && !cgroup.holds_groups());
        write(&directory.join("memory.oom.group"), whole)?;
    }
    // Swap would let the limit be exceeded silently. OCI counts memory + swap, as v1 does; v2 counts swap alone.
    // Kernels without swap accounting lack the file: then there is nothing to close.
    let total = memory.swap().filter(|_| swap_file(&directory, v2).exists());
    match (v2, total) {
        (true, Some(NONE)) => set_swap(&directory, v2, NONE),
        (true, Some(total)) => set_swap(&directory, v2, total - limit),
        (true, None) => Ok(()),
        (false, None) => set_memory(&directory, v2, limit),
        (false, Some(total)) => set_v1_memory(&directory, limit, total),
    }
}

fn swap_file(directory: &Path, v2: bool) -> PathBuf {
    directory.join(if v2 {
        "memory.swap.max"
    } else {
        "memory.memsw.limit_in_bytes"
    })
}

fn set_memory(directory: &Path, v2: bool, limit: i64) -> Result<()> {
    let file = directory.join(if v2 { "memory.max" } else { "memory.limit_in_bytes" });
    let controller = MemController::new(directory.to_owned(), directory.to_owned(), v2);
    taken(&file, limit, controller.set_limit(limit))
}

fn set_swap(directory: &Path, v2: bool, limit: i64) -> Result<()> {
    let controller = MemController::new(directory.to_owned(), directory.to_owned(), v2);
    taken(
        &swap_file(directory, v2),
        limit,
        controller.set_memswap_limit(limit),
    )
}

/// v1 refuses a limit below what is in use; v2 would kill until it holds, which nobody asked for.
fn refuse_less_than_is_used(directory: &Path, limit: i64) -> Result<()> {
    let file = directory.join("memory.current");
    let text = fs::read_to_string(&file).during(|| format!("read `{}`", file.display()))?;
    let used: i64 = text.trim().parse().unwrap_or(0);
    if limit == NONE || used <= limit {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::Environment,
        format!("write {limit} to `{}`", directory.join("memory.max").display()),
        format!("{used} bytes are in use already: stop a service, or allow more"),
    ))
}

/// On v1 memory alone may never be allowed more than memory and swap, at no moment: which of the two comes first depends
/// on whether they rise or fall.
fn set_v1_memory(directory: &Path, limit: i64, total: i64) -> Result<()> {
    let with_swap = swap_file(directory, false);
    let text = fs::read_to_string(&with_swap).during(|| format!("read `{}`", with_swap.display()))?;
    let allowed: i64 = text.trim().parse().unwrap_or(i64::MAX);
    let (memory, swap) = (
        || set_memory(directory, false, limit),
        || set_swap(directory, false, total),
    );
    match limit == NONE || limit > allowed {
        true => swap().and_then(|()| memory()),
        false => memory().and_then(|()| swap()),
    }
}

fn apply_cpu(cgroup: &Cgroup, cpu: &LinuxCpu) -> Result<()> {
    if let Some(shares) = cpu.shares() {
        let value = i64::try_from(shares).unwrap_or(i64::MAX);
        match directory(cgroup, "cpu", "the CPU weight", value)? {
            Some((directory, false)) => write(&directory.join("cpu.shares"), value)?,
            _ => return Err(only("cpu.shares", "v1")),
        }
    }
    let Some(quota) = cpu.quota() else { return Ok(()) };
    let Some((directory, v2)) = directory(cgroup, "cpu", "the CPU limit", quota)? else {
        return Ok(());
    };
    let period = cpu.period().unwrap_or(PERIOD);
    let controller = CpuController::new(directory.clone(), directory.clone(), v2);
    if v2 {
        let set = controller.set_cfs_quota_and_period(Some(quota), Some(period));
        let file = directory.join("cpu.max");
        taken(&file, quota, set)?;
        return read_back_quota(&file, quota, period);
    }
    // The period first: a quota is refused that is more, in the period that is in force, than the group above has.
    let length = i64::try_from(period).unwrap_or(i64::MAX);
    taken(
        &directory.join("cpu.cfs_period_us"),
        length,
        controller.set_cfs_period(period),
    )?;
    taken(
        &directory.join("cpu.cfs_quota_us"),
        quota,
        controller.set_cfs_quota(quota),
    )
}

fn apply_pids(cgroup: &Cgroup, limit: i64) -> Result<()> {
    match directory(cgroup, "pids", "the pids limit", limit)? {
        Some((directory, v2)) => {
            let controller = PidController::new(directory.clone(), directory.clone(), v2);
            let value = match limit {
                NONE => MaxValue::Max,
                limit => MaxValue::Value(limit),
            };
            taken(&directory.join("pids.max"), limit, controller.set_pid_max(value))
        }
        None => Ok(()),
    }
}

/// Bytes per second of single devices; a rate of 0 lifts the limit. The weight is one among siblings.
fn apply_io(cgroup: &Cgroup, io: &LinuxBlockIo) -> Result<()> {
    let reads = io.throttle_read_bps_device().iter().flatten();
    let writes = io.throttle_write_bps_device().iter().flatten();
    let both = reads
        .map(|one| ("read", "rbps", one))
        .chain(writes.map(|one| ("write", "wbps", one)));
    for (v1, v2, device) in both {
        throttle(cgroup, v1, v2, device)?;
    }
    let Some(weight) = io.weight() else {
        return Ok(());
    };
    let Some((directory, false)) = cgroup.controller("blkio") else {
        return Err(only("blkio.weight", "v1"));
    };
    // BFQ has a file of its own since Linux 5.0; before, and for CFQ, it is the controller's.
    let files = ["blkio.bfq.weight", "blkio.weight"].map(|name| directory.join(name));
    let file = files.iter().find(|file| file.exists());
    let file = file.ok_or_else(|| missing("blkio (with BFQ)", "the I/O weight"))?;
    write(file, i64::from(weight))
}

fn throttle(cgroup: &Cgroup, v1: &str, v2: &str, device: &LinuxThrottleDevice) -> Result<()> {
    let number = format!("{}:{}", device.major(), device.minor());
    let rate = device.rate();
    let found = cgroup.controller("io").or_else(|| cgroup.controller("blkio"));
    let Some((directory, is_v2)) = found else {
        return match rate {
            0 => Ok(()),
            _ => Err(missing("io", "the I/O limit")),
        };
    };
    let limited = (rate != 0).then(|| rate.to_string());
    let (file, setting, wanted) = if is_v2 {
        let value = limited.clone().unwrap_or_else(|| "max".to_owned());
        let setting = format!("{v2}={value}");
        (directory.join("io.max"), setting.clone(), setting)
    } else {
        let file = directory.join(format!("blkio.throttle.{v1}_bps_device"));
        (file, rate.to_string(), rate.to_string())
    };
    put(&file, &format!("{number} {setting}"))?;
    let text = fs::read_to_string(&file).during(|| format!("read back `{}`", file.display()))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&number)?.strip_prefix(' '));
    let holds = |line: &str| line.split(' ').any(|word| word == wanted);
    // The line of a device without any limit is left out.
    match line {
        Some(line) if holds(line) => Ok(()),
        None if limited.is_none() => Ok(()),
        _ => Err(differs(&file, &format!("{number} {setting}"), &text)),
    }
}

/// A file of cgroup v2 that OCI has no word for: `memory.high`, `cpu.weight`, `io.weight`.
fn apply_unified(cgroup: &Cgroup, name: &str, value: &str) -> Result<()> {
    let controller = name.split('.').next().unwrap_or_default();
    let Some((directory, true)) = cgroup.controller(controller) else {
        return match value {
            "max" => Ok(()),
            _ => Err(only(name, "v2")),
        };
    };
    if name.contains('/') {
        return Err(Failure::new(
            FailureKind::Request,
            "read `linux.resources.unified`",
            name,
        ));
    }
    let file = directory.join(name);
    put(&file, value)?;
    match value.parse() {
        Ok(number) => read_back(&file, number),
        Err(_) => read_back(&file, NONE),
    }
}

fn only(file: &str, version: &str) -> Failure {
    Failure::new(
        FailureKind::Environment,
        format!("write `{file}`"),
        format!("this host has no cgroup {version} with that controller"),
    )
}

/// What became of a number that cgroups-rs wrote: an error in our words, or what reads back.
fn taken(file: &Path, value: i64, set: cgroups_rs::fs::error::Result<()>) -> Result<()> {
    let Err(error) = set else {
        return read_back(file, value);
    };
    let cause = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    let Some(cause) = cause else {
        let step = format!("write {} to `{}`", word(file, value), file.display());
        return Err(Failure::new(FailureKind::Environment, step, &error));
    };
    Err(refused(file, &word(file, value), cause))
}

/// Writes one number, and reads it back.
fn write(file: &Path, value: i64) -> Result<()> {
    put(file, &word(file, value))?;
    read_back(file, value)
}

/// The number, or the word for no limit: v1 knows `max` for pids only.
fn word(file: &Path, value: i64) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let old = name.ends_with("_in_bytes") || name.ends_with("_us");
    match value {
        NONE if !old => "max".to_owned(),
        value => value.to_string(),
    }
}

fn put(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).map_err(|error| refused(file, text, &error))
}

fn refused(file: &Path, text: &str, error: &io::Error) -> Failure {
    let step = format!("write {text} to `{}`", file.display());
    let mut failure = Failure::new(FailureKind::Environment, step, error);
    failure.causes.extend(explanation(file, error));
    failure
}

/// What the kernel means by it, where its word alone would puzzle.
fn explanation(file: &Path, error: &io::Error) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let why = match error.raw_os_error()? {
        libc::EBUSY if name.starts_with("memory.") => "more is in use already: stop a service, or allow more",
        libc::EINVAL if name == "cpu.cfs_quota_us" => {
            "on cgroup v1 a group may not have more than the one above it, nor less than one below it: stop the services first"
        }
        libc::ENOENT => "this kernel has no such limit",
        libc::ENODEV => "there is no such disk any more",
        _ => return None,
    };
    Some(why.to_owned())
}

fn read_back(file: &Path, wanted: i64) -> Result<()> {
    let text = fs::read_to_string(file).during(|| format!("read back `{}`", file.display()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match holds(&name, wanted, &text) {
        true => Ok(()),
        false => Err(differs(file, &wanted.to_string(), &text)),
    }
}

/// Whether a file that reads so has the number in force. The kernel rounds bytes of memory down to pages; anything else
/// must read as it was written.
fn holds(name: &str, wanted: i64, text: &str) -> bool {
    let is_memory = MEMORY.contains(&name);
    let first = text
        .split_whitespace()
        .find(|word| *word != "default")
        .unwrap_or_default();
    match (wanted, first.parse::<i64>()) {
        (NONE, Err(_)) => first == "max",
        (NONE, Ok(value)) if is_memory => value >= NO_MEMORY_LIMIT,
        (wanted, Ok(value)) if is_memory => value <= wanted && wanted - value < LARGEST_PAGE,
        (wanted, Ok(value)) => value == wanted,
        (_, Err(_)) => false,
    }
}

/// Both words of `cpu.max`: a quota in another period is another limit.
fn read_back_quota(file: &Path, quota: i64, period: u64) -> Result<()> {
    let text = fs::read_to_string(file).during(|| format!("read back `{}`", file.display()))?;
    let wanted = format!("{} {period}", word(file, quota));
    match text.trim() == wanted {
        true => Ok(()),
        false => Err(differs(file, &wanted, &text)),
    }
}

fn differs(file: &Path, wanted: &str, text: &str) -> Failure {
    Failure::new(
        FailureKind::Environment,
        format!("read back `{}`", file.display()),
        format!("wrote {wanted}, the kernel says {}", text.trim()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_of_memory_may_read_as_less_than_was_written() {
        for name in MEMORY {
            assert!(holds(name, 100_000, "98304\n"), "{name}: whole pages");
            assert!(!holds(name, 100_000, "100001\n"), "{name}: more");
            assert!(!holds(name, 200_000, "100000\n"), "{name}: pages less");
        }
        for name in ["pids.max", "cpu.cfs_quota_us", "cpu.weight", "memory.oom.group"] {
            assert!(holds(name, 64, "64\n") && !holds(name, 64, "63\n"), "{name}");
        }
        assert!(!holds("memory.oom.group", 1, "0\n"));
        assert!(holds("io.weight", 200, "default 200\n"));
    }

    #[test]
    fn no_limit_has_a_word_or_a_number() {
        assert!(holds("memory.max", NONE, "max\n") && holds("pids.max", NONE, "max\n"));
        assert!(holds("memory.limit_in_bytes", NONE, "9223372036854771712\n"));
        assert!(holds("cpu.cfs_quota_us", NONE, "-1\n"));
        assert!(!holds("cpu.cfs_quota_us", NONE, "9223372036854771712\n"));
        assert!(!holds("memory.max", NONE, "1048576\n") && !holds("memory.max", NONE, ""));
    }

    #[test]
    fn a_quota_in_another_period_is_another_limit() {
        let file = std::env::temp_dir().join(format!("pactown-cpu.max-{}", std::process::id()));
        for (text, quota, holds) in [
            ("50000 100000\n", 50_000, true),
            ("50000 10000\n", 50_000, false),
            ("max 100000\n", NONE, true),
            ("49999 100000\n", 50_000, false),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(read_back_quota(&file, quota, PERIOD).is_ok(), holds, "{text}");
        }
        fs::remove_file(&file).unwrap();
    }
}
