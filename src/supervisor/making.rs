//! Making one service ready to be created: layers, directories, ids, network, bundle; and undoing it. Blocking: for
//! blocking tasks. What is made follows from the wish; nothing is chosen here but what only the machine knows.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use pactown_runtime::protocol::Call;
use pactown_runtime::secrets;
use serde_json::Value;

use super::builder::Builder;
use super::inbox;
use super::keeper::Keeper;
use super::unmade::Unmade;
use super::wires::Wires;
use crate::config::ecosystem::{Service, UnitName};
use crate::desired::Desired;
use crate::error::chain;
use crate::host::{DeviceNode, HostFacts};
use crate::identity::{IdRange, Ledger};
use crate::instance::{FALLBACK_ROOT, Instance};
use crate::markpact::Recipe;
use crate::network::Addresses;
use crate::prepare::upper::{self, Place};
use crate::prepare::{self, BuildContext, Layers, PrepareError, Tools};
use crate::roster::{Member, Roster};
use crate::spec::{self, Placement};
use crate::{network, resolver};

/// Everything that one wish is made with; the same for all its services.
pub(super) struct Site {
    /// The wish.
    pub(super) desired: Desired,
    /// Toolchains of the host, and settings for builds.
    pub(super) tools: Tools,
    /// The host.
    pub(super) host: HostFacts,
    /// Which sandboxes there shall be.
    pub(super) roster: Roster,
    /// What each of them would be made from.
    pub(super) prints: IndexMap<UnitName, Value>,
    /// Addresses of the services and their sandboxes.
    pub(super) addresses: Addresses,
    /// Name servers that answer inside.
    pub(super) nameservers: Vec<IpAddr>,
    /// Below which upper directories and volumes are.
    pub(super) root: PathBuf,
    /// The network.
    pub(super) wires: Wires,
    /// The keeper.
    pub(super) keeper: Keeper,
    /// Who runs build sandboxes.
    pub(super) builder: Builder,
}

/// The root below which what services write is kept: that of the wish, or one of pactown's own where that file system
/// cannot hold an id-mapped upper directory; then with what to tell the user.
///
/// # Errors
/// Neither can.
pub(super) fn root(desired: &Desired) -> Result<(PathBuf, Option<String>), String> {
    let wished = spec::sandbox_root(desired);
    let Some(lack) = pactown_runtime::support::lacks_idmapped_upper(&existing(&wished)) else {
        return Ok((wished, None));
    };
    let own = Path::new(FALLBACK_ROOT).join(&desired.instance.name);
    // Made here, it is root's; below it, directories become the invoking user's.
    std::fs::create_dir_all(FALLBACK_ROOT)
        .map_err(|error| format!("cannot make `{FALLBACK_ROOT}`: {error}"))?;
    match pactown_runtime::support::lacks_idmapped_upper(&existing(&own)) {
        None => {
            let notice = format!(
                "`{}` cannot hold what services write ({lack}): it is kept in `{}`",
                wished.display(),
                own.display()
            );
            Ok((own, Some(notice)))
        }
        Some(_) => Err(format!(
            "`{}` cannot hold what services write: {lack}",
            wished.display()
        )),
    }
}

/// The nearest directory above that exists.
fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|above| above.is_dir());
    found.unwrap_or(Path::new("/")).to_owned()
}

impl Site {
    /// The sandbox `unit`, also one that is not wished any more. `None`: its service is not in the wish.
    pub(super) fn member(&self, unit: &str) -> Option<Member<'_>> {
        Member::named(&self.desired.ecosystem, unit)
    }

    /// Its README.
    pub(super) fn recipe(&self, member: Member) -> Option<&Recipe> {
        self.desired.recipes.get(&member.service.name)
    }

    /// The sandbox with its README.
    fn subject(&self, unit: &str) -> Result<(Member<'_>, &Recipe), Unmade> {
        let found = self
            .member(unit)
            .and_then(|member| Some((member, self.recipe(member)?)));
        found.ok_or_else(|| Unmade {
            cause: format!("'{unit}' is not in the wish"),
            details: Vec::new(),
            exit: 125,
        })
    }

    /// Where its files are: on its own disk, or below the root.
    fn place(&self, member: Member) -> Place {
        spec::place_of(&self.desired, &self.root, member)
    }

    fn owner(&self) -> (u32, u32) {
        (self.desired.caller.uid, self.desired.caller.gid)
    }

    /// Makes everything that the creation of `name` needs; `on_line` gets what installers say. Answers remarks for
    /// the user.
    pub(super) fn make(&self, name: &str, on_line: &mut dyn FnMut(&str)) -> Result<Vec<String>, Unmade> {
        let (member, recipe) = self.subject(name)?;
        let service = member.service;
        let plans = self
            .tools
            .layers(&service.name, recipe)
            .map_err(PrepareError::from)?;
        let store = Layers::system();
        // Until the bundle names them.
        let _hold = store.hold()?;
        let layers = prepare::make(
            &store,
            &plans,
            self.build_context(&service.name, recipe),
            &self.builder,
            &mut |_, line| {
                on_line(line);
            },
        )?;
        let extras = self.tools.extras(&plans, service);
        let devices = devices(service)?;
        let notices = self.directories(member, recipe)?;
        self.secrets(member)?;
        let ids = Ledger::system().allocate(&self.key(name))?;
        let node = network::node(&self.desired.ecosystem, member, &self.addresses, ids);
        let notify = self.inbox(member, ids)?;
        let netns = node.map(|node| self.wires.attach(node)).transpose()?;
        let placement = Placement {
            ids,
            layers: layers.app(),
            system: layers.system().cloned(),
            env: resolver::environment(&self.desired, member, &extras),
            extras,
            place: self.place(member),
            volumes: self.root.clone(),
            netns,
            hosts: network::hosts(
                &self.desired.ecosystem,
                member,
                &self.roster,
                &self.addresses,
                self.wires.spec().subnet,
            ),
            nameservers: self.nameservers.clone(),
            notify,
            devices,
            host: self.facts(service),
        };
        let plan =
            spec::of_service(&self.desired, member, placement).ok_or_else(|| nothing_to_run(recipe))?;
        let bundle = spec::build(&plan);
        bundle.write()?;
        self.namespaces(name, bundle.directory)?;
        Ok(notices)
    }

    /// The keeper makes ahead what a launch of the bundle would wait for.
    fn namespaces(&self, name: &str, bundle: PathBuf) -> Result<(), Unmade> {
        let id = name.to_owned();
        let prepared = self.keeper.ask_blocking(Call::Prepare { id, bundle }, &[]);
        prepared.map(drop).map_err(|failure| Unmade::host(&failure))
    }

    /// With what the layers of `recipe` are built for `service`.
    pub(super) fn build_context<'a>(&'a self, service: &'a str, recipe: &'a Recipe) -> BuildContext<'a> {
        let service = self.desired.ecosystem.services.get(service);
        let hosts = service.map_or(&[][..], |service| &service.build_hosts);
        BuildContext {
            readme: &recipe.readme,
            host: &self.host,
            toolchains: &self.tools.toolchains,
            settings: &self.tools.settings,
            offline: self.desired.supply.offline,
            strict: self.desired.supply.locked,
            hosts,
            learn: true,
        }
    }

    /// The files of its secrets go to the keeper, which shows them to the sandbox alone.
    fn secrets(&self, member: Member) -> Result<(), Unmade> {
        if member.service.secrets.is_empty() {
            return Ok(());
        }
        let unit = member.unit();
        let files = self
            .desired
            .secrets
            .files(member.service)
            .map_err(|name| Unmade {
                cause: format!("the value of its secret '{name}' is not known"),
                details: vec![format!("hint: `pactown up {unit}` asks for it")],
                exit: 3,
            })?;
        let held = secrets::write(&files).map_err(|error| Unmade::host(&error))?;
        let key = secrets::key(&unit);
        self.keeper
            .ask_blocking(Call::Hold { key }, &[held.as_fd()])
            .map_err(|failure| Unmade::host(&failure))?;
        Ok(())
    }

    fn facts(&self, service: &Service) -> HostFacts {
        match &service.rootfs {
            None => self.host.clone(),
            rootfs => HostFacts::of(rootfs.as_deref()),
        }
    }

    /// The directory of its socket for notifications, when it has one.
    fn inbox(&self, member: Member, ids: IdRange) -> Result<Option<PathBuf>, Unmade> {
        if !member.service.notifies() {
            return Ok(None);
        }
        let directory = self.desired.instance.notify_dir(&member.unit());
        let owner = ids.host(spec::user(member.service));
        inbox::make(&directory, owner, &member.unit(), &self.keeper).map_err(|error| Unmade {
            cause: format!("cannot make its socket in `{}`: {error}", directory.display()),
            details: Vec::new(),
            exit: 3,
        })?;
        Ok(Some(directory))
    }

    /// Upper directory and volumes; the lock of the upper directory goes to the keeper, which outlives this process.
    fn directories(&self, member: Member, recipe: &Recipe) -> Result<Vec<String>, Unmade> {
        let (place, unit) = (self.place(member), member.unit());
        // Of a disk the image is locked, by the place where its files would be without.
        let outside = spec::place(&self.root, member);
        let lock = outside.lock(self.owner())?.ok_or_else(|| Unmade {
            cause: format!(
                "`{}` is in use by another instance",
                outside.writable().upper.display()
            ),
            details: Vec::new(),
            exit: 1,
        })?;
        if let Some(disk) = spec::disk(&self.desired, member) {
            disk.make(self.host.capacity.mkfs.as_deref())?;
        }
        let removed = place.make(self.owner(), &recipe.files)?;
        for volume in &member.service.volumes {
            upper::volume(&self.root, &volume.name, self.owner())?;
        }
        let key = upper_key(&unit);
        self.keeper
            .ask_blocking(Call::Hold { key }, &[lock.as_fd()])
            .map_err(|failure| Unmade::host(&failure))?;
        Ok(removed
            .into_iter()
            .map(|path| format!("{unit}: {path} is the README's again, the service's own copy was removed"))
            .collect())
    }

    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.desired.instance.name)
    }
}

fn devices(service: &Service) -> Result<Vec<DeviceNode>, Unmade> {
    let nodes = service.exceptions.devices.iter().map(crate::host::device);
    nodes.collect::<Result<_, _>>().map_err(|cause| Unmade {
        cause,
        details: Vec::new(),
        exit: 3,
    })
}

fn nothing_to_run(recipe: &Recipe) -> Unmade {
    Unmade {
        cause: format!("{}: there is nothing to run", recipe.readme.display()),
        details: vec!["hint: add a `markpact:run` block".to_owned()],
        exit: 2,
    }
}

fn upper_key(unit: &str) -> String {
    format!("upper:{unit}")
}

/// Removes what [`Site::make`] made and the keeper remembers of `name`; half-made or gone is fine. Layers, what the
/// service wrote, and volumes stay.
pub(super) fn discard(
    instance: &Instance,
    site: Option<&Arc<Site>>,
    wires: Option<&Wires>,
    keeper: &Keeper,
    name: &str,
) {
    let _ = keeper.ask_blocking(Call::Forget { id: name.to_owned() }, &[]);
    if let Some(wires) = wires {
        note(wires.detach(name));
    }
    if let Some((site, member)) = site.and_then(|site| Some((site, site.member(name)?))) {
        note(site.place(member).remove_work());
    }
    // Before the lock goes: the next one who has it mounts the same image.
    note(pactown_runtime::disk::unmount(&instance.disk(name)));
    // Waited for: the next start of it needs the lock.
    let _ = keeper.ask_blocking(Call::Release { key: upper_key(name) }, &[]);
    keeper.tell(Call::Release {
        key: secrets::key(name),
    });
    keeper.tell(Call::Release {
        key: inbox::key(name),
    });
    note(inbox::remove(&instance.notify_dir(name)));
    let bundle = instance.bundle(name);
    match std::fs::remove_dir_all(&bundle) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => note(Err(error)),
        _ => {}
    }
    note(Ledger::system().release(&format!("{}/{name}", instance.name)));
}

/// A removal goes on past a failure; the last one of the instance tries again, and `doctor --leaks` would show it.
fn note<E: std::error::Error>(result: Result<(), E>) {
    if let Err(error) = result {
        super::tell(&chain(&error));
    }
}
