//! What an installer says that it installed → a resolution that can be written down. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::key;
use crate::lockfile::{Language, Resolution};

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
    let end = rest.find('/').unwrap_or(rest.len());
    let host = rest[..end]
        .rsplit_once('@')
        .map_or(&rest[..end], |(_, host)| host);
    format!("{scheme}://{host}{}", &rest[end..])
}

/// The packages in what `uv pip compile --generate-hashes` writes: a requirement, then its hashes on continued lines.
pub(super) fn of_uv(compiled: &str) -> Vec<String> {
    let joined = compiled.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split(" #").next().unwrap_or(line));
    let mut packages: Vec<String> = lines
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        // The lock is for one platform: a marker has been looked at.
        .map(|line| without_marker(&line))
        .collect();
    packages.sort_by_key(|package| package.to_lowercase());
    packages
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
    let packages = lock.get_mut("packages").and_then(Value::as_object_mut);
    for package in packages.into_iter().flat_map(|packages| packages.values_mut()) {
        anonymous(package);
    }
    // The tree of version 1, kept for older programs: it says the same.
    if let Some(lock) = lock.as_object_mut() {
        lock.remove("dependencies");
        lock.insert("lockfileVersion".to_owned(), Value::from(3));
    }
    let text = serde_json::to_string_pretty(&lock).expect("it was JSON");
    Ok(format!("{text}\n"))
}

fn anonymous(package: &mut Value) {
    let Some(package) = package.as_object_mut() else {
        return;
    };
    let from_registry = package
        .get("resolved")
        .and_then(Value::as_str)
        .is_some_and(|address| address.starts_with("http"));
    if from_registry && package.contains_key("integrity") {
        package.shift_remove("resolved");
    }
}

/// A resolution of `language`.
pub(super) fn new(
    language: Language,
    toolchain: String,
    wanted: String,
    packages: Vec<String>,
    package_lock: Option<String>,
) -> Resolution {
    Resolution {
        language,
        toolchain,
        wanted,
        packages,
        package_lock,
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
            of_uv(text),
            [
                "six==1.16.0 --hash=sha256:aa --hash=sha256:bb",
                "uvicorn==0.3 --hash=sha256:cc"
            ]
        );
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
}
