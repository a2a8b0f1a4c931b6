//! Versions are semver, and which of them a request means.

use std::fmt;
use std::str::FromStr;

use semver::{Version, VersionReq};

/// Longest version or range that is looked at.
const MAX_TEXT: usize = 128;

/// Which version of an artifact is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// `latest` or `*`: the highest release.
    Latest,
    /// This one, also when it is yanked.
    Exact(Version),
    /// The highest that fits: `^1.2`, `~1.4`, `>=1, <3`.
    Range(VersionReq),
}

impl Selector {
    /// The best of `candidates`: the highest that fits and is not yanked. A prerelease fits only a range that names
    /// one of the same version, as with Cargo and npm.
    pub fn choose<'a, T>(&self, candidates: impl IntoIterator<Item = (&'a Version, bool, T)>) -> Option<T> {
        let fits = |version: &Version, yanked: bool| match self {
            Self::Latest => !yanked && version.pre.is_empty(),
            Self::Exact(wanted) => is_same(wanted, version),
            Self::Range(range) => !yanked && range.matches(version),
        };
        candidates
            .into_iter()
            .filter(|(version, yanked, _)| fits(version, *yanked))
            .max_by(|(left, ..), (right, ..)| left.cmp_precedence(right))
            .map(|(.., value)| value)
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "latest" || text == "*" {
            return Ok(Self::Latest);
        }
        if let Ok(version) = parse(text) {
            return Ok(Self::Exact(version));
        }
        let shown = visible(text);
        if text.len() > MAX_TEXT {
            return Err(format!("'{shown}…' is no version range"));
        }
        VersionReq::parse(text)
            .map(Self::Range)
            .map_err(|error| format!("'{shown}' is no version range: {error}"))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => out.write_str("latest"),
            Self::Exact(version) => version.fmt(out),
            Self::Range(range) => range.fmt(out),
        }
    }
}

/// A version as it may be published: three numbers, as <https://semver.org> says.
///
/// # Errors
/// What is wrong, with the text made visible.
pub fn parse(text: &str) -> Result<Version, String> {
    let shown = visible(text);
    if text.len() > MAX_TEXT {
        return Err(format!("version '{shown}…' is too long"));
    }
    Version::parse(text).map_err(|error| format!("version '{shown}' is not MAJOR.MINOR.PATCH: {error}"))
}

/// The beginning of what somebody wrote, fit for a message.
fn visible(text: &str) -> String {
    let beginning = text.chars().take(MAX_TEXT);
    beginning.flat_map(char::escape_default).collect()
}

/// What makes a version unique: everything but the build metadata, which has no precedence.
pub fn identity(version: &Version) -> String {
    Version {
        build: semver::BuildMetadata::EMPTY,
        ..version.clone()
    }
    .to_string()
}

fn is_same(left: &Version, right: &Version) -> bool {
    left.cmp_precedence(right).is_eq()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(selector: &str, versions: &[(&str, bool)]) -> Option<String> {
        let versions: Vec<(Version, bool)> = versions
            .iter()
            .map(|(text, yanked)| (parse(text).unwrap(), *yanked))
            .collect();
        selector
            .parse::<Selector>()
            .unwrap()
            .choose(
                versions
                    .iter()
                    .map(|(version, yanked)| (version, *yanked, version)),
            )
            .map(ToString::to_string)
    }

    #[test]
    fn ranges_choose_the_highest_that_fits() {
        let versions = [
            ("2.0.0", false),
            ("1.0.1", false),
            ("1.10.0", false),
            ("1.9.0", false),
            ("3.0.0-rc.1", false),
            ("2.1.0", true),
        ];
        for (selector, wanted) in [
            ("latest", Some("2.0.0")),
            ("*", Some("2.0.0")),
            ("^1", Some("1.10.0")),
            ("~1.9", Some("1.9.0")),
            ("~1", Some("1.10.0")),
            (">=1, <1.10", Some("1.9.0")),
            ("2.1.0", Some("2.1.0")),
            ("^2.1", None),
            ("^3", None),
            ("^3.0.0-rc", Some("3.0.0-rc.1")),
            ("3.0.0-rc.1", Some("3.0.0-rc.1")),
            ("1.0.1+other", Some("1.0.1")),
            ("4.0.0", None),
        ] {
            assert_eq!(chosen(selector, &versions).as_deref(), wanted, "{selector}");
        }
        assert_eq!(chosen("latest", &[("1.0.0-a", false)]), None);
    }

    #[test]
    fn only_whole_versions_are_versions() {
        for bad in [
            "",
            "1",
            "1.0",
            "01.0.0",
            "v1.0.0",
            "1.0.0 ",
            "1.0.0.0",
            "-1.0.0",
            "99999999999999999999.0.0",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&format!("1.0.0-{}", "a".repeat(200))).is_err());
        assert_eq!(identity(&parse("1.0.0-a+b").unwrap()), "1.0.0-a");
    }
}
