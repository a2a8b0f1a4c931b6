//! Making layers: the store's protocol around one build sandbox each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use pactown_runtime::protocol::ExitStatus;

use super::hosts::{self, Probe};
use super::layers::{LayerError, Step};
use super::resolution::Unresolved;
use super::{
    Access, BuildContext, BuildRunner, BuildSite, Content, LayerPlan, Layers, PrepareError, RunnerError,
    Stack, commit, failure, files, node, packages, python, record, settings, setup,
};
use crate::config::ecosystem::{Exceptions, Limits};
use crate::lockfile::{Language, Resolution};
use crate::proxy::Contact;
use crate::spec::{self, SandboxPlan, Writable, ids};

/// PATH of every sandbox behind the toolchains' directories.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Variables that name proxies; the first two are set for builds.
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];
/// The directory of a build that becomes its home.
const HOME: &str = "home";
/// Most processes of a build: compilers in parallel.
const PIDS: u32 = 4096;

/// The layers of `plans`, making those that are not there. `on_line` gets each line that an
/// installer says.
pub fn make(
    layers: &Layers,
    plans: &[LayerPlan],
    context: BuildContext<'_>,
    runner: &dyn BuildRunner,
    on_line: &mut dyn FnMut(&LayerPlan, &str),
) -> Result<Stack, PrepareError> {
    let mut made = Stack::default();
    for plan in plans {
        let lower = made.clone();
        let layer = layers.obtain(&plan.key, |making| {
            if context.offline && plan.language().is_some() {
                return Err(Failed::Install(Box::new(failure::not_cached(plan))));
            }
            let (content, record) = content(layers, plan, context, (lower, making), runner, on_line)?;
            if let Some(Ok(record)) = record {
                layers.note(&plan.key, &record)?;
            }
            Ok(content)
        });
        let layer = layer.map_err(|failed: Failed| failed.into_error(plan))?;
        if context.strict {
            same_toolchain(layers, plan)?;
        }
        let pushed = made.push(&plan.content, layer);
        pushed.map_err(|source| PrepareError::Layer {
            kind: plan.kind(),
            source,
        })?;
    }
    Ok(made)
}

/// The toolchain that a locked layer was installed with is the one that the lock names.
fn same_toolchain(layers: &Layers, plan: &LayerPlan) -> Result<(), PrepareError> {
    let Some(locked) = plan.locked() else {
        return Ok(());
    };
    let present = layers.record::<Resolution>(&plan.key);
    match present.filter(|present| present.toolchain != locked.toolchain) {
        Some(present) => Err(PrepareError::Toolchain {
            language: locked.language,
            wanted: locked.toolchain.clone(),
            present: present.toolchain,
        }),
        None => Ok(()),
    }
}

/// What a build says that it installed.
type Record = Option<Result<Resolution, Unresolved>>;

/// Makes what is in the layer of `plan` in the directory `making`: which directory below holds it, and what its
/// dependencies are.
pub(super) fn content(
    layers: &Layers,
    plan: &LayerPlan,
    context: BuildContext<'_>,
    (lower, making): (Stack, &Path),
    runner: &dyn BuildRunner,
    on_line: &mut dyn FnMut(&LayerPlan, &str),
) -> Result<(PathBuf, Record), Failed> {
    let (content, record) = match &plan.content {
        Content::Files(blocks) => (files::write(making, blocks)?, None),
        _ => {
            let build = Build {
                layers,
                plan,
                context,
                lower,
                making,
            };
            let content = build.run(runner, on_line)?;
            (content, record::read(plan, &making.join(HOME)))
        }
    };
    commit::clean(&content)?;
    Ok((content, record))
}

/// What can fail while a layer is made, before the layer's kind is known to the message.
pub(super) enum Failed {
    Layer(LayerError),
    Sandbox(RunnerError),
    Install(Box<PrepareError>),
}

impl From<LayerError> for Failed {
    fn from(error: LayerError) -> Self {
        Self::Layer(error)
    }
}

impl Failed {
    pub(super) fn into_error(self, plan: &LayerPlan) -> PrepareError {
        let kind = plan.kind();
        match self {
            Self::Layer(source) => PrepareError::Layer { kind, source },
            Self::Sandbox(source) => PrepareError::Sandbox { kind, source },
            Self::Install(error) => *error,
        }
    }
}

/// One build sandbox.
struct Build<'a> {
    layers: &'a Layers,
    plan: &'a LayerPlan,
    context: BuildContext<'a>,
    lower: Stack,
    making: &'a Path,
}

impl Build<'_> {
    /// Runs the installer and answers the directory with what it wrote.
    fn run(
        &self,
        runner: &dyn BuildRunner,
        on_line: &mut dyn FnMut(&LayerPlan, &str),
    ) -> Result<PathBuf, Failed> {
        let access = self.access(runner)?;
        let writable = self.writable(self.making)?;
        let name = self.plan.build_name();
        let mut tail: VecDeque<String> = VecDeque::new();
        let mut hear = |line: &str| {
            if tail.len() == failure::TAIL {
                tail.pop_front();
            }
            tail.push_back(line.to_owned());
            on_line(self.plan, line);
        };
        let errand = (name.as_str(), self.args(), &access);
        let ground = (self.lower.clone(), self.files(), &writable);
        let (ended, contacts) = self.errand(errand, ground, runner, &mut hear);
        // Also of a build that failed: what it asked for is why. One that did not run has asked for nothing.
        if ended.is_ok() || !contacts.is_empty() {
            self.layers.note(&hosts::record(&self.plan.key), &contacts)?;
        }
        let denied: Vec<&Contact> = contacts.iter().filter(|contact| contact.denied > 0).collect();
        for contact in &denied {
            hear(&format!(
                "pactown: refused {}:{}: no package host",
                contact.host, contact.port
            ));
        }
        match ended.map_err(Failed::Sandbox)? {
            ExitStatus::Code(0) => Ok(writable.upper),
            status => {
                let readme = self.context.readme.to_owned();
                let failed = failure::install(self.plan, readme, status, tail.into(), &denied);
                Err(Failed::Install(Box::new(failed)))
            }
        }
    }

    /// Runs `args` in the sandbox `name`, over `stack` and with `files`; how it ended, and what it asked for outside.
    fn errand(
        &self,
        (name, args, access): (&str, Vec<String>, &Access),
        (stack, files, writable): (Stack, BTreeMap<PathBuf, String>, &Writable),
        runner: &dyn BuildRunner,
        on_line: &mut dyn FnMut(&str),
    ) -> (Result<ExitStatus, RunnerError>, Vec<Contact>) {
        let ended = runner.open(name, access).and_then(|site| {
            let plan = SandboxPlan {
                args,
                layers: stack.app(),
                system: stack.system().cloned(),
                files,
                ..self.sandbox(name, &site, writable)
            };
            runner.run(name, &spec::build(&plan), on_line)
        });
        let contacts = runner.close(name);
        (ended, contacts)
    }

    /// What the build may reach: the hosts of its packages, and those that the ecosystem file allows.
    fn access(&self, runner: &dyn BuildRunner) -> Result<Access, Failed> {
        if self.context.offline {
            return Ok(Access::Nothing);
        }
        let mut hosts = hosts::configured(self.context.settings);
        hosts.extend(hosts::allowed(self.context.hosts));
        if self.plan.language() == Some(Language::System) {
            hosts.extend(hosts::distribution(self.context.settings));
        }
        let probes = hosts::probes(self.plan, self.context.toolchains, self.context.settings);
        for probe in probes.into_iter().filter(|_| self.context.learn) {
            let known: BTreeSet<String> = match self.layers.record(&probe.key) {
                Some(known) => known,
                None => self.learn(probe, runner)?,
            };
            hosts.extend(known);
        }
        Ok(Access::Hosts(hosts))
    }

    /// Has an installer fetch something small. A whole answer is kept. Since it may reach whatever it asks for, it sees
    /// nothing of the README.
    fn learn(&self, probe: Probe, runner: &dyn BuildRunner) -> Result<BTreeSet<String>, Failed> {
        let place = self.making.join("probe");
        std::fs::create_dir(&place).step("create", &place)?;
        let writable = self.writable(&place)?;
        let nothing = place.join("nothing");
        std::fs::create_dir(&nothing).step("create", &nothing)?;
        let name = format!("probe-{}", &self.plan.key[..8]);
        let errand = (name.as_str(), probe.args, &Access::Anything);
        let ground = (
            Stack::bare(nothing),
            self.context.settings.files.clone(),
            &writable,
        );
        let (ended, contacts) = self.errand(errand, ground, runner, &mut |_| {});
        let ended = ended.map_err(Failed::Sandbox)?;
        std::fs::remove_dir_all(&place).step("remove", &place)?;
        let learned = hosts::learned(&contacts);
        // What failed halfway may have more to ask.
        if ended == ExitStatus::Code(0) && !learned.is_empty() {
            self.layers.note(&probe.key, &learned)?;
        }
        Ok(learned)
    }

    /// The directories that the installer writes: on disk an id of the storage range, until the commit.
    fn writable(&self, place: &Path) -> Result<Writable, LayerError> {
        let at = |name: &str| place.join(name);
        let writable = Writable {
            upper: at("upper"),
            work: at("work"),
            home: at(HOME),
        };
        for path in [&writable.upper, &writable.work, &writable.home] {
            std::fs::create_dir(path).step("create", path)?;
        }
        for path in [&writable.upper, &writable.home] {
            chown(path, Some(ids::on_disk(0)), Some(ids::on_disk(0))).step("change the owner of", path)?;
        }
        Ok(writable)
    }

    fn sandbox(&self, name: &str, site: &BuildSite, writable: &Writable) -> SandboxPlan {
        let context = &self.context;
        let mut visible = context.toolchains.binds();
        visible.extend(context.settings.directories.iter().cloned());
        if self.plan.language() == Some(Language::System) {
            visible.extend(
                settings::APT
                    .iter()
                    .map(PathBuf::from)
                    .filter(|path| path.is_dir()),
            );
        }
        SandboxPlan {
            name: name.to_owned(),
            args: Vec::new(),
            env: self.env(site.proxy),
            ids: site.ids,
            as_root: false,
            owner: (0, 0),
            layers: Vec::new(),
            system: None,
            writable: writable.clone(),
            volumes: Vec::new(),
            mounts: Vec::new(),
            toolchains: visible,
            files: BTreeMap::new(),
            limits: limits(context.host.memory_total),
            exceptions: Exceptions::default(),
            devices: Vec::new(),
            cgroup: site.cgroup.clone(),
            netns: site.netns.clone(),
            secrets: false,
            notify: None,
            bundle: site.bundle.clone(),
            hosts: Vec::new(),
            nameservers: site.nameservers.clone(),
            host: context.host.clone(),
        }
    }

    fn args(&self) -> Vec<String> {
        match &self.plan.content {
            Content::Python {
                python, uv, locked, ..
            } => python::args(python, uv.as_ref(), locked.is_some()),
            Content::Node { packages, locked, .. } => node::args(packages, locked.is_some()),
            Content::Packages(packages) => packages::command(packages),
            Content::Setup(blocks) | Content::Build(blocks) => setup::args(blocks),
            Content::Files(_) => Vec::new(),
        }
    }

    fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut files = self.context.settings.files.clone();
        match &self.plan.content {
            Content::Python {
                requirements, locked, ..
            } => {
                let own = python::files(requirements, locked.as_ref());
                files.extend(own.map(|(path, text)| (path.into(), text)));
            }
            Content::Node { files: own, .. } => files.extend(own.iter().cloned()),
            Content::Packages(packages) => files.extend(packages.files.iter().cloned()),
            Content::Files(_) | Content::Setup(_) | Content::Build(_) => {}
        }
        files
    }

    /// Settings of the host first: nothing of them changes where the build happens. Temporary files go to the disk,
    /// since a memory file system would count as the build's memory.
    fn env(&self, proxy: Option<SocketAddr>) -> Vec<(String, String)> {
        let mut path: Vec<String> = self
            .context
            .toolchains
            .directories()
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        path.push(PATH.to_owned());
        let own = [
            ("PATH", path.join(":")),
            ("HOME", spec::HOME.to_owned()),
            ("USER", "app".to_owned()),
            ("LOGNAME", "app".to_owned()),
            ("TMPDIR", format!("{}/.tmp", spec::HOME)),
            ("PIP_DISABLE_PIP_VERSION_CHECK", "1".to_owned()),
            ("PIP_NO_INPUT", "1".to_owned()),
            ("PIP_NO_CACHE_DIR", "1".to_owned()),
            ("PIP_PROGRESS_BAR", "off".to_owned()),
            ("UV_LINK_MODE", "copy".to_owned()),
            ("UV_NO_PROGRESS", "1".to_owned()),
            ("NPM_CONFIG_UPDATE_NOTIFIER", "false".to_owned()),
            ("NPM_CONFIG_AUDIT", "false".to_owned()),
            ("NPM_CONFIG_FUND", "false".to_owned()),
            ("NPM_CONFIG_PROGRESS", "false".to_owned()),
        ];
        let mut env = self.context.settings.env.clone();
        if !env.iter().any(|(name, _)| name == "LANG") {
            env.push(("LANG".to_owned(), "C.UTF-8".to_owned()));
        }
        // The caller's own proxies are asked by ours.
        env.retain(|(name, _)| !PROXIES.contains(&name.to_ascii_lowercase().as_str()));
        if let Some(proxy) = proxy {
            for name in &PROXIES[..2] {
                let address = format!("http://{proxy}");
                env.extend([
                    (name.to_string(), address.clone()),
                    (name.to_ascii_uppercase(), address),
                ]);
            }
        }
        env.retain(|(name, _)| own.iter().all(|(known, _)| !known.eq_ignore_ascii_case(name)));
        env.extend(own.map(|(name, value)| (name.to_owned(), value)));
        env
    }
}

/// A build may use three quarters of the machine's memory: compilers need more than what they compile.
fn limits(memory_total: u64) -> Limits {
    let memory = (memory_total > 0).then_some(memory_total / 4 * 3);
    Limits {
        memory,
        pids: Some(PIDS),
        ..Limits::default()
    }
}
