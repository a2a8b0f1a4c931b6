//! The control groups of one sandbox: made, limited, joined, read and removed, on v1, hybrid and v2.
//!
//! Limits are written in `cgroup/limits.rs` only; every one is read back. Knows no policy: what is not in the OCI
//! `resources` is not touched.

mod hierarchy;
mod limits;
mod usage;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Mode, OFlags};

pub use hierarchy::{Hierarchies, Hierarchy};
pub use usage::{Hits, Usage};

use crate::error::{During, Failure, FailureKind, Result};

/// The directories of one sandbox, one per hierarchy that is used.
#[derive(Debug, Clone)]
pub struct Cgroup {
    hierarchies: Hierarchies,
    path: PathBuf,
    /// It is for other groups, not for processes.
    is_parent: bool,
}

impl Cgroup {
    /// The groups at `path` (OCI `cgroupsPath`, relative to each hierarchy's root). Makes nothing.
    pub fn open(path: &str) -> Result<Self> {
        Ok(Self {
            path: checked(path)?,
            hierarchies: Hierarchies::mounted()?,
            is_parent: false,
        })
    }

    /// The groups at `path` in the same hierarchies: the kernel is not asked for its mounts again, of which a host with many
    /// sandboxes has many.
    pub fn another(&self, path: &str) -> Result<Self> {
        Ok(Self {
            path: checked(path)?,
            hierarchies: self.hierarchies.clone(),
            is_parent: false,
        })
    }

    /// The group that others are made in, with limits on all of them together: made unless it is there, limited anew in
    /// any case. It stays, with what it has counted, until it is deleted.
    ///
    /// # Errors
    /// A limit cannot be applied: no such controller, or more is in use already. Then others of them may hold.
    pub fn hold(path: &str, resources: &LinuxResources) -> Result<Self> {
        let cgroup = Self {
            is_parent: true,
            ..Self::open(path)?
        };
        cgroup.make(Some(resources))?;
        Ok(cgroup)
    }

    pub(super) fn holds_groups(&self) -> bool {
        self.is_parent
    }

    /// Makes the directories and sets the limits. On failure nothing is left. Limits come before any process, so
    /// that nothing ever runs without them.
    pub fn create(path: &str, resources: Option<&LinuxResources>) -> Result<Self> {
        let cgroup = Self::open(path)?;
        if let Err(failure) = cgroup.make(resources) {
            let _ = cgroup.delete(Duration::ZERO);
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
        if let Some((root, _)) = self.hierarchies.of(hierarchy::SEEN) {
            hierarchy::inherit_cpuset(root, &self.path)?;
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

    /// The directory on v2, for `clone3` to make a process in it: never a moment outside, and no move, which keeps every
    /// fork of the machine waiting for a grace period. `None` where v2 has no controller of ours.
    pub(crate) fn entrance(&self) -> Result<Option<OwnedFd>> {
        let Some(root) = self.hierarchies.unified() else {
            return Ok(None);
        };
        let directory = root.join(&self.path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&directory, flags, Mode::empty())
            .during(|| format!("open cgroup `{}`", directory.display()))
            .map(Some)
    }

    /// Moves the calling process, which has one thread and was made in the [`Self::entrance`], into the groups of v1.
    /// Called by a sandbox's pid 1 before it has any child: children inherit.
    pub(crate) fn join(&self) -> Result<()> {
        for hierarchy in self.hierarchies.all().iter().filter(|hierarchy| !hierarchy.v2) {
            // The one thread moves itself: the kernel then leaves out the lock that keeps every fork of the machine
            // waiting, and the grace period that comes with it (`cgroup_procs_write_start`), 10 to 20 ms.
            let directory = hierarchy.root.join(&self.path);
            fs::write(directory.join("tasks"), "0")
                .during(|| format!("join cgroup `{}`", directory.display()))?;
        }
        Ok(())
    }

    /// On v2 the kernel ends every process in it at once, also those that are just being forked (`cgroup.kill`,
    /// cgroup-v2.rst). On v1 it can do no such thing, and nothing happens.
    pub fn kill(&self) {
        if let Some(root) = self.hierarchies.unified() {
            let _ = fs::write(root.join(&self.path).join("cgroup.kill"), "1");
        }
    }

    /// What it has used so far, and its limits; what the kernel does not tell is `None`.
    pub fn usage(&self) -> Usage {
        usage::usage(
            |controller| self.controller(controller).map(|(_, v2)| v2),
            |controller, file| fs::read_to_string(self.controller(controller)?.0.join(file)).ok(),
        )
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

    /// Removes the directories; processes that were just reaped are waited for so long, in all of them together. Already
    /// gone is success; groups in it are an error. Its parents stay: who made them counts and limits with them.
    pub fn delete(&self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        for directory in self.directories() {
            remove(&directory, deadline).during(|| format!("remove cgroup `{}`", directory.display()))?;
        }
        Ok(())
    }
}

fn checked(path: &str) -> Result<PathBuf> {
    let clean = path.trim_start_matches('/');
    if clean.is_empty() || clean.split('/').any(|part| part == ".." || part.is_empty()) {
        return Err(Failure::new(
            FailureKind::Request,
            "read `linux.cgroupsPath`",
            format!("`{path}` is no path"),
        ));
    }
    Ok(PathBuf::from(clean))
}

/// Removes a group. The kernel takes a moment to let go of processes that were just reaped (EBUSY), and tells
/// nobody when it has, on v1: so a few short, bounded tries. It says the same of a group with groups in it, which no
/// waiting helps.
fn remove(directory: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.raw_os_error() == Some(libc::EBUSY)
                    && Instant::now() < deadline
                    && !holds_directories(directory) =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

fn holds_directories(directory: &Path) -> bool {
    let mut entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}
