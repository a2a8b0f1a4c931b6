//! A plan to test with, and tests of the spec as a whole.

use super::*;
use crate::host::{Entry, EntryKind};

/// A service `api` of user 4242.
pub(crate) fn plan() -> SandboxPlan {
    let entry = |path: &str, kind| Entry {
        path: path.into(),
        source: path.into(),
        kind,
    };
    let layer = |key: &str| format!("/var/cache/pactown/layers/{key}").into();
    SandboxPlan {
        name: "api".into(),
        args: ["/bin/sh", "-c", "python3 main.py"].map(str::to_owned).to_vec(),
        env: vec![("PORT".into(), "8000".into())],
        ids: IdRange { base: 2_000_065_536 },
        as_root: false,
        owner: (4242, 4243),
        layers: vec![layer("f"), layer("d")],
        system: None,
        writable: Writable {
            upper: "/p/.s/api".into(),
            work: "/p/.s/.work/api".into(),
            home: "/p/.s/.home/api".into(),
        },
        volumes: vec![VolumeMount {
            source: "/p/.s/.volumes/data".into(),
            target: "/app/data".into(),
            read_only: false,
        }],
        mounts: vec![],
        toolchains: vec!["/home/ann/.pyenv/versions/3.12.1".into()],
        files: BTreeMap::new(),
        limits: Limits {
            memory: Some(256 << 20),
            cpus: Some(0.5),
            pids: Some(64),
            ..Limits::default()
        },
        exceptions: Exceptions::default(),
        devices: vec![],
        cgroup: "pactown/shop-1/api".into(),
        netns: Some("/run/pactown/shop-1/netns/api".into()),
        secrets: false,
        notify: None,
        bundle: "/run/pactown/shop-1/bundles/api".into(),
        hosts: vec![(
            "10.90.0.3".parse().unwrap(),
            vec!["db".into(), "db.pactown.internal".into()],
        )],
        nameservers: vec!["192.0.2.53".parse().unwrap()],
        host: HostFacts {
            entries: vec![
                entry("/bin", EntryKind::Symlink("usr/bin".into())),
                entry("/usr", EntryKind::Directory),
                entry("/etc/hosts", EntryKind::File),
            ],
            memory_total: 8 << 30,
            swap_accounting: true,
            open_files: 20_000,
            ..HostFacts::default()
        },
    }
}

#[test]
fn the_spec_of_a_service() {
    let bundle = build(&plan());
    let mut value = serde_json::to_value(&bundle.spec).unwrap();
    value["linux"]["seccomp"] = "(tested by itself)".into();
    value["linux"]["maskedPaths"] = "(tested by itself)".into();
    let text = format!(
        "{}\n{:#?}",
        serde_json::to_string_pretty(&value).unwrap(),
        bundle.files
    );
    insta::assert_snapshot!("service", text);
}

#[test]
fn the_spec_is_read_back_as_it_was_written() {
    let spec = build(&plan()).spec;
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), spec);
}

#[test]
fn no_mount_hides_an_earlier_one() {
    let mut plan = plan();
    plan.volumes.insert(
        0,
        VolumeMount {
            source: "/v".into(),
            target: "/app/data/deep".into(),
            read_only: true,
        },
    );
    let spec = build(&plan).spec;
    let mounts: Vec<_> = spec
        .mounts()
        .as_ref()
        .unwrap()
        .iter()
        .map(|mount| mount.destination())
        .collect();
    for (index, mount) in mounts.iter().enumerate() {
        assert!(
            mounts[..index].iter().all(|earlier| !earlier.starts_with(mount)),
            "{}",
            mount.display()
        );
    }
}

#[test]
fn nothing_of_the_service_is_privileged() {
    for as_root in [false, true] {
        let spec = build(&SandboxPlan { as_root, ..plan() }).spec;
        let process = spec.process().as_ref().unwrap();
        assert_eq!(process.user().uid(), if as_root { 0 } else { 1000 });
        assert_eq!(process.no_new_privileges(), Some(true));
        let capabilities = process.capabilities().as_ref().unwrap();
        assert!(capabilities.bounding().as_ref().unwrap().is_empty());
        for mount in spec.mounts().as_ref().unwrap() {
            let options = mount.options().as_ref().unwrap();
            let inert = ["file", "symlink"].contains(&mount.typ().as_deref().unwrap());
            assert!(
                inert || options.iter().any(|option| option == "nosuid"),
                "{mount:?}"
            );
        }
    }
}

#[test]
fn a_bundles_own_files_take_the_place_of_the_hosts() {
    let spec = build(&plan()).spec;
    let hosts: Vec<_> = spec
        .mounts()
        .as_ref()
        .unwrap()
        .iter()
        .filter(|mount| mount.destination().ends_with("hosts"))
        .collect();
    assert_eq!(hosts.len(), 1);
    assert!(hosts[0].source().as_ref().unwrap().starts_with("/run/pactown"));
}

#[test]
fn the_socket_for_notifications_is_bound_into_run_and_cannot_be_replaced() {
    let destinations = |plan: &SandboxPlan| -> Vec<String> {
        let mounts = build(plan).spec.mounts().clone().unwrap();
        let path = |mount: &oci_spec::runtime::Mount| mount.destination().display().to_string();
        mounts.iter().map(path).collect()
    };
    assert!(!destinations(&plan()).contains(&"/run/pactown".to_owned()));
    let notify = Some(PathBuf::from("/run/pactown/town/notify/web"));
    let plan = SandboxPlan { notify, ..plan() };
    let order = destinations(&plan);
    let place = |path: &str| order.iter().position(|other| other == path).unwrap();
    assert!(place("/run") < place("/run/pactown"));
    let mounts = build(&plan).spec.mounts().clone().unwrap();
    let options = mounts[place("/run/pactown")].options().clone().unwrap();
    assert!(options.contains(&"ro".to_owned()), "{options:?}");
}
