//! `/dev` of a sandbox: the nodes that programs expect, and those that its spec names.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, LinuxIdMapping, Spec};
use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};

use crate::beneath;
use crate::detached::{RDONLY, attach, filesystem};
use crate::error::{During, Failure, FailureKind, Result};
use crate::idmap;

/// Makes it at `target`.
pub(crate) fn make(spec: &Spec, new_root: BorrowedFd, target: &Path, attributes: u64) -> Result<()> {
    usual(new_root, target, attributes)?;
    let Some(linux) = spec.linux() else { return Ok(()) };
    for device in linux.devices().iter().flatten() {
        let host =
            |maps: &Option<Vec<LinuxIdMapping>>, id: Option<u32>| idmap::host_id(maps, id.unwrap_or(0));
        let owner = (
            host(linux.uid_mappings(), device.uid()),
            host(linux.gid_mappings(), device.gid()),
        );
        named(new_root, device, owner).map_err(|mut failure| {
            failure.step = format!("make the device `{}`: {}", device.path().display(), failure.step);
            failure
        })?;
    }
    Ok(())
}

/// The nodes that programs expect; made, not bound, so that no link of a foreign root can stand in for one.
fn usual(new_root: BorrowedFd, target: &Path, attributes: u64) -> Result<()> {
    const NODES: &[(&str, u32, u32)] = &[
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    const LINKS: &[(&str, &str)] = &[
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    let settings = [
        ("size".to_owned(), "65536".to_owned()),
        ("mode".to_owned(), "0755".to_owned()),
    ];
    let tree = filesystem("tmpfs", &settings, attributes & !libc::MOUNT_ATTR_NODEV & !RDONLY)?;
    attach(new_root, &tree, target)?;
    let directory = beneath::open(new_root, target).during(|| "open it".to_owned())?;
    for (name, major, minor) in NODES {
        let device = rustix::fs::makedev(*major, *minor);
        rustix::fs::mknodat(
            &directory,
            *name,
            FileType::CharacterDevice,
            Mode::from_raw_mode(0o666),
            device,
        )
        .and_then(|()| {
            rustix::fs::chmodat(
                &directory,
                *name,
                Mode::from_raw_mode(0o666),
                rustix::fs::AtFlags::empty(),
            )
        })
        .during(|| format!("make the node `{name}`"))?;
    }
    for (name, text) in LINKS {
        rustix::fs::symlinkat(*text, &directory, *name).during(|| format!("make the link `{name}`"))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755))
            .during(|| format!("make `{name}`"))?;
    }
    Ok(())
}

/// A node of the spec's; `owner` are ids of the host.
fn named(new_root: BorrowedFd, device: &LinuxDevice, owner: (Option<u32>, Option<u32>)) -> Result<()> {
    if device.typ() != LinuxDeviceType::C {
        let refuse = |why| Failure::new(FailureKind::Request, "read it", why);
        return Err(refuse("only character devices are made"));
    }
    let number = |value: i64| {
        let number = u32::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        number.during(|| "read its number".to_owned())
    };
    let numbers = rustix::fs::makedev(number(device.major())?, number(device.minor())?);
    let (parent, name) =
        beneath::parent(new_root, device.path()).during(|| "make its directory".to_owned())?;
    let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(0o600));
    rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, mode, numbers)
        .and_then(|()| rustix::fs::chmodat(&parent, name, mode, AtFlags::empty()))
        .during(|| "make the node".to_owned())?;
    let (uid, gid) = (owner.0.map(Uid::from_raw), owner.1.map(Gid::from_raw));
    rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        .during(|| "give it away".to_owned())
}
