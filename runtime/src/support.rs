//! What sandboxes need of this host: tried, on things that are thrown away, never guessed from versions.
//!
//! Safe in programs with threads. What changes a thread (its mounts, its filter) is done on a thread that ends with it;
//! the two probes that make a process ([`userns::create`] and the namespaces) use `clone3` without sharing memory, and
//! the child makes nothing but system calls until it ends: it takes no lock that another thread could have held, and
//! allocates nothing. What is mounted is detached or in a mount namespace of its own, so a crash leaves nothing either.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::MsFlags;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, LinuxResources, LinuxSeccomp};
use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};
use serde_json::json;

use crate::beneath;
use crate::cgroup::Cgroup;
use crate::detached;
use crate::error::{During, Failure, FailureKind, Result};
use crate::seccomp::Filter;
use crate::sys::{self, Cloned};
use crate::userns;

/// A host id of no user: that of the maps that are tried.
const ID: u32 = 2_000_000_000;
/// Where an id-mapped mount is tried: one file system that can carry it is enough, and not each can.
const PLACES: &[&str] = &["/", "/var", "/run", "/dev/shm"];

/// A feature of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// What it is, in words.
    pub name: &'static str,
    /// Why it is not there; `None` = it is.
    pub missing: Option<String>,
    /// How to get it.
    pub remedy: &'static str,
}

/// Tries everything; leaves nothing.
pub fn features() -> Vec<Feature> {
    let userns = user_namespace();
    let mapped = id_mapped(&userns);
    let layer = mapped.as_ref().ok();
    vec![
        feature(
            "clone3 with mount, pid, ipc, uts and cgroup namespaces",
            "run as root (not in a container without CAP_SYS_ADMIN); see `sysctl -a -r 'user.max_.*_namespaces'`",
            namespaces(),
        ),
        feature(
            "pidfd_open (pidfd)",
            "use Linux 5.19 or newer, or let the container's seccomp profile allow pidfd_open",
            pidfd(),
        ),
        feature(
            "openat2",
            "use Linux 5.19 or newer, or let the container's seccomp profile allow openat2",
            openat2(),
        ),
        feature(
            "overlayfs",
            "load the kernel module `overlay` (modprobe overlay), on Linux 5.19 or newer",
            on_a_thread(|| overlay(layer)),
        ),
        feature(
            "user namespaces",
            "allow them: `sysctl user.max_user_namespaces=15000`, on a kernel with CONFIG_USER_NS",
            userns.map(drop),
        ),
        feature(
            "id-mapped mounts",
            "use Linux 5.19 or newer, on a file system such as ext4, xfs or btrfs",
            mapped.map(drop),
        ),
        feature(
            "seccomp filters",
            "use a kernel with CONFIG_SECCOMP_FILTER",
            on_a_thread(seccomp),
        ),
        feature(
            "cgroup controllers memory, pids and cpu",
            "mount the cgroup hierarchies writable, with these controllers, and run as root",
            cgroups(),
        ),
    ]
}

fn feature(name: &'static str, remedy: &'static str, result: Result<()>) -> Feature {
    Feature {
        name,
        missing: result.err().map(|failure| failure.to_string()),
        remedy,
    }
}

/// Runs where mounts, working directory and filters end with the work.
fn on_a_thread(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("probe".to_owned())
            .spawn_scoped(scope, work)
            .during(|| "start a thread".to_owned())?
            .join()
            .unwrap_or_else(|_| Err(environment("try it", "the probe panicked")))
    })
}

fn environment(step: &str, cause: &str) -> Failure {
    Failure::new(FailureKind::Environment, step, cause)
}

/// A user namespace with a map, as a sandbox and its mounts get.
fn user_namespace() -> Result<OwnedFd> {
    let map: Vec<LinuxIdMapping> = LinuxIdMappingBuilder::default()
        .container_id(0_u32)
        .host_id(ID)
        .size(1_u32)
        .build()
        .into_iter()
        .collect();
    userns::create(&map, &map)
}

/// The namespaces of a sandbox's pid 1; if the kernel refuses, tries each to name those that are missing.
fn namespaces() -> Result<()> {
    const EACH: &[(&str, libc::c_int)] = &[
        ("mount", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
    ];
    let all = EACH.iter().fold(0, |flags, (_, flag)| flags | flag);
    born_with(all).or_else(|error| {
        let refused: Vec<&str> = EACH
            .iter()
            .filter(|(_, flag)| born_with(*flag).is_err())
            .map(|(name, _)| *name)
            .collect();
        Err(error).during(|| format!("create the {} namespaces (clone3)", refused.join(", ")))
    })
}

/// Makes a process in these new namespaces that ends at once.
fn born_with(flags: libc::c_int) -> std::io::Result<()> {
    match sys::clone3(flags, None)? {
        Cloned::Child => sys::exit_now(0),
        Cloned::Parent(pid, _pidfd) => {
            waitpid(Pid::from_raw(pid), None)?;
            Ok(())
        }
    }
}

fn pidfd() -> Result<()> {
    rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty())
        .during(|| "open a pidfd of this process".to_owned())
        .map(drop)
}

fn openat2() -> Result<()> {
    let root = open_directory(Path::new("/"))?;
    beneath::open(root.as_fd(), Path::new("/"))
        .during(|| "open `/` beneath itself".to_owned())
        .map(drop)
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).during(|| format!("open `{}`", path.display()))
}

/// An id-mapped clone of the first of [`PLACES`] that can be had so; else why `/` cannot.
fn id_mapped(userns: &Result<OwnedFd>) -> Result<OwnedFd> {
    let userns = userns
        .as_ref()
        .map_err(|_| environment("map ids", "it needs a user namespace, and there is none"))?;
    let mut tried = PLACES
        .iter()
        .map(|place| clone_mapped(&open_directory(Path::new(place))?, userns.as_fd()));
    let first = tried
        .next()
        .unwrap_or_else(|| Err(environment("map ids", "no place")));
    first.or_else(|failure| tried.find_map(Result::ok).ok_or(failure))
}

fn clone_mapped(directory: &OwnedFd, userns: BorrowedFd) -> Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree =
        rustix::mount::open_tree(directory, "", flags).during(|| "clone a mount (open_tree)".to_owned())?;
    sys::mount_setattr(tree.as_fd(), 0, Some(userns), false)
        .during(|| "map the ids of a mount (mount_setattr)".to_owned())?;
    Ok(tree)
}

/// An overlay as a sandbox gets, over an id-mapped layer where that can be had. In a mount namespace of this thread:
/// kernels that we support take layers by path only, and of attached mounts only. `/proc` is where, since it exists.
fn overlay(layer: Option<&OwnedFd>) -> Result<()> {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)
        .during(|| "create a mount namespace".to_owned())?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .during(|| "make all mounts private".to_owned())?;
    let stage = detached::filesystem("tmpfs", &[], detached::QUIET)?;
    place(&stage, "/proc")?;
    rustix::process::fchdir(&stage).during(|| "enter the stage".to_owned())?;
    for name in ["l0", "u", "w"] {
        fs::create_dir(name).during(|| format!("create `{name}`"))?;
    }
    layer.map_or(Ok(()), |layer| place(layer, "l0"))?;
    detached::overlay("l0", Some(("u", "w")), detached::QUIET).map(drop)
}

fn place(tree: &OwnedFd, at: &str) -> Result<()> {
    rustix::mount::move_mount(tree, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .during(|| format!("attach at `{at}`"))
}

/// Compiles a filter and loads it into this thread, which ends.
fn seccomp() -> Result<()> {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
    });
    let profile: LinuxSeccomp =
        serde_json::from_value(profile).during(|| "read the seccomp profile".to_owned())?;
    Filter::compile(&profile)?
        .load()
        .during(|| "load a seccomp filter".to_owned())
}

/// How long a group may take to be removable on a busy machine: nobody waits for this but who has asked.
const DYING: Duration = Duration::from_secs(1);

/// A group with limits, made and removed. Two levels deep, so that v2's delegation is tried too; with a parent of
/// its own, so that removing it cannot take `pactown` away below a sandbox that is just being made.
fn cgroups() -> Result<()> {
    let limits = json!({
        "memory": { "limit": 134_217_728, "swap": 134_217_728 },
        "pids": { "limit": 64 },
        "cpu": { "quota": 50_000, "period": 100_000 },
    });
    let limits: LinuxResources =
        serde_json::from_value(limits).during(|| "read the cgroup limits".to_owned())?;
    // Named by the thread: two that probe at once do not meet.
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let parent = format!("pactown-probe-{thread}");
    let tried =
        Cgroup::create(&format!("{parent}/limits"), Some(&limits)).and_then(|group| group.delete(DYING));
    let removed = Cgroup::open(&parent)?.delete(DYING);
    tried.and(removed)
}

/// Why the upper directory of an overlay, id-mapped, cannot lie on the file system of this existing directory.
/// `None` = it can.
pub fn lacks_idmapped_upper(directory: &Path) -> Option<String> {
    let shown = directory.display();
    let (opened, magic, read_only) = match look_at(directory) {
        Ok(seen) => seen,
        Err(failure) => return Some(failure.to_string()),
    };
    let kind = kind(magic);
    if let (name, false) = &kind {
        return Some(format!(
            "`{shown}` is on {name}, which cannot hold the upper directory of an overlay"
        ));
    }
    if read_only {
        return Some(format!("`{shown}` is on {}, mounted read-only", kind.0));
    }
    user_namespace()
        .and_then(|userns| clone_mapped(&opened, userns.as_fd()))
        .err()
        .map(|failure| format!("`{shown}` is on {}: {failure}", kind.0))
}

/// The directory, the magic of its file system, and whether that is read-only here.
fn look_at(directory: &Path) -> Result<(OwnedFd, u32, bool)> {
    let path: PathBuf = fs::canonicalize(directory).during(|| format!("find `{}`", directory.display()))?;
    let opened = open_directory(&path)?;
    let look = || format!("look at the file system of `{}`", directory.display());
    let magic = rustix::fs::fstatfs(&opened).during(look)?.f_type;
    let flags = rustix::fs::fstatvfs(&opened).during(look)?.f_flag;
    // All magics are 32 bits; the field is wider, and signed, on some machines.
    let magic = u32::try_from(i128::from(magic) & 0xffff_ffff).unwrap_or(0);
    Ok((opened, magic, flags.contains(StatVfsMountFlags::RDONLY)))
}

/// Name of a file system by its magic (statfs(2)), and whether an overlay may have its upper directory on it
/// (overlayfs.rst, "Upper and Lower"). Of those that are not known, the kernel decides.
fn kind(magic: u32) -> (String, bool) {
    const KINDS: &[(u32, &str, bool)] = &[
        (0x0000_ef53, "ext4", true),
        (0x5846_5342, "xfs", true),
        (0x9123_683e, "btrfs", true),
        (0x0102_1994, "tmpfs", true),
        (0xf2f5_2010, "f2fs", true),
        (0x2fc1_2fc1, "zfs", true),
        (0xca45_1a4e, "bcachefs", true),
        (0x794c_7630, "overlay", false),
        (0x0000_6969, "nfs", false),
        (0x0000_517b, "smb", false),
        (0xff53_4d42, "cifs", false),
        (0xfe53_4d42, "smb2", false),
        (0x0102_1997, "9p", false),
        (0x786f_4256, "vboxsf", false),
        (0x6573_5546, "fuse", false),
        (0x0000_4d44, "vfat", false),
        (0x2011_bab0, "exfat", false),
        (0x7366_746e, "ntfs3", false),
        (0x5346_544e, "ntfs", false),
        (0x00c3_6400, "ceph", false),
        (0x5346_414f, "afs", false),
        (0x0000_f15f, "ecryptfs", false),
        (0x7371_7368, "squashfs", false),
        (0xe0f5_e1e2, "erofs", false),
        (0x0000_9660, "iso9660", false),
        (0x0000_9fa0, "proc", false),
        (0x6265_6572, "sysfs", false),
    ];
    KINDS.iter().find(|(known, _, _)| *known == magic).map_or(
        (format!("file system type {magic:#x}"), true),
        |(_, name, can)| ((*name).to_owned(), *can),
    )
}
