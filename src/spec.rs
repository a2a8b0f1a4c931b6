//! One sandbox → its OCI runtime spec and the small files that go with it. Pure: no file is read or written.
//!
//! The spec says everything that the runtime does; nothing is decided after it. Conventions beyond OCI (mount types
//! `symlink`, `file`, `dev`) are those of `pactown_runtime::mounts`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use oci_spec::runtime::{
    Linux, LinuxBuilder, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType, LinuxNamespace,
    LinuxNamespaceBuilder, LinuxNamespaceType, RootBuilder, Spec, SpecBuilder,
};
use serde::{Deserialize, Serialize};

use crate::config::ecosystem::{BindMount, Exceptions, Limits};
use crate::host::{DeviceNode, HostFacts};
use crate::identity::IdRange;
use crate::prepare::stack::System;

mod etc;
pub mod ids;
mod lacks;
mod masks;
mod mounts;
pub mod portable;
mod process;
mod resources;
pub mod seccomp;
mod service;

pub use lacks::{Lack, lacks};
pub use resources::{PIDS, default_memory, resources_of_all};
pub use service::{Placement, disk, images, of_service, place, place_of, sandbox_root, user};

/// Version of the OCI runtime specification that the specs follow.
const OCI_VERSION: &str = "1.2.0";

/// Where the service's files are, inside.
pub const APP: &str = "/app";
/// Home of the service, inside.
pub const HOME: &str = "/home/app";
/// Where the files of its secrets are, inside.
pub const SECRETS: &str = "/run/secrets";
/// The user that services run as, inside.
pub const APP_ID: u32 = 1000;

/// Everything that decides a sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SandboxPlan {
    /// Host name inside.
    pub name: String,
    /// The program and its arguments; `["/bin/sh", "-c", command]` for a run block.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Its ids on the host.
    pub ids: IdRange,
    /// uid 0 inside instead of 1000.
    pub as_root: bool,
    /// Uid and gid of the invoking user: what the sandbox writes belongs to them.
    pub owner: (u32, u32),
    /// Layers of `/app`, topmost first; at least one.
    pub layers: Vec<PathBuf>,
    /// Packages of the distribution, over the host's `/usr` and beside its `/etc`.
    pub system: Option<System>,
    /// Where its own files are.
    pub writable: Writable,
    /// Kept data.
    pub volumes: Vec<VolumeMount>,
    /// Paths of the host, from `mounts:`.
    pub mounts: Vec<BindMount>,
    /// Directories and files of the host that appear read-only at the same path: toolchains, certificates.
    pub toolchains: Vec<PathBuf>,
    /// Further small files: path inside → content.
    pub files: BTreeMap<PathBuf, String>,
    /// `limits:`.
    pub limits: Limits,
    /// What is allowed beyond the default.
    pub exceptions: Exceptions,
    /// The nodes of `exceptions.devices`.
    pub devices: Vec<DeviceNode>,
    /// The cgroup, relative to each hierarchy's root.
    pub cgroup: String,
    /// The network namespace's file; `None` = a new one with nothing in it.
    pub netns: Option<PathBuf>,
    /// It is shown files below [`SECRETS`], which the keeper holds.
    pub secrets: bool,
    /// Directory on the host with the socket for sd_notify(3).
    pub notify: Option<PathBuf>,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// Lines of `/etc/hosts` besides its own: address and names.
    pub hosts: Vec<(IpAddr, Vec<String>)>,
    /// Name servers that can be reached from inside; none = names outside do not resolve.
    pub nameservers: Vec<IpAddr>,
    /// Facts of the host.
    pub host: HostFacts,
}

/// The directories of a sandbox on the host's disk. All three lie on one file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writable {
    /// Upper directory of `/app`.
    pub upper: PathBuf,
    /// Work directory of the overlay.
    pub work: PathBuf,
    /// `/home/app`.
    pub home: PathBuf,
}

/// A volume of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeMount {
    /// Its directory on the host.
    pub source: PathBuf,
    /// Where it appears.
    pub target: PathBuf,
    /// Whether it cannot be written from inside.
    pub read_only: bool,
}

/// What goes into a bundle directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle {
    /// The directory, as in [`SandboxPlan::bundle`].
    pub directory: PathBuf,
    /// `config.json`.
    pub spec: Spec,
    /// Path relative to the bundle → content; the spec's `file` mounts name them.
    pub files: BTreeMap<String, String>,
}

/// The bundle of a sandbox.
pub fn build(plan: &SandboxPlan) -> Bundle {
    let files = etc::files(plan);
    let spec = SpecBuilder::default()
        .version(OCI_VERSION)
        .hostname(plan.name.clone())
        .root(built(
            RootBuilder::default()
                .path(plan.bundle.join("root"))
                .readonly(!plan.exceptions.writable_root)
                .build(),
        ))
        .process(process::process(plan))
        .mounts(mounts::mounts(plan, &files))
        .linux(linux(plan))
        .build();
    Bundle {
        directory: plan.bundle.clone(),
        spec: built(spec),
        files: files
            .into_iter()
            .map(|(path, text)| (etc::in_bundle(&path), text))
            .collect(),
    }
}

fn linux(plan: &SandboxPlan) -> Linux {
    let maps = vec![ids::mapping(0, plan.ids.base, crate::identity::RANGE_SIZE)];
    let mut linux = LinuxBuilder::default()
        .uid_mappings(maps.clone())
        .gid_mappings(maps)
        .namespaces(namespaces(plan))
        .resources(resources::resources(plan))
        .cgroups_path(plan.cgroup.clone())
        .masked_paths(masks::masked(&plan.host))
        .readonly_paths(masks::read_only())
        .rootfs_propagation("private");
    if let Some(profile) = seccomp::profile_with(&plan.exceptions) {
        linux = linux.seccomp(profile);
    }
    if !plan.devices.is_empty() {
        linux = linux.devices(devices(plan));
    }
    built(linux.build())
}

/// Nodes of the service's own, which nobody else inside may open.
fn devices(plan: &SandboxPlan) -> Vec<LinuxDevice> {
    let node = |device: &DeviceNode| {
        let node = LinuxDeviceBuilder::default()
            .path(device.path.clone())
            .typ(LinuxDeviceType::C)
            .major(device.major)
            .minor(device.minor)
            .file_mode(if device.writable { 0o600_u32 } else { 0o400 })
            .uid(ids::inside(plan))
            .gid(ids::inside(plan));
        built(node.build())
    };
    plan.devices.iter().map(node).collect()
}

fn namespaces(plan: &SandboxPlan) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType::{Cgroup, Ipc, Mount, Network, Pid, User, Uts};
    let of = |kind| LinuxNamespaceBuilder::default().typ(kind);
    let network = match &plan.netns {
        Some(path) => of(Network).path(path.clone()),
        None => of(Network),
    };
    let mut namespaces: Vec<_> = [Mount, Pid, Ipc, Uts, Cgroup, User]
        .into_iter()
        .map(|kind| built(of(kind).build()))
        .collect();
    namespaces.push(built(network.build()));
    namespaces
}

/// The value of an OCI builder. The builders of the crate used have a default for every field that is left out, so
/// the only error that they can give is of a validation that the callers here satisfy by construction.
fn built<T>(result: Result<T, oci_spec::OciSpecError>) -> T {
    result.expect("OCI builders have defaults, and id maps are always given in pairs")
}

#[cfg(test)]
pub(crate) mod tests;
