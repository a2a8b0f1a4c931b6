//! Shims of version managers → the program of the version that their files name (pyenv, nodenv, asdf, mise, Volta,
//! rustup). Reads version files; runs no shim.

use std::fs;
use std::path::{Path, PathBuf};

use crate::caller::Caller;

/// For whom and where a version is looked up.
pub(super) struct Search<'a> {
    /// Whose environment and home count.
    pub(super) caller: &'a Caller,
    /// The project: its version files, and those above it, win over the user's.
    pub(super) directory: &'a Path,
}

/// Whether `path` is only a stand-in for a program.
pub(super) fn is_shim(path: &Path) -> bool {
    let in_shims = path
        .parent()
        .and_then(Path::file_name)
        .is_some_and(|name| name == "shims");
    in_shims || is_volta(path) || is_rustup(path)
}

fn is_volta(path: &Path) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with(".volta/bin"))
}

/// rustup's proxies are links to one program of that name (or hard links beside it).
fn is_rustup(path: &Path) -> bool {
    let linked =
        fs::canonicalize(path).is_ok_and(|real| real.file_name().is_some_and(|name| name == "rustup"));
    linked
        || (path.parent().is_some_and(|parent| parent.ends_with(".cargo/bin"))
            && path.with_file_name("rustup").exists())
}

impl Search<'_> {
    /// The program `name` behind the shim at `path`; `None` when the manager says "the system's" or nothing.
    pub(super) fn resolve(&self, name: &str, path: &Path) -> Option<PathBuf> {
        if is_volta(path) {
            return self.volta(name);
        }
        if is_rustup(path) {
            return self.rustup(name);
        }
        let root = path.parent()?.parent()?;
        if root.join("versions").is_dir() {
            self.pyenv(name, root)
        } else {
            self.asdf(name, root)
        }
    }

    /// pyenv(1) and its siblings: `PYENV_VERSION`, `.python-version` here or above, `<root>/version`.
    fn pyenv(&self, name: &str, root: &Path) -> Option<PathBuf> {
        let (variable, file) = match name {
            "node" | "npm" | "yarn" | "pnpm" => ("NODENV_VERSION", ".node-version"),
            "ruby" => ("RBENV_VERSION", ".ruby-version"),
            "go" => ("GOENV_VERSION", ".go-version"),
            _ => ("PYENV_VERSION", ".python-version"),
        };
        let global = || fs::read_to_string(root.join("version")).ok();
        let text = self
            .caller
            .env
            .get(variable)
            .cloned()
            .or_else(|| self.upwards(file))
            .or_else(global)?;
        let wanted = text
            .split([':', '\n', ' '])
            .map(str::trim)
            .filter(|word| !word.is_empty() && !word.starts_with('#'));
        wanted
            .filter_map(|version| installed(&root.join("versions"), version))
            .find_map(|tree| program(&tree, name))
    }

    /// asdf and mise: `.tool-versions` here or above, then in the home directory.
    fn asdf(&self, name: &str, root: &Path) -> Option<PathBuf> {
        let plugins: &[&str] = match name {
            "python" | "python3" => &["python"],
            "node" | "npm" => &["nodejs", "node"],
            "go" => &["golang", "go"],
            "cargo" | "rustc" => &["rust"],
            other => &[other],
        };
        let global = || fs::read_to_string(self.caller.home.join(".tool-versions")).ok();
        let text = self.upwards(".tool-versions").or_else(global)?;
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let plugin = words.next().filter(|plugin| plugins.contains(plugin))?;
            let tree = words.find_map(|version| installed(&root.join("installs").join(plugin), version))?;
            program(&tree, name).or_else(|| program(&tree.join("go"), name))
        })
    }

    /// Volta: the default version in `tools/user/platform.json`.
    fn volta(&self, name: &str) -> Option<PathBuf> {
        let tools = self.caller.home.join(".volta/tools");
        let platform = fs::read_to_string(tools.join("user/platform.json")).ok()?;
        let platform: serde_json::Value = serde_json::from_str(&platform).ok()?;
        let version = platform.pointer("/node/runtime")?.as_str()?;
        program(&tools.join("image/node").join(version), name)
    }

    /// rustup: `RUSTUP_TOOLCHAIN`, else `default_toolchain` in `settings.toml`.
    fn rustup(&self, name: &str) -> Option<PathBuf> {
        let home = self
            .caller
            .env
            .get("RUSTUP_HOME")
            .map_or_else(|| self.caller.home.join(".rustup"), PathBuf::from);
        let settings = fs::read_to_string(home.join("settings.toml")).unwrap_or_default();
        let default = settings.lines().find_map(|line| {
            let value = line
                .strip_prefix("default_toolchain")?
                .trim_start()
                .strip_prefix('=')?;
            Some(value.trim().trim_matches('"').to_owned())
        });
        let version = self.caller.env.get("RUSTUP_TOOLCHAIN").cloned().or(default)?;
        installed(&home.join("toolchains"), &version).and_then(|tree| program(&tree, name))
    }

    /// The first file `name` in the project's directory or above it.
    fn upwards(&self, name: &str) -> Option<String> {
        self.directory
            .ancestors()
            .find_map(|directory| fs::read_to_string(directory.join(name)).ok())
    }
}

/// The directory of `version` below `versions`: exactly that one, else the latest that begins with it (`3.12` for
/// `3.12.4`, `stable` for `stable-x86_64-…`).
fn installed(versions: &Path, version: &str) -> Option<PathBuf> {
    if version == "system" || version.contains('/') || version.starts_with('.') {
        return None;
    }
    let exact = versions.join(version);
    if exact.is_dir() {
        return Some(exact);
    }
    let begins = |name: &str| {
        name.strip_prefix(version)
            .is_some_and(|rest| rest.starts_with(['.', '-']))
    };
    let names = fs::read_dir(versions)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let latest = names
        .filter(|name| begins(name))
        .max_by_key(|name| numbers(name))?;
    Some(versions.join(latest))
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

fn program(tree: &Path, name: &str) -> Option<PathBuf> {
    Some(tree.join("bin").join(name)).filter(|path| path.is_file())
}
