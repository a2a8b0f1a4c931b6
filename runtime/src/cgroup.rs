//! The control groups of one sandbox: made, limited, joined, read and removed, on v1, hybrid and v2.
//!
//! Limits go through cgroups-rs, in `cgroup/limits.rs` only; every one is read back. Knows no policy: what is not in
//! the OCI `resources` is not touched.

mod hierarchy;
mod limits;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxResources;

pub use hierarchy::{Hierarchies, Hierarchy};

use crate::error::{During, Failure, Result};
use crate::protocol::FailureKind;

/// The directories of one sandbox, one per hierarchy that is used.
#[derive(Debug, Clone)]
pub struct Cgroup {
    hierarchies: Hierarchies,
    path: PathBuf,
}

/// What a group has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory in use now, bytes.
    pub memory: Option<u64>,
    /// Most memory in use ever, bytes.
    pub memory_peak: Option<u64>,
    /// CPU time, microseconds.
    pub cpu_usec: Option<u64>,
    /// Whether the kernel killed something for lack of memory.
    pub oom_killed: bool,
}

impl Cgroup {
    /// The groups at `path` (OCI `cgroupsPath`, relative to each hierarchy's root). Makes nothing.
    pub fn open(path: &str) -> Result<Self> {
        let clean = path.trim_start_matches('/');
        if clean.is_empty() || clean.split('/').any(|part| part == ".." || part.is_empty()) {
            return Err(Failure::new(
                FailureKind::Request,
                "read `linux.cgroupsPath`",
                format!("`{path}` is no path"),
            ));
        }
        Ok(Self {
            hierarchies: Hierarchies::mounted()?,
            path: PathBuf::from(clean),
        })
    }

    /// Makes the directories and sets the limits. On failure nothing is left. Limits come before any process, so
    /// that nothing ever runs without them.
    pub fn create(path: &str, resources: Option<&LinuxResources>) -> Result<Self> {
        let cgroup = Self::open(path)?;
        if let Err(failure) = cgroup.make(resources) {
            let _ = cgroup.delete();
            return Err(failure);
        }
        Ok(cgroup)
    }

    fn make(&self, resources: Option<&LinuxResources>) -> Result<()> {
        self.hierarchies.delegate(&self.path)?;
        for directory in self.directories() {
            // Whatever the umask: the sandbox reads its limits here through its cgroup view.
            fs::create_dir_all(&directory)
                .and_then(|()| fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)))
                .during(|| format!("create cgroup `{}`", directory.display()))?;
        }
        resources.map_or(Ok(()), |resources| limits::apply(self, resources))
    }

    /// Its directory in every hierarchy.
    pub fn directories(&self) -> Vec<PathBuf> {
        self.hierarchies
            .roots()
            .iter()
            .map(|root| root.join(&self.path))
            .collect()
    }

    /// Its directory in the hierarchy of `controller`, and whether that is v2.
    pub fn controller(&self, controller: &str) -> Option<(PathBuf, bool)> {
        self.hierarchies
            .of(controller)
            .map(|(root, v2)| (root.join(&self.path), v2))
    }

    /// What the sandbox shall see: `(path below /sys/fs/cgroup, host directory)`.
    pub(crate) fn view(&self) -> Vec<(String, PathBuf)> {
        self.hierarchies
            .view()
            .into_iter()
            .map(|(name, root)| (name, root.join(&self.path)))
            .collect()
    }

    /// Moves the calling process, which has one thread, in. Called by a sandbox's pid 1 before it has any child:
    /// children inherit.
    pub(crate) fn join(&self) -> Result<()> {
        for hierarchy in self.hierarchies.all() {
            // On v1 the one thread moves itself: the kernel then leaves out the lock that keeps every fork of the machine
            // waiting, and the grace period that comes with it (`cgroup_procs_write_start`), 10 to 20 ms.
            let file = if hierarchy.v2 { "cgroup.procs" } else { "tasks" };
            let directory = hierarchy.root.join(&self.path);
            fs::write(directory.join(file), "0")
                .during(|| format!("join cgroup `{}`", directory.display()))?;
        }
        Ok(())
    }

    /// What it has used so far; what the kernel does not tell is `None`.
    pub fn usage(&self) -> Usage {
        let file = |controller: &str, v1: &str, v2: &str| {
            let (directory, is_v2) = self.controller(controller)?;
            fs::read_to_string(directory.join(if is_v2 { v2 } else { v1 })).ok()
        };
        let number = |text: Option<String>| text?.trim().parse().ok();
        let oom = file("memory", "memory.oom_control", "memory.events");
        let cpu = match self.controller("cpuacct") {
            Some((directory, false)) => number(fs::read_to_string(directory.join("cpuacct.usage")).ok())
                .map(|nanoseconds: u64| nanoseconds / 1000),
            _ => file("cpu", "cpu.stat", "cpu.stat").and_then(|text| keyed(&text, "usage_usec")),
        };
        Usage {
            memory: number(file("memory", "memory.usage_in_bytes", "memory.current")),
            memory_peak: number(file("memory", "memory.max_usage_in_bytes", "memory.peak")),
            cpu_usec: cpu,
            oom_killed: oom
                .and_then(|text| keyed(&text, "oom_kill"))
                .is_some_and(|count| count > 0),
        }
    }

    /// Pids in it, of every hierarchy.
    pub fn processes(&self) -> Vec<i32> {
        let mut found: Vec<i32> = Vec::new();
        for directory in self.directories() {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|pid| pid.parse::<i32>().ok()));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Removes the directories, and their parents up to `pactown` when they are empty. Already gone is success.
    pub fn delete(&self) -> Result<()> {
        for directory in self.directories() {
            remove(&directory).during(|| format!("remove cgroup `{}`", directory.display()))?;
            let parents = self
                .path
                .ancestors()
                .skip(1)
                .filter(|path| !path.as_os_str().is_empty());
            let root = directory.ancestors().nth(self.path.components().count());
            for parent in root
                .iter()
                .flat_map(|root| parents.clone().map(|path| root.join(path)).collect::<Vec<_>>())
            {
                // A parent that still holds another sandbox stays: rmdir refuses (EBUSY, ENOTEMPTY).
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(())
    }
}

/// `key value` lines, as in `memory.events` and `cpu.stat`.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

/// Removes a group. The kernel takes a moment to let go of processes that were just reaped (EBUSY), and tells
/// nobody when it has, on v1: so a few short, bounded tries.
fn remove(directory: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && tries < 50 => {
                tries += 1;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            other => return other,
        }
    }
}
