//! What an instance leaves in the kernel and on disk, found by its name, and removed: after an ordered end, and after
//! a crash. Works half-done and when everything is gone already. What services wrote, layers and logs stay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use pactown_netns::{Network, NetworkSpec, Subnet};
use pactown_runtime::cgroup::{Cgroup, Hierarchies};
use pactown_runtime::disk;

use crate::identity::{IdentityError, Ledger};
use crate::instance::{Instance, LAYER_ROOT, RUN_ROOT, SCRATCH_ROOT};
use crate::prepare::layers;
use crate::prepare::upper::Place;
use crate::roster::Member;
use crate::spec;
use crate::state::{self, InstanceRecord};
use crate::systemd;

/// How long processes that were killed may take to end: one may be in the midst of writing to a disk.
const DYING: Duration = Duration::from_secs(10);

/// What could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemainsError {
    /// Something of the network.
    #[error("cannot remove the network")]
    Network(#[source] pactown_netns::Error),
    /// A control group.
    #[error("cannot remove the control groups")]
    Cgroup(#[source] pactown_runtime::error::Failure),
    /// A limited disk.
    #[error("cannot take a disk away")]
    Disk(#[source] pactown_runtime::error::Failure),
    /// The record of id ranges.
    #[error("cannot give back the id ranges")]
    Ids(#[source] IdentityError),
    /// A file.
    #[error("cannot remove `{path}`")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Removes everything of `instance` whose processes have ended: the network, control groups, id ranges, scratch
/// directories, and at last the run directory.
pub fn remove(instance: &Instance) -> Result<(), RemainsError> {
    remove_objects(instance)?;
    // Who makes the same instance anew at this moment waits until its old directory is gone.
    let _lock = state::lock();
    remove_directory(instance)
}

fn remove_objects(instance: &Instance) -> Result<(), RemainsError> {
    Network::delete(&network(instance)).map_err(RemainsError::Network)?;
    remove_groups(instance)?;
    remove_work(instance);
    // Before the run directory: what is in them is not to be removed with it.
    unmount_disks(instance)?;
    remove_scratch(&instance.scratch())?;
    Ledger::system()
        .release_instance(&instance.name)
        .map_err(RemainsError::Ids)
}

/// The same for an instance whose keeper has died, under the machine's lock: one that is being made anew at this moment
/// waits, and one that was made anew already is left alone.
pub fn remove_dead(instance: &Instance) -> Result<(), RemainsError> {
    let _lock = state::lock();
    if is_alive(&instance.run_dir()) {
        return Ok(());
    }
    remove_objects(instance)?;
    remove_directory(instance)
}

/// The network's names; its subnet plays no part in removing it.
fn network(instance: &Instance) -> NetworkSpec {
    NetworkSpec {
        instance: instance.name.clone(),
        tag: instance.tag.clone(),
        directory: instance.netns_dir(),
        subnet: Subnet {
            network: std::net::Ipv4Addr::UNSPECIFIED,
            prefix: 29,
        },
    }
}

/// The groups of all sandboxes of the instance, then their common parent.
fn remove_groups(instance: &Instance) -> Result<(), RemainsError> {
    let parent = Cgroup::open(&instance.cgroup("x")).map_err(RemainsError::Cgroup)?;
    let mut names: Vec<String> = Vec::new();
    for directory in parent.directories().iter().filter_map(|path| path.parent()) {
        names.extend(directories(directory));
    }
    names.sort();
    names.dedup();
    for name in names {
        let group = parent
            .another(&instance.cgroup(&name))
            .map_err(RemainsError::Cgroup)?;
        end_processes(&group);
        group.delete(DYING).map_err(RemainsError::Cgroup)?;
    }
    for directory in parent.directories().iter().filter_map(|path| path.parent()) {
        let _ = fs::remove_dir(directory);
        // A scope is systemd's, which removes it itself. `pactown` stays while it holds another instance.
        if !systemd::holds_groups() {
            let _ = directory.parent().map(fs::remove_dir);
        }
    }
    Ok(())
}

/// After a crash a sandbox may still be dying: its pid 1 has seen the keeper's end, its children have not. What was killed
/// is waited for, as far as the machine is not too busy to let it end.
fn end_processes(group: &Cgroup) {
    let end = Instant::now() + DYING;
    loop {
        group.kill();
        // Asked anew each time: on v1 a process may have forked between the look and the signal.
        let processes = group.processes();
        if processes.is_empty() || Instant::now() > end {
            return;
        }
        for pid in processes {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        // On v1 the kernel tells nobody when a group becomes empty.
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn directories(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// Work directories of overlays; made again at the next start, so a failure is of no account.
fn remove_work(instance: &Instance) {
    let Ok(Some(record)) = state::read::<InstanceRecord>(&instance.record()) else {
        return;
    };
    let roots = [
        spec::sandbox_root(&record.desired),
        Path::new(crate::instance::FALLBACK_ROOT).join(&instance.name),
    ];
    let ecosystem = &record.desired.ecosystem;
    let started = state::services(instance).into_iter().map(|one| one.name);
    for unit in started.chain(ecosystem.services.keys().cloned()) {
        let Some(member) = Member::named(ecosystem, &unit) else {
            continue;
        };
        for root in &roots {
            let place: Place = spec::place(root, member);
            let _ = place.remove_work();
        }
    }
}

fn unmount_disks(instance: &Instance) -> Result<(), RemainsError> {
    let mut names = directories(&instance.disks()).into_iter();
    names.try_for_each(|name| disk::unmount(&instance.disk(&name)).map_err(RemainsError::Disk))
}

/// What a README on its own wrote; of anything else there is nothing.
fn remove_scratch(path: &Path) -> Result<(), RemainsError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            let path = path.to_owned();
            Err(RemainsError::File { path, source })
        }
        _ => Ok(()),
    }
}

/// Removes what READMEs on their own wrote whose keepers were killed. The caller holds the machine's lock: nobody is
/// starting the same one just now.
pub fn sweep_scratch() -> Result<(), RemainsError> {
    abandoned_scratch()
        .iter()
        .try_for_each(|path| remove_scratch(path))
}

fn abandoned_scratch() -> Vec<PathBuf> {
    let root = Path::new(SCRATCH_ROOT);
    let names = directories(root).into_iter();
    names
        .filter(|name| !is_alive(&Path::new(RUN_ROOT).join(name)))
        .map(|name| root.join(name))
        .collect()
}

fn remove_directory(instance: &Instance) -> Result<(), RemainsError> {
    let path = instance.run_dir();
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RemainsError::File { path, source }),
        _ => Ok(()),
    }
}

/// Whether a keeper lives in this run directory: it holds a lock there from its first to its last moment.
pub fn is_alive(directory: &Path) -> bool {
    let Ok(file) = fs::File::open(directory.join("keeper.lock")) else {
        return false;
    };
    Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
}

/// Everything on this machine that carries pactown's names and belongs to no living instance; one line each.
pub fn leaks() -> Vec<String> {
    let mut found = Vec::new();
    let living: Vec<Instance> = run_directories()
        .into_iter()
        .filter(|path| is_alive(path))
        .filter_map(|path| Instance::in_directory(&path))
        .collect();
    for path in run_directories().iter().filter(|path| !is_alive(path)) {
        found.push(format!("state {}", path.display()));
    }
    let known = |tag: &str| living.iter().any(|instance| instance.tag == tag);
    match pactown_netns::leftovers::list() {
        Ok(list) => found.extend(
            list.into_iter()
                .filter(|leftover| !known(&leftover.tag))
                .map(|leftover| format!("{} {}", leftover.kind, leftover.name)),
        ),
        Err(error) => found.push(format!("network: cannot look: {error}")),
    }
    found.extend(groups_without_instance(&living));
    found.extend(ids_without_instance(&living));
    found.extend(processes_without_instance(&living));
    found.extend(half_made_layers());
    found.extend(
        abandoned_scratch()
            .iter()
            .map(|path| format!("scratch {}", path.display())),
    );
    found.sort();
    found
}

fn run_directories() -> Vec<PathBuf> {
    directories(Path::new(RUN_ROOT))
        .into_iter()
        .map(|name| Path::new(RUN_ROOT).join(name))
        .collect()
}

fn groups_without_instance(living: &[Instance]) -> Vec<String> {
    let Ok(hierarchies) = Hierarchies::mounted() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let lives = |name: &str| living.iter().any(|instance| instance.name == name);
    for hierarchy in hierarchies.all() {
        for parent in ["pactown", systemd::SLICE].map(|name| hierarchy.root.join(name)) {
            for name in directories(&parent) {
                if !lives(systemd::instance_of(&name).unwrap_or(&name)) {
                    found.push(format!("cgroup {}", parent.join(name).display()));
                }
            }
        }
    }
    found
}

fn ids_without_instance(living: &[Instance]) -> Vec<String> {
    let names = Ledger::system().instances().unwrap_or_default();
    names
        .into_iter()
        .filter(|name| !living.iter().any(|instance| instance.name == *name))
        .map(|name| format!("id ranges of {name}"))
        .collect()
}

/// Processes with ids of sandboxes when nothing lives that could own them.
fn processes_without_instance(living: &[Instance]) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    if !living.is_empty() {
        return Vec::new();
    }
    let sandboxed = |path: &Path| {
        fs::metadata(path).is_ok_and(|metadata| metadata.uid() >= crate::identity::STORAGE_BASE)
    };
    directories(Path::new("/proc"))
        .into_iter()
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|name| sandboxed(&Path::new("/proc").join(name)))
        .map(|pid| format!("process {pid}"))
        .collect()
}

/// Layers in the making that nobody is making.
fn half_made_layers() -> Vec<String> {
    let root = Path::new(LAYER_ROOT);
    let abandoned = |key: &str| {
        let lock = fs::File::open(root.join(".locks").join(key));
        lock.is_ok_and(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok())
    };
    directories(root)
        .iter()
        .filter_map(|name| layers::in_the_making(name))
        .filter(|key| abandoned(key))
        .map(|key| format!("half-made layer {key}"))
        .collect()
}
