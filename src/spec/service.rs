//! One service of an ecosystem → the plan of its run sandbox. Pure: what only the machine knows is given.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{APP_ID, SandboxPlan, VolumeMount};
use crate::config::ecosystem::Service;
use crate::desired::Desired;
use crate::host::{DeviceNode, HostFacts};
use crate::identity::IdRange;
use crate::instance::{FALLBACK_ROOT, SCRATCH_ROOT};
use crate::markpact::Recipe;
use crate::prepare::Extras;
use crate::prepare::disk::Disk;
use crate::prepare::stack::System;
use crate::prepare::upper::Place;
use crate::roster::Member;

/// What the machine gives a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placement {
    /// Its ids.
    pub ids: IdRange,
    /// Its layers, topmost first.
    pub layers: Vec<PathBuf>,
    /// Its packages of the distribution.
    pub system: Option<System>,
    /// What layers and toolchains need.
    pub extras: Extras,
    /// Where its own files are, as [`place`] says or below the fallback directory.
    pub place: Place,
    /// Below which its volumes are: the sandbox root, or the fallback directory.
    pub volumes: PathBuf,
    /// The whole environment, PATH included.
    pub env: Vec<(String, String)>,
    /// Its network namespace.
    pub netns: Option<PathBuf>,
    /// Lines of its `/etc/hosts`.
    pub hosts: Vec<(IpAddr, Vec<String>)>,
    /// Name servers that it can reach.
    pub nameservers: Vec<IpAddr>,
    /// Directory with its socket for sd_notify(3), when its check listens there.
    pub notify: Option<PathBuf>,
    /// The nodes of its `devices:`.
    pub devices: Vec<DeviceNode>,
    /// Facts of the host, or of its `rootfs:`.
    pub host: HostFacts,
}

/// The id inside that `service` runs as.
pub fn user(service: &Service) -> u32 {
    if service.run_as_root { 0 } else { APP_ID }
}

/// Where the files of all services of `desired` are: the sandbox root, and a directory of its own for a named
/// instance.
pub fn sandbox_root(desired: &Desired) -> PathBuf {
    let root = &desired.ecosystem.sandbox_root;
    match &desired.instance.label {
        Some(label) => root.join(".instances").join(label),
        None => root.clone(),
    }
}

/// Where the images of the limited disks of `desired` are: root's own folder, for the kernel trusts what is in them. Those
/// of a README on its own go with everything else that it wrote.
pub fn images(desired: &Desired) -> PathBuf {
    let root = &desired.ecosystem.sandbox_root;
    match root.starts_with(SCRATCH_ROOT) {
        true => root.join(".disks"),
        false => Path::new(FALLBACK_ROOT)
            .join(".disks")
            .join(&desired.instance.name),
    }
}

/// The limited disk of one sandbox, when its service has one.
pub fn disk(desired: &Desired, member: Member) -> Option<Disk> {
    let unit = member.unit();
    Some(Disk {
        size: member.service.limits.disk?,
        image: images(desired).join(format!("{unit}.img")),
        at: desired.instance.disk(&unit),
    })
}

/// Where the files of one sandbox are: on its own disk, or as [`place`] says.
pub fn place_of(desired: &Desired, root: &Path, member: Member) -> Place {
    match disk(desired, member) {
        Some(disk) => Place {
            root: disk.at,
            name: member.unit(),
            upper: None,
        },
        None => place(root, member),
    }
}

/// Where the files of one sandbox without a disk of its own are, below `root` or in the `sandbox_path`, to which a replica's number is added.
pub fn place(root: &Path, member: Member) -> Place {
    let upper = member.service.sandbox_path.as_ref();
    let numbered = |path: &PathBuf| match (member.replica, path.file_name()) {
        (Some(number), Some(name)) => path.with_file_name(format!("{}-{number}", name.to_string_lossy())),
        _ => path.clone(),
    };
    Place {
        root: root.to_owned(),
        name: member.unit(),
        upper: upper.map(numbered),
    }
}

/// The plan of one run sandbox. `None`: its README has nothing to run.
pub fn of_service(desired: &Desired, member: Member, placement: Placement) -> Option<SandboxPlan> {
    let (service, unit) = (member.service, member.unit());
    let recipe = desired.recipes.get(&service.name)?;
    let mut toolchains = placement.extras.binds;
    toolchains.extend(service.toolchains.iter().cloned());
    Some(SandboxPlan {
        cgroup: desired.instance.cgroup(&unit),
        bundle: desired.instance.bundle(&unit),
        name: unit,
        args: args(recipe, service.pre_start.as_deref())?,
        env: placement.env,
        ids: placement.ids,
        as_root: service.run_as_root,
        owner: (desired.caller.uid, desired.caller.gid),
        layers: placement.layers,
        system: placement.system,
        writable: placement.place.writable(),
        volumes: volumes(service, &placement.volumes),
        mounts: service.mounts.clone(),
        toolchains,
        files: BTreeMap::new(),
        limits: service.limits.under(
            &desired.ecosystem.limits,
            super::default_memory(&placement.host),
            super::PIDS,
        ),
        exceptions: service.exceptions.clone(),
        devices: placement.devices,
        netns: placement.netns,
        secrets: !service.secrets.is_empty(),
        notify: placement.notify,
        hosts: placement.hosts,
        nameservers: placement.nameservers,
        host: placement.host,
    })
}

fn volumes(service: &Service, root: &Path) -> Vec<VolumeMount> {
    let mount = |volume: &crate::config::ecosystem::Volume| VolumeMount {
        source: root.join(".volumes").join(&volume.name),
        target: PathBuf::from(&volume.target),
        read_only: volume.read_only,
    };
    service.volumes.iter().map(mount).collect()
}

/// Runs the hook, ends as it does when it fails, and becomes the run block's shell.
const WITH_HOOK: &str = "/bin/sh -ec \"$1\" || exit\nexec /bin/sh -c \"$2\"";

/// The run block goes to the shell as it is written; arguments of the `workload` block follow it, each one word.
fn args(recipe: &Recipe, pre_start: Option<&str>) -> Option<Vec<String>> {
    let mut command = recipe.run.as_ref()?.command.clone();
    if !recipe.workload.args.is_empty() {
        command.truncate(command.trim_end().len());
    }
    for word in &recipe.workload.args {
        command.push_str(&format!(" '{}'", word.replace('\'', r"'\''")));
    }
    let args = match pre_start {
        None => vec!["/bin/sh", "-c", &command],
        Some(hook) => vec!["/bin/sh", "-c", WITH_HOOK, "sh", hook, &command],
    };
    Some(args.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::markpact::recipe::{Run, Workload, WorkloadKind};

    fn recipe(command: Option<&str>, args: &[&str]) -> Recipe {
        Recipe {
            readme: "/p/README.md".into(),
            title: None,
            files: vec![],
            deps: vec![],
            run: command.map(|command| Run {
                command: command.into(),
                lines: None,
            }),
            workload: Workload {
                schedule: None,
                kind: WorkloadKind::Job,
                args: args.iter().map(|word| (*word).to_owned()).collect(),
                restart: None,
            },
            health: None,
            setup: vec![],
            jobs: vec![],
            tests: vec![],
            endpoints: vec![],
            others: vec![],
            marks: vec![],
            notes: vec![],
        }
    }

    #[test]
    fn the_command_reaches_the_shell_unchanged_and_arguments_stay_words() {
        assert_eq!(
            args(&recipe(Some("echo \"$PORT\"\n"), &[]), None).unwrap()[2],
            "echo \"$PORT\"\n"
        );
        let quoted = args(&recipe(Some("echo\n"), &["it's", "a b", "$X"]), Some("hook")).unwrap();
        assert_eq!(quoted[4], "hook");
        assert_eq!(quoted[5], r"echo 'it'\''s' 'a b' '$X'");
        assert_eq!(args(&recipe(None, &[]), None), None);
    }
}
