//! `oci://HOST[:PORT]/PATH[:TAG|@VERSION|@sha256:…]`, as the distribution specification spells names and tags
//! (<https://github.com/opencontainers/distribution-spec>).

use std::fmt;
use std::str::FromStr;

use crate::registry::api::DEFAULT_NAMESPACE;
use crate::registry::name::ArtifactId;
use crate::registry::store::Digest;
use crate::registry::text::plain;
use crate::registry::version::Selector;

/// What every such address begins with.
pub const SCHEME: &str = "oci://";

/// Longest name of a repository.
const MAX_PATH: usize = 255;

/// Longest tag.
const MAX_TAG: usize = 128;

/// A place in an OCI registry, and perhaps which version there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `HOST[:PORT]`.
    pub host: String,
    /// The name of a repository, or what such names begin with; may be empty.
    pub path: String,
    /// Which version, when one was written.
    pub wanted: Option<Wanted>,
}

/// Which version of a repository is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The one that a tag names, which is no version.
    Tag(String),
    /// The best one of those whose tags are versions.
    Version(Selector),
    /// The manifest with this digest.
    Manifest(Digest),
}

impl Address {
    /// Under this name a login is kept: one for all of a registry.
    pub fn login(&self) -> String {
        format!("{SCHEME}{}", self.host)
    }

    /// The artifact that this repository holds: its last two names.
    ///
    /// # Errors
    /// They are none that artifacts may have.
    pub fn artifact(&self) -> Result<ArtifactId, String> {
        let mut names = self.path.rsplit('/');
        let name = names.next().unwrap_or_default();
        ArtifactId::new(names.next().unwrap_or(DEFAULT_NAMESPACE), name)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, path, wanted } = self;
        write!(out, "{SCHEME}{host}")?;
        if !path.is_empty() {
            write!(out, "/{path}")?;
        }
        match wanted {
            None => Ok(()),
            Some(Wanted::Tag(tag)) => write!(out, ":{tag}"),
            Some(Wanted::Version(selector)) => write!(out, "@{selector}"),
            Some(Wanted::Manifest(digest)) => write!(out, "@{digest}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("'{}' is no OCI address: {why}", plain(text));
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| wrong("write oci://HOST[:PORT]/PATH"))?;
        let (rest, wanted) = match rest.split_once('@') {
            Some((rest, digest)) if digest.starts_with("sha256:") => {
                (rest, Some(Wanted::Manifest(digest.parse()?)))
            }
            Some((rest, range)) => (rest, Some(Wanted::Version(range.parse()?))),
            None => (rest, None),
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (path, tag) = match path.split_once(':') {
            Some((path, tag)) => (path, Some(tagged(tag).ok_or_else(|| wrong("its tag is none"))?)),
            None => (path, None),
        };
        if tag.is_some() && wanted.is_some() {
            return Err(wrong("it has a tag and what stands behind '@'"));
        }
        if !is_host(host) {
            return Err(wrong("its host is none"));
        }
        let path = path.trim_end_matches('/');
        if path.len() > MAX_PATH || !(path.is_empty() || path.split('/').all(is_component)) {
            return Err(wrong(
                "names are lower-case letters and digits with '.', '_', '__' or '-' between them",
            ));
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            path: path.to_owned(),
            wanted: wanted.or(tag),
        })
    }
}

/// The tag of a version: a tag cannot have a `+`.
pub(super) fn tag(version: &semver::Version) -> String {
    version.to_string().replace('+', "_")
}

/// The version that a tag names.
pub(super) fn version(tag: &str) -> Option<semver::Version> {
    semver::Version::parse(&tag.replacen('_', "+", 1)).ok()
}

fn tagged(text: &str) -> Option<Wanted> {
    let within = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let fits = !text.is_empty()
        && text.len() <= MAX_TAG
        && text.bytes().all(within)
        && !text.starts_with(['.', '-']);
    fits.then(|| match version(text) {
        Some(version) => Wanted::Version(Selector::Exact(version)),
        None => Wanted::Tag(text.to_owned()),
    })
}

fn is_host(text: &str) -> bool {
    let uri: Result<axum::http::uri::Authority, _> = text.parse();
    !text.contains('@') && uri.is_ok_and(|authority| !authority.host().is_empty())
}

/// One name of a path.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = text.starts_with(plain) && text.ends_with(plain);
    let separators = text.split(plain).filter(|between| !between.is_empty());
    let known =
        |between: &str| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-');
    ends && separators.into_iter().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_repository_and_version() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, host, path, wanted) in [
            ("oci://LocalHost:5000/a/b", "localhost:5000", "a/b", None),
            ("oci://r.test", "r.test", "", None),
            ("oci://[::1]:5000/a", "[::1]:5000", "a", None),
            (
                "oci://r.test/a:1.0.0_b",
                "r.test",
                "a",
                Some(Wanted::Version("1.0.0+b".parse().unwrap())),
            ),
            (
                "oci://r.test/a:edge",
                "r.test",
                "a",
                Some(Wanted::Tag("edge".into())),
            ),
            (
                "oci://r.test/a@^1",
                "r.test",
                "a",
                Some(Wanted::Version("^1".parse().unwrap())),
            ),
            (
                &format!("oci://r.test/a@{digest}"),
                "r.test",
                "a",
                Some(Wanted::Manifest(digest.parse().unwrap())),
            ),
        ] {
            let found: Address = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(
                found,
                Address {
                    host: host.into(),
                    path: path.into(),
                    wanted
                }
            );
            assert_eq!(found.to_string().parse(), Ok(found));
        }
        for bad in [
            "r.test/a",
            "oci://",
            "oci:///a",
            "oci://r.test/A",
            "oci://r.test/a//b",
            "oci://r.test/../b",
            "oci://r.test/a:",
            "oci://r.test/a:-x",
            "oci://r.test/a:1.0.0@^1",
            "oci://r.test/a@sha256:00",
            "oci://u@r.test/a",
            "oci://r.test/a?b",
            "oci://r.test/a_-b",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
