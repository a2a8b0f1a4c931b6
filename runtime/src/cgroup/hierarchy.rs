//! Which cgroup hierarchies this host has mounted, and where (cgroups(7)): read from `/proc/self/mountinfo`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{During, Failure, FailureKind, Result};

/// The controllers that are used: those with limits, the clock, and nothing else (each join costs on v1). `blkio` is
/// what v1 calls `io`.
const USED: &[&str] = &["memory", "pids", "cpu", "cpuacct", "io", "blkio"];
/// The v1 controller that is used for being seen only: without it a JVM believes that it has no limits at all
/// (HotSpot, `cgroupSubsystem_linux.cpp`: memory, cpu, cpuacct and cpuset, or none).
pub(super) const SEEN: &str = "cpuset";

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Mount point.
    pub root: PathBuf,
    /// Controllers bound to it.
    pub controllers: Vec<String>,
    /// cgroup v2.
    pub v2: bool,
}

/// The hierarchies of this host that carry a controller we use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    /// Reads the mount table.
    pub fn mounted() -> Result<Self> {
        let table =
            fs::read_to_string("/proc/self/mountinfo").during(|| "read `/proc/self/mountinfo`".to_owned())?;
        let found = parse(&table, |root| {
            fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()
        });
        if found.0.is_empty() {
            return Err(Failure::new(
                FailureKind::Environment,
                "find the cgroup hierarchies",
                "no cgroup with memory, pids or cpu is mounted",
            ));
        }
        Ok(found)
    }

    /// Every hierarchy.
    pub fn all(&self) -> &[Hierarchy] {
        &self.0
    }

    pub(super) fn roots(&self) -> Vec<&Path> {
        self.0.iter().map(|hierarchy| hierarchy.root.as_path()).collect()
    }

    /// Mount point of the hierarchy with `controller`, and whether it is v2.
    pub fn of(&self, controller: &str) -> Option<(&Path, bool)> {
        let carries = |h: &&Hierarchy| h.controllers.iter().any(|c| c == controller);
        self.0
            .iter()
            .find(carries)
            .map(|hierarchy| (hierarchy.root.as_path(), hierarchy.v2))
    }

    /// Mount point of v2, where it carries a controller of ours.
    pub(super) fn unified(&self) -> Option<&Path> {
        let found = self.0.iter().find(|hierarchy| hierarchy.v2);
        found.map(|hierarchy| hierarchy.root.as_path())
    }

    pub(super) fn view(&self) -> Vec<(String, &Path)> {
        self.0
            .iter()
            .map(|h| {
                (
                    if h.v2 {
                        String::new()
                    } else {
                        h.controllers.join(",")
                    },
                    h.root.as_path(),
                )
            })
            .collect()
    }

    /// On v2, lets the controllers reach `path`: each ancestor must name them in `cgroup.subtree_control`
    /// (cgroup-v2.rst, "Enabling and Disabling"). On v1 there is nothing to do.
    pub(super) fn delegate(&self, path: &Path) -> Result<()> {
        for hierarchy in self.0.iter().filter(|hierarchy| hierarchy.v2) {
            let mut parents: Vec<&Path> = path.ancestors().skip(1).collect();
            parents.reverse();
            for parent in parents {
                let directory = hierarchy.root.join(parent);
                fs::create_dir_all(&directory)
                    .during(|| format!("create cgroup `{}`", directory.display()))?;
                enable(&directory, &hierarchy.controllers)?;
            }
        }
        Ok(())
    }
}

/// A new group of v1's cpuset has no processors and no memory nodes, and takes no process, until it is told some
/// (cpusets.rst, 1.3): it gets those of its parent, from below `root` down to `path`. Elsewhere nothing happens.
pub(super) fn inherit_cpuset(root: &Path, path: &Path) -> Result<()> {
    let mut parent = root.to_owned();
    for part in path.components() {
        let directory = parent.join(part);
        for name in ["cpuset.cpus", "cpuset.mems"] {
            let (from, to) = (parent.join(name), directory.join(name));
            let is_empty = fs::read_to_string(&to).is_ok_and(|text| text.trim().is_empty());
            if is_empty {
                fs::read(&from)
                    .and_then(|given| fs::write(&to, given))
                    .during(|| format!("copy `{}` to `{}`", from.display(), to.display()))?;
            }
        }
        parent = directory;
    }
    Ok(())
}

fn enable(directory: &Path, controllers: &[String]) -> Result<()> {
    let file = directory.join("cgroup.subtree_control");
    let enabled = fs::read_to_string(&file).unwrap_or_default();
    let is_on = |controller: &&String| enabled.split_whitespace().any(|on| on == controller.as_str());
    let missing: Vec<String> = controllers
        .iter()
        .filter(|c| !is_on(c))
        .map(|c| format!("+{c}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    fs::write(&file, missing.join(" ")).map_err(|error| {
        let mut failure = Failure::new(
            FailureKind::Environment,
            format!("enable {} in `{}`", missing.join(" "), file.display()),
            &error,
        );
        // "No internal processes": only the root of all is free of that rule, the root of a container is not.
        if error.raw_os_error() == Some(libc::EBUSY) {
            let why = "there are processes in that group itself: move them into one below it";
            failure.causes.push(why.to_owned());
        }
        failure
    })
}

/// Pure: the mount table and a reader of `cgroup.controllers` → the hierarchies used.
fn parse(mountinfo: &str, controllers_of: impl Fn(&Path) -> String) -> Hierarchies {
    let mut found: BTreeMap<PathBuf, Hierarchy> = BTreeMap::new();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let Some(root) = left.split(' ').nth(4).map(PathBuf::from) else {
            continue;
        };
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or(""), right.nth(1).unwrap_or(""));
        let v2 = kind == "cgroup2";
        let names: Vec<String> = match kind {
            "cgroup" => options.split(',').map(str::to_owned).collect(),
            "cgroup2" => controllers_of(&root)
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            _ => continue,
        };
        let controllers: Vec<String> = names
            .into_iter()
            .filter(|name| USED.contains(&name.as_str()) || (!v2 && name == SEEN))
            .collect();
        if !controllers.is_empty() {
            found.insert(
                root.clone(),
                Hierarchy {
                    root,
                    controllers,
                    v2,
                },
            );
        }
    }
    Hierarchies(found.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
31 25 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
34 25 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
33 25 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid_uses_v1_for_limits() {
        let found = parse(HYBRID, |_| "hugetlb".to_owned());
        assert_eq!(
            found.of("memory"),
            Some((Path::new("/sys/fs/cgroup/memory"), false))
        );
        assert_eq!(found.of("pids"), None);
        assert_eq!(
            found.of("cpuset"),
            Some((Path::new("/sys/fs/cgroup/cpuset"), false))
        );
        assert_eq!(
            found.all().len(),
            3,
            "the v2 mount without our controllers is not used"
        );
    }

    #[test]
    fn pure_v2_is_one_hierarchy() {
        let table = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = parse(table, |_| "cpuset cpu io memory hugetlb pids".to_owned());
        assert_eq!(found.of("pids"), Some((Path::new("/sys/fs/cgroup"), true)));
        assert_eq!(found.of("cpuset"), None, "nobody has to delegate it");
        assert_eq!(found.view(), vec![(String::new(), Path::new("/sys/fs/cgroup"))]);
    }
}
