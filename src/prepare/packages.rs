//! Layers of package managers whose own files say what is wanted and what was chosen: Go modules, crates, Composer
//! packages, and packages of the distribution. Pure.
//!
//! What is fetched and compiled for a layer lies in it and nowhere else, under a key over everything that decides it. So it
//! is shared, read-only, by every build and service that asks for the same, and no build can put anything into another's.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BuildSettings, Content, LayerPlan, key, resolution};
use crate::lockfile::{Language, Resolution};
use crate::markpact::Recipe;
use crate::markpact::recipe::{DepsLanguage, FileBlock};
use crate::toolchain::{Missing, Toolchain, Toolchains};

pub(super) mod go;
pub(super) mod php;
pub(super) mod rust;
pub(super) mod system;

/// Where a build finds files that are not the README's.
const DIRECTORY: &str = "/etc/build";

/// What one package manager installs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packages {
    /// Whose packages.
    pub language: Language,
    /// Requirements of `deps` blocks with their line in the README.
    pub requirements: Vec<(usize, String)>,
    /// Line of the README where they begin.
    pub line: usize,
    /// The programs that install; the first one is asked.
    pub programs: Vec<Toolchain>,
    /// Digest over what the README asks for.
    pub wanted: String,
    /// What is installed, when it is locked.
    pub locked: Option<Resolution>,
    /// Arguments of the build's script.
    pub args: Vec<String>,
    /// Files of the build: path inside, content.
    pub files: Vec<(PathBuf, String)>,
}

/// What the README's own files say to a package manager.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Own {
    /// They name dependencies.
    pub(super) has_dependencies: bool,
    /// Installing reads further files of the README.
    pub(super) reads_files: bool,
}

/// Keys of the layers that a build stands on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Below<'a> {
    /// That of the README's files.
    pub(super) files: &'a str,
    /// That of the distribution's packages.
    pub(super) system: Option<&'a str>,
}

impl Below<'_> {
    /// What of them decides a layer that reads the README's files, or does not.
    pub(super) fn key(&self, reads_files: bool) -> Option<String> {
        let keys = [reads_files.then_some(self.files), self.system];
        let keys: Vec<&str> = keys.into_iter().flatten().collect();
        (!keys.is_empty()).then(|| keys.join("+"))
    }
}

/// The languages with layers of this kind, those of the distribution first: others may be compiled with them.
pub(super) const LANGUAGES: [Language; 4] = [Language::System, Language::Go, Language::Rust, Language::Php];

/// The plan of the layer of `language`; `None`: the README asks for nothing of it. `locked` is what an earlier build chose,
/// by the digest over what is asked for.
pub(super) fn plan(
    recipe: &Recipe,
    language: Language,
    toolchains: &Toolchains,
    below: Below<'_>,
    settings: &BuildSettings,
    locked: &[Resolution],
) -> Result<Option<LayerPlan>, Missing> {
    let requirements = super::requirements(recipe, deps(language));
    let own = own(language, &recipe.files);
    if requirements.is_empty() && !own.has_dependencies {
        return Ok(None);
    }
    let programs: Vec<Toolchain> = match (programs(language, toolchains), requirements.is_empty()) {
        (Ok(programs), _) => programs.into_iter().cloned().collect(),
        // A manifest alone may be there for the run block's own use.
        (Err(_), true) => return Ok(None),
        (Err(missing), false) => return Err(missing),
    };
    let wanted = wanted(&requirements, language, recipe);
    let fits = |one: &&Resolution| one.language == language && one.wanted == wanted;
    let locked = locked.iter().find(fits).cloned();
    let mut files = generated(language, recipe, &requirements);
    files.extend(locked.iter().flat_map(|locked| replayed(language, locked)));
    let identities: Vec<&String> = programs.iter().map(|program| &program.identity).collect();
    let configured = match locked {
        Some(_) => &[],
        None => configured(language, settings),
    };
    let kind = language.to_string();
    let key = key::of(
        &kind,
        &(
            (&wanted, &files, &identities),
            configured,
            below.key(own.reads_files),
        ),
    );
    Ok(Some(LayerPlan {
        key,
        content: Content::Packages(Packages {
            language,
            line: line(&requirements, language, recipe),
            args: args(language, &requirements, own, recipe),
            requirements,
            programs,
            wanted,
            locked,
            files,
        }),
    }))
}

/// What the README asks for: the line where it begins, and the digest. `None`: nothing.
pub(super) fn asked(recipe: &Recipe, language: Language) -> Option<(usize, String)> {
    let requirements = super::requirements(recipe, deps(language));
    let asks = !requirements.is_empty() || own(language, &recipe.files).has_dependencies;
    asks.then(|| {
        (
            line(&requirements, language, recipe),
            wanted(&requirements, language, recipe),
        )
    })
}

/// Arguments of the build sandbox.
pub(super) fn command(packages: &Packages) -> Vec<String> {
    let script = match packages.language {
        Language::Go => go::SCRIPT,
        Language::Rust => rust::SCRIPT,
        Language::Php => php::SCRIPT,
        _ => system::SCRIPT,
    };
    let fixed = ["/bin/sh", "-c", script, "sh"].map(str::to_owned);
    fixed.into_iter().chain(packages.args.iter().cloned()).collect()
}

fn deps(language: Language) -> DepsLanguage {
    match language {
        Language::Python => DepsLanguage::Python,
        Language::Node => DepsLanguage::Node,
        Language::Go => DepsLanguage::Go,
        Language::Rust => DepsLanguage::Rust,
        Language::Php => DepsLanguage::Php,
        Language::System => DepsLanguage::System,
    }
}

fn programs(language: Language, toolchains: &Toolchains) -> Result<Vec<&Toolchain>, Missing> {
    match language {
        Language::Go => Ok(vec![toolchains.go()?]),
        Language::Rust => toolchains.rust().map(Vec::from),
        Language::Php => toolchains.php().map(Vec::from),
        _ => Ok(vec![toolchains.apt()?]),
    }
}

/// Files of the README that the manager reads.
fn names(language: Language) -> &'static [&'static str] {
    match language {
        Language::Go => &go::OWN,
        Language::Rust => &rust::OWN,
        Language::Php => &php::OWN,
        _ => &[],
    }
}

fn own(language: Language, files: &[FileBlock]) -> Own {
    match language {
        Language::Go => go::own(files),
        Language::Rust => rust::own(files),
        Language::Php => php::own(files),
        _ => Own::default(),
    }
}

fn generated(
    language: Language,
    recipe: &Recipe,
    requirements: &[(usize, String)],
) -> Vec<(PathBuf, String)> {
    match language {
        Language::Rust => rust::generated(recipe, requirements),
        _ => Vec::new(),
    }
}

fn args(language: Language, requirements: &[(usize, String)], own: Own, recipe: &Recipe) -> Vec<String> {
    let place = if own.reads_files { "files" } else { "apart" };
    let with = |rest: Vec<String>| std::iter::once(place.to_owned()).chain(rest).collect();
    match language {
        Language::Go => with(go::args(requirements, recipe)),
        Language::Rust => {
            let name = rust::name(recipe);
            with(std::iter::once(name).chain(rust::stubs(recipe)).collect())
        }
        Language::Php => php::args(requirements),
        _ => system::args(requirements),
    }
}

fn configured(language: Language, settings: &BuildSettings) -> &[String] {
    match language {
        Language::Go => &settings.go,
        Language::Rust => &settings.cargo,
        Language::Php => &settings.composer,
        _ => &settings.apt,
    }
}

fn wanted(requirements: &[(usize, String)], language: Language, recipe: &Recipe) -> String {
    let texts: Vec<&str> = requirements.iter().map(|(_, text)| text.as_str()).collect();
    let own = recipe.files.iter();
    let own: Vec<(&String, &String)> = own
        .filter(|file| names(language).contains(&file.path.as_str()))
        .map(|file| (&file.path, &file.content))
        .collect();
    resolution::wanted(&(texts, own))
}

fn line(requirements: &[(usize, String)], language: Language, recipe: &Recipe) -> usize {
    let of_manifest = || {
        let manifest = deps(language).manifest();
        let file = recipe
            .files
            .iter()
            .find(|file| Some(file.path.as_str()) == manifest);
        file.map_or(0, |file| file.lines.first)
    };
    requirements.first().map_or_else(of_manifest, |(line, _)| *line)
}

/// The files of a locked build.
fn replayed(language: Language, locked: &Resolution) -> Vec<(PathBuf, String)> {
    let at = |name: &str| Path::new(DIRECTORY).join(name);
    if language == Language::System {
        let lines = locked.packages.iter().map(|line| format!("{line}\n"));
        return vec![(at(system::LOCKED), lines.collect())];
    }
    let files = locked.files.iter();
    files.map(|(name, text)| (at(name), text.clone())).collect()
}

/// The text of a README's file.
fn text_of<'f>(files: &'f [FileBlock], path: &str) -> Option<&'f str> {
    let file = files.iter().find(|file| file.path == path);
    file.map(|file| file.content.as_str())
}

#[cfg(test)]
mod tests;
