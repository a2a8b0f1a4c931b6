//! What a lock may hold: its lines become an installer's input, and it may come from a stranger's repository. Pure.

use super::{ArtifactLock, Damage, Language, Lockfile, Resolution, ServiceLock, line_of};
use crate::registry::name::{ArtifactId, Reference};
use crate::registry::version;

/// Everything in it has the shape that it is written with.
pub(super) fn check(lock: &Lockfile, text: &str) -> Result<(), Damage> {
    let mut names = std::collections::BTreeSet::new();
    for artifact in &lock.artifacts {
        of_artifact(artifact, text)?;
        if !names.insert(&artifact.name) {
            return Err(damage(text, &artifact.name, "is there twice"));
        }
    }
    for service in &lock.services {
        if !names.insert(&service.name) {
            return Err(damage(text, &service.name, "is there twice"));
        }
        of_service(service, text)?;
    }
    Ok(())
}

/// It becomes a path: names and version are valid ones.
fn of_artifact(artifact: &ArtifactLock, text: &str) -> Result<(), Damage> {
    let (namespace, name) = artifact.name.split_once('/').unwrap_or_default();
    if ArtifactId::new(namespace, name).is_err() {
        return Err(damage(text, &artifact.name, "is no NAMESPACE/NAME"));
    }
    if version::parse(&artifact.version).is_err() {
        return Err(damage(text, &artifact.version, "is no version"));
    }
    if !is_digest(&artifact.digest) {
        return Err(damage(text, &artifact.digest, "is no digest"));
    }
    let is_want = |want: &&String| want.parse::<Reference>().is_ok_and(|own| own.namespace.is_some());
    match artifact.wants.iter().find(|want| !is_want(want)) {
        Some(want) => Err(damage(text, want, "is no NAMESPACE/NAME@RANGE")),
        None => Ok(()),
    }
}

fn of_service(service: &ServiceLock, text: &str) -> Result<(), Damage> {
    for block in &service.blocks {
        let digest = block.rsplit_once(' ').map_or("", |(_, digest)| digest);
        if !is_digest(digest) {
            return Err(damage(text, block, "ends with no digest"));
        }
    }
    if let Some(rootfs) = service.rootfs.as_ref().filter(|rootfs| !is_digest(rootfs)) {
        return Err(damage(text, rootfs, "is no digest"));
    }
    let mut languages = std::collections::BTreeSet::new();
    for resolution in &service.resolutions {
        if !languages.insert(resolution.language) {
            let twice = format!("has {} dependencies twice", resolution.language);
            return Err(damage(text, &service.name, &twice));
        }
        of_resolution(resolution, text)?;
    }
    Ok(())
}

fn of_resolution(resolution: &Resolution, text: &str) -> Result<(), Damage> {
    if !is_digest(&resolution.wanted) {
        return Err(damage(text, &resolution.wanted, "is no digest"));
    }
    if let Some(package) = resolution
        .packages
        .iter()
        .find(|package| !is_requirement(package))
    {
        return Err(damage(text, package, "is no requirement with its hashes"));
    }
    let fits = match resolution.language {
        Language::Python => resolution.package_lock.is_none(),
        Language::Node => resolution.packages.is_empty() && resolution.package_lock.is_some(),
        Language::System => {
            resolution.package_lock.is_none() && resolution.packages.iter().all(|one| is_debian(one))
        }
        Language::Go | Language::Rust | Language::Php => {
            resolution.packages.is_empty() && resolution.package_lock.is_none()
        }
    };
    let known = resolution.language.lock_files();
    let fits = fits && resolution.files.keys().all(|name| known.contains(&name.as_str()));
    let json = resolution
        .package_lock
        .as_ref()
        .is_none_or(|lock| serde_json::from_str::<serde_json::Map<_, _>>(lock).is_ok());
    match fits && json {
        true => Ok(()),
        false => Err(damage(
            text,
            &resolution.wanted,
            &format!(
                "belongs to dependencies that are not as those of {} are",
                resolution.language
            ),
        )),
    }
}

/// `name==version` or `name @ address`, then `--hash=sha256:…` any number of times: no option, no second line.
fn is_requirement(text: &str) -> bool {
    let (what, hashes) = match text.split_once(" --hash=") {
        Some((what, hashes)) => (what, Some(hashes)),
        None => (text, None),
    };
    let mut hashes = hashes.into_iter().flat_map(|hashes| hashes.split(" --hash="));
    let named = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.+".contains(c))
    };
    let plain = |word: &str| {
        !word.is_empty()
            && !word.starts_with('-')
            && word
                .chars()
                .all(|c| c.is_ascii_graphic() && !"\"'`\\$".contains(c))
    };
    let is_what = match (what.split_once("=="), what.split_once(" @ ")) {
        (Some((name, version)), None) => named(name) && plain(version),
        (_, Some((name, address))) => named(name) && plain(address) && address.contains("://"),
        (None, None) => false,
    };
    is_what && hashes.all(is_digest)
}

/// `name==version --hash=sha256:…` with a name and a version of Debian's (Debian Policy, 5.6.1 and 5.6.12).
fn is_debian(text: &str) -> bool {
    let parts = text.split_once("==").and_then(|(name, rest)| {
        let (version, hash) = rest.split_once(" --hash=")?;
        Some((name, version, hash))
    });
    parts.is_some_and(|(name, version, hash)| {
        let version_fits = version
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || ".+-~:".contains(c));
        crate::markpact::requirement::system(name).is_some() && version_fits && is_digest(hash)
    })
}

/// `sha256:` and 64 hexadecimal digits.
fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn damage(text: &str, part: &str, what: &str) -> Damage {
    let shown: String = part.escape_debug().take(80).collect();
    Damage {
        line: line_of(text, part),
        message: format!("'{shown}' {what}"),
    }
}
