//! That a README's own tests passed, as its publisher found. Attached to a version; signed with it, it is the signer's word.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::store::Digest;

/// Under this name a version's metadata holds it.
const NAME: &str = "evidence";

/// What was tested, when, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Digest of the README: `sha256:…`.
    readme: String,
    /// The version of the program that ran the tests.
    pactown: String,
    /// When, in RFC 3339.
    tested_at: String,
    /// Tests that passed.
    passed: usize,
    /// Tests that failed.
    failed: usize,
    /// Tests that could not be asked.
    skipped: usize,
}

impl Evidence {
    /// Of a README with this digest: `counts` are those that passed, failed, were skipped.
    pub fn new(readme: &Digest, tested_at: String, counts: (usize, usize, usize)) -> Self {
        Self {
            readme: readme.to_string(),
            pactown: env!("CARGO_PKG_VERSION").to_owned(),
            tested_at,
            passed: counts.0,
            failed: counts.1,
            skipped: counts.2,
        }
    }

    /// What a version's metadata says, when it is of the README with this digest.
    pub fn within(metadata: &Map<String, Value>, readme: &Digest) -> Option<Self> {
        let found: Self = serde_json::from_value(metadata.get(NAME)?.clone()).ok()?;
        found.is_of(readme).then_some(found)
    }

    /// Puts it into a version's metadata.
    pub fn attach(&self, metadata: &mut Map<String, Value>) {
        metadata.insert(NAME.to_owned(), json!(self));
    }

    /// Whether it speaks of the README with this digest.
    pub fn is_of(&self, readme: &Digest) -> bool {
        self.readme == readme.to_string()
    }
}

impl std::fmt::Display for Evidence {
    /// In one line. What a stranger wrote stays a line.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            ..
        } = self;
        let day = super::text::plain(self.tested_at.get(..10).unwrap_or(&self.tested_at));
        let version = super::text::plain(&self.pactown);
        write!(
            out,
            "{passed} passed, {failed} failed, {skipped} skipped ({day}, pactown {version})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_of_one_readme() {
        let (digest, other) = (Digest::of(b"a"), Digest::of(b"b"));
        let evidence = Evidence::new(&digest, "2026-01-02T03:04:05Z".into(), (3, 0, 1));
        let mut metadata = Map::new();
        assert_eq!(Evidence::within(&metadata, &digest), None);
        evidence.attach(&mut metadata);
        assert_eq!(Evidence::within(&metadata, &digest), Some(evidence.clone()));
        assert_eq!(Evidence::within(&metadata, &other), None);
        assert!(
            evidence
                .to_string()
                .starts_with("3 passed, 0 failed, 1 skipped (2026-01-02, pactown ")
        );
    }
}
