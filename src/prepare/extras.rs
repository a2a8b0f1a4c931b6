//! What a run sandbox needs so that programs find what was installed. Pure.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Content, LayerPlan, node, packages, python};
use crate::lockfile::Language;
use crate::toolchain::Toolchains;

/// What a run sandbox needs besides the layers themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extras {
    /// Directories in front of PATH.
    pub path: Vec<PathBuf>,
    /// Variables.
    pub variables: Vec<(String, String)>,
    /// Paths of the host to bind read-only.
    pub binds: Vec<PathBuf>,
}

impl Extras {
    /// Also what `toolchains:` of the service names: `bin` below each directory, or the directory itself, comes first
    /// in PATH. Binding them is the spec's own doing.
    pub fn with_named(mut self, toolchains: &[PathBuf]) -> Self {
        let programs = |path: &PathBuf| {
            if path.ends_with("bin") {
                path.clone()
            } else {
                path.join("bin")
            }
        };
        self.path.splice(0..0, toolchains.iter().map(programs));
        self
    }
}

/// What the run sandbox needs for these layers and toolchains: `.venv/bin`, `node_modules/.bin` and `vendor/bin` in front of
/// PATH, the variables by which programs find their packages, and the toolchains' directories. Pure.
pub fn extras(plans: &[LayerPlan], toolchains: &Toolchains) -> Extras {
    let mut extras = Extras {
        binds: toolchains.binds(),
        ..Extras::default()
    };
    let variables = &mut extras.variables;
    let mut variable = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
    for plan in plans {
        match plan.content {
            Content::Files(_) | Content::Setup(_) | Content::Build(_) => {}
            Content::Python { .. } => {
                extras.path.push(Path::new(python::VENV).join("bin"));
                variable("VIRTUAL_ENV", python::VENV);
            }
            Content::Node { .. } => extras.path.push(Path::new(node::MODULES).join(".bin")),
            Content::Packages(ref packages) => match packages.language {
                Language::Go => variable("GOENV", packages::go::ENV),
                Language::Rust => variable("CARGO_HOME", packages::rust::HOME),
                Language::Php => extras.path.push(PathBuf::from(packages::php::BIN)),
                _ => {}
            },
        }
    }
    extras.path.extend(toolchains.directories());
    extras
}
