//! Who asked: the person behind `sudo`, with home and PATH, else the user itself.
//!
//! Reads the process's environment, the password file and which well-known directories exist. Runs nothing: a login
//! shell of an untrusted user is never started as root.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use nix::unistd::{Gid, Uid, User};
use serde::{Deserialize, Serialize};

/// Places in a home directory where version managers and users keep programs; login shells put them into PATH, and
/// `sudo` takes them out again (`secure_path`, sudoers(5)).
const HOME_PROGRAMS: [&str; 11] = [
    "bin",
    ".local/bin",
    ".cargo/bin",
    ".pyenv/shims",
    ".pyenv/bin",
    ".volta/bin",
    ".asdf/shims",
    ".local/share/mise/shims",
    ".bun/bin",
    ".deno/bin",
    "go/bin",
];

/// The PATH of a process without one (execvp(3) uses about the same).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The person (or CI job) behind the command: `sudo`'s invoking user, else the user itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// `SUDO_UID`, else the real uid.
    pub uid: u32,
    /// `SUDO_GID`, else the real gid.
    pub gid: u32,
    /// Login name.
    pub user: String,
    /// Home directory (of the invoking user, also under sudo).
    pub home: PathBuf,
    /// Directories of PATH: the invoking user's login PATH under sudo when it can be learnt, then the process's own.
    pub path: Vec<PathBuf>,
    /// The caller's environment as it came, for the allow-list, `env_passthrough` and the build phase's
    /// pip/npm/proxy settings. Never written to disk.
    pub env: IndexMap<String, String>,
}

impl Caller {
    /// The caller of this process. Names that are not UTF-8 are left out of the environment.
    pub fn detect() -> Self {
        let env = std::env::vars_os().filter_map(utf8).collect();
        Self::from_environment(env, Uid::current().as_raw(), Gid::current().as_raw())
    }

    /// The caller according to `env` of a process whose real ids are `uid` and `gid`. `SUDO_UID` counts only for
    /// root: anybody can set it.
    fn from_environment(env: IndexMap<String, String>, uid: u32, gid: u32) -> Self {
        let sudo = (uid == 0).then(|| sudo_ids(&env)).flatten();
        let (uid, gid) = sudo.unwrap_or((uid, gid));
        let account = User::from_uid(Uid::from_raw(uid)).ok().flatten();
        let user = account
            .as_ref()
            .map_or_else(|| uid.to_string(), |account| account.name.clone());
        let home = match (sudo, env.get("HOME"), account) {
            (None, Some(home), _) if home.starts_with('/') => PathBuf::from(home),
            (_, _, Some(account)) => account.dir,
            _ => PathBuf::from("/"),
        };
        let path = search_path(sudo.is_some().then_some(home.as_path()), env.get("PATH"));
        Self {
            uid,
            gid,
            user,
            home,
            path,
            env,
        }
    }
}

fn utf8((name, value): (OsString, OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

fn sudo_ids(env: &IndexMap<String, String>) -> Option<(u32, u32)> {
    Some((
        env.get("SUDO_UID")?.parse().ok()?,
        env.get("SUDO_GID")?.parse().ok()?,
    ))
}

/// The directories of the login (when `home` is given) that exist, then those of `path`; absolute, each once.
fn search_path(home: Option<&Path>, path: Option<&String>) -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = Vec::new();
    if let Some(home) = home {
        directories.extend(
            HOME_PROGRAMS
                .iter()
                .map(|place| home.join(place))
                .filter(|place| place.is_dir()),
        );
    }
    directories.extend(home.and_then(nvm));
    directories.extend(std::env::split_paths(path.map_or(DEFAULT_PATH, String::as_str)));
    let mut seen = std::collections::HashSet::new();
    directories.retain(|directory| directory.is_absolute() && seen.insert(directory.clone()));
    directories
}

/// The programs of nvm's default version: the latest installed one that its `alias/default` (`20`, `v20.1.0`) begins
/// with, or the latest of all for a name such as `node` or `lts/*`.
fn nvm(home: &Path) -> Option<PathBuf> {
    let root = home.join(".nvm");
    let alias = std::fs::read_to_string(root.join("alias/default")).unwrap_or_default();
    let wanted = alias.trim().trim_start_matches('v');
    let wanted = if wanted.starts_with(|c: char| c.is_ascii_digit()) {
        wanted
    } else {
        ""
    };
    let versions = std::fs::read_dir(root.join("versions/node")).ok()?;
    let numbers = |name: &str| -> Vec<u64> { name.split('.').filter_map(|part| part.parse().ok()).collect() };
    let begins = |name: &str| {
        name.strip_prefix(wanted)
            .is_some_and(|rest| wanted.is_empty() || rest.is_empty() || rest.starts_with('.'))
    };
    versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| {
            Some((
                path.file_name()?.to_str()?.trim_start_matches('v').to_owned(),
                path,
            ))
        })
        .filter(|(name, _)| begins(name))
        .max_by_key(|(name, _)| numbers(name))
        .map(|(_, path)| path.join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> IndexMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn sudo_counts_for_root_only() {
        let pairs = env(&[
            ("SUDO_UID", "4321"),
            ("SUDO_GID", "4322"),
            ("HOME", "/root"),
            ("PATH", "/bin"),
        ]);
        let caller = Caller::from_environment(pairs.clone(), 0, 0);
        assert_eq!((caller.uid, caller.gid), (4321, 4322));
        assert_eq!(caller.user, "4321");
        let caller = Caller::from_environment(pairs, 12, 13);
        assert_eq!((caller.uid, caller.gid), (12, 13));
    }

    #[test]
    fn without_sudo_home_and_path_are_the_process_own() {
        let caller = Caller::from_environment(env(&[("HOME", "/h"), ("PATH", "/b:rel:/a:/b:")]), 0, 0);
        assert_eq!(caller.home, Path::new("/h"));
        assert_eq!(caller.path, [PathBuf::from("/b"), PathBuf::from("/a")]);
        assert_eq!(caller.user, "root");
    }

    #[test]
    fn under_sudo_the_places_of_the_login_come_first() {
        let home = std::env::temp_dir().join(format!("pactown-caller-{}", std::process::id()));
        std::fs::create_dir_all(home.join(".pyenv/shims")).unwrap();
        let path = search_path(Some(&home), Some(&"/usr/bin".to_owned()));
        assert_eq!(path, [home.join(".pyenv/shims"), PathBuf::from("/usr/bin")]);
        std::fs::remove_dir_all(home).unwrap();
    }

    #[test]
    fn nvm_gives_the_version_that_its_default_names() {
        let home = std::env::temp_dir().join(format!("pactown-nvm-{}", std::process::id()));
        let at = |version: &str| home.join(".nvm/versions/node").join(version).join("bin");
        for version in ["v18.20.1", "v20.9.0", "v20.11.0", "v22.1.0"] {
            std::fs::create_dir_all(at(version)).unwrap();
        }
        assert_eq!(nvm(&home), Some(at("v22.1.0")));
        std::fs::create_dir_all(home.join(".nvm/alias")).unwrap();
        std::fs::write(home.join(".nvm/alias/default"), "20\n").unwrap();
        assert_eq!(nvm(&home), Some(at("v20.11.0")));
        std::fs::write(home.join(".nvm/alias/default"), "lts/*\n").unwrap();
        assert_eq!(nvm(&home), Some(at("v22.1.0")));
        std::fs::remove_dir_all(home).unwrap();
    }
}
