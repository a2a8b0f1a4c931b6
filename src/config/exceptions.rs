//! What a service is allowed beyond the default isolation, and how that is said. Plain data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ecosystem::{Place, Service};

/// What a service is allowed beyond the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exceptions {
    /// `security.capabilities` without `CAP_`, sorted; they count in its user namespace.
    pub capabilities: Vec<String>,
    /// `security.seccomp`.
    pub seccomp: Seccomp,
    /// `security.debug`: processes inside may trace each other.
    pub debug: bool,
    /// `devices`.
    pub devices: Vec<Device>,
    /// `read_only: false`: the root file system can be written.
    pub writable_root: bool,
}

/// Which filter of system calls holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seccomp {
    /// The default one.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile as in the OCI runtime spec.
    File {
        /// Absolute path.
        path: PathBuf,
        /// Its text, checked.
        profile: String,
    },
}

/// `devices: [/dev/NAME[:ro|rw]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where it is, on the host and inside.
    pub path: String,
    /// It may be written.
    pub writable: bool,
    /// Where it stands.
    pub place: Place,
}

impl Service {
    /// What of its isolation the file loosens, a line each.
    pub fn loosened(&self) -> Vec<String> {
        let root = "it runs as root of its user namespace (user: root)".to_owned();
        let mut lines = self.exceptions.lines();
        if self.run_as_root {
            lines.insert(0, root);
        }
        lines
    }
}

impl Exceptions {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.capabilities.is_empty() {
            let names = self.capabilities.join(", ");
            lines.push(format!(
                "it has {names} in its user namespace (security.capabilities)"
            ));
        }
        match &self.seccomp {
            Seccomp::Default => {}
            Seccomp::Unconfined => {
                lines.push("no system call is filtered (security.seccomp: unconfined)".to_owned());
            }
            Seccomp::File { path, .. } => {
                let path = path.display();
                lines.push(format!("system calls are filtered by {path} (security.seccomp)"));
            }
        }
        if self.debug {
            lines.push("its processes may trace each other (security.debug)".to_owned());
        }
        lines.extend(self.devices.iter().map(|device| {
            let access = if device.writable { "read and write" } else { "read" };
            format!("it may {access} {} (devices)", device.path)
        }));
        if self.writable_root {
            lines.push("its root file system can be written (read_only: false)".to_owned());
        }
        lines
    }
}
