//! What an installer says that it installed → a resolution that can be written down. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::key;
use crate::lockfile::{Language, Resolution};

/// Where a package names what it depends on (package.json(5)).
const GROUPS: [&str; 4] = [
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
];

/// Why a report gives no resolution.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unresolved(pub(super) String);

/// `sha256:…` over `wanted`, what a README asks for.
pub(super) fn wanted(wanted: &impl serde::Serialize) -> String {
    let bytes = serde_json::to_vec(wanted).expect("what is wanted is texts");
    format!("sha256:{}", key::hex(&bytes))
}

/// pip's installation report (pip documentation, "Installation Report"), format version 1.
#[derive(Deserialize)]
struct Report {
    version: String,
    install: Vec<Installed>,
}

#[derive(Deserialize)]
struct Installed {
    download_info: Origin,
    #[serde(default)]
    is_direct: bool,
    metadata: Metadata,
}

/// Where it came from: direct_url.json of the PyPA specifications.
#[derive(Deserialize)]
struct Origin {
    url: String,
    archive_info: Option<Archive>,
    vcs_info: Option<Commit>,
    subdirectory: Option<String>,
}

#[derive(Deserialize)]
struct Archive {
    #[serde(default)]
    hashes: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Commit {
    vcs: String,
    commit_id: String,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    version: String,
}

/// The packages of a report, as requirements that install the same again.
pub(super) fn of_pip(report: &str) -> Result<Vec<String>, Unresolved> {
    let report: Report = serde_json::from_str(report)
        .map_err(|error| Unresolved(format!("pip's report is not understood: {error}")))?;
    if report.version != "1" {
        return Err(Unresolved(format!("pip's report has version {}", report.version)));
    }
    let mut packages: Vec<String> = report.install.iter().map(one).collect::<Result<_, _>>()?;
    packages.sort_by_key(|package| package.to_lowercase());
    Ok(packages)
}

fn one(installed: &Installed) -> Result<String, Unresolved> {
    let (origin, metadata) = (&installed.download_info, &installed.metadata);
    let hash = origin
        .archive_info
        .as_ref()
        .and_then(|archive| archive.hashes.get("sha256"))
        .map(|hash| format!(" --hash=sha256:{hash}"));
    let url = without_credentials(&origin.url);
    let part = origin
        .subdirectory
        .as_ref()
        .map_or(String::new(), |part| format!("#subdirectory={part}"));
    match (&origin.vcs_info, hash) {
        (Some(commit), _) => Ok(format!(
            "{} @ {}+{url}@{}{part}",
            metadata.name, commit.vcs, commit.commit_id
        )),
        (None, Some(hash)) if installed.is_direct => Ok(format!("{} @ {url}{part}{hash}", metadata.name)),
        (None, Some(hash)) => Ok(format!("{}=={}{hash}", metadata.name, metadata.version)),
        // A directory of the README: its content is the blocks'.
        (None, None) if origin.archive_info.is_none() => Ok(format!("{} @ {url}", metadata.name)),
        (None, None) => Err(Unresolved(format!("pip knows no hash of {}", metadata.name))),
    }
}

fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        // Whom to be there is part of an address of SSH, and no secret.
        Some((who, host)) if scheme.ends_with("ssh") => {
            let user = who.split(':').next().unwrap_or(who);
            format!("{scheme}://{user}@{host}{path}")
        }
        Some((_, host)) => format!("{scheme}://{host}{path}"),
        None => url.to_owned(),
    }
}

/// The packages in what `uv pip compile --generate-hashes` writes: a requirement, then its hashes on continued lines.
/// Options that name an index are left out: whoever installs again has their own.
pub(super) fn of_uv(compiled: &str) -> Result<Vec<String>, Unresolved> {
    let joined = compiled.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split(" #").next().unwrap_or(line));
    let mut packages: Vec<String> = lines
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .map(|line| match line.split_once(' ') {
            Some(("-e" | "--editable", what)) => what.to_owned(),
            _ => line,
        })
        .filter(|line| !line.is_empty() && !line.starts_with('-'))
        .map(|line| compiled_one(&line))
        .collect::<Result<_, _>>()?;
    packages.sort_by_key(|package| package.to_lowercase());
    Ok(packages)
}

/// One line of it. uv repeats paths and addresses as they were given: with passwords, and without a name.
fn compiled_one(line: &str) -> Result<String, Unresolved> {
    // The lock is for one platform: a marker has been looked at.
    let line = without_marker(line);
    let (what, hashes) = line.split_at(line.find(" --hash=").unwrap_or(line.len()));
    if let Some((name, address)) = what.split_once(" @ ") {
        return Ok(format!("{name} @ {}{hashes}", absolute(address)));
    }
    if what.contains("==") && !what.contains('/') {
        return Ok(line);
    }
    let address = absolute(what);
    let name = name_of_file(&address).ok_or_else(|| {
        Unresolved(format!(
            "uv does not say which package is in `{address}`: write it as `name @ {address}`"
        ))
    })?;
    Ok(format!("{name} @ {address}{hashes}"))
}

/// An address without credentials; of a path, which is relative to `/app`, the one that leads there.
fn absolute(what: &str) -> String {
    if what.contains("://") {
        return without_credentials(what);
    }
    let path = what.strip_prefix("file:").unwrap_or(what);
    let mut parts: Vec<&str> = Vec::new();
    for part in [crate::spec::APP, path]
        .into_iter()
        .skip(usize::from(path.starts_with('/')))
        .flat_map(|path| path.split('/'))
    {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("file:///{}", parts.join("/"))
}

/// The package in a wheel or an archive of sources, whose names say it (PyPA specifications, "Binary distribution format"
/// and "Source distribution format").
fn name_of_file(address: &str) -> Option<&str> {
    let path = address.split(['#', '?']).next()?;
    let file = path.rsplit('/').next()?;
    let name = match file.strip_suffix(".whl") {
        Some(wheel) => wheel.split_once('-')?.0,
        None => file.strip_suffix(".tar.gz")?.rsplit_once('-')?.0,
    };
    (!name.is_empty()).then_some(name)
}

fn without_marker(line: &str) -> String {
    let (what, hashes) = match line.split_once(" --hash=") {
        Some((what, hashes)) => (what, format!(" --hash={hashes}")),
        None => (line, String::new()),
    };
    let what = what.split(" ;").next().unwrap_or(what).trim_end();
    // `name[extra]==1`: the extras' own packages have lines of their own.
    let what = match (what.find('['), what.find(']')) {
        (Some(open), Some(close)) if open < close && !what[..open].contains('@') => {
            format!("{}{}", &what[..open], &what[close + 1..])
        }
        _ => what.to_owned(),
    };
    format!("{what}{hashes}")
}

/// A `package-lock.json` without the addresses from which its packages came, where their hashes are known: npm then asks
/// the registry that is configured.
pub(super) fn of_npm(lock: &str) -> Result<String, Unresolved> {
    let mut lock: Value = serde_json::from_str(lock)
        .map_err(|error| Unresolved(format!("npm's package-lock.json is not understood: {error}")))?;
    let version = lock.get("lockfileVersion").and_then(Value::as_u64);
    if !matches!(version, Some(2 | 3)) {
        return Err(Unresolved(
            "npm wrote a package-lock.json of a version before 2: npm 7 or later is needed".to_owned(),
        ));
    }
    let packages = || lock.get("packages").and_then(Value::as_object);
    let specifiers = packages().into_iter().flat_map(|packages| packages.values());
    // What was asked for by its address is had from nowhere else.
    let asked: BTreeSet<String> = specifiers
        .flat_map(|package| GROUPS.iter().filter_map(|group| package.get(group)?.as_object()))
        .flat_map(|group| group.values().filter_map(Value::as_str))
        .map(without_credentials)
        .collect();
    let packages = lock.get_mut("packages").and_then(Value::as_object_mut);
    for package in packages.into_iter().flat_map(|packages| packages.values_mut()) {
        anonymous(package, &asked);
    }
    // The tree of version 1, kept for older programs: it says the same.
    if let Some(lock) = lock.as_object_mut() {
        lock.remove("dependencies");
        lock.insert("lockfileVersion".to_owned(), Value::from(3));
    }
    let text = serde_json::to_string_pretty(&lock).expect("it was JSON");
    Ok(format!("{text}\n"))
}

fn anonymous(package: &mut Value, asked: &BTreeSet<String>) {
    without_passwords(package);
    let Some(package) = package.as_object_mut() else {
        return;
    };
    let Some(address) = package.get("resolved").and_then(Value::as_str) else {
        return;
    };
    let address = without_credentials(address);
    let from_registry = address.starts_with("http") && !asked.contains(&address);
    if from_registry && package.contains_key("integrity") {
        package.shift_remove("resolved");
    } else {
        package.insert("resolved".to_owned(), Value::from(address));
    }
}

/// Where dependencies are named by their addresses, in a `package.json` or a part of a `package-lock.json`: those
/// without credentials.
pub(super) fn without_passwords(package: &mut Value) {
    for group in GROUPS {
        let named = package.get_mut(group).and_then(Value::as_object_mut);
        for wanted in named.into_iter().flat_map(|named| named.values_mut()) {
            if let Some(text) = wanted.as_str() {
                *wanted = Value::from(without_credentials(text));
            }
        }
    }
}

/// What an installer chose, each in its own form.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    /// Requirements with their hashes.
    pub(super) packages: Vec<String>,
    /// `package-lock.json`.
    pub(super) package_lock: Option<String>,
    /// Lock files by name.
    pub(super) files: BTreeMap<String, String>,
}

/// A resolution of `language`.
pub(super) fn new(language: Language, toolchain: String, wanted: String, chosen: Chosen) -> Resolution {
    Resolution {
        language,
        toolchain,
        wanted,
        packages: chosen.packages,
        package_lock: chosen.package_lock,
        files: chosen.files,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_pip_becomes_requirements_that_install_the_same() {
        let report = r#"{"version": "1", "pip_version": "23.2.1", "install": [
            {"download_info": {"url": "https://u:p@index.example/six-1.16.0.whl", "archive_info": {"hash": "sha256=aa", "hashes": {"sha256": "aa"}}},
             "is_direct": false, "metadata": {"name": "six", "version": "1.16.0"}},
            {"download_info": {"url": "https://u:p@files.example/Direct-2.whl", "archive_info": {"hashes": {"sha256": "bb"}}},
             "is_direct": true, "metadata": {"name": "Direct", "version": "2"}},
            {"download_info": {"url": "file:///app/lib", "dir_info": {}}, "is_direct": true, "metadata": {"name": "lib", "version": "0"}},
            {"download_info": {"url": "https://git.example/a", "subdirectory": "py", "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": "cc"}},
             "is_direct": true, "metadata": {"name": "a", "version": "0"}}]}"#;
        assert_eq!(
            of_pip(report).unwrap(),
            [
                "a @ git+https://git.example/a@cc#subdirectory=py",
                "Direct @ https://files.example/Direct-2.whl --hash=sha256:bb",
                "lib @ file:///app/lib",
                "six==1.16.0 --hash=sha256:aa",
            ]
        );
        assert!(of_pip(&report.replace("\"version\": \"1\"", "\"version\": \"9\"")).is_err());
        assert!(of_pip("{}").is_err());
    }

    #[test]
    fn what_uv_compiles_is_one_line_a_package() {
        let text = "six==1.16.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via x\n# a comment\nuvicorn[standard]==0.3 ; python_version > '3' \\\n    --hash=sha256:cc\n";
        assert_eq!(
            of_uv(text).unwrap(),
            [
                "six==1.16.0 --hash=sha256:aa --hash=sha256:bb",
                "uvicorn==0.3 --hash=sha256:cc"
            ]
        );
    }

    #[test]
    fn what_uv_compiles_has_no_options_no_bare_paths_and_no_passwords() {
        let text = "--index-url https://u:p@index.example/simple\n--find-links ./wheels\nlib @ ./lib\n-e tool @ file:///app/tool\n./wheels/greet-1.0-py3-none-any.whl \\\n    --hash=sha256:aa\n../up/sdist-name-2.tar.gz\nhttps://u:p@files.example/direct-2-py3-none-any.whl \\\n    --hash=sha256:bb\na @ git+https://u:p@git.example/a@cc\nb @ git+ssh://git:p@git.example/b@dd\n";
        assert_eq!(
            of_uv(text).unwrap(),
            [
                "a @ git+https://git.example/a@cc",
                "b @ git+ssh://git@git.example/b@dd",
                "direct @ https://files.example/direct-2-py3-none-any.whl --hash=sha256:bb",
                "greet @ file:///app/wheels/greet-1.0-py3-none-any.whl --hash=sha256:aa",
                "lib @ file:///app/lib",
                "sdist-name @ file:///up/sdist-name-2.tar.gz",
                "tool @ file:///app/tool",
            ]
        );
        for nameless in ["-e ./lib[extra]", "/app/lib", "https://u:p@git.example/lib"] {
            let error = of_uv(nameless).unwrap_err().to_string();
            assert!(error.contains("write it as `name @ "), "{nameless}: {error}");
            assert!(!error.contains("u:p"), "{error}");
        }
    }

    #[test]
    fn a_lock_of_npm_loses_the_registry_and_keeps_the_rest() {
        let lock = r#"{"name": "app", "lockfileVersion": 2, "packages": {"": {"dependencies": {"a": "1"}},
            "node_modules/a": {"version": "1.0.0", "resolved": "https://r.example/a.tgz", "integrity": "sha512-x", "bin": {"a": "a"}},
            "node_modules/g": {"version": "1.0.0", "resolved": "git+ssh://git@h.example/g.git#c"}}, "dependencies": {"a": {}}}"#;
        let kept: Value = serde_json::from_str(&of_npm(lock).unwrap()).unwrap();
        assert_eq!(kept["packages"]["node_modules/a"]["integrity"], "sha512-x");
        assert_eq!(kept["packages"]["node_modules/a"].get("resolved"), None);
        assert_eq!(
            kept["packages"]["node_modules/g"]["resolved"],
            "git+ssh://git@h.example/g.git#c"
        );
        assert_eq!(
            (&kept["lockfileVersion"], kept.get("dependencies")),
            (&Value::from(3), None)
        );
        assert!(of_npm(r#"{"lockfileVersion": 1}"#).is_err());
    }

    #[test]
    fn a_lock_of_npm_keeps_the_addresses_that_were_asked_for_and_no_password() {
        let lock = r#"{"lockfileVersion": 3, "packages": {
            "": {"dependencies": {"a": "https://u:p@files.example/a.tgz", "b": "^1"}},
            "node_modules/a": {"version": "1.0.0", "resolved": "https://u:p@files.example/a.tgz", "integrity": "sha512-x",
                               "dependencies": {"c": "https://files.example/c.tgz"}},
            "node_modules/b": {"version": "1.0.0", "resolved": "https://u:p@r.example/b.tgz", "integrity": "sha512-y"},
            "node_modules/c": {"version": "1.0.0", "resolved": "https://files.example/c.tgz", "integrity": "sha512-z"},
            "node_modules/d": {"version": "1.0.0", "resolved": "https://u:p@r.example/d.tgz"}}}"#;
        let text = of_npm(lock).unwrap();
        let kept: Value = serde_json::from_str(&text).unwrap();
        let of = |path: &str| kept["packages"][path]["resolved"].as_str().map(str::to_owned);
        let files = |name: &str| Some(format!("https://files.example/{name}.tgz"));
        assert_eq!(of("node_modules/a"), files("a"));
        assert_eq!(of("node_modules/b"), None);
        assert_eq!(of("node_modules/c"), files("c"));
        assert_eq!(of("node_modules/d"), Some("https://r.example/d.tgz".to_owned()));
        assert_eq!(
            kept["packages"][""]["dependencies"],
            serde_json::json!({"a": "https://files.example/a.tgz", "b": "^1"})
        );
        assert!(!text.contains("u:p"), "{text}");
    }
}
