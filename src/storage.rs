//! What pactown keeps on this machine's disk: layers, logs, limited disks, volumes; how much it is, and whether anything
//! uses it. Reads directories.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use crate::desired::Desired;
use crate::instance::{FALLBACK_ROOT, LOG_ROOT, RUN_ROOT};
use crate::prepare::Layers;
use crate::{remains, spec};

/// One thing that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// The key of a layer, the instance of logs and disks, the name of a volume.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What it takes on the disk, in bytes.
    pub bytes: u64,
    /// Whether something that runs, or the ecosystem file, needs it.
    pub used: bool,
    /// Seconds since it was last used or written.
    pub age: u64,
}

/// What can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Files, dependencies or what a setup made: made again when they are gone.
    Layer,
    /// What the services of an instance said, and its events.
    Log,
    /// Limited disks of an instance's services, with what these wrote.
    Disk,
    /// A volume of the ecosystem.
    Volume,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Layer, Self::Log, Self::Disk, Self::Volume];

    /// The word for several of them.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Layer => "layers",
            Self::Log => "logs",
            Self::Disk => "disks",
            Self::Volume => "volumes",
        }
    }
}

/// Everything that is kept on this machine, and the volumes of the ecosystems `desired`: the one that is asked about, as its
/// file says and as it runs.
pub fn items(layers: &Layers, desired: &[&Desired]) -> Vec<Item> {
    let used = used_layers(layers);
    let layers = layers.kept().into_iter().map(|kept| Item {
        kind: Kind::Layer,
        used: used.contains(&kept.key),
        age: age(kept.last),
        bytes: size(&kept.path),
        name: kept.key,
        path: kept.path,
    });
    let logs = of_instances(Kind::Log, Path::new(LOG_ROOT));
    let disks = of_instances(Kind::Disk, &Path::new(FALLBACK_ROOT).join(".disks"));
    layers.chain(logs).chain(disks).chain(volumes(desired)).collect()
}

/// The layers of every sandbox that there is: its bundle names them from before they are mounted until it has ended.
pub fn used_layers(layers: &Layers) -> BTreeSet<String> {
    let instances = entries(Path::new(RUN_ROOT)).into_iter();
    let bundles = instances.flat_map(|instance| entries(&instance.join("bundles")));
    let texts = bundles.filter_map(|bundle| fs::read_to_string(bundle.join("config.json")).ok());
    texts.flat_map(|text| layers.keys_in(&text)).collect()
}

fn of_instances(kind: Kind, root: &Path) -> Vec<Item> {
    let directories = entries(root).into_iter().filter(|path| path.is_dir());
    directories
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some(Item {
                kind,
                used: is_used(kind, &name),
                age: age(newest(&path)),
                bytes: size(&path),
                name,
                path,
            })
        })
        .collect()
}

/// Logs are used while their instance lives. What services wrote is data, whether they run or not.
pub fn is_used(kind: Kind, instance: &str) -> bool {
    kind == Kind::Disk || remains::is_alive(&Path::new(RUN_ROOT).join(instance))
}

/// The volumes below the roots of an ecosystem; those that no service of any of its forms names are not used.
fn volumes(desired: &[&Desired]) -> Vec<Item> {
    let named = |name: &str| {
        let services = desired
            .iter()
            .flat_map(|desired| desired.ecosystem.services.values());
        services
            .into_iter()
            .any(|service| service.volumes.iter().any(|volume| volume.name == name))
    };
    let mut roots: Vec<PathBuf> = desired
        .iter()
        .flat_map(|desired| {
            let own = Path::new(FALLBACK_ROOT).join(&desired.instance.name);
            [spec::sandbox_root(desired), own]
        })
        .collect();
    roots.sort();
    roots.dedup();
    let found = roots.iter().flat_map(|root| entries(&root.join(".volumes")));
    found
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some(Item {
                kind: Kind::Volume,
                used: named(&name),
                age: age(newest(&path)),
                bytes: size(&path),
                name,
                path,
            })
        })
        .collect()
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn age(last: SystemTime) -> u64 {
    last.elapsed().map_or(0, |age| age.as_secs())
}

/// When anything below was last written.
fn newest(top: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    walk(top, &mut |metadata| {
        newest = newest.max(metadata.modified().unwrap_or(newest));
    });
    newest
}

/// What a tree takes on the disk, in bytes; a file with several names counts once.
fn size(top: &Path) -> u64 {
    let (mut bytes, mut seen) = (0, HashSet::new());
    walk(top, &mut |metadata| {
        let is_first =
            metadata.nlink() < 2 || metadata.is_dir() || seen.insert((metadata.dev(), metadata.ino()));
        if is_first {
            bytes += metadata.blocks() * 512;
        }
    });
    bytes
}

/// Every entry of a tree, itself included; links are not followed. What goes meanwhile is passed by.
fn walk(top: &Path, look: &mut dyn FnMut(&fs::Metadata)) {
    let mut paths = vec![top.to_owned()];
    while let Some(path) = paths.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        look(&metadata);
        if metadata.is_dir() {
            paths.extend(entries(&path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_two_names_counts_once_and_links_lead_nowhere() {
        let top = std::env::temp_dir().join(format!("pactown-size-{}", std::process::id()));
        fs::create_dir_all(top.join("a")).unwrap();
        let empty = size(&top);
        fs::write(top.join("a/file"), vec![1; 1 << 20]).unwrap();
        fs::hard_link(top.join("a/file"), top.join("again")).unwrap();
        std::os::unix::fs::symlink("/usr", top.join("usr")).unwrap();
        let grown = size(&top) - empty;
        assert!((1 << 20..(1 << 20) + 65_536).contains(&grown), "{grown}");
        fs::remove_dir_all(top).unwrap();
    }
}
