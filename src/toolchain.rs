//! Toolchains of the host: where `python3`, `node` and others really are, and what of them a sandbox must see.
//!
//! Reads directories, links and version files. Runs nothing: a program in the invoking user's home is not started as
//! root, and version managers' shims are resolved by what their version files say.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::caller::Caller;

mod shims;

/// A program of the host with what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchain {
    /// The name looked for: `python3`, `node`, `uv`, `go`, …
    pub name: String,
    /// The program itself, no link or shim.
    pub program: PathBuf,
    /// The directory of `program` when it must be in PATH; `None` where the standard PATH has it.
    pub directory: Option<PathBuf>,
    /// What must be bound read-only at the same path; `None` for what every sandbox sees.
    pub bind: Option<PathBuf>,
    /// Changes whenever the program is replaced: path, size, modification time.
    pub identity: String,
}

/// The toolchains that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toolchains {
    /// In the order of [`PROGRAMS`].
    pub found: Vec<Toolchain>,
    /// Directories that were searched, for messages.
    pub searched: Vec<PathBuf>,
}

/// A toolchain that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` was not found in {}", list(.searched))]
pub struct Missing {
    /// The program.
    pub name: &'static str,
    /// Where it was looked for.
    pub searched: Vec<PathBuf>,
    /// How to get it.
    pub remedy: &'static str,
}

/// Programs that run blocks start, most wanted first.
const PROGRAMS: [&str; 18] = [
    "python3", "python", "uv", "node", "npm", "pnpm", "yarn", "deno", "bun", "go", "cargo", "rustc", "java",
    "php", "composer", "ruby", "dotnet", "apt-get",
];

/// Directories that every sandbox sees.
const SYSTEM: [&str; 9] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix",
];
/// Directories of the PATH that every sandbox has.
const STANDARD_PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The toolchains of `caller` for a project in `directory`: the first of each name in PATH.
pub fn discover(caller: &Caller, directory: &Path) -> Toolchains {
    let search = shims::Search { caller, directory };
    let found = PROGRAMS.iter().filter_map(|name| find(name, &search)).collect();
    Toolchains {
        found,
        searched: caller.path.clone(),
    }
}

impl Toolchains {
    /// The toolchain `name`.
    pub fn get(&self, name: &str) -> Option<&Toolchain> {
        self.found.iter().find(|toolchain| toolchain.name == name)
    }

    /// Python 3.
    pub fn python(&self) -> Result<&Toolchain, Missing> {
        let remedy = "install it, for example with `apt install python3 python3-venv`, or with pyenv or uv";
        let python = self.get("python3").or_else(|| self.get("python"));
        python.ok_or_else(|| Missing {
            name: "python3",
            searched: self.searched.clone(),
            remedy,
        })
    }

    /// Node.js together with npm.
    pub fn node(&self) -> Result<(&Toolchain, &Toolchain), Missing> {
        let remedy = "install Node.js with npm, for example with `apt install nodejs npm` or with nvm";
        Ok((self.need("node", remedy)?, self.need("npm", remedy)?))
    }

    /// Go.
    pub fn go(&self) -> Result<&Toolchain, Missing> {
        self.need(
            "go",
            "install Go, for example with `apt install golang-go`, or from go.dev",
        )
    }

    /// Cargo and the compiler that it calls.
    pub fn rust(&self) -> Result<[&Toolchain; 2], Missing> {
        let remedy = "install Rust, for example with `apt install cargo`, or with rustup";
        Ok([self.need("cargo", remedy)?, self.need("rustc", remedy)?])
    }

    /// Composer and PHP, in this order.
    pub fn php(&self) -> Result<[&Toolchain; 2], Missing> {
        let remedy = "install PHP with Composer, for example with `apt install php-cli composer`";
        Ok([self.need("composer", remedy)?, self.need("php", remedy)?])
    }

    /// apt, which fetches packages of the distribution.
    pub fn apt(&self) -> Result<&Toolchain, Missing> {
        let remedy = "system dependencies are Debian packages: they need a host of Debian or one of its kin";
        self.need("apt-get", remedy)
    }

    fn need(&self, name: &'static str, remedy: &'static str) -> Result<&Toolchain, Missing> {
        self.get(name).ok_or_else(|| Missing {
            name,
            searched: self.searched.clone(),
            remedy,
        })
    }

    /// What a sandbox must bind to use them all, each path once.
    pub fn binds(&self) -> Vec<PathBuf> {
        let mut binds: Vec<PathBuf> = self
            .found
            .iter()
            .filter_map(|toolchain| toolchain.bind.clone())
            .collect();
        binds.sort();
        binds.dedup();
        let all = binds.clone();
        binds.retain(|bind| !all.iter().any(|other| other != bind && bind.starts_with(other)));
        binds
    }

    /// What PATH needs in front of the standard directories, each once.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = Vec::new();
        for directory in self
            .found
            .iter()
            .filter_map(|toolchain| toolchain.directory.clone())
        {
            if !directories.contains(&directory) {
                directories.push(directory);
            }
        }
        directories
    }
}

fn find(name: &str, search: &shims::Search<'_>) -> Option<Toolchain> {
    search.caller.path.iter().find_map(|directory| {
        let candidate = directory.join(name);
        if !is_program(&candidate) {
            return None;
        }
        let program = if shims::is_shim(&candidate) {
            search.resolve(name, &candidate)?
        } else {
            candidate
        };
        describe(name, &program, &search.caller.home)
    })
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// `path` may be a link: the sandbox has the program at its real place. Its directory of links (`bin` of a
/// virtualenv or an nvm version) stays in PATH when it lies in the same tree, for the programs beside it.
fn describe(name: &str, path: &Path, home: &Path) -> Option<Toolchain> {
    let program = fs::canonicalize(path).ok()?;
    let metadata = fs::metadata(&program).ok()?;
    let time = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
    let identity = format!("{} {} {time}", program.display(), metadata.size());
    let bind = if is_system(&program) {
        None
    } else {
        Some(tree(&program, path, home))
    };
    let linked = path.parent().and_then(|parent| fs::canonicalize(parent).ok())?;
    let visible = is_system(&linked) || bind.as_ref().is_some_and(|bind| linked.starts_with(bind));
    let directory = if visible {
        linked
    } else {
        program.parent()?.to_owned()
    };
    let standard = STANDARD_PATH
        .iter()
        .any(|known| fs::canonicalize(known).is_ok_and(|known| known == directory));
    Some(Toolchain {
        name: name.to_owned(),
        program,
        directory: (!standard).then_some(directory),
        bind,
        identity,
    })
}

fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
}

/// The directory that holds a whole toolchain: the one above `bin`, unless that is a home directory or a place where
/// many things are; then only the program.
fn tree(program: &Path, linked: &Path, home: &Path) -> PathBuf {
    let above = |path: &Path| {
        let bin = path.parent()?;
        (bin.file_name()? == "bin").then(|| bin.parent().map(Path::to_owned))?
    };
    let broad = |path: &PathBuf| {
        let shared = ["", ".local", ".cargo", "go", "snap"].map(|name| home.join(name));
        path.components().count() < 3 || shared.contains(path) || home.starts_with(path)
    };
    // npm is a link out of `bin` into `lib/node_modules` of the same tree.
    let prefixes = [
        above(linked).and_then(|path| fs::canonicalize(path).ok()),
        above(program),
    ];
    let tree = prefixes
        .into_iter()
        .flatten()
        .find(|prefix| !broad(prefix) && program.starts_with(prefix));
    tree.unwrap_or_else(|| program.to_owned())
}

fn list(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    if paths.is_empty() {
        "an empty PATH".to_owned()
    } else {
        paths.join(", ")
    }
}

#[cfg(test)]
mod tests;
