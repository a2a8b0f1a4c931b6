//! The Node.js layer: what is installed how. Pure.

use std::path::PathBuf;

use serde_json::Value;

use super::packages::Below;
use super::{BuildSettings, Content, LayerPlan, key, resolution};
use crate::lockfile::Resolution;
use crate::markpact::Recipe;
use crate::markpact::recipe::FileBlock;
use crate::toolchain::Toolchain;

/// The packages, inside.
pub(super) const MODULES: &str = "/app/node_modules";

/// What a README's own `package.json` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// It names dependencies.
    pub(super) has_dependencies: bool,
    /// Its packages or install scripts read other files of the README.
    reads_files: bool,
}

/// Scripts that `npm install` runs (npm-scripts(7)).
const INSTALL_SCRIPTS: [&str; 6] = [
    "preinstall",
    "install",
    "postinstall",
    "prepublish",
    "preprepare",
    "prepare",
];

/// What the `file` blocks say about packages. A damaged package.json is npm's to report.
pub(super) fn manifest(files: &[FileBlock]) -> Manifest {
    let Some(file) = files.iter().find(|file| file.path == "package.json") else {
        return Manifest::default();
    };
    let value: serde_json::Value = serde_json::from_str(&file.content).unwrap_or_default();
    let groups = ["dependencies", "devDependencies", "optionalDependencies"];
    let packages = || {
        groups
            .iter()
            .filter_map(|group| value.get(group)?.as_object())
            .flatten()
    };
    let local = |version: &serde_json::Value| {
        version.as_str().is_some_and(|text| {
            text.starts_with("file:") || text.starts_with("link:") || text.starts_with('.')
        })
    };
    let scripts = |name: &&str| value.pointer(&format!("/scripts/{name}")).is_some();
    Manifest {
        has_dependencies: packages().next().is_some(),
        reads_files: packages().any(|(_, version)| local(version))
            || INSTALL_SCRIPTS.iter().any(scripts)
            || value.get("workspaces").is_some(),
    }
}

/// Files of the README that npm reads.
const OWN: [&str; 4] = [
    "package.json",
    "package-lock.json",
    "npm-shrinkwrap.json",
    ".npmrc",
];

/// Why nothing can be locked that this npm installed.
pub(super) const NO_LOCK: &str = "npm wrote no package-lock.json: npm 7 or later is needed, and no `package-lock=false` in its configuration";

/// Where a locked build finds its `package.json` and `package-lock.json`.
const MANIFEST: &str = "/etc/build/package.json";
const LOCK: &str = "/etc/build/package-lock.json";

/// The plan of the layer. `locked` is what the dependencies were resolved to, when they are still the same.
pub(super) fn plan(
    packages: Vec<(usize, String)>,
    node: &Toolchain,
    recipe: &Recipe,
    below: Below<'_>,
    settings: &BuildSettings,
    locked: Option<&Resolution>,
) -> LayerPlan {
    let manifest = manifest(&recipe.files);
    let names: Vec<&str> = packages.iter().map(|(_, text)| text.as_str()).collect();
    let reads_files = manifest.reads_files
        || names
            .iter()
            .any(|name| name.starts_with(['.', '/']) || name.contains("file:"));
    let files = below.key(reads_files);
    let own = own(recipe);
    let key = match locked {
        Some(locked) => key::of(
            "node-locked",
            &(&locked.package_lock, &names, &own, &node.identity, files),
        ),
        None => key::of("node", &(&names, &own, &node.identity, &settings.npm, files)),
    };
    LayerPlan {
        key,
        content: Content::Node {
            wanted: wanted(&packages, recipe),
            files: locked.map_or_else(Vec::new, |locked| replay(&packages, recipe, locked)),
            packages,
            node: node.clone(),
            locked: locked.cloned(),
        },
    }
}

/// The digest over what is wanted, that a lock compares.
pub(super) fn wanted(packages: &[(usize, String)], recipe: &Recipe) -> String {
    let names: Vec<&str> = packages.iter().map(|(_, text)| text.as_str()).collect();
    resolution::wanted(&(names, own(recipe)))
}

fn own(recipe: &Recipe) -> Vec<(&String, &String)> {
    let files = recipe
        .files
        .iter()
        .filter(|file| OWN.contains(&file.path.as_str()));
    files.map(|file| (&file.path, &file.content)).collect()
}

/// The files of a locked build. `npm ci` wants a package.json that its lock fits: the README's, with the packages of its
/// `deps` blocks, which the lock's root names.
fn replay(packages: &[(usize, String)], recipe: &Recipe, locked: &Resolution) -> Vec<(PathBuf, String)> {
    let lock = locked.package_lock.clone().unwrap_or_default();
    let own = recipe.files.iter().find(|file| file.path == "package.json");
    let mut manifest: Value = own
        .and_then(|file| serde_json::from_str(&file.content).ok())
        .unwrap_or_else(|| serde_json::json!({"name": "app", "private": true}));
    // As the lock has them, which must fit.
    resolution::without_passwords(&mut manifest);
    let read: Value = serde_json::from_str(&lock).unwrap_or_default();
    if let (false, Some(wanted)) = (packages.is_empty(), read.pointer("/packages//dependencies")) {
        manifest["dependencies"] = wanted.clone();
    }
    vec![
        (PathBuf::from(MANIFEST), format!("{manifest:#}\n")),
        (PathBuf::from(LOCK), lock),
    ]
}

/// npm's own files, put aside while packages are added to them: what the README says of them stays.
const OPEN: &str = r#"set -e
mkdir -p "$TMPDIR" "$HOME/.resolution"
node -p process.versions.node > "$HOME/.resolution/toolchain"
keep() { if [ -e package-lock.json ]; then cp package-lock.json "$HOME/.resolution/"; fi; }
if [ -e package.json ]; then
    if [ -e package-lock.json ] || [ -e npm-shrinkwrap.json ]; then npm ci; else npm install; fi
    cp npm-shrinkwrap.json "$HOME/.resolution/package-lock.json" 2>/dev/null || keep
    if [ $# -gt 0 ]; then
        cp package.json "$TMPDIR/package.json"
        cp package-lock.json "$TMPDIR/package-lock.json" 2>/dev/null || true
        npm install -- "$@"
        keep
        cp "$TMPDIR/package.json" package.json
        cp "$TMPDIR/package-lock.json" package-lock.json 2>/dev/null || true
    fi
else
    printf '{"name": "app", "private": true}\n' > package.json
    npm install -- "$@"
    keep
fi
"#;

const LOCKED: &str = r#"set -e
mkdir -p "$TMPDIR" "$HOME/.resolution"
node -p process.versions.node > "$HOME/.resolution/toolchain"
rm -f npm-shrinkwrap.json
cp /etc/build/package.json package.json
cp /etc/build/package-lock.json package-lock.json
npm ci
"#;

/// Arguments of the build. A package.json of the README is installed as it says; without one the packages are noted in a
/// new one, so that a later `npm install` in the run block keeps them.
pub(super) fn args(packages: &[(usize, String)], locked: bool) -> Vec<String> {
    let script = if locked { LOCKED } else { OPEN };
    let fixed = ["/bin/sh", "-c", script, "sh"].map(str::to_owned);
    fixed
        .into_iter()
        .chain(packages.iter().map(|(_, name)| name.clone()))
        .collect()
}
