//! The invoking user's settings of pip, npm, uv, Go, Cargo, Composer, apt's sources, proxies and certificates, for build sandboxes and only there.
//!
//! Reads the caller's environment and configuration files (as root: those of mode 600 too). Nothing here is written
//! to disk but into the bundle of a build, which is root's and in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::caller::Caller;

mod names;
mod sources;
mod tables;
mod values;

/// Where files that only builds see are, inside.
pub(super) const DIRECTORY: &str = "/etc/build";
/// Largest configuration or certificate file that is taken along, in bytes.
const LARGEST: u64 = 4 << 20;

/// What a build gets from the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildSettings {
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Configuration and certificate files: path inside → content.
    pub files: BTreeMap<PathBuf, String>,
    /// Directories of the host that the settings name, visible at the same path.
    pub directories: Vec<PathBuf>,
    /// Remarks for the user.
    pub notices: Vec<String>,
    /// pip's settings that decide what is installed, without credentials.
    pub pip: Vec<String>,
    /// uv's.
    pub uv: Vec<String>,
    /// npm's.
    pub npm: Vec<String>,
    /// Go's.
    pub go: Vec<String>,
    /// Cargo's.
    pub cargo: Vec<String>,
    /// Composer's.
    pub composer: Vec<String>,
    /// Sources of the distribution's packages, and which state of the host they are chosen for.
    pub apt: Vec<String>,
}

/// What only builds with packages of the distribution see of the host besides `/usr`: apt's sources and keys, and the list
/// of installed packages.
pub(super) const APT: [&str; 2] = ["/etc/apt", "/var/lib/dpkg"];

impl BuildSettings {
    /// What decides layers besides the settings of pip, uv and npm.
    pub(super) fn others(&self) -> [&[String]; 3] {
        [&self.go, &self.cargo, &self.composer]
    }
}

/// Configuration files: tool, path below `/` or (with `~/`) below the home directory, path inside, and the variable
/// that names the latter where the tool would not look by itself.
const FILES: [(Tool, &str, &str, Option<&str>); 23] = [
    (Tool::Pip, "/etc/pip.conf", "/etc/pip.conf", None),
    (Tool::Pip, "/etc/xdg/pip/pip.conf", "/etc/xdg/pip/pip.conf", None),
    (
        Tool::Pip,
        "~/.pip/pip.conf",
        "/etc/build/pip.conf",
        Some("PIP_CONFIG_FILE"),
    ),
    (
        Tool::Pip,
        "~/.config/pip/pip.conf",
        "/etc/build/pip.conf",
        Some("PIP_CONFIG_FILE"),
    ),
    (Tool::Npm, "/etc/npmrc", "/etc/npmrc", None),
    (
        Tool::Npm,
        "~/.npmrc",
        "/etc/build/npmrc",
        Some("NPM_CONFIG_USERCONFIG"),
    ),
    (Tool::Uv, "/etc/uv/uv.toml", "/etc/uv/uv.toml", None),
    (
        Tool::Uv,
        "~/.config/uv/uv.toml",
        "/etc/build/uv.toml",
        Some("UV_CONFIG_FILE"),
    ),
    (Tool::Netrc, "~/.netrc", "/etc/build/netrc", Some("NETRC")),
    (
        Tool::Pip,
        "$PIP_CONFIG_FILE",
        "/etc/build/pip.conf",
        Some("PIP_CONFIG_FILE"),
    ),
    (
        Tool::Npm,
        "$NPM_CONFIG_USERCONFIG",
        "/etc/build/npmrc",
        Some("NPM_CONFIG_USERCONFIG"),
    ),
    (Tool::Go, "~/.config/go/env", "/etc/build/goenv", Some("GOENV")),
    (Tool::Go, "$GOENV", "/etc/build/goenv", Some("GOENV")),
    // Their homes are written to: builds copy these into homes of their own.
    (
        Tool::Cargo,
        "~/.cargo/config",
        "/etc/build/cargo/config.toml",
        None,
    ),
    (
        Tool::Cargo,
        "~/.cargo/config.toml",
        "/etc/build/cargo/config.toml",
        None,
    ),
    (
        Tool::Cargo,
        "$CARGO_HOME/config.toml",
        "/etc/build/cargo/config.toml",
        None,
    ),
    (
        Tool::Secret,
        "~/.cargo/credentials.toml",
        "/etc/build/cargo/credentials.toml",
        None,
    ),
    (
        Tool::Secret,
        "$CARGO_HOME/credentials.toml",
        "/etc/build/cargo/credentials.toml",
        None,
    ),
    (
        Tool::Composer,
        "~/.composer/config.json",
        "/etc/build/composer/config.json",
        None,
    ),
    (
        Tool::Composer,
        "~/.config/composer/config.json",
        "/etc/build/composer/config.json",
        None,
    ),
    (
        Tool::Composer,
        "$COMPOSER_HOME/config.json",
        "/etc/build/composer/config.json",
        None,
    ),
    (
        Tool::Secret,
        "~/.config/composer/auth.json",
        "/etc/build/composer/auth.json",
        None,
    ),
    (
        Tool::Secret,
        "$COMPOSER_HOME/auth.json",
        "/etc/build/composer/auth.json",
        None,
    ),
];

/// Whose configuration a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Pip,
    Npm,
    Uv,
    Netrc,
    Go,
    Cargo,
    Composer,
    /// Credentials of one of them.
    Secret,
}

/// The settings of `caller` on this host.
pub fn collect(caller: &Caller) -> BuildSettings {
    let mut settings = BuildSettings::default();
    let mut env = names::environment(&caller.env);
    for (tool, place, inside, variable) in FILES {
        let Some(path) = place_of(place, caller) else {
            continue;
        };
        let Some(text) = read(&path) else { continue };
        take(&mut settings, tool, &text, &mut env, &caller.env);
        settings.files.insert(PathBuf::from(inside), kept(tool, &text));
        if let Some(variable) = variable {
            env.insert(variable.to_owned(), inside.to_owned());
        }
    }
    for (name, value) in &env {
        significant(&mut settings, name, value);
        visible(&mut settings, value);
        notice(&mut settings, name, value);
    }
    settings.env = env.into_iter().collect();
    settings.apt = sources::read();
    for line in settings.apt.clone() {
        visible(&mut settings, &line.replace("file:", ""));
    }
    settings
}

/// What of a configuration file is for builds.
fn kept(tool: Tool, text: &str) -> String {
    match tool {
        Tool::Netrc | Tool::Secret => text.to_owned(),
        Tool::Go => tables::go(text),
        Tool::Cargo => tables::cargo(text),
        Tool::Composer => tables::composer(text),
        Tool::Pip | Tool::Npm | Tool::Uv => values::without_locations(text),
    }
}

/// The environment of `caller` with the proxy that an installer's configuration names, where the environment names none.
pub fn proxies(caller: &Caller) -> IndexMap<String, String> {
    let mut env = caller.env.clone();
    if ["https_proxy", "HTTPS_PROXY"]
        .iter()
        .any(|name| env.contains_key(*name))
    {
        return env;
    }
    let texts = FILES
        .iter()
        .filter_map(|(_, place, ..)| read(&place_of(place, caller)?));
    let files = texts.flat_map(|text| values::assignments(&text));
    let own = caller.env.iter().filter_map(|(name, value)| {
        let name = name.to_lowercase();
        let option = name
            .strip_prefix("pip_")
            .or_else(|| name.strip_prefix("npm_config_"))?;
        Some((option.to_owned(), value.clone()))
    });
    let is_proxy = |name: &str| ["proxy", "https-proxy", "https_proxy"].contains(&name);
    let found = own
        .chain(files)
        .find(|(name, value)| is_proxy(name) && !value.is_empty());
    if let Some((_, proxy)) = found {
        env.entry("http_proxy".to_owned())
            .or_insert_with(|| proxy.clone());
        env.insert("https_proxy".to_owned(), proxy);
    }
    env
}

/// `~/…`, `$VARIABLE`, `$VARIABLE/…` or an absolute path.
fn place_of(place: &str, caller: &Caller) -> Option<PathBuf> {
    if let Some(place) = place.strip_prefix('$') {
        let (name, rest) = place.split_once('/').unwrap_or((place, ""));
        let value = caller
            .env
            .get(name)
            .or_else(|| caller.env.get(&name.to_lowercase()))?;
        return Some(match rest {
            "" => PathBuf::from(value),
            rest => Path::new(value).join(rest),
        });
    }
    Some(
        place
            .strip_prefix("~/")
            .map_or_else(|| PathBuf::from(place), |rest| caller.home.join(rest)),
    )
}

/// A regular file's text; anything else (no such file, a pipe, too large, not text) is no configuration.
fn read(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= LARGEST).then(|| fs::read_to_string(path).ok())?
}

/// What follows from the text of a configuration file.
fn take(
    settings: &mut BuildSettings,
    tool: Tool,
    text: &str,
    env: &mut IndexMap<String, String>,
    caller: &IndexMap<String, String>,
) {
    let known = match tool {
        Tool::Netrc | Tool::Secret => return,
        Tool::Go => Some(&mut settings.go),
        Tool::Cargo => Some(&mut settings.cargo),
        Tool::Composer => Some(&mut settings.composer),
        Tool::Pip | Tool::Npm | Tool::Uv => None,
    };
    if let Some(known) = known {
        // The last of several files is the one that counts.
        known.clone_from(&tables::lines(&kept(tool, text)));
        for line in known.clone() {
            visible(settings, &line.replace('=', " "));
            notice(settings, &format!("{tool:?}"), &line);
        }
        return;
    }
    for (name, value) in values::assignments(text) {
        match tool {
            Tool::Pip if names::decides_pip(&name) => settings.pip.push(values::public(&name, &value)),
            Tool::Npm if names::decides_npm(&name) => settings.npm.push(values::public(&name, &value)),
            Tool::Uv => settings.uv.push(values::public(&name, &value)),
            _ => {}
        }
        visible(settings, &value);
        notice(settings, &name, &value);
    }
    // `${NPM_TOKEN}` in .npmrc: npm fails when the variable is not there.
    for name in values::references(text) {
        if let Some(value) = caller.get(&name) {
            env.insert(name, value.clone());
        }
    }
}

fn significant(settings: &mut BuildSettings, name: &str, value: &str) {
    let lower = name.to_lowercase();
    if let Some(option) = lower
        .strip_prefix("pip_")
        .filter(|option| names::decides_pip(option))
    {
        settings.pip.push(values::public(option, value));
    } else if let Some(option) = lower
        .strip_prefix("npm_config_")
        .filter(|option| names::decides_npm(option))
    {
        settings.npm.push(values::public(option, value));
    } else if let Some(option) = lower
        .strip_prefix("uv_")
        .filter(|option| names::decides_uv(option))
    {
        settings.uv.push(values::public(option, value));
    } else if names::decides_go(name) {
        settings.go.push(values::public(name, value));
    } else if names::decides_cargo(name) {
        settings.cargo.push(values::public(&lower, value));
    }
}

/// Makes what a value names visible: files by a copy (they may be root's), directories by a bind.
fn visible(settings: &mut BuildSettings, value: &str) {
    for path in values::paths(value) {
        if !values::may_appear(&path) || settings.files.contains_key(&path) {
            continue;
        }
        if path.is_dir() {
            if !settings.directories.contains(&path) {
                settings.directories.push(path);
            }
        } else if let Some(text) = read(&path) {
            settings.files.insert(path, text);
        }
    }
}

/// Loopback inside a sandbox is the sandbox's own. A proxy is asked from outside.
fn notice(settings: &mut BuildSettings, name: &str, value: &str) {
    if name.to_lowercase().ends_with("proxy") {
        return;
    }
    if let Some(address) = values::loopback(value) {
        let notice = format!(
            "`{name}` names {address}, which a build sandbox cannot reach: it has a loopback of its own; \
             let that server listen on an address of this host and name that one"
        );
        if !settings.notices.contains(&notice) {
            settings.notices.push(notice);
        }
    }
}

#[cfg(test)]
mod tests;
