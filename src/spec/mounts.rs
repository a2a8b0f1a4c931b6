//! The mounts of a sandbox, in the order in which they are made. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, Mount, MountBuilder};

use super::{APP, HOME, SECRETS, SandboxPlan, built, etc, ids, resources};
use crate::health::notify;
use crate::host::{Entry, EntryKind};

/// Bytes of `/dev/shm` and `/tmp` at least: PostgreSQL wants 64 MiB of shared memory.
const SMALLEST_TMPFS: u64 = 64 << 20;
/// Bytes of `/run`, and of the root file system, which holds mount points and a few copied files.
const SMALL: u64 = 16 << 20;

/// All mounts. Later ones may lie inside earlier ones, never the other way round.
pub(super) fn mounts(plan: &SandboxPlan, files: &BTreeMap<PathBuf, String>) -> Vec<Mount> {
    let mut mounts = vec![root(plan)];
    let system = plan
        .host
        .entries
        .iter()
        .filter(|entry| !files.contains_key(&entry.path));
    mounts.extend(system.map(|entry| with_packages(plan, entry).unwrap_or_else(|| host_entry(entry))));
    mounts.extend(kernel(plan));
    mounts.extend(plan.host.topology.iter().map(|path| topology(path)));
    mounts.extend(temporary(plan));
    mounts.extend(secrets(plan));
    // Read-only: the socket can be written to, and not be replaced by another.
    mounts.extend(
        plan.notify
            .iter()
            .map(|path| read_only_bind(path, Path::new(notify::INSIDE))),
    );
    mounts.extend(packages(plan, files));
    mounts.extend(files.keys().map(|path| file(plan, path)));
    mounts.extend(plan.toolchains.iter().map(|path| read_only_bind(path, path)));
    mounts.push(overlay(plan));
    mounts.push(storage(plan, &plan.writable.home, Path::new(HOME), false));
    let mut inner: Vec<Mount> = plan.mounts.iter().map(|mount| host_bind(plan, mount)).collect();
    inner.extend(
        plan.volumes
            .iter()
            .map(|volume| storage(plan, &volume.source, &volume.target, volume.read_only)),
    );
    inner.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(inner);
    mounts
}

/// The root's own tmpfs. One that may be written is the service's: its size counts as the service's memory.
fn root(plan: &SandboxPlan) -> Mount {
    if plan.exceptions.writable_root {
        return tmpfs("/", temporary_size(plan), "0755", &own(plan));
    }
    tmpfs("/", SMALL, "0755", &[])
}

/// Options by which a tmpfs belongs to the service.
fn own(plan: &SandboxPlan) -> [String; 2] {
    let id = plan.ids.host(ids::inside(plan));
    [format!("uid={id}"), format!("gid={id}")]
}

fn mount(kind: &str, source: &Path, destination: &Path, options: &[&str]) -> MountBuilder {
    MountBuilder::default()
        .typ(kind)
        .source(source)
        .destination(destination)
        .options(
            options
                .iter()
                .map(|option| (*option).to_owned())
                .collect::<Vec<_>>(),
        )
}

fn host_entry(entry: &Entry) -> Mount {
    match &entry.kind {
        EntryKind::Directory => read_only_bind(&entry.source, &entry.path),
        EntryKind::File => built(mount("file", &entry.source, &entry.path, &[]).build()),
        EntryKind::Symlink(target) => built(mount("symlink", target, &entry.path, &[]).build()),
    }
}

/// A directory of the host below what packages of the distribution, which this sandbox alone has, hold there.
fn with_packages(plan: &SandboxPlan, entry: &Entry) -> Option<Mount> {
    let trees = plan.system.iter().flat_map(|system| &system.trees);
    let (tree, _) = trees
        .filter(|_| entry.kind == EntryKind::Directory)
        .find(|(_, inside)| *inside == entry.path)?;
    let lower = format!("lowerdir={}:{}", tree.display(), entry.source.display());
    let options = ["ro", "nosuid", "nodev", &lower];
    let overlay = mount("overlay", Path::new("overlay"), &entry.path, &options);
    Some(built(overlay.build()))
}

/// What these packages hold where neither the sandbox nor the host has something of that name.
fn packages(plan: &SandboxPlan, files: &BTreeMap<PathBuf, String>) -> Vec<Mount> {
    let Some(system) = &plan.system else {
        return Vec::new();
    };
    let taken = |inside: &Path| {
        let held = plan.host.entries.iter().map(|entry| &entry.path);
        let mut held = held.chain(files.keys());
        held.any(|path| path.starts_with(inside) || inside.starts_with(path))
    };
    let all = system.trees.iter().chain(&system.configuration);
    all.filter(|(_, inside)| !taken(inside))
        .map(|(source, inside)| read_only_bind(source, inside))
        .collect()
}

fn read_only_bind(source: &Path, destination: &Path) -> Mount {
    built(mount("bind", source, destination, &["rbind", "ro", "nosuid", "nodev"]).build())
}

/// Part of the host's sysfs. Hosts mount that `noexec`, which a user namespace may not take back (mount_namespaces(7)):
/// runtimes that set the options as they stand here would be refused without it.
fn topology(path: &Path) -> Mount {
    let options = ["rbind", "ro", "nosuid", "nodev", "noexec"];
    built(mount("bind", path, path, &options).build())
}

/// `/proc`, `/dev` and the cgroup. Options that name ids take ids of the host. `/sys` itself is a directory of the
/// read-only root: a sysfs would have to be hidden again almost everywhere, one mount for each place.
fn kernel(plan: &SandboxPlan) -> Vec<Mount> {
    let tty = format!("gid={}", plan.ids.host(5));
    let simple = |kind: &str, destination: &str, options: &[&str]| {
        built(mount(kind, Path::new(kind), Path::new(destination), options).build())
    };
    let shared = temporary_size(plan);
    vec![
        simple("proc", "/proc", &["nosuid", "nodev", "noexec"]),
        simple("cgroup", "/sys/fs/cgroup", &["nosuid", "nodev", "noexec", "ro"]),
        simple("dev", "/dev", &["nosuid", "noexec", "mode=0755"]),
        simple(
            "devpts",
            "/dev/pts",
            &[
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                &tty,
            ],
        ),
        tmpfs("/dev/shm", shared, "1777", &[]),
        simple("mqueue", "/dev/mqueue", &["nosuid", "nodev", "noexec"]),
    ]
}

/// The memory file systems. `/run` belongs to the service, which keeps pid files and sockets there.
fn temporary(plan: &SandboxPlan) -> Vec<Mount> {
    let size = temporary_size(plan);
    vec![
        tmpfs("/tmp", size, "1777", &[]),
        tmpfs("/var/tmp", size, "1777", &[]),
        tmpfs("/run", SMALL, "0755", &own(plan)),
    ]
}

/// What the keeper holds for the sandbox, for its service alone. A ramfs is never swapped; its size is that of the files.
fn secrets(plan: &SandboxPlan) -> Option<Mount> {
    let [uid, gid] = own(plan);
    let options = ["ro", "nosuid", "nodev", "noexec", "mode=0500", &uid, &gid];
    let secrets = mount("ramfs", Path::new("ramfs"), Path::new(SECRETS), &options);
    plan.secrets.then(|| built(secrets.build()))
}

/// `limits.tmp`, or half of the memory limit: a full `/tmp` alone must not be able to kill the service.
fn temporary_size(plan: &SandboxPlan) -> u64 {
    if let Some(size) = plan.limits.tmp {
        return size;
    }
    (resources::memory_limit(plan) / 2).max(SMALLEST_TMPFS)
}

fn tmpfs(destination: &str, size: u64, mode: &str, more: &[String]) -> Mount {
    let mut options = vec![
        "nosuid".to_owned(),
        "nodev".to_owned(),
        format!("size={size}"),
        format!("mode={mode}"),
    ];
    options.extend_from_slice(more);
    let tmpfs = MountBuilder::default()
        .typ("tmpfs")
        .source("tmpfs")
        .destination(destination)
        .options(options);
    built(tmpfs.build())
}

fn file(plan: &SandboxPlan, path: &Path) -> Mount {
    built(mount("file", &plan.bundle.join(etc::in_bundle(path)), path, &[]).build())
}

/// `/app`. The four features are off because with them a lower layer must never change under an old upper
/// directory (kernel: filesystems/overlayfs.rst, "Changes to underlying filesystems").
fn overlay(plan: &SandboxPlan) -> Mount {
    let layers: Vec<_> = plan.layers.iter().map(|layer| layer.to_string_lossy()).collect();
    let options = [
        "nosuid".to_owned(),
        "nodev".to_owned(),
        format!("lowerdir={}", layers.join(":")),
        format!("upperdir={}", plan.writable.upper.display()),
        format!("workdir={}", plan.writable.work.display()),
        "index=off".to_owned(),
        "metacopy=off".to_owned(),
        "redirect_dir=off".to_owned(),
        "xino=off".to_owned(),
    ];
    let overlay = MountBuilder::default()
        .typ("overlay")
        .source("overlay")
        .destination(APP)
        .options(options.to_vec());
    mapped(
        overlay,
        ids::storage(plan, plan.owner.0),
        ids::storage(plan, plan.owner.1),
    )
}

fn storage(plan: &SandboxPlan, source: &Path, target: &Path, read_only: bool) -> Mount {
    let access = if read_only { "ro" } else { "rw" };
    let bind = mount("bind", source, target, &["bind", access, "nosuid", "nodev"]);
    mapped(
        bind,
        ids::storage(plan, plan.owner.0),
        ids::storage(plan, plan.owner.1),
    )
}

/// A path from `mounts:`. Read-only ones are not mapped: that works on every file system.
fn host_bind(plan: &SandboxPlan, bind: &crate::config::ecosystem::BindMount) -> Mount {
    let target = Path::new(&bind.target);
    if !bind.writable {
        return read_only_bind(&bind.source, target);
    }
    let mount = mount("bind", &bind.source, target, &["bind", "rw", "nosuid", "nodev"]);
    mapped(
        mount,
        ids::bind(plan, plan.owner.0),
        ids::bind(plan, plan.owner.1),
    )
}

fn mapped(mount: MountBuilder, uids: Vec<LinuxIdMapping>, gids: Vec<LinuxIdMapping>) -> Mount {
    built(mount.uid_mappings(uids).gid_mappings(gids).build())
}
