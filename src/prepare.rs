//! From recipe to layers: which layers a service needs, and making those that are not there.
//!
//! [`plan()`] is pure and tells keys, so that a dry run can say what is cached. [`make()`] writes and runs build
//! sandboxes through a [`BuildRunner`]; it knows neither keeper nor network. Blocking: the caller gives it a thread.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use pactown_runtime::protocol::ExitStatus;
use serde::{Deserialize, Serialize};

use crate::host::HostFacts;
use crate::identity::IdRange;
use crate::lockfile::{Language, Resolution};
use crate::markpact::Recipe;
use crate::markpact::recipe::{DepsLanguage, FileBlock, TextBlock};
use crate::proxy::Contact;
use crate::spec::Bundle;
use crate::toolchain::{Missing, Toolchain, Toolchains};
use packages::{Below, Packages};

pub mod artifacts;
mod build;
mod commit;
pub mod disk;
pub mod extras;
mod failure;
mod files;
pub mod hosts;
mod key;
pub mod layers;
mod node;
pub mod packages;
mod python;
mod record;
mod resolution;
mod resolve;
pub mod settings;
mod setup;
pub mod stack;
mod tools;
pub mod upper;

pub use build::make;
pub use extras::{Extras, extras};
pub use failure::PrepareError;
pub use layers::Layers;
pub use resolve::{Known, resolve};
pub use settings::BuildSettings;
pub use stack::Stack;
pub use tools::Tools;

/// One layer that a service needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerPlan {
    /// 64 hexadecimal digits over everything that decides the content.
    pub key: String,
    /// What is in it.
    pub content: Content,
}

/// Kinds of layer, with what they are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// The README's `file` blocks.
    Files(Vec<FileBlock>),
    /// A virtual environment at `/app/.venv`.
    Python {
        /// Requirements with their line in the README.
        requirements: Vec<(usize, String)>,
        /// The interpreter.
        python: Toolchain,
        /// uv instead of pip.
        uv: Option<Toolchain>,
        /// What is installed, when it is locked.
        locked: Option<Resolution>,
    },
    /// `/app/node_modules`.
    Node {
        /// Packages with their line in the README.
        packages: Vec<(usize, String)>,
        /// Node.js.
        node: Toolchain,
        /// Digest over what the README asks for.
        wanted: String,
        /// What is installed, when it is locked.
        locked: Option<Resolution>,
        /// The files of a locked build: path inside, content.
        files: Vec<(PathBuf, String)>,
    },
    /// What a package manager installs by files of its own: Go, Rust, PHP, the distribution.
    Packages(Packages),
    /// What the README's `setup` blocks write below `/app`.
    Setup(Vec<TextBlock>),
    /// What the README's `build` blocks write below `/app`.
    Build(Vec<TextBlock>),
}

impl LayerPlan {
    /// The word for it in messages: `files`, a language, `setup`, `build`.
    pub fn kind(&self) -> &'static str {
        match &self.content {
            Content::Files(_) => "files",
            Content::Python { .. } => "python",
            Content::Node { .. } => "node",
            Content::Packages(packages) => packages.language.word(),
            Content::Setup(_) => "setup",
            Content::Build(_) => "build",
        }
    }

    /// The language whose dependencies are in it.
    pub fn language(&self) -> Option<Language> {
        match &self.content {
            Content::Python { .. } => Some(Language::Python),
            Content::Node { .. } => Some(Language::Node),
            Content::Packages(packages) => Some(packages.language),
            Content::Files(_) | Content::Setup(_) | Content::Build(_) => None,
        }
    }

    /// Digest over the dependencies that the README asks for, as a lock has it.
    pub fn wanted(&self) -> Option<String> {
        match &self.content {
            Content::Python { requirements, .. } => Some(python::wanted(requirements)),
            Content::Node { wanted, .. } => Some(wanted.clone()),
            Content::Packages(packages) => Some(packages.wanted.clone()),
            Content::Files(_) | Content::Setup(_) | Content::Build(_) => None,
        }
    }

    /// What a lock has its dependencies resolved to.
    pub fn locked(&self) -> Option<&Resolution> {
        match &self.content {
            Content::Python { locked, .. } | Content::Node { locked, .. } => locked.as_ref(),
            Content::Packages(packages) => packages.locked.as_ref(),
            Content::Files(_) | Content::Setup(_) | Content::Build(_) => None,
        }
    }

    /// The dependencies that the README asks for, for messages.
    pub fn requirements(&self) -> &[(usize, String)] {
        match &self.content {
            Content::Python { requirements, .. } => requirements,
            Content::Node { packages, .. } => packages,
            Content::Packages(packages) => &packages.requirements,
            Content::Files(_) | Content::Setup(_) | Content::Build(_) => &[],
        }
    }

    /// Line of the README where what it is made of begins; 1 where that is not known.
    pub fn line(&self) -> usize {
        let first = self.requirements().first().map(|(line, _)| *line);
        let line = match &self.content {
            Content::Packages(packages) => Some(packages.line),
            Content::Setup(blocks) | Content::Build(blocks) => blocks.first().map(|block| block.lines.first),
            _ => first,
        };
        line.filter(|line| *line > 0).unwrap_or(1)
    }

    /// What of dependencies is in it, in a few words.
    pub fn summary(&self) -> String {
        let names: Vec<&str> = match self.locked() {
            Some(locked) if !locked.packages.is_empty() => {
                let packages = locked.packages.iter();
                packages.filter_map(|package| package.split(' ').next()).collect()
            }
            _ => self
                .requirements()
                .iter()
                .map(|(_, text)| text.as_str())
                .collect(),
        };
        match names.as_slice() {
            [] => format!("what its {} layer holds", self.kind()),
            [first, second, third, rest @ ..] if rest.len() > 1 => {
                format!("{first}, {second}, {third} and {} more", rest.len())
            }
            all => all.join(", "),
        }
    }

    /// The name of its build sandbox, a DNS label.
    pub fn build_name(&self) -> String {
        format!("build-{}", &self.key[..8])
    }
}

/// What a build sandbox gets from its runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildSite {
    /// Its ids.
    pub ids: IdRange,
    /// Its network namespace, with a way out; `None` = no network.
    pub netns: Option<PathBuf>,
    /// Its bundle directory.
    pub bundle: PathBuf,
    /// Its cgroup.
    pub cgroup: String,
    /// Name servers that answer in there; none where a proxy resolves.
    pub nameservers: Vec<IpAddr>,
    /// The proxy that is its only way out.
    pub proxy: Option<SocketAddr>,
}

/// What a build may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Nothing: it has no network.
    Nothing,
    /// These hosts, `name:port` each.
    Hosts(BTreeSet<String>),
    /// Whatever it asks for. For what runs nobody's code but the installer's own.
    Anything,
}

/// Errors of a runner, whatever they are.
pub type RunnerError = Box<dyn std::error::Error + Send + Sync>;

/// Runs build sandboxes. The three calls come in order, from one thread, for each build.
pub trait BuildRunner {
    /// Makes ids and network of the build sandbox `name` (a DNS label), from which `access` can be reached.
    fn open(&self, name: &str, access: &Access) -> Result<BuildSite, RunnerError>;
    /// Writes the bundle, runs the sandbox to its end, gives every line of its output to `on_line`.
    fn run(
        &self,
        name: &str,
        bundle: &Bundle,
        on_line: &mut dyn FnMut(&str),
    ) -> Result<ExitStatus, RunnerError>;
    /// Removes all that `open` and `run` made; also after a failure of either. Answers what was asked for outside.
    fn close(&self, name: &str) -> Vec<Contact>;
}

/// For whom and with what layers are built.
#[derive(Debug, Clone, Copy)]
pub struct BuildContext<'a> {
    /// The README, for messages.
    pub readme: &'a Path,
    /// Facts of the host.
    pub host: &'a HostFacts,
    /// All toolchains of the host: installers may compile.
    pub toolchains: &'a Toolchains,
    /// pip's, npm's and proxies' settings of the invoking user.
    pub settings: &'a BuildSettings,
    /// Nothing is fetched: a layer of dependencies that is not there is an error, and builds have no network.
    pub offline: bool,
    /// A toolchain of another version than the lock names is an error.
    pub strict: bool,
    /// Hosts that builds may reach besides the package hosts, `name` or `name:port`.
    pub hosts: &'a [String],
    /// Installers are asked which hosts they fetch from, where their configuration does not say.
    pub learn: bool,
}

/// The layers of a recipe: files first, then packages of the distribution, then dependencies, then what is set up with them.
/// Dependencies of which `locked` has a resolution are those; of others the newest that fit. Pure; an error names the
/// toolchain that is missing.
pub fn plan(
    recipe: &Recipe,
    toolchains: &Toolchains,
    settings: &BuildSettings,
    locked: &[Resolution],
) -> Result<Vec<LayerPlan>, Missing> {
    let files = key::files(&recipe.files);
    let mut plans = vec![files.clone()];
    let mut system = None;
    for language in packages::LANGUAGES {
        let below = Below {
            files: &files.key,
            system: system.as_deref(),
        };
        let found = packages::plan(recipe, language, toolchains, below, settings, locked)?;
        if language == Language::System {
            system = found.as_ref().map(|plan| plan.key.clone());
        }
        plans.extend(found);
    }
    let below = Below {
        files: &files.key,
        system: system.as_deref(),
    };
    plans.extend(python_plan(recipe, toolchains, below, settings, locked)?);
    plans.extend(node_plan(recipe, toolchains, below, settings, locked)?);
    if !recipe.setup.is_empty() {
        let below: Vec<&str> = plans.iter().map(|plan| plan.key.as_str()).collect();
        plans.push(setup::plan(&recipe.setup, &below, toolchains, settings));
    }
    Ok(plans)
}

fn fitting(locked: &[Resolution], language: Language, wanted: String) -> Option<&Resolution> {
    let fits = |one: &&Resolution| one.language == language && one.wanted == wanted;
    locked.iter().find(fits)
}

fn python_plan(
    recipe: &Recipe,
    toolchains: &Toolchains,
    below: Below<'_>,
    settings: &BuildSettings,
    locked: &[Resolution],
) -> Result<Option<LayerPlan>, Missing> {
    let requirements = requirements(recipe, DepsLanguage::Python);
    if requirements.is_empty() {
        return Ok(None);
    }
    let programs = (toolchains.python()?, toolchains.get("uv"));
    let locked = fitting(locked, Language::Python, python::wanted(&requirements));
    Ok(Some(python::plan(
        requirements,
        programs,
        below,
        settings,
        locked,
    )))
}

fn node_plan(
    recipe: &Recipe,
    toolchains: &Toolchains,
    below: Below<'_>,
    settings: &BuildSettings,
    locked: &[Resolution],
) -> Result<Option<LayerPlan>, Missing> {
    let Some(packages) = requirements_or_manifest(recipe) else {
        return Ok(None);
    };
    match toolchains.node() {
        Ok((node, _)) => {
            let locked = fitting(locked, Language::Node, node::wanted(&packages, recipe));
            Ok(Some(node::plan(packages, node, recipe, below, settings, locked)))
        }
        // A package.json alone may be there for the run block's own use.
        Err(missing) if !packages.is_empty() => Err(missing),
        Err(_) => Ok(None),
    }
}

/// What a README asks for, by language, with the line where it begins (0 = in a `package.json`) and its digest. Pure.
pub fn wanted(recipe: &Recipe) -> Vec<(Language, usize, String)> {
    let first = |requirements: &[(usize, String)]| requirements.first().map_or(0, |(line, _)| *line);
    let python = requirements(recipe, DepsLanguage::Python);
    let python = (!python.is_empty()).then(|| (Language::Python, first(&python), python::wanted(&python)));
    let node = requirements_or_manifest(recipe)
        .map(|packages| (Language::Node, first(&packages), node::wanted(&packages, recipe)));
    let others = packages::LANGUAGES.into_iter().filter_map(|language| {
        packages::asked(recipe, language).map(|(line, digest)| (language, line, digest))
    });
    python.into_iter().chain(node).chain(others).collect()
}

fn requirements(recipe: &Recipe, language: DepsLanguage) -> Vec<(usize, String)> {
    let blocks = recipe.deps.iter().filter(|block| block.language == language);
    blocks
        .flat_map(|block| block.requirements.iter().cloned())
        .collect()
}

fn requirements_or_manifest(recipe: &Recipe) -> Option<Vec<(usize, String)>> {
    let packages = requirements(recipe, DepsLanguage::Node);
    let manifest = node::manifest(&recipe.files);
    (!packages.is_empty() || manifest.has_dependencies).then_some(packages)
}

#[cfg(test)]
mod tests;
