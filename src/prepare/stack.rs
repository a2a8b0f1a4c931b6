//! What a sandbox stands on: layers over each other in `/app`, and packages of the distribution over the host's `/usr`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Content;
use super::layers::{LayerError, Step};
use crate::lockfile::Language;

/// How far from the top a layer is.
type Rank = u8;

/// The layers of one sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stack {
    app: Vec<(Rank, PathBuf)>,
    system: Option<System>,
}

/// A layer with packages of the distribution, as a tree below `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// What lies over `/usr` and `/opt`: where it is on the host, and inside.
    pub trees: Vec<(PathBuf, PathBuf)>,
    /// Entries of `/etc`, in the same way.
    pub configuration: Vec<(PathBuf, PathBuf)>,
}

impl Stack {
    /// One directory and nothing else.
    pub fn bare(directory: PathBuf) -> Self {
        Self {
            app: vec![(0, directory)],
            system: None,
        }
    }

    /// Adds the layer of `content`.
    ///
    /// # Errors
    /// A layer with packages of the distribution cannot be read.
    pub fn push(&mut self, content: &Content, layer: PathBuf) -> Result<(), LayerError> {
        match content {
            Content::Packages(packages) if packages.language == Language::System => {
                self.system = Some(System::read(&layer)?);
            }
            _ => self.app.push((rank(content), layer)),
        }
        Ok(())
    }

    /// The layers of `/app`, topmost first.
    pub fn app(&self) -> Vec<PathBuf> {
        let mut app: Vec<&(Rank, PathBuf)> = self.app.iter().collect();
        app.sort_by_key(|(rank, _)| *rank);
        app.into_iter().map(|(_, layer)| layer.clone()).collect()
    }

    /// The packages of the distribution.
    pub fn system(&self) -> Option<&System> {
        self.system.as_ref()
    }
}

/// What a README says wins over what its setup wrote, and that over what an installer wrote.
fn rank(content: &Content) -> Rank {
    match content {
        Content::Files(_) => 0,
        Content::Setup(_) | Content::Build(_) => 1,
        Content::Python { .. } | Content::Node { .. } | Content::Packages(_) => 2,
    }
}

impl System {
    /// What the layer holds. Links at the top of its `/etc` are left out: nothing can be mounted on them.
    fn read(layer: &Path) -> Result<Self, LayerError> {
        let trees = ["usr", "opt"].map(|name| (layer.join(name), Path::new("/").join(name)));
        let etc = layer.join("etc");
        let mut configuration = Vec::new();
        if etc.is_dir() {
            for entry in fs::read_dir(&etc).step("read", &etc)? {
                let entry = entry.step("read", &etc)?;
                if !entry.file_type().step("look at", &entry.path())?.is_symlink() {
                    configuration.push((entry.path(), Path::new("/etc").join(entry.file_name())));
                }
            }
        }
        configuration.sort();
        Ok(Self {
            trees: trees.into_iter().filter(|(tree, _)| tree.is_dir()).collect(),
            configuration,
        })
    }
}
