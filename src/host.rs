//! What the host looks like, as far as a sandbox's spec depends on it: directories, `/etc`, sizes, name servers.
//!
//! Reads, and reads only. What follows from the facts is decided in [`crate::spec`].

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::ecosystem::Device;

mod capacity;

pub use capacity::{Capacity, Disk, Weigher};

/// Facts about the host (or about a `rootfs:` directory in its place).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// What a sandbox sees of the root file system: system directories, and chosen entries of `/etc`.
    pub entries: Vec<Entry>,
    /// Directories of `/sys` with the CPU and NUMA topology.
    pub topology: Vec<PathBuf>,
    /// Paths below them that are hidden.
    pub sys_masked: Vec<String>,
    /// Installed memory in bytes.
    pub memory_total: u64,
    /// Whether memory and swap can be limited together.
    pub swap_accounting: bool,
    /// The hard limit of open files of this process.
    pub open_files: u64,
    /// What it can limit.
    pub capacity: Capacity,
    /// Name servers that the host uses, loopback ones included.
    pub nameservers: Vec<IpAddr>,
    /// Search domains of the host.
    pub search: Vec<String>,
}

/// One path of the host that appears in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it appears.
    pub path: PathBuf,
    /// Where it is on the host; differs from `path` below a `rootfs:`.
    pub source: PathBuf,
    /// What it is.
    pub kind: EntryKind,
}

/// Kinds of [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// Bound read-only.
    Directory,
    /// Copied or bound read-only.
    File,
    /// Made again, with this target.
    Symlink(PathBuf),
}

/// A character device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Where it is, on the host and inside.
    pub path: PathBuf,
    /// Major number: the driver.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// It may be written.
    pub writable: bool,
}

/// The node of `device` on this host.
///
/// # Errors
/// There is none, or it is no character device.
pub fn device(device: &Device) -> Result<DeviceNode, String> {
    let metadata = fs::symlink_metadata(&device.path)
        .map_err(|error| format!("the device {} cannot be given: {error}", device.path))?;
    // A disk would be a way to everything on it.
    if !metadata.file_type().is_char_device() {
        return Err(format!("{} is no character device", device.path));
    }
    Ok(DeviceNode {
        path: PathBuf::from(&device.path),
        major: i64::from(rustix::fs::major(metadata.rdev())),
        minor: i64::from(rustix::fs::minor(metadata.rdev())),
        writable: device.writable,
    })
}

/// Directories of the host's root that hold programs and libraries (file-hierarchy(7)), and the stores that replace
/// them on some distributions.
const SYSTEM: [&str; 9] = [
    "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix",
];

/// Entries of `/etc` without secrets that ordinary programs read. A trailing `*` stands for any rest.
const ETC: [&str; 37] = [
    "ImageMagick-*",
    "OpenCL",
    "alternatives",
    "bash.bashrc",
    "bindresvport.blacklist",
    "ca-certificates",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "host.conf",
    "inputrc",
    "java*",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "lsb-release",
    "magic",
    "magic.mime",
    "mime.types",
    "networks",
    "os-release",
    "perl",
    "php",
    "pki",
    "protocols",
    "python*",
    "redhat-release",
    "rpc",
    "services",
    "ssl",
    "terminfo",
    "timezone",
    "xml",
];

/// Top-level names that a sandbox always has of its own, whatever a `rootfs:` holds there.
const OWN: [&str; 8] = ["app", "dev", "home", "proc", "run", "sys", "tmp", "lost+found"];

impl HostFacts {
    /// The facts of this host. What cannot be read is taken as absent: the sandbox then lacks it, visibly.
    pub fn read() -> Self {
        let mut entries = listed(Path::new("/"), Path::new("/"), |name| SYSTEM.contains(&name));
        entries.extend(listed(Path::new("/etc"), Path::new("/etc"), is_harmless));
        Self {
            entries,
            ..Self::machine()
        }
    }

    /// The facts of this host with the file system of `rootfs` in place of the host's own.
    pub fn with_rootfs(rootfs: &Path) -> Self {
        let expanded = ["etc", "var"];
        let whole = |name: &str| !OWN.contains(&name) && !expanded.contains(&name);
        let mut entries = listed(rootfs, Path::new("/"), whole);
        for name in expanded {
            // A link would lead to a folder of the host's; inside, it leads to one of its own root.
            if fs::symlink_metadata(rootfs.join(name)).is_ok_and(|it| it.is_symlink()) {
                entries.extend(entry(rootfs.join(name), Path::new("/").join(name)));
                continue;
            }
            let keep = |child: &str| !["tmp", "run"].contains(&child);
            entries.extend(listed(&rootfs.join(name), &Path::new("/").join(name), keep));
        }
        Self {
            entries,
            ..Self::machine()
        }
    }

    /// The facts for a service: of its `rootfs:`, or of this host.
    pub fn of(rootfs: Option<&Path>) -> Self {
        rootfs.map_or_else(Self::read, Self::with_rootfs)
    }

    /// The facts without a file system.
    pub fn machine() -> Self {
        let (nameservers, search) = resolver();
        Self {
            entries: Vec::new(),
            topology: topology(),
            sys_masked: sys_masked(),
            memory_total: memory_total(),
            swap_accounting: swap_accounting(),
            open_files: open_files(),
            capacity: Capacity::read(),
            nameservers,
            search,
        }
    }
}

/// The entries of `source` that `keep` wants, appearing below `at`; by name.
fn listed(source: &Path, at: &Path, keep: impl Fn(&str) -> bool) -> Vec<Entry> {
    let mut names: Vec<String> = fs::read_dir(source)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| keep(name))
        .collect();
    names.sort();
    names
        .into_iter()
        .filter_map(|name| entry(source.join(&name), at.join(&name)))
        .collect()
}

fn entry(source: PathBuf, path: PathBuf) -> Option<Entry> {
    let metadata = fs::symlink_metadata(&source).ok()?;
    let kind = match metadata.file_type() {
        kind if kind.is_symlink() => EntryKind::Symlink(fs::read_link(&source).ok()?),
        kind if kind.is_dir() => EntryKind::Directory,
        // Copies are readable for all: what is not meant to be is left out.
        kind if kind.is_file() && metadata.mode() & 0o004 != 0 => EntryKind::File,
        _ => return None,
    };
    Some(Entry { path, source, kind })
}

fn is_harmless(name: &str) -> bool {
    ETC.iter().any(|known| match known.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => *known == name,
    })
}

/// Parts of `/sys/devices/system` that runtimes size themselves by.
const TOPOLOGY: [&str; 2] = ["/sys/devices/system/cpu", "/sys/devices/system/node"];

/// The CPU and NUMA topology, which is all of `/sys` that a sandbox sees besides its cgroup.
fn topology() -> Vec<PathBuf> {
    TOPOLOGY
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.is_dir())
        .collect()
}

/// Temperatures tell what other sandboxes compute (moby GHSA-6fw5-f8r9-fgfm).
fn sys_masked() -> Vec<String> {
    let cpus = names(TOPOLOGY[0])
        .into_iter()
        .filter(|name| name.starts_with("cpu"));
    let thermal = cpus.map(|name| format!("{}/{name}/thermal_throttle", TOPOLOGY[0]));
    thermal.filter(|path| Path::new(path).exists()).collect()
}

fn names(directory: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

fn memory_total() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// cgroup v1: the file exists only with `swapaccount=1`. cgroup v2 (a `memory.swap.max` in any child group) has it
/// whenever the kernel has swap at all.
fn swap_accounting() -> bool {
    Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
        || (Path::new("/sys/fs/cgroup/cgroup.controllers").exists() && Path::new("/proc/swaps").exists())
}

fn open_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .maximum
        .unwrap_or(1 << 20)
}

/// The servers and domains of resolv.conf(5). systemd-resolved's stub is replaced by the servers behind it.
fn resolver() -> (Vec<IpAddr>, Vec<String>) {
    let read = |path| parse_resolver(&fs::read_to_string(path).unwrap_or_default());
    let (servers, search) = read("/etc/resolv.conf");
    if servers.iter().all(IpAddr::is_loopback) {
        let upstream = read("/run/systemd/resolve/resolv.conf");
        if upstream.0.iter().any(|server| !server.is_loopback()) {
            return upstream;
        }
    }
    (servers, search)
}

fn parse_resolver(text: &str) -> (Vec<IpAddr>, Vec<String>) {
    let mut servers = Vec::new();
    let mut search = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
            Some("search" | "domain") => search = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    (servers, search)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etc_of_a_sandbox_has_no_secrets() {
        for secret in [
            "shadow",
            "passwd",
            "sudoers",
            "ssh",
            "pip.conf",
            "npmrc",
            "hosts",
            "resolv.conf",
            "machine-id",
        ] {
            assert!(!is_harmless(secret), "{secret}");
        }
        for needed in [
            "ssl",
            "alternatives",
            "java-17-openjdk",
            "ld.so.cache",
            "localtime",
        ] {
            assert!(is_harmless(needed), "{needed}");
        }
    }

    #[test]
    fn this_host_has_a_usr_and_memory() {
        let facts = HostFacts::read();
        assert!(facts.entries.iter().any(|entry| entry.path == Path::new("/usr")));
        assert!(facts.memory_total > 1 << 24 && facts.open_files > 0);
        assert!(facts.entries.iter().all(|entry| !entry.path.starts_with("/root")));
        assert!(facts.topology.contains(&PathBuf::from("/sys/devices/system/cpu")));
    }

    #[test]
    fn a_rootfs_replaces_the_system_directories_only() {
        let root = std::env::temp_dir().join(format!("pactown-rootfs-{}", std::process::id()));
        for directory in ["usr", "etc/ssl", "var/lib", "var/tmp", "tmp", "home/x"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
        let facts = HostFacts::with_rootfs(&root);
        let paths: Vec<_> = facts
            .entries
            .iter()
            .map(|entry| entry.path.to_str().unwrap())
            .collect();
        assert_eq!(paths, ["/bin", "/usr", "/etc/ssl", "/var/lib"]);
        assert_eq!(facts.entries[0].kind, EntryKind::Symlink("usr/bin".into()));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn resolv_conf_is_read_as_the_resolver_does() {
        let (servers, search) =
            parse_resolver("# x\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nsearch a b\n");
        assert_eq!(servers, ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(search, ["a", "b"]);
    }
}
