//! Builds the root file system of a sandbox in its new mount namespace, as host root, and moves into it.
//!
//! Everything goes through descriptors: sources are cloned (`open_tree`), their flags and id maps set before they are
//! visible (`mount_setattr`), targets opened below the new root without following links, then attached (`move_mount`).

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags};
use oci_spec::runtime::Spec;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use crate::beneath;
use crate::cgroup::Cgroup;
use crate::detached::{self, QUIET, RDONLY, attach, attach_at, filesystem};
use crate::devices;
use crate::error::{During, Failure, FailureKind, Result};
use crate::layer::Layer;
use crate::masks;
use crate::mounts::{self, IdMap, Operation, Overlay, What};
use crate::secrets;
use crate::stage::Stage;
use crate::sys;

/// What [`build`] needs besides the operations.
pub(crate) struct Root<'a> {
    /// The spec.
    pub(crate) spec: &'a Spec,
    /// Its root's own tmpfs, from [`skeleton`].
    pub(crate) skeleton: BorrowedFd<'a>,
    /// What the keeper holds for it, see [`crate::secrets`].
    pub(crate) secrets: Option<BorrowedFd<'a>>,
    /// The sandbox's groups, for the cgroup view.
    pub(crate) cgroup: &'a Cgroup,
    /// User namespaces that carry the id maps; made beforehand by the keeper.
    pub(crate) maps: &'a [(IdMap, BorrowedFd<'a>)],
    /// Map for lower layers: root's files belong to the process's user.
    pub(crate) lower: Option<IdMap>,
}

/// Makes the root, mounts everything, and pivots. On failure the mount namespace dies with the process: nothing is left.
pub(crate) fn build(root: &Root, operations: &[Operation]) -> Result<()> {
    // The namespace is a copy of the host's: without this, mounts would propagate back (mount_namespaces(7)).
    nix::mount::mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .during(|| "make all mounts private".to_owned())?;
    let place = root.spec.root().as_ref().map(|root| root.path().clone());
    let place = place.unwrap_or_default();
    fs::create_dir_all(&place).during(|| format!("create `{}`", place.display()))?;
    let stage = Stage::new(&place)?;
    let new_root = attach_by_path(root.skeleton, &place)
        .during(|| format!("attach the root at `{}`", place.display()))?;
    for operation in operations {
        apply(root, new_root.as_fd(), &stage, operation).map_err(|failure| at(&operation.target, failure))?;
    }
    masks::apply(root.spec, new_root.as_fd(), &stage)?;
    drop(stage);
    let read_only = root
        .spec
        .root()
        .as_ref()
        .and_then(oci_spec::runtime::Root::readonly);
    if read_only.unwrap_or(false) && !Layer::ReadOnly.is_off() {
        // Last: until here mount points were still being made in it.
        sys::mount_setattr(new_root.as_fd(), RDONLY, None, false)
            .during(|| "make the root read-only".to_owned())?;
    }
    pivot(new_root.as_fd())
}

/// The root as far as nothing is mounted on it: a detached tmpfs with the links, files and mount points of a spec. It may
/// be made long before the sandbox; its mount points are directories unless a file is bound there.
pub(crate) fn skeleton(fixed: &[Operation], mounts: &[Operation]) -> Result<OwnedFd> {
    let refuse = |why: &str| Failure::new(FailureKind::Request, "read the mounts", why);
    let (first, entries) = fixed
        .split_first()
        .filter(|(first, _)| first.target == Path::new("/"))
        .ok_or_else(|| refuse("the first mount is not the root `/`"))?;
    let What::Filesystem { kind, options } = &first.what else {
        return Err(refuse("the root is not a tmpfs"));
    };
    let tree = filesystem(kind, options, first.attributes)?;
    // The caller's umask would close what is for the service to see.
    let before = rustix::process::umask(Mode::from_raw_mode(0o022));
    let filled = entries
        .iter()
        .try_for_each(|entry| make_entry(tree.as_fd(), entry));
    for mount in mounts {
        let is_file = matches!(&mount.what, What::Bind { source, .. } if !source.is_dir());
        // One that lies below another mount cannot be made here; attaching makes what is missing.
        let _ = match is_file {
            true => beneath::file(tree.as_fd(), &mount.target),
            false => beneath::directory(tree.as_fd(), &mount.target),
        };
    }
    rustix::process::umask(before);
    filled?;
    if let Some(owner) = mounts::owner(options) {
        give_away(tree.as_fd(), owner).during(|| format!("give the root to user {}", owner.0))?;
    }
    Ok(tree)
}

/// Everything in a directory that this process has just filled.
fn give_away(directory: BorrowedFd, (uid, gid): (u32, u32)) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&opened)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let owner = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        let link = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(&opened, name, Some(owner.0), Some(owner.1), link)?;
        if entry.file_type() == FileType::Directory {
            let inner = rustix::fs::openat(&opened, name, flags, Mode::empty())?;
            give_away(inner.as_fd(), (uid, gid))?;
        }
    }
    Ok(())
}

fn make_entry(new_root: BorrowedFd, entry: &Operation) -> Result<()> {
    let target = entry.target.as_path();
    match &entry.what {
        What::Symlink { target: text } => symlink(new_root, target, text),
        What::File { source } => copy(new_root, source, target),
        _ => Ok(()),
    }
    .map_err(|failure| at(target, failure))
}

fn at(target: &Path, mut failure: Failure) -> Failure {
    failure.step = format!("mount `{}`: {}", target.display(), failure.step);
    failure
}

/// Attaches a detached tree at a path, above whatever is mounted there; the way to its top.
pub(crate) fn attach_by_path(tree: BorrowedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::mount::move_mount(tree, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn apply(root: &Root, new_root: BorrowedFd, stage: &Stage, operation: &Operation) -> Result<()> {
    let target = operation.target.as_path();
    match &operation.what {
        What::Bind {
            source,
            recursive,
            map,
        } => {
            let tree = clone_tree(root, source, *recursive, operation.attributes, map.as_ref())?;
            attach(new_root, &tree, target)
        }
        What::Filesystem { kind, options } => {
            let tree = filesystem(kind, options, operation.attributes)?;
            attach(new_root, &tree, target)
        }
        What::Devices => devices::make(root.spec, new_root, target, operation.attributes),
        What::Secrets { owner } => {
            secrets::mount(root.secrets, new_root, target, *owner, operation.attributes)
        }
        What::Cgroup => cgroup_view(root, new_root, target, operation.attributes),
        What::Symlink { .. } | What::File { .. } => make_entry(new_root, operation),
        What::Overlay(overlay) => mount_overlay(root, new_root, stage, target, overlay, operation.attributes),
    }
}

/// A detached clone of a tree of the host, with its flags and map already set.
fn clone_tree(
    root: &Root,
    source: &Path,
    recursive: bool,
    attributes: u64,
    map: Option<&IdMap>,
) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    let attributes = match Layer::ReadOnly.is_off() {
        true => attributes & !RDONLY,
        false => attributes,
    };
    let tree =
        rustix::mount::open_tree(CWD, source, flags).during(|| format!("open `{}`", source.display()))?;
    let userns = match map {
        None => None,
        Some(map) => Some(
            root.maps
                .iter()
                .find(|(one, _)| one == map)
                .map(|(_, fd)| *fd)
                .ok_or_else(|| {
                    Failure::new(
                        FailureKind::Request,
                        format!("map the ids of `{}`", source.display()),
                        "its map was not prepared",
                    )
                })?,
        ),
    };
    sys::mount_setattr(tree.as_fd(), attributes, userns, recursive).during(|| {
        format!(
            "set the flags{} of `{}`",
            if map.is_some() { " and the id map" } else { "" },
            source.display()
        )
    })?;
    Ok(tree)
}

fn symlink(new_root: BorrowedFd, target: &Path, text: &Path) -> Result<()> {
    let (parent, name) = beneath::parent(new_root, target).during(|| "make its directory".to_owned())?;
    rustix::fs::symlinkat(text, &parent, name).during(|| format!("link to `{}`", text.display()))
}

fn copy(new_root: BorrowedFd, source: &Path, target: &Path) -> Result<()> {
    let content = small_file(source).during(|| format!("read `{}`", source.display()))?;
    let (parent, name) = beneath::parent(new_root, target).during(|| "make its directory".to_owned())?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))
        .during(|| "create".to_owned())?;
    fs::File::from(file)
        .write_all(&content)
        .during(|| "write".to_owned())
}

/// Most bytes of a file that is copied: it lies in the root's own tmpfs, and in this process meanwhile.
const LARGEST_COPY: u64 = 1 << 20;

/// All of a regular file. Its directory may be a stranger's: links are not followed, and nothing that never ends is read.
fn small_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a file"));
    }
    if metadata.len() > LARGEST_COPY {
        return Err(std::io::Error::other("it has more than 1 MiB"));
    }
    let mut content = Vec::new();
    file.take(LARGEST_COPY).read_to_end(&mut content)?;
    Ok(content)
}

fn cgroup_view(root: &Root, new_root: BorrowedFd, target: &Path, attributes: u64) -> Result<()> {
    let views = root.cgroup.view();
    let whole = views.iter().any(|(name, _)| name.is_empty());
    if !whole {
        let settings = [
            ("size".to_owned(), "4096".to_owned()),
            ("mode".to_owned(), "0755".to_owned()),
        ];
        let tree = filesystem("tmpfs", &settings, attributes & !RDONLY)?;
        attach(new_root, &tree, target)?;
    }
    for (name, directory) in &views {
        let tree = clone_tree(root, directory, false, attributes | RDONLY | QUIET, None)?;
        attach(new_root, &tree, &target.join(name))?;
    }
    if !whole {
        let stage = beneath::open(new_root, target).during(|| "open it".to_owned())?;
        sys::mount_setattr(stage.as_fd(), RDONLY, None, false).during(|| "make it read-only".to_owned())?;
    }
    Ok(())
}

/// Overlayfs takes its layers by path only on the kernels that we support, so id-mapped clones are put on the stage at
/// short names; it holds on to them by itself when the stage goes.
fn mount_overlay(
    root: &Root,
    new_root: BorrowedFd,
    stage: &Stage,
    target: &Path,
    overlay: &Overlay,
    attributes: u64,
) -> Result<()> {
    let point = beneath::directory(new_root, target).during(|| "make the mount point".to_owned())?;
    let put = |name: &str, source: &Path, map: Option<&IdMap>, flags: u64| -> Result<()> {
        stage.put(name, &clone_tree(root, source, false, flags, map)?)
    };
    // Names of its own: an earlier overlay's are still on the stage.
    let (own, prefix) = match &overlay.upper {
        Some(_) => (root.lower.as_ref(), "l"),
        None => (None, "s"),
    };
    let lower: Vec<String> = (0..overlay.lower.len())
        .map(|number| format!("{prefix}{number}"))
        .collect();
    for (name, layer) in lower.iter().zip(&overlay.lower) {
        put(name, layer, own, QUIET | RDONLY)?;
    }
    if let Some(upper) = &overlay.upper {
        put("u", &upper.parent, upper.map.as_ref(), QUIET)?;
    }
    rustix::process::fchdir(stage).during(|| "enter the stage".to_owned())?;
    let inside = |path: &PathBuf| format!("u/{}", path.display());
    let upper = overlay
        .upper
        .as_ref()
        .map(|upper| (inside(&upper.upper), inside(&upper.work)));
    let upper = upper
        .as_ref()
        .map(|(upper, work)| (upper.as_str(), work.as_str()));
    let tree = detached::overlay(&lower.join(":"), upper, attributes)?;
    rustix::process::chdir("/").during(|| "leave the stage".to_owned())?;
    attach_at(&tree, &point)
}

/// Makes the new root the root, and lets go of the old one. `pivot_root(".", ".")` stacks the old root over the new
/// one, where it can be unmounted without a directory to hold it (pivot_root(2), NOTES).
fn pivot(new_root: BorrowedFd) -> Result<()> {
    rustix::process::fchdir(new_root).during(|| "enter the new root".to_owned())?;
    nix::unistd::pivot_root(".", ".").during(|| "pivot to the new root".to_owned())?;
    nix::mount::umount2(".", MntFlags::MNT_DETACH).during(|| "let go of the old root".to_owned())?;
    nix::unistd::chdir("/").during(|| "enter `/`".to_owned())
}
