//! The mounts of a spec → ordered operations. Pure: nothing is mounted here, so the order is tested without root.
//!
//! Beyond OCI, a spec for this runtime may say:
//!
//! * the first mount is a `tmpfs` at `/`: the new root, put on `root.path`, made read-only at the end;
//! * `type: symlink`: a symbolic link whose target is `source`;
//! * `type: file`: a copy of the small file `source`, mode 0644, owned by root, in the root's tmpfs: no host path shows;
//! * `type: dev`: a small tmpfs with the usual device nodes and links;
//! * `type: ramfs`: the files that the keeper holds for the sandbox (see [`crate::secrets`]), mode 0400, of the user that
//!   `uid` and `gid` name; they lie in memory that is never swapped;
//! * `type: cgroup`: the sandbox's own groups, read-only, at the places where programs look for their limits;
//! * `type: overlay` without `upperdir`: what the lower directories hold together, read-only and not mapped.
//! * `type: overlay` with `uidMappings`: upper and work directory come from one id-mapped clone of their common
//!   parent; every lower directory belongs to root on disk and to the process's user inside;
//! * `uidMappings` on a `bind`: an id-mapped clone (`containerID` is the id on disk, `hostID` the one seen).

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, Mount, Spec};

use crate::error::{Failure, FailureKind, Result};

/// A uid and gid map of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMap {
    /// Uids, on disk → seen.
    pub(crate) uids: Vec<LinuxIdMapping>,
    /// Gids.
    pub(crate) gids: Vec<LinuxIdMapping>,
}

/// One mount, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Where, absolute inside the sandbox.
    pub(crate) target: PathBuf,
    /// `MOUNT_ATTR_*` flags.
    pub(crate) attributes: u64,
    /// What.
    pub(crate) what: What,
}

/// The kinds of mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A tree of the host.
    Bind {
        source: PathBuf,
        recursive: bool,
        map: Option<IdMap>,
    },
    /// A new instance of a kernel file system with these options.
    Filesystem {
        kind: String,
        options: Vec<(String, String)>,
    },
    /// `/dev`.
    Devices,
    /// Files that the keeper holds; who they belong to on the host.
    Secrets { owner: (u32, u32) },
    /// The own cgroups.
    Cgroup,
    /// A symbolic link.
    Symlink { target: PathBuf },
    /// A copy of a small file.
    File { source: PathBuf },
    /// An overlay.
    Overlay(Overlay),
}

/// An overlay mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overlay {
    /// Lower directories, topmost first.
    pub(crate) lower: Vec<PathBuf>,
    /// Where it is written; `None` = read-only.
    pub(crate) upper: Option<Upper>,
}

/// Where what is written to an overlay goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upper {
    /// Common parent of upper and work directory.
    pub(crate) parent: PathBuf,
    /// Upper directory, relative to the parent.
    pub(crate) upper: PathBuf,
    /// Work directory, relative to the parent.
    pub(crate) work: PathBuf,
    /// Map of the parent; `None` = nothing is mapped.
    pub(crate) map: Option<IdMap>,
}

/// The operations of a spec, parents before children as they are written.
pub(crate) fn operations(spec: &Spec) -> Result<Vec<Operation>> {
    spec.mounts().iter().flatten().map(operation).collect()
}

/// What of the operations is fixed in the root's own tmpfs (it, its links and its files), and what is mounted onto it.
/// Links and files below a mount count as mounts: they come after it.
pub(crate) fn split(operations: Vec<Operation>) -> (Vec<Operation>, Vec<Operation>) {
    let mounted: Vec<PathBuf> = operations
        .iter()
        .filter(|one| !one.is_entry() && one.target != Path::new("/"))
        .map(|one| one.target.clone())
        .collect();
    operations.into_iter().partition(|one| {
        let on_top = mounted.iter().any(|mount| one.target.starts_with(mount));
        one.target == Path::new("/") || (one.is_entry() && !on_top)
    })
}

impl Operation {
    /// A mount, not an entry of a directory.
    pub(crate) fn is_mount(&self) -> bool {
        !self.is_entry()
    }

    fn is_entry(&self) -> bool {
        matches!(self.what, What::Symlink { .. } | What::File { .. })
    }
}

fn operation(mount: &Mount) -> Result<Operation> {
    let target = mount.destination().clone();
    if !target.is_absolute() || target.components().any(|part| part.as_os_str() == "..") {
        return Err(bad(&target, "the destination is not an absolute, clean path"));
    }
    let source = mount.source().clone().unwrap_or_default();
    let options = mount.options().clone().unwrap_or_default();
    let map = id_map(mount);
    let what = match mount.typ().as_deref().unwrap_or("bind") {
        "bind" | "none" => What::Bind {
            source,
            recursive: options.iter().any(|o| o == "rbind") && map.is_none(),
            map,
        },
        "symlink" => What::Symlink { target: source },
        "file" => What::File { source },
        "dev" => What::Devices,
        "ramfs" => What::Secrets {
            owner: owner(&settings(&options))
                .ok_or_else(|| bad(&target, "its options do not say `uid` and `gid`"))?,
        },
        "cgroup" | "cgroup2" => What::Cgroup,
        "overlay" => What::Overlay(overlay(&target, &options, map)?),
        kind @ ("proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue") => What::Filesystem {
            kind: kind.to_owned(),
            options: settings(&options),
        },
        other => return Err(bad(&target, &format!("the type `{other}` is not supported"))),
    };
    Ok(Operation {
        target,
        attributes: attributes(&options),
        what,
    })
}

fn bad(target: &Path, why: &str) -> Failure {
    Failure::new(
        FailureKind::Request,
        format!("read the mount `{}`", target.display()),
        why,
    )
}

fn id_map(mount: &Mount) -> Option<IdMap> {
    let uids = mount.uid_mappings().clone().filter(|map| !map.is_empty())?;
    let gids = mount.gid_mappings().clone().unwrap_or_else(|| uids.clone());
    Some(IdMap { uids, gids })
}

/// The options that are flags of the mount (mount_setattr(2)).
fn attributes(options: &[String]) -> u64 {
    let flag = |option: &String| match option.as_str() {
        "ro" => libc::MOUNT_ATTR_RDONLY,
        "nosuid" => libc::MOUNT_ATTR_NOSUID,
        "nodev" => libc::MOUNT_ATTR_NODEV,
        "noexec" => libc::MOUNT_ATTR_NOEXEC,
        _ => 0,
    };
    options.iter().map(flag).fold(0, |all, one| all | one)
}

/// Who a file system with these settings belongs to, when they say so.
pub(crate) fn owner(settings: &[(String, String)]) -> Option<(u32, u32)> {
    let value = |key: &str| {
        let setting = settings.iter().find(|(known, _)| known == key);
        setting.and_then(|(_, value)| value.parse().ok())
    };
    Some((value("uid")?, value("gid")?))
}

/// The options that are settings of the file system; those without a value have an empty one.
fn settings(options: &[String]) -> Vec<(String, String)> {
    const FLAGS: &[&str] = &[
        "ro",
        "rw",
        "nosuid",
        "nodev",
        "noexec",
        "bind",
        "rbind",
        "newinstance",
        "private",
        "rprivate",
    ];
    let own = options.iter().filter(|option| !FLAGS.contains(&option.as_str()));
    own.map(|option| {
        option
            .split_once('=')
            .map_or((option.clone(), String::new()), |(k, v)| {
                (k.to_owned(), v.to_owned())
            })
    })
    .collect()
}

fn overlay(target: &Path, options: &[String], map: Option<IdMap>) -> Result<Overlay> {
    let value = |key: &str| {
        options
            .iter()
            .find_map(|option| option.strip_prefix(key)?.strip_prefix('='))
            .filter(|value| !value.is_empty())
    };
    let lower = value("lowerdir").ok_or_else(|| bad(target, "`lowerdir=` is missing"))?;
    let lower: Vec<PathBuf> = lower.split(':').map(PathBuf::from).collect();
    let upper = match (value("upperdir"), value("workdir")) {
        (None, None) if lower.len() > 1 => None,
        (Some(upper), Some(work)) => Some(beside(target, Path::new(upper), Path::new(work), map)?),
        _ => {
            return Err(bad(
                target,
                "upper and work directory must be named, or neither and two lower ones",
            ));
        }
    };
    Ok(Overlay { lower, upper })
}

fn beside(target: &Path, upper: &Path, work: &Path, map: Option<IdMap>) -> Result<Upper> {
    let parent: PathBuf = upper
        .components()
        .zip(work.components())
        .take_while(|(a, b)| a == b)
        .map(|(a, _)| a)
        .collect();
    let below = |path: &Path| {
        path.strip_prefix(&parent)
            .map(Path::to_path_buf)
            .unwrap_or_default()
    };
    let (upper, work) = (below(upper), below(work));
    if upper.as_os_str().is_empty() || work.as_os_str().is_empty() {
        return Err(bad(target, "upper and work directory lie in each other"));
    }
    Ok(Upper {
        parent,
        upper,
        work,
        map,
    })
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxIdMappingBuilder, MountBuilder};

    use super::*;

    fn mount(kind: &str, options: &[&str]) -> MountBuilder {
        let options: Vec<String> = options.iter().map(|o| (*o).to_owned()).collect();
        MountBuilder::default()
            .typ(kind)
            .source("/s")
            .destination("/d")
            .options(options)
    }

    #[test]
    fn flags_and_settings_are_told_apart() {
        let one = operation(
            &mount("tmpfs", &["nosuid", "ro", "size=4096", "mode=0755"])
                .build()
                .unwrap(),
        )
        .unwrap();
        assert_eq!(one.attributes, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_RDONLY);
        let settings = vec![
            ("size".to_owned(), "4096".to_owned()),
            ("mode".to_owned(), "0755".to_owned()),
        ];
        assert_eq!(
            one.what,
            What::Filesystem {
                kind: "tmpfs".to_owned(),
                options: settings
            }
        );
    }

    #[test]
    fn an_overlay_finds_the_common_parent() {
        let options = [
            "lowerdir=/l/a:/l/b",
            "upperdir=/x/root/api",
            "workdir=/x/root/.work/api",
        ];
        let one = operation(&mount("overlay", &options).build().unwrap()).unwrap();
        let What::Overlay(overlay) = one.what else {
            panic!("{one:?}")
        };
        assert_eq!(overlay.lower, [PathBuf::from("/l/a"), PathBuf::from("/l/b")]);
        let upper = overlay.upper.unwrap();
        assert_eq!(
            (upper.parent, upper.upper, upper.work),
            ("/x/root".into(), "api".into(), ".work/api".into())
        );
    }

    #[test]
    fn an_overlay_without_an_upper_directory_is_what_its_lower_ones_hold() {
        let one = operation(&mount("overlay", &["lowerdir=/l/a:/usr", "ro"]).build().unwrap()).unwrap();
        let lower = vec![PathBuf::from("/l/a"), PathBuf::from("/usr")];
        assert_eq!(one.what, What::Overlay(Overlay { lower, upper: None }));
        for odd in ["upperdir=/x/u", "workdir=/x/w"] {
            assert!(operation(&mount("overlay", &["lowerdir=/a:/b", odd]).build().unwrap()).is_err());
        }
        assert!(
            operation(
                &mount("overlay", &["lowerdir=/a", "upperdir=/x", "workdir=/x"])
                    .build()
                    .unwrap()
            )
            .is_err()
        );
    }

    #[test]
    fn odd_mounts_are_refused() {
        assert!(operation(&mount("nfs", &[]).build().unwrap()).is_err());
        assert!(operation(&mount("bind", &[]).destination("relative").build().unwrap()).is_err());
        assert!(operation(&mount("bind", &[]).destination("/a/../b").build().unwrap()).is_err());
        assert!(operation(&mount("overlay", &["lowerdir=/a"]).build().unwrap()).is_err());
    }

    #[test]
    fn a_mapped_bind_is_not_recursive() {
        let map = LinuxIdMappingBuilder::default()
            .container_id(0_u32)
            .host_id(1_u32)
            .size(1_u32)
            .build()
            .unwrap();
        let bind = mount("bind", &["rbind"])
            .uid_mappings(vec![map])
            .gid_mappings(vec![map])
            .build()
            .unwrap();
        assert!(matches!(
            operation(&bind).unwrap().what,
            What::Bind {
                recursive: false,
                map: Some(_),
                ..
            }
        ));
    }
}
