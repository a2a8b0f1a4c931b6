//! `pactown.lock`: what the READMEs, their dependencies and toolchains were when it was written. Data and text; compares
//! nothing.
//!
//! The text is TOML with one thing a line, sorted, and without anything that differs between two machines that have the
//! same: no times, no paths of a machine, no addresses of mirrors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::registry::version::Selector;

mod check;
mod versions;

/// Its name, beside the ecosystem file.
pub const NAME: &str = "pactown.lock";
/// Version of the format.
const VERSION: u32 = 1;
/// The first lines of the text.
const HEADER: &str =
    "# Written by `pactown lock`. Keep it beside the ecosystem file, in version control; do not edit it.\n";

/// One lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lockfile {
    /// Version of the format: 1.
    pub version: u32,
    /// Architecture and system that the files of the dependencies are for: `x86_64-linux`.
    pub platform: String,
    /// What comes from a registry, by name.
    #[serde(default, rename = "artifact", skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactLock>,
    /// The services, by name.
    #[serde(default, rename = "service", skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceLock>,
}

/// An artifact of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactLock {
    /// `namespace/name`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of its README, `sha256:…`.
    pub digest: String,
    /// What it needs itself: `namespace/name@range`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wants: Vec<String>,
}

impl ArtifactLock {
    /// Where its README is, for an ecosystem file in `directory`. Valid names lead nowhere else.
    pub fn readme(&self, directory: &Path) -> PathBuf {
        let place = directory.join(".pactown/registry").join(&self.name);
        place.join(&self.version).join("README.md")
    }

    /// Whether it is one of those that `selector` accepts; yanked or not, since it is locked.
    pub fn fits(&self, selector: &Selector) -> bool {
        let version = semver::Version::parse(&self.version);
        version.is_ok_and(|version| selector.choose([(&version, false, ())]).is_some())
    }
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceLock {
    /// Its name.
    pub name: String,
    /// Its README, from the ecosystem file's directory.
    pub readme: String,
    /// Digest over the tree of its `rootfs`, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<String>,
    /// The README's blocks, `<label> sha256:<digest>`, in document order.
    pub blocks: Vec<String>,
    /// What its dependencies were resolved to, one for each language.
    #[serde(default, rename = "dependencies", skip_serializing_if = "Vec::is_empty")]
    pub resolutions: Vec<Resolution>,
}

/// Dependencies of one language, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolution {
    /// Whose packages.
    pub language: Language,
    /// Version of the toolchain that resolved them: `3.11.7`.
    pub toolchain: String,
    /// Digest over what the README asks for, `sha256:…`.
    pub wanted: String,
    /// Python and packages of the distribution: requirements with their hashes, sorted. Others: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// Node.js: the text of `package-lock.json`, without the addresses of a registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_lock: Option<String>,
    /// Go, Rust, PHP: the texts of [`Language::lock_files`], by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// Languages whose dependencies are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// pip or uv.
    Python,
    /// npm.
    Node,
    /// Go modules.
    Go,
    /// Cargo.
    Rust,
    /// Composer.
    Php,
    /// Packages of the distribution.
    System,
}

impl Language {
    /// The word for it in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
            Self::Go => "go",
            Self::Rust => "rust",
            Self::Php => "php",
            Self::System => "system",
        }
    }

    /// The files by which its package manager installs the same again, where a lock has them as they are.
    pub fn lock_files(self) -> &'static [&'static str] {
        match self {
            Self::Go => &["go.mod", "go.sum"],
            Self::Rust => &["Cargo.lock"],
            Self::Php => &["composer.json", "composer.lock"],
            Self::Python | Self::Node | Self::System => &[],
        }
    }
}

impl std::fmt::Display for Language {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.word())
    }
}

/// Why a text is no lock file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Damage {
    /// The line, from 1; 0 = the whole file.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl Lockfile {
    /// A lock of these services, sorted, for this machine.
    pub fn new(mut services: Vec<ServiceLock>) -> Self {
        services.sort_by(|one, other| one.name.cmp(&other.name));
        Self {
            version: VERSION,
            platform: platform(),
            artifacts: Vec::new(),
            services,
        }
    }

    /// With these artifacts, sorted.
    pub fn with(mut self, mut artifacts: Vec<ArtifactLock>) -> Self {
        artifacts.sort_by(|one, other| one.name.cmp(&other.name));
        self.artifacts = artifacts;
        self
    }

    /// Where it is for the ecosystem file `file`.
    pub fn beside(file: &Path) -> PathBuf {
        file.with_file_name(NAME)
    }

    /// What it says of a service.
    pub fn service(&self, name: &str) -> Option<&ServiceLock> {
        self.services.iter().find(|service| service.name == name)
    }

    /// What it says of a service's dependencies.
    pub fn resolutions(&self, service: &str) -> &[Resolution] {
        self.service(service)
            .map_or(&[], |service| service.resolutions.as_slice())
    }

    /// The text.
    pub fn text(&self) -> String {
        // Strings, numbers, lists and tables only: there is nothing that TOML could not say.
        let body = toml::to_string_pretty(self).expect("a lock is texts and lists");
        format!("{HEADER}{body}")
    }

    /// Reads a text.
    ///
    /// # Errors
    /// It is no TOML, of another version or shape, or holds what no lock holds.
    pub fn parse(text: &str) -> Result<Self, Damage> {
        #[derive(Deserialize)]
        struct Version {
            version: Option<i64>,
        }
        let damage = |error: toml::de::Error| Damage {
            line: error.span().map_or(0, |span| line_at(text, span.start)),
            message: error.message().trim().replace('\n', ", "),
        };
        let version: Version = toml::from_str(text).map_err(damage)?;
        if version.version != Some(i64::from(VERSION)) {
            let message = match version.version {
                Some(version) => {
                    format!("it has version {version}, and this pactown reads version {VERSION}")
                }
                None => "it says no version".to_owned(),
            };
            return Err(Damage { line: 0, message });
        }
        let lock: Self = toml::from_str(text).map_err(damage)?;
        check::check(&lock, text)?;
        Ok(lock)
    }
}

impl Resolution {
    /// Packages with their versions, or where they come from.
    pub fn versions(&self) -> Vec<(String, String)> {
        let python = self.packages.iter().filter_map(|package| {
            let what = package.split(" --hash=").next()?;
            what.split_once("==").or_else(|| what.split_once(" @ "))
        });
        let lock = self.package_lock.as_deref().unwrap_or_default();
        let lock: serde_json::Value = serde_json::from_str(lock).unwrap_or_default();
        let node = lock.get("packages").and_then(serde_json::Value::as_object);
        let node = node.into_iter().flatten().filter_map(|(path, package)| {
            let name = path.strip_prefix("node_modules/")?.replace("node_modules/", "");
            Some((name, package.get("version")?.as_str()?.to_owned()))
        });
        let owned = |(name, version): (&str, &str)| (name.to_owned(), version.to_owned());
        let files = self
            .files
            .iter()
            .flat_map(|(name, text)| versions::of(name, text));
        python.map(owned).chain(node).chain(files).collect()
    }
}

/// What the files of dependencies on this machine are for.
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// The line, from 1, of the byte `at`.
fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The line, from 1, that holds `part`; 0 when none does. For messages.
pub fn line_of(text: &str, part: &str) -> usize {
    text.find(part).map_or(0, |at| line_at(text, at))
}

#[cfg(test)]
mod tests;
