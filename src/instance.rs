//! The name of one running copy of an ecosystem, and every path that follows from it. Pure, but for what pid 1 is.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::systemd;

/// State of running instances.
pub const RUN_ROOT: &str = "/run/pactown";
/// Logs of all instances.
pub const LOG_ROOT: &str = "/var/log/pactown";
/// Layers shared by all instances.
pub const LAYER_ROOT: &str = "/var/cache/pactown/layers";
/// Where upper directories go when the project's file system cannot hold an id-mapped upper.
pub const FALLBACK_ROOT: &str = "/var/lib/pactown";
/// What a README that is run on its own, or a copy for tests, writes, until it ends.
pub const SCRATCH_ROOT: &str = "/var/lib/pactown/.run";

/// One copy of an ecosystem on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Instance {
    /// `<ecosystem>-<tag>`, or the name given with `--instance` (then the default instance's name plus `.` plus it).
    pub name: String,
    /// Eight lower-case hexadecimal digits, from the name: goes into kernel names (nft table, link).
    pub tag: String,
    /// `--instance NAME`; `None` = the default instance, which claims the preferred ports.
    pub label: Option<String>,
}

impl Instance {
    /// The instance of the ecosystem `name` read from the absolute path `file`.
    /// Two checkouts of one project have different files, hence different names.
    pub fn new(name: &str, file: &Path, label: Option<&str>) -> Self {
        let base = format!(
            "{}-{}",
            label_of(name),
            &hex(file.as_os_str().as_encoded_bytes())[..8]
        );
        let name = match label {
            Some(label) => format!("{base}.{label}"),
            None => base,
        };
        Self {
            tag: hex(name.as_bytes())[..8].to_owned(),
            name,
            label: label.map(str::to_owned),
        }
    }

    /// The instance whose run directory is `directory`; `None` when that is no such path.
    pub fn in_directory(directory: &Path) -> Option<Self> {
        let name = directory.file_name()?.to_str()?;
        Some(Self {
            name: name.to_owned(),
            tag: hex(name.as_bytes())[..8].to_owned(),
            label: name.split_once('.').map(|(_, label)| label.to_owned()),
        })
    }

    /// `/run/pactown/<name>`: sockets, bundles, namespace files.
    pub fn run_dir(&self) -> PathBuf {
        Path::new(RUN_ROOT).join(&self.name)
    }

    /// What it writes when it is a README on its own, or a copy for tests.
    pub fn scratch(&self) -> PathBuf {
        Path::new(SCRATCH_ROOT).join(&self.name)
    }

    /// Bundle of one sandbox (`config.json`, `etc/`, `exit.json`).
    pub fn bundle(&self, sandbox: &str) -> PathBuf {
        self.run_dir().join("bundles").join(sandbox)
    }

    /// Directory of a service's socket for sd_notify(3).
    pub fn notify_dir(&self, service: &str) -> PathBuf {
        self.run_dir().join("notify").join(service)
    }

    /// Where the limited disk of one sandbox is mounted.
    pub fn disk(&self, sandbox: &str) -> PathBuf {
        self.disks().join(sandbox)
    }

    /// Directory of the mounted disks.
    pub fn disks(&self) -> PathBuf {
        self.run_dir().join("disks")
    }

    /// Directory of the bind-mounted network namespaces.
    pub fn netns_dir(&self) -> PathBuf {
        self.run_dir().join("netns")
    }

    /// The supervisor's control socket (HTTP).
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir().join("control.sock")
    }

    /// The keeper's socket.
    pub fn keeper_socket(&self) -> PathBuf {
        self.run_dir().join("keeper.sock")
    }

    /// Log directory of one service.
    pub fn log_dir(&self, service: &str) -> PathBuf {
        Path::new(LOG_ROOT).join(&self.name).join(service)
    }

    /// Current log file of one service.
    pub fn log_file(&self, service: &str) -> PathBuf {
        self.log_dir(service).join("current.log")
    }

    /// `linux.cgroupsPath` of one sandbox, relative to each hierarchy's root.
    pub fn cgroup(&self, sandbox: &str) -> String {
        format!("{}/{sandbox}", self.group())
    }

    /// The group that holds those of all sandboxes, and nothing else.
    pub fn group(&self) -> String {
        if systemd::holds_groups() {
            format!(
                "{}/{}/{}",
                systemd::SLICE,
                systemd::scope(self),
                systemd::SERVICES
            )
        } else {
            format!("pactown/{}", self.name)
        }
    }
}

/// The ecosystem's name as a DNS label of at most 40 characters.
fn label_of(name: &str) -> String {
    let clean: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let clean = clean.trim_matches('-');
    let cut = &clean[..clean.len().min(40)];
    if cut.is_empty() {
        "ecosystem".to_owned()
    } else {
        cut.trim_end_matches('-').to_owned()
    }
}

fn hex(bytes: &[u8]) -> String {
    crate::hex::digits(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_checkouts_have_two_names() {
        let one = Instance::new("shop", Path::new("/a/saas.pactown.yaml"), None);
        let two = Instance::new("shop", Path::new("/b/saas.pactown.yaml"), None);
        assert_ne!(one.name, two.name);
        assert_ne!(one.tag, two.tag);
        assert_eq!(
            one,
            Instance::new("shop", Path::new("/a/saas.pactown.yaml"), None)
        );
    }

    #[test]
    fn odd_names_become_labels() {
        let odd = Instance::new("My Żółty Shop!", Path::new("/a"), Some("pr-1"));
        assert!(odd.name.starts_with("my-"), "{}", odd.name);
        assert!(odd.name.ends_with(".pr-1"), "{}", odd.name);
        assert_eq!(Instance::in_directory(&odd.run_dir()), Some(odd));
        assert!(
            Instance::new("…", Path::new("/a"), None)
                .name
                .starts_with("ecosystem-")
        );
    }
}
