//! The Node.js layer: what is installed how. Pure.

use serde::{Deserialize, Serialize};

use super::{BuildSettings, Content, LayerPlan, key};
use crate::markpact::Recipe;
use crate::markpact::recipe::FileBlock;
use crate::toolchain::Toolchain;

/// The packages, inside.
pub(super) const MODULES: &str = "/app/node_modules";

/// What a README's own `package.json` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// There is one.
    pub present: bool,
    /// It names dependencies.
    pub has_dependencies: bool,
    /// A lock file is beside it.
    pub locked: bool,
    /// Its packages or install scripts read other files of the README.
    pub reads_files: bool,
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
    let has = |name: &str| files.iter().any(|file| file.path == name);
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
        present: true,
        has_dependencies: packages().next().is_some(),
        locked: has("package-lock.json") || has("npm-shrinkwrap.json"),
        reads_files: packages().any(|(_, version)| local(version))
            || INSTALL_SCRIPTS.iter().any(scripts)
            || value.get("workspaces").is_some(),
    }
}

/// The plan of the layer.
pub(super) fn plan(
    packages: Vec<(usize, String)>,
    node: &Toolchain,
    manifest: Manifest,
    recipe: &Recipe,
    files: &str,
    settings: &BuildSettings,
) -> LayerPlan {
    let names: Vec<&str> = packages.iter().map(|(_, text)| text.as_str()).collect();
    let own = [
        "package.json",
        "package-lock.json",
        "npm-shrinkwrap.json",
        ".npmrc",
    ];
    let own: Vec<_> = recipe
        .files
        .iter()
        .filter(|file| own.contains(&file.path.as_str()))
        .collect();
    let own: Vec<_> = own.iter().map(|file| (&file.path, &file.content)).collect();
    let reads_files = manifest.reads_files
        || names
            .iter()
            .any(|name| name.starts_with(['.', '/']) || name.contains("file:"));
    let inputs = (
        &names,
        &own,
        &node.identity,
        &settings.npm,
        reads_files.then_some(files),
    );
    let key = key::of("node", &inputs);
    LayerPlan {
        key,
        content: Content::Node {
            packages,
            node: node.clone(),
            manifest,
        },
    }
}

/// Arguments of the build. A package.json of the README is installed as it says and never written; without one the
/// packages are noted in a new one, so that a later `npm install` in the run block keeps them.
pub(super) fn args(packages: &[(usize, String)], manifest: Manifest) -> Vec<String> {
    let mut script = String::from("set -e\nmkdir -p \"$TMPDIR\"\n");
    if manifest.present {
        script.push_str(if manifest.locked {
            "npm ci\n"
        } else {
            "npm install\n"
        });
        if !packages.is_empty() {
            script.push_str("npm install --no-save -- \"$@\"\n");
        }
    } else {
        script.push_str(
            "printf '{\"name\": \"app\", \"private\": true}\\n' > package.json\nnpm install -- \"$@\"\n",
        );
    }
    let fixed = ["/bin/sh", "-c", &script, "sh"].map(str::to_owned);
    fixed
        .into_iter()
        .chain(packages.iter().map(|(_, name)| name.clone()))
        .collect()
}
