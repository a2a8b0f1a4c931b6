//! What this host can limit: controllers, disks, weights. Reads, and reads only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pactown_runtime::cgroup::Hierarchies;
use serde::{Deserialize, Serialize};

/// What this host can limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// The controllers that there are, and whether each is on cgroup v2.
    pub controllers: BTreeMap<String, bool>,
    /// Its disks: name, major and minor number. Not those that are made of others or of memory.
    pub disks: Vec<Disk>,
    /// Who minds weights of I/O; `None`: nobody.
    pub io_weights: Option<Weigher>,
    /// The program that makes file systems for limited disks.
    pub mkfs: Option<PathBuf>,
    /// Whether files can be disks (`/dev/loop-control`, loop(4)).
    pub loops: bool,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// As in `/sys/block`.
    pub name: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
}

/// What divides a busy disk by weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weigher {
    /// The I/O scheduler BFQ of at least one disk (bfq-iosched.rst).
    Bfq,
    /// The controller's own cost model, switched on for at least one disk (cgroup-v2.rst, "io.cost.qos").
    IoCost,
}

impl Capacity {
    /// What there is. What cannot be read is taken as absent.
    pub fn read() -> Self {
        let hierarchies = Hierarchies::mounted().ok();
        let all = hierarchies.iter().flat_map(Hierarchies::all);
        let controllers = all.flat_map(|one| one.controllers.iter().map(|name| (name.clone(), one.v2)));
        let disks = disks(Path::new("/sys/block"));
        Self {
            controllers: controllers.collect(),
            io_weights: weigher(&disks),
            disks,
            mkfs: mkfs(),
            loops: fs::File::open("/dev/loop-control").is_ok(),
        }
    }

    /// Whether the controller is on v2; `None`: there is none. `io` is `blkio` on v1.
    pub fn version(&self, controller: &str) -> Option<bool> {
        let old = (controller == "io")
            .then(|| self.controllers.get("blkio"))
            .flatten();
        self.controllers.get(controller).or(old).copied()
    }
}

/// Not loops, whose I/O is done again on the disk below; not memory; not what can be taken out.
fn disks(directory: &Path) -> Vec<Disk> {
    const OTHERS: [&str; 5] = ["loop", "ram", "zram", "sr", "fd"];
    let text = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
    let disk = |name: String| {
        let own = directory.join(&name);
        let number = text(own.join("dev"));
        let (major, minor) = number.trim().split_once(':')?;
        (text(own.join("size")).trim() != "0").then_some(())?;
        Some(Disk {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            name,
        })
    };
    let mut names = super::names(&directory.to_string_lossy());
    names.retain(|name| !OTHERS.iter().any(|other| name.starts_with(other)));
    names.into_iter().filter_map(disk).collect()
}

fn weigher(disks: &[Disk]) -> Option<Weigher> {
    let scheduler = |disk: &&Disk| {
        let path = format!("/sys/block/{}/queue/scheduler", disk.name);
        fs::read_to_string(path).is_ok_and(|text| text.contains("[bfq]"))
    };
    if disks.iter().any(|disk| scheduler(&disk)) {
        return Some(Weigher::Bfq);
    }
    let cost = fs::read_to_string("/sys/fs/cgroup/io.cost.qos").unwrap_or_default();
    cost.contains("enable=1").then_some(Weigher::IoCost)
}

/// Where the distributions put it; PATH may be anybody's.
fn mkfs() -> Option<PathBuf> {
    let places = ["/usr/sbin", "/sbin", "/usr/bin", "/run/current-system/sw/bin"];
    let programs = places.iter().map(|place| Path::new(place).join("mkfs.ext4"));
    programs.into_iter().find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_those_that_hold_something_themselves() {
        let root = std::env::temp_dir().join(format!("pactown-disks-{}", std::process::id()));
        for (name, dev, size) in [("vda", "254:0", "9"), ("loop0", "7:0", "9"), ("sdb", "8:16", "0")] {
            fs::create_dir_all(root.join(name)).unwrap();
            fs::write(root.join(name).join("dev"), format!("{dev}\n")).unwrap();
            fs::write(root.join(name).join("size"), format!("{size}\n")).unwrap();
        }
        let expected = Disk {
            name: "vda".into(),
            major: 254,
            minor: 0,
        };
        assert_eq!(disks(&root), [expected]);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn io_goes_by_its_old_name_too() {
        let old = Capacity {
            controllers: [("blkio".to_owned(), false)].into(),
            ..Capacity::default()
        };
        assert_eq!((old.version("io"), old.version("memory")), (Some(false), None));
    }
}
