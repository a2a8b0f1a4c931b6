//! A Landlock domain for the programs of a sandbox (landlock(7)): what its mounts make writable may be written, the rest
//! of its root may be read and executed, and nothing outside of its root is there. A layer behind the mounts: it holds
//! also where a mount lacks a flag, and against a descriptor that leads out of the root.
//!
//! Device nodes can be made nowhere, and abstract sockets of other domains cannot be reached. Signals are not scoped: each
//! `exec` has a domain of its own, and must be able to signal the service.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::fs::{FileType, Mode, OFlags};

use crate::beneath;
use crate::error::{During, Result};
use crate::layer::Layer;
use crate::mounts::Operation;
use crate::sys;

/// The first version of the interface that is used. Version 1 forbids every rename between directories, which
/// ordinary programs do all the time.
pub const OLDEST: u32 = 2;

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const MAKE_CHAR: u64 = 1 << 6;
const MAKE_BLOCK: u64 = 1 << 11;
/// From version 3.
const TRUNCATE: u64 = 1 << 14;
/// From version 5.
const IOCTL_DEV: u64 = 1 << 15;
/// Rights on a file itself, not on what is in a directory.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
/// Reading and executing.
const READ: u64 = EXECUTE | READ_FILE | READ_DIR;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET`, from version 6.
const ABSTRACT_SOCKETS: u64 = 1;

/// The rules for one spec: places inside and what may be done below them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules(Vec<(PathBuf, u64)>);

impl Rules {
    /// The rules that follow from the mounts: what they leave writable.
    pub(crate) fn of(spec: &Spec, operations: &[Operation]) -> Self {
        let closed = spec.root().as_ref().and_then(oci_spec::runtime::Root::readonly);
        let mut rules = Self::default();
        for mount in operations.iter().filter(|one| one.is_mount()) {
            let is_root = mount.target == Path::new("/");
            let writable = mount.attributes & libc::MOUNT_ATTR_RDONLY == 0;
            if is_root && closed.unwrap_or(false) {
                rules.0.push((mount.target.clone(), READ));
            } else if writable {
                let devices = mount.attributes & libc::MOUNT_ATTR_NODEV == 0;
                let rights = !(MAKE_CHAR | MAKE_BLOCK | if devices { 0 } else { IOCTL_DEV });
                rules.0.push((mount.target.clone(), rights));
            }
        }
        rules
    }

    /// Reading everywhere, writing below these places, starting programs nowhere.
    pub(crate) fn writing_below(places: &[&Path]) -> Self {
        let everywhere = (PathBuf::from("/"), READ & !EXECUTE);
        let writable = !(EXECUTE | MAKE_CHAR | MAKE_BLOCK | IOCTL_DEV);
        // Rules are made for what is behind links.
        let own = places.iter().filter_map(|place| place.canonicalize().ok());
        Self(
            std::iter::once(everywhere)
                .chain(own.map(|place| (place, writable)))
                .collect(),
        )
    }

    /// The ruleset, while every place can still be opened; `None` where the kernel has no Landlock that is of use.
    /// Standard streams go along: files of the caller's that lie outside.
    pub(crate) fn prepare(&self) -> Result<Option<OwnedFd>> {
        let version = sys::landlock_version();
        if version < OLDEST || Layer::Landlock.is_off() {
            return Ok(None);
        }
        let handled = handled(version);
        let scope = if version >= 6 { ABSTRACT_SOCKETS } else { 0 };
        let ruleset = sys::landlock_create(handled, scope).during(|| "make a Landlock ruleset".to_owned())?;
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .during(|| "open the root".to_owned())?;
        for (place, rights) in &self.0 {
            // One that is not there, or has been moved away from inside, grants nothing.
            if let Ok(opened) = beneath::open(root.as_fd(), place) {
                allow(&ruleset, opened.as_fd(), handled & rights)
                    .during(|| format!("allow `{}`", place.display()))?;
            }
        }
        for stream in [
            rustix::stdio::stdin(),
            rustix::stdio::stdout(),
            rustix::stdio::stderr(),
        ] {
            // The kernel refuses pipes and sockets, which need no rule.
            let _ = allow(&ruleset, stream, handled & !EXECUTE);
        }
        Ok(Some(ruleset))
    }
}

fn allow(ruleset: &OwnedFd, place: BorrowedFd, rights: u64) -> std::io::Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(place)?.st_mode);
    let rights = match kind {
        FileType::Directory => rights,
        _ => rights & OF_FILES,
    };
    sys::landlock_allow(ruleset.as_fd(), place, rights)
}

/// Every right that this version knows.
fn handled(version: u32) -> u64 {
    match version {
        ..=2 => (1 << 14) - 1,
        3 | 4 => (1 << 15) - 1,
        _ => (1 << 16) - 1,
    }
}

/// The version of Landlock that sandboxes of this host get.
///
/// # Errors
/// Why they get none, in words.
pub fn version() -> std::result::Result<u32, String> {
    match sys::landlock_version() {
        0 => Err("the kernel has no Landlock, or it is not among the active modules (`lsm=`)".to_owned()),
        1 => Err("version 1 of the kernel's Landlock forbids every rename between directories".to_owned()),
        version => Ok(version),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mounts;

    #[test]
    fn what_the_mounts_leave_writable_may_be_written_and_nothing_else() {
        let spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.2.0",
            "root": {"path": "/x", "readonly": true},
            "mounts": [
                {"destination": "/", "type": "tmpfs", "options": ["nosuid", "nodev"]},
                {"destination": "/usr", "source": "/usr", "type": "bind", "options": ["rbind", "ro", "nodev"]},
                {"destination": "/bin", "source": "usr/bin", "type": "symlink"},
                {"destination": "/dev", "type": "dev", "options": ["nosuid"]},
                {"destination": "/tmp", "type": "tmpfs", "options": ["nosuid", "nodev"]},
            ],
        }))
        .unwrap();
        let rules = Rules::of(&spec, &mounts::operations(&spec).unwrap());
        let of = |place: &str| {
            rules
                .0
                .iter()
                .find(|(path, _)| path == Path::new(place))
                .map(|(_, rights)| *rights)
        };
        assert_eq!(of("/"), Some(READ));
        assert_eq!((of("/usr"), of("/bin")), (None, None));
        assert_eq!(
            of("/tmp").unwrap() & (WRITE_FILE | MAKE_BLOCK | MAKE_CHAR | IOCTL_DEV),
            WRITE_FILE
        );
        assert_eq!(
            of("/dev").unwrap() & (WRITE_FILE | MAKE_BLOCK | IOCTL_DEV),
            WRITE_FILE | IOCTL_DEV
        );
    }

    #[test]
    fn each_version_has_the_rights_that_it_knows() {
        assert_eq!(handled(2) & (TRUNCATE | IOCTL_DEV), 0);
        assert_eq!(handled(3) & (TRUNCATE | IOCTL_DEV), TRUNCATE);
        assert_eq!(handled(7) & (TRUNCATE | IOCTL_DEV), TRUNCATE | IOCTL_DEV);
    }
}
