//! `lock`: writes down what READMEs, their dependencies and toolchains are, or says where that is not so any more.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use indexmap::IndexMap;
use serde_json::json;

use super::imports::{self, Purpose};
use super::wish::{self, Wish};
use super::{Context, errand, preflight, privilege, supply};
use crate::caller::Caller;
use crate::cli::LockArguments;
use crate::config::ecosystem::ServiceName;
use crate::control::api::{Progress, ResolveRequest};
use crate::desired::Desired;
use crate::diagnostics::Problems;
use crate::drift;
use crate::error::Error;
use crate::lockfile::{Damage, Lockfile, NAME, Resolution};

type Resolutions = IndexMap<ServiceName, Vec<Resolution>>;

pub(super) fn run(context: &Context, arguments: &LockArguments) -> Result<(), Error> {
    if !arguments.check {
        // Of all services, or of none: versions of artifacts depend on each other.
        let update = arguments.update.as_ref().is_some_and(Vec::is_empty);
        imports::settle(context, arguments.config.as_deref(), Purpose::Lock { update })?;
    }
    let mut wish = wish::load(context, arguments.config.as_deref())?;
    let before = supply::read(&wish.desired.ecosystem.file);
    if arguments.check {
        return check(context, &wish.desired, before);
    }
    let before = before?;
    let anew = anew(&wish, arguments)?;
    // What is resolved anew is not locked meanwhile.
    wish.desired.supply.lock = before.clone().map(|lock| without(lock, &anew));
    let resolutions = resolutions(context, &wish.desired, anew)?;
    let lock = drift::compose(&wish.desired, resolutions).map_err(|error| Error::Environment {
        message: format!("a rootfs cannot be read: {error}"),
        hint: None,
    })?;
    let path = Lockfile::beside(&wish.desired.ecosystem.file);
    let is_new = before.as_ref() != Some(&lock);
    if is_new {
        let text = lock.text();
        readable(&text)?;
        write(&path, &text, &wish.desired.caller)?;
    }
    report(context, &path, before.as_ref(), &lock, is_new)
}

/// The services whose dependencies are resolved now, whatever is written down of them.
fn anew(wish: &Wish, arguments: &LockArguments) -> Result<Vec<ServiceName>, Error> {
    match &arguments.update {
        None => Ok(Vec::new()),
        Some(names) if names.is_empty() => Ok(wish.desired.recipes.keys().cloned().collect()),
        Some(names) => {
            wish::known(wish, names)?;
            Ok(names.clone())
        }
    }
}

fn without(mut lock: Lockfile, names: &[ServiceName]) -> Lockfile {
    let named = lock
        .services
        .iter_mut()
        .filter(|service| names.contains(&service.name));
    named.for_each(|service| service.resolutions.clear());
    lock
}

/// `--check`: exit code 1 when something is not as written.
fn check(
    context: &Context,
    desired: &Desired,
    lock: Result<Option<Lockfile>, Problems>,
) -> Result<(), Error> {
    let problems = match lock {
        Err(problems) => problems.0,
        Ok(Some(lock)) => drift::find(desired, &lock),
        Ok(None) => {
            return Err(Error::Failed(format!(
                "there is no `{}`; `pactown lock` writes it",
                Lockfile::beside(&desired.ecosystem.file).display()
            )));
        }
    };
    if context.json {
        context
            .output
            .json(&json!({"current": problems.is_empty(), "problems": problems}))?;
    } else if problems.is_empty() {
        context.output.line(&format!("`{NAME}` fits"));
    } else {
        context.output.problems(&problems);
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(Error::Failed(format!("`{NAME}` is out of date"))),
    }
}

/// What everything is resolved to: as the lock says where it fits, else as builds tell.
fn resolutions(context: &Context, desired: &Desired, anew: Vec<ServiceName>) -> Result<Resolutions, Error> {
    let lock = desired.supply.lock.as_ref();
    let locked = |name: &str| lock.map_or(&[][..], |lock| lock.resolutions(name));
    let (mut known, mut open) = (Resolutions::new(), Vec::new());
    for (name, recipe) in &desired.recipes {
        let wanted = crate::prepare::wanted(recipe);
        match drift::unresolved(recipe, locked(name)).is_empty() {
            true => {
                let asked = |one: &&Resolution| wanted.iter().any(|(language, ..)| *language == one.language);
                known.insert(name.clone(), locked(name).iter().filter(asked).cloned().collect());
            }
            false => open.push(name.clone()),
        }
    }
    if open.is_empty() {
        return Ok(known);
    }
    privilege::require_root()?;
    preflight::check(context, desired)?;
    let request = ResolveRequest {
        desired: Box::new(desired.clone()),
        anew: anew.into_iter().filter(|name| open.contains(name)).collect(),
        services: open,
    };
    known.extend(ask(context, &request)?);
    Ok(known)
}

/// Has the supervisor resolve.
fn ask(context: &Context, request: &ResolveRequest) -> Result<Resolutions, Error> {
    let mut known = Resolutions::new();
    let exit_code = errand::run(
        context,
        &request.desired,
        ("/v1/resolve", request),
        &mut |progress| match progress {
            Progress::Resolved { service, resolutions } => {
                known.insert(service, resolutions);
                None
            }
            other => Some(other),
        },
    )?;
    match exit_code {
        0 => Ok(known),
        code => Err(unresolved(code)),
    }
}

fn unresolved(code: i32) -> Error {
    let message = format!("not everything could be resolved; `{NAME}` stays as it is");
    match code {
        3 => Error::Environment { message, hint: None },
        _ => Error::Failed(message),
    }
}

/// What an installer said is in the text: no lock is written that would be damaged when it is read.
fn readable(text: &str) -> Result<(), Error> {
    let refused = |damage: Damage| {
        let Damage { line, message } = damage;
        Error::Failed(format!(
            "`{NAME}` stays as it is, since line {line} of the new one could not be read again: {message}"
        ))
    };
    Lockfile::parse(text).map(drop).map_err(refused)
}

/// All at once, or not at all; the file is the invoking user's, also under `sudo`. The folder may be a stranger's: what
/// has the name of the new file there is not written through.
pub(super) fn write(path: &Path, text: &str, caller: &Caller) -> Result<(), Error> {
    let new = path.with_extension("lock.new");
    let _ = fs::remove_file(&new);
    let created = OpenOptions::new().create_new(true).write(true).open(&new);
    let written = created.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        std::os::unix::fs::fchown(&file, Some(caller.uid), Some(caller.gid))?;
        file.sync_all()?;
        fs::rename(&new, path)
    });
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        Error::Environment {
            message: format!("cannot write `{}`: {error}", path.display()),
            hint: None,
        }
    })
}

fn report(
    context: &Context,
    path: &Path,
    before: Option<&Lockfile>,
    lock: &Lockfile,
    is_new: bool,
) -> Result<(), Error> {
    let changes: Vec<String> = lock
        .services
        .iter()
        .flat_map(|service| {
            let old = before.map_or(&[][..], |before| before.resolutions(&service.name));
            changes(&service.name, old, &service.resolutions)
        })
        .collect();
    if context.json {
        return context
            .output
            .json(&json!({"file": path, "written": is_new, "changes": changes}));
    }
    for change in &changes {
        context.output.line(change);
    }
    context.output.line(&match is_new {
        true => format!("`{}` written", path.display()),
        false => format!("`{}` is as it was", path.display()),
    });
    Ok(())
}

/// What is installed now and was not, and the other way round.
fn changes(service: &str, old: &[Resolution], new: &[Resolution]) -> Vec<String> {
    let (old, new) = (versions(old), versions(new));
    let changed = new.iter().filter_map(|(name, version)| match old.get(name) {
        Some(before) if before == version => None,
        Some(before) => Some(format!("{service}: {name} {before} -> {version}")),
        None => Some(format!("{service}: {name} {version}")),
    });
    let gone = old.iter().filter(|(name, _)| !new.contains_key(*name));
    let gone = gone.map(|(name, version)| format!("{service}: {name} {version} is gone"));
    changed.chain(gone).collect()
}

/// Toolchains and packages with their versions.
fn versions(resolutions: &[Resolution]) -> IndexMap<String, String> {
    let mut versions = IndexMap::new();
    for resolution in resolutions {
        versions.insert(resolution.language.to_string(), resolution.toolchain.clone());
        versions.extend(resolution.versions());
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lockfile::{Language, ServiceLock};

    #[test]
    fn what_changed_is_told_by_name_and_version() {
        let python = |packages: &[&str]| Resolution {
            language: Language::Python,
            toolchain: "3.11.7".into(),
            wanted: String::new(),
            packages: packages
                .iter()
                .map(|package| format!("{package} --hash=sha256:aa"))
                .collect(),
            package_lock: None,
            files: Default::default(),
        };
        let before = [python(&["flask==2", "six==1"])];
        let now = [python(&["flask==3", "jinja2==3"])];
        assert_eq!(
            changes("api", &before, &now),
            ["api: flask 2 -> 3", "api: jinja2 3", "api: six 1 is gone"]
        );
        assert_eq!(changes("api", &now, &now), [""; 0]);
        assert_eq!(changes("api", &[], &[python(&[])]), ["api: python 3.11.7"]);
    }

    #[test]
    fn a_lock_that_could_not_be_read_again_is_refused_with_its_line() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let text = |package: &str| {
            let resolution = Resolution {
                language: Language::Python,
                toolchain: "3.11.7".into(),
                wanted: digest.clone(),
                packages: vec![package.to_owned()],
                package_lock: None,
                files: Default::default(),
            };
            let service = ServiceLock {
                name: "api".into(),
                readme: "README.md".into(),
                rootfs: None,
                blocks: vec![],
                resolutions: vec![resolution],
            };
            Lockfile::new(vec![service]).text()
        };
        readable(&text("lib @ file:///app/lib")).unwrap();
        let damaged = text("-e ./lib");
        let number = damaged
            .lines()
            .position(|line| line.contains("-e ./lib"))
            .unwrap()
            + 1;
        let error = readable(&damaged).unwrap_err().to_string();
        assert!(
            error.contains(&format!("line {number} ")) && error.contains("'-e ./lib'"),
            "{error}"
        );
    }

    #[test]
    fn a_link_that_somebody_put_there_is_not_written_through() {
        let place = std::env::temp_dir().join(format!("pactown-lock-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let (path, target) = (place.join(NAME), place.join("target"));
        fs::write(&target, "mine").unwrap();
        let link = place.join(format!("{NAME}.new"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        write(&path, "text", &Caller::detect()).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert!(fs::symlink_metadata(&link).is_err());
        fs::remove_dir_all(&place).unwrap();
    }
}
