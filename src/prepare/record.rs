//! Reads what a build has left for us in its home directory. The build was a stranger's: nothing is followed, only
//! regular files of a sane size are read, and what is in them is checked by whoever understands it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::packages::Packages;
use super::{Content, LayerPlan, node, python, resolution};
use crate::lockfile::{Language, Resolution};
use resolution::Unresolved;

/// Where a build leaves it, below its home.
const DIRECTORY: &str = ".resolution";
/// Largest record that is read, in bytes.
const LARGEST: u64 = 32 << 20;

/// What the build of `plan` installed; `None` for a layer that resolves nothing.
pub(super) fn read(plan: &LayerPlan, home: &Path) -> Option<Result<Resolution, Unresolved>> {
    let text = |name: &str| text(home, name);
    let toolchain = text("toolchain").map(|version| version.trim().to_owned());
    let needed = |text: Option<String>, lack: &str| text.ok_or_else(|| Unresolved(lack.to_owned()));
    let resolved = match &plan.content {
        Content::Files(_) | Content::Setup(_) | Content::Build(_) => return None,
        Content::Packages(packages) => managed(packages, home),
        Content::Python { locked, .. } => {
            let packages = match (locked, text("python.json"), text("python.txt")) {
                (Some(locked), ..) => Ok(locked.packages.clone()),
                (_, Some(report), _) => resolution::of_pip(&report),
                (_, _, Some(compiled)) => resolution::of_uv(&compiled),
                _ => Err(Unresolved(python::NO_REPORT.to_owned())),
            };
            packages.map(|packages| resolution::Chosen {
                packages,
                ..Default::default()
            })
        }
        Content::Node { locked, .. } => {
            let lock = match locked {
                Some(locked) => locked.package_lock.clone().ok_or(Unresolved(String::new())),
                None => needed(text("package-lock.json"), node::NO_LOCK)
                    .and_then(|lock| resolution::of_npm(&lock)),
            };
            lock.map(|lock| resolution::Chosen {
                package_lock: Some(lock),
                ..Default::default()
            })
        }
    };
    Some(resolved.and_then(|chosen| {
        let toolchain = needed(toolchain, "the build left no version of its toolchain")?;
        let language = plan.language().ok_or(Unresolved(String::new()))?;
        let wanted = plan.wanted().unwrap_or_default();
        Ok(resolution::new(language, toolchain, wanted, chosen))
    }))
}

/// What a package manager chose: its own lock files, or the list of packages.
fn managed(packages: &Packages, home: &Path) -> Result<resolution::Chosen, Unresolved> {
    let mut chosen = resolution::Chosen::default();
    if let Some(locked) = &packages.locked {
        chosen.packages.clone_from(&locked.packages);
        chosen.files.clone_from(&locked.files);
        return Ok(chosen);
    }
    if packages.language == Language::System {
        let list = text(home, "system.txt").unwrap_or_default();
        chosen.packages = list.lines().map(str::to_owned).collect();
        chosen.packages.sort();
        return Ok(chosen);
    }
    for name in packages.language.lock_files() {
        let found = text(home, name).filter(|text| !text.trim().is_empty());
        chosen.files.extend(found.map(|text| ((*name).to_owned(), text)));
    }
    Ok(chosen)
}

/// A file of the record.
fn text(home: &Path, name: &str) -> Option<String> {
    let home = File::open(home).ok()?;
    let opened = rustix::fs::openat2(
        &home,
        Path::new(DIRECTORY).join(name),
        // A pipe must not be waited for.
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    );
    let file = File::from(opened.ok()?);
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return None;
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}
