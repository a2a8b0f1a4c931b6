//! A wish and its lock file, compared: every place where they are not the same, with file and line. Pure apart from
//! reading the trees of `rootfs`.

use std::collections::BTreeMap;
use std::path::Path;

use indexmap::IndexMap;

use crate::config::ecosystem::{Place, Service, ServiceName};
use crate::desired::Desired;
use crate::diagnostics::{Problem, Severity};
use crate::lockfile::{self, Lockfile, Resolution, ServiceLock};
use crate::markpact::Recipe;
use crate::markpact::recipe::Mark;
use crate::prepare;

mod tree;

/// What to do about any of it.
const REMEDY: &str = "`pactown lock` writes it anew";

/// The lock of a wish whose dependencies are resolved.
///
/// # Errors
/// A `rootfs` cannot be read.
pub fn compose(
    desired: &Desired,
    mut resolutions: IndexMap<ServiceName, Vec<Resolution>>,
) -> Result<Lockfile, std::io::Error> {
    let services = desired.ecosystem.services.values().map(|service| {
        let recipe = desired.recipes.get(&service.name);
        let mut resolved = resolutions.swap_remove(&service.name).unwrap_or_default();
        resolved.sort_by_key(|resolution| resolution.language);
        Ok(ServiceLock {
            name: service.name.clone(),
            readme: readme(desired, service),
            rootfs: service.rootfs.as_deref().map(tree::digest).transpose()?,
            blocks: recipe.map_or_else(Vec::new, |recipe| recipe.marks.iter().map(block).collect()),
            resolutions: resolved,
        })
    });
    let lock = Lockfile::new(services.collect::<Result<_, std::io::Error>>()?);
    let artifacts = desired.supply.lock.as_ref().map(|lock| lock.artifacts.clone());
    Ok(lock.with(artifacts.unwrap_or_default()))
}

/// The README's path from the ecosystem file's directory.
fn readme(desired: &Desired, service: &Service) -> String {
    let directory = desired.ecosystem.file.parent().unwrap_or(Path::new("/"));
    let path = service.readme.strip_prefix(directory).unwrap_or(&service.readme);
    path.to_string_lossy().into_owned()
}

fn block(mark: &Mark) -> String {
    format!("{} sha256:{}", mark.label, mark.digest)
}

/// Every place where `desired` is not as `lock` says; nothing: they are the same.
pub fn find(desired: &Desired, lock: &Lockfile) -> Vec<Problem> {
    let file = &desired.ecosystem.file;
    let mut problems = Vec::new();
    let resolved = lock
        .services
        .iter()
        .any(|service| !service.resolutions.is_empty());
    if resolved && lock.platform != lockfile::platform() {
        problems.push(problem(
            &Lockfile::beside(file),
            0,
            format!(
                "it is for {}, and this machine is {}",
                lock.platform,
                lockfile::platform()
            ),
        ));
    }
    for service in desired.ecosystem.services.values() {
        match (lock.service(&service.name), desired.recipes.get(&service.name)) {
            (None, _) => problems.push(Problem {
                place: service.place,
                ..problem(
                    file,
                    0,
                    format!("the service '{}' is not in `{}`", service.name, lockfile::NAME),
                )
            }),
            (Some(locked), Some(recipe)) => problems.extend(of_service(desired, service, recipe, locked)),
            (Some(_), None) => {}
        }
    }
    let gone = |locked: &&ServiceLock| !desired.ecosystem.services.contains_key(&locked.name);
    for locked in lock.services.iter().filter(gone) {
        let message = format!("the service '{}' of `{}` is gone", locked.name, lockfile::NAME);
        problems.push(problem(file, 0, message));
    }
    problems
}

fn of_service(desired: &Desired, service: &Service, recipe: &Recipe, locked: &ServiceLock) -> Vec<Problem> {
    let mut problems = Vec::new();
    let yaml = |place: Place, message: String| Problem {
        place,
        ..problem(&desired.ecosystem.file, 0, message)
    };
    let readme = readme(desired, service);
    if readme != locked.readme {
        let message = format!(
            "the README of '{}' is `{readme}`, and `{}` in `{}`",
            service.name,
            locked.readme,
            lockfile::NAME
        );
        problems.push(yaml(service.readme_place, message));
    }
    let rootfs = service.rootfs.as_deref().map(tree::digest).transpose();
    match rootfs {
        Ok(digest) if digest == locked.rootfs => {}
        Ok(_) => {
            let message = format!(
                "the rootfs of '{}' is not as in `{}`",
                service.name,
                lockfile::NAME
            );
            problems.push(yaml(service.place, message));
        }
        Err(error) => {
            let message = format!("the rootfs of '{}' cannot be read: {error}", service.name);
            problems.push(yaml(service.place, message));
        }
    }
    problems.extend(of_blocks(recipe, locked));
    problems.extend(of_dependencies(recipe, locked));
    problems
}

/// Blocks of one label are compared in their order; of different ones the order does not matter.
fn of_blocks(recipe: &Recipe, locked: &ServiceLock) -> Vec<Problem> {
    let mut written: BTreeMap<&str, std::collections::VecDeque<&str>> = BTreeMap::new();
    for (label, digest) in locked.blocks.iter().filter_map(|block| block.rsplit_once(' ')) {
        written.entry(label).or_default().push_back(digest);
    }
    let mut problems = Vec::new();
    for mark in &recipe.marks {
        let before = written
            .get_mut(mark.label.as_str())
            .and_then(|digests| digests.pop_front());
        let what = match before {
            Some(digest) if digest.strip_prefix("sha256:") == Some(mark.digest.as_str()) => continue,
            Some(_) => "is not as in",
            None => "is not in",
        };
        let message = format!("the block '{}' {what} `{}`", mark.label, lockfile::NAME);
        problems.push(problem(&recipe.readme, mark.lines.first, message));
    }
    for (label, _) in written.iter().filter(|(_, digests)| !digests.is_empty()) {
        let message = format!("the block '{label}' of `{}` is gone", lockfile::NAME);
        problems.push(problem(&recipe.readme, 0, message));
    }
    problems
}

/// The lock has a resolution of what is asked for. One that is asked for differently shows as its block.
fn of_dependencies(recipe: &Recipe, locked: &ServiceLock) -> Vec<Problem> {
    let missing = unresolved(recipe, &locked.resolutions).into_iter();
    let missing = missing.map(|(language, line)| {
        let message = format!("the {language} dependencies are not as in `{}`", lockfile::NAME);
        problem(&recipe.readme, line, message)
    });
    missing.collect()
}

/// The languages whose dependencies `resolutions` does not have as the README asks for them, with the line.
pub fn unresolved(recipe: &Recipe, resolutions: &[Resolution]) -> Vec<(lockfile::Language, usize)> {
    let wanted = prepare::wanted(recipe).into_iter();
    let is_there = |language, digest: &String| {
        resolutions
            .iter()
            .any(|one| one.language == language && one.wanted == *digest)
    };
    wanted
        .filter(|(language, _, digest)| !is_there(*language, digest))
        .map(|(language, line, _)| (language, line))
        .collect()
}

fn problem(file: &Path, line: usize, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        file: file.to_owned(),
        place: Place {
            line,
            column: usize::from(line > 0),
        },
        length: 0,
        message,
        help: Some(REMEDY.to_owned()),
        source: None,
    }
}

#[cfg(test)]
mod tests;
