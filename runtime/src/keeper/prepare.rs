//! What a sandbox needs and what can be made before it is asked for: its user namespaces, its filter, the skeleton of its
//! root. `Create` then starts from here; without a `Prepare` before it does the same itself.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use oci_spec::runtime::{LinuxIdMapping, Process, Spec};

use super::Keeper;
use crate::error::{During, Failure, FailureKind, Result};
use crate::failpoint;
use crate::idmap;
use crate::landlock::Rules;
use crate::mounts::{self, IdMap, Operation};
use crate::program::Program;
use crate::protocol::What;
use crate::rootfs;
use crate::seccomp::Filter;
use crate::userns;

/// The user namespace of a sandbox, kept across its restarts, and those of its id-mapped mounts.
pub(super) struct UserNamespace {
    maps: (Vec<LinuxIdMapping>, Vec<LinuxIdMapping>),
    pub(super) descriptor: OwnedFd,
    pub(super) mounts: Vec<(IdMap, OwnedFd)>,
}

/// A bundle that was read, for one launch.
pub(super) struct Prepared {
    bundle: PathBuf,
    pub(super) spec: Spec,
    pub(super) program: Program,
    pub(super) seccomp: Rc<Filter>,
    pub(super) landlock: Rules,
    /// A detached tmpfs, see [`rootfs::skeleton`].
    pub(super) skeleton: OwnedFd,
    /// What is mounted onto the skeleton.
    pub(super) mounts: Vec<Operation>,
}

impl Keeper {
    pub(super) fn prepare(&mut self, id: &str, bundle: &Path) -> Result<Option<What>> {
        let prepared = self.read(id, bundle)?;
        self.prepared.insert(id.to_owned(), prepared);
        Ok(Some(What::Done))
    }

    /// What was prepared of a bundle, once; else it is prepared now.
    pub(super) fn take(&mut self, id: &str, bundle: &Path) -> Result<Prepared> {
        let ahead = self.prepared.remove(id).filter(|ahead| ahead.bundle == bundle);
        ahead.map_or_else(|| self.read(id, bundle), Ok)
    }

    fn read(&mut self, id: &str, bundle: &Path) -> Result<Prepared> {
        let mut spec = read_spec(bundle)?;
        failpoint::hit("bundle-read").during(|| "read the bundle".to_owned())?;
        let program = Program::new(process(&spec)?)?;
        let seccomp = self.filter(&spec)?;
        // Compiled now; its hundreds of names would live on in the child, as long as the service runs.
        if let Some(linux) = spec.linux_mut() {
            linux.set_seccomp(None);
        }
        let operations = mounts::operations(&spec)?;
        self.make_namespaces(id, &spec, &operations)?;
        let landlock = Rules::of(&spec, &operations);
        let (fixed, mounts) = mounts::split(operations);
        Ok(Prepared {
            bundle: bundle.to_owned(),
            skeleton: rootfs::skeleton(&fixed, &mounts)?,
            spec,
            program,
            seccomp,
            landlock,
            mounts,
        })
    }

    /// Compiled once per profile: all services of an ecosystem share it.
    pub(super) fn filter(&mut self, spec: &Spec) -> Result<Rc<Filter>> {
        let Some(profile) = spec.linux().as_ref().and_then(|linux| linux.seccomp().clone()) else {
            return Ok(Rc::new(Filter::default()));
        };
        let key = serde_json::to_string(&profile).during(|| "encode the seccomp profile".to_owned())?;
        if let Some(known) = self.filters.get(&key) {
            return Ok(Rc::clone(known));
        }
        let filter = Rc::new(Filter::compile(&profile)?);
        self.filters.insert(key, Rc::clone(&filter));
        Ok(filter)
    }

    /// Makes the user namespaces that the sandbox and its id-mapped mounts need and that are not there yet.
    fn make_namespaces(&mut self, id: &str, spec: &Spec, operations: &[Operation]) -> Result<()> {
        let linux = spec.linux().clone().unwrap_or_default();
        let (uids, gids) = (
            linux.uid_mappings().clone().unwrap_or_default(),
            linux.gid_mappings().clone().unwrap_or_default(),
        );
        if uids.is_empty() || gids.is_empty() {
            return Err(Failure::new(
                FailureKind::Request,
                "read the bundle",
                "it maps no ids",
            ));
        }
        self.make_own(id, uids, gids)?;
        let Some(namespace) = self.namespaces.get_mut(id) else {
            return Ok(());
        };
        let wanted = idmap::needed(spec, operations);
        namespace.mounts.retain(|(map, _)| wanted.contains(map));
        for map in wanted {
            if !namespace.mounts.iter().any(|(known, _)| *known == map) {
                let descriptor = userns::create(&map.uids, &map.gids)?;
                namespace.mounts.push((map, descriptor));
            }
        }
        Ok(())
    }

    fn make_own(&mut self, id: &str, uids: Vec<LinuxIdMapping>, gids: Vec<LinuxIdMapping>) -> Result<()> {
        let known = self
            .namespaces
            .get(id)
            .is_some_and(|known| known.maps == (uids.clone(), gids.clone()));
        if !known {
            let descriptor = userns::create(&uids, &gids)?;
            failpoint::hit("userns-created").during(|| "create a user namespace".to_owned())?;
            self.namespaces.insert(
                id.to_owned(),
                UserNamespace {
                    maps: (uids, gids),
                    descriptor,
                    mounts: Vec::new(),
                },
            );
        }
        Ok(())
    }
}

pub(super) fn read_spec(bundle: &Path) -> Result<Spec> {
    Spec::load(bundle.join("config.json")).map_err(|error| {
        Failure::new(
            FailureKind::Request,
            format!("read the bundle `{}`", bundle.display()),
            error,
        )
    })
}

pub(super) fn process(spec: &Spec) -> Result<&Process> {
    let process = spec.process().as_ref();
    process.ok_or_else(|| Failure::new(FailureKind::Request, "read the bundle", "it has no process"))
}
