//! Values of installers' settings: paths and addresses in them, and what must not be shown or kept. Pure.

use std::path::{Component, Path, PathBuf};

/// `name = value` lines of pip.conf, .npmrc and (simple) uv.toml; indented lines continue the value before (pip).
pub(super) fn assignments(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.trim_start().starts_with(['#', ';', '[']))
    {
        match (line.split_once('='), found.last_mut()) {
            (_, Some((_, value))) if line.starts_with([' ', '\t']) => {
                value.push(' ');
                value.push_str(line.trim());
            }
            (Some((name, value)), _) => {
                let quotes = ['"', '\''];
                found.push((
                    name.trim().to_owned(),
                    value.trim().trim_matches(quotes).to_owned(),
                ));
            }
            _ => {}
        }
    }
    found
}

/// The text without the settings that name places of the installer's own.
pub(super) fn without_locations(text: &str) -> String {
    let is_location = |line: &str| {
        let name = line.split_once('=').map_or("", |(name, _)| name).trim();
        super::names::is_location(name)
    };
    text.lines()
        .filter(|line| !is_location(line))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// Names in `${NAME}`.
pub(super) fn references(text: &str) -> Vec<String> {
    let parts = text.split("${").skip(1);
    parts
        .filter_map(|part| part.split_once('}'))
        .map(|(name, _)| name.trim_end_matches('?').to_owned())
        .collect()
}

/// `name=value` with user names and passwords taken out of addresses.
pub(super) fn public(name: &str, value: &str) -> String {
    let words: Vec<String> = value.split_whitespace().map(without_credentials).collect();
    format!("{name}={}", words.join(" "))
}

fn without_credentials(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end]
        .rsplit_once('@')
        .map_or(&rest[..end], |(_, host)| host);
    format!("{scheme}://{host}{}", &rest[end..])
}

/// Absolute paths in a value, also as `file://` addresses.
pub(super) fn paths(value: &str) -> Vec<PathBuf> {
    let words = value.split(|c: char| c.is_whitespace() || ",\"'[]".contains(c));
    let plain = words.map(|word| word.strip_prefix("file://").unwrap_or(word));
    plain
        .filter(|word| word.starts_with('/') && word.len() > 1)
        .map(PathBuf::from)
        .collect()
}

/// Whether a path of the host may appear in a build at the same place: it is not seen anyway, is no system
/// directory, and hides nothing of the sandbox's own.
pub(super) fn may_appear(path: &Path) -> bool {
    let seen = [
        "/usr",
        "/bin",
        "/sbin",
        "/lib",
        "/lib64",
        "/opt",
        "/nix",
        "/etc/ssl",
        "/etc/pki",
        "/etc/ca-certificates",
    ];
    let never = [
        "/proc",
        "/sys",
        "/dev",
        "/run",
        "/app",
        "/home/app",
        super::DIRECTORY,
    ];
    let broad = [
        "/etc", "/home", "/root", "/var", "/tmp", "/srv", "/mnt", "/media", "/boot", "/var/tmp",
    ];
    let clean = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    clean
        && !seen.iter().chain(&never).any(|known| path.starts_with(known))
        && !broad.iter().any(|known| path == Path::new(known))
}

/// The address in `value` whose host is this machine's loopback.
pub(super) fn loopback(value: &str) -> Option<String> {
    value.split_whitespace().find_map(|word| {
        let (_, rest) = word.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let address = authority
            .rsplit_once('@')
            .map_or(authority, |(_, address)| address);
        let local = ["localhost", "127.", "[::1]"]
            .iter()
            .any(|host| address.starts_with(host));
        local.then(|| address.to_owned())
    })
}
