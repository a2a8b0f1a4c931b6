//! Names of artifacts: one spelling each, safe as a path, a URL and an OCI repository.

use std::fmt;
use std::str::FromStr;

use super::version::Selector;

/// Longest namespace or name.
pub const MAX_NAME: usize = 64;

/// Names that Windows takes for devices, whatever comes after them.
const DEVICES: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
    "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// An artifact: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArtifactId {
    namespace: String,
    name: String,
}

impl ArtifactId {
    /// Checks both parts.
    ///
    /// # Errors
    /// What is wrong with the first bad one.
    pub fn new(namespace: &str, name: &str) -> Result<Self, String> {
        Ok(Self {
            namespace: checked("namespace", namespace)?,
            name: checked("name", name)?,
        })
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name within its namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The form in which two names that people mix up are equal: `a_b`, `a.b` and `a-b`.
    pub fn folded(&self) -> String {
        self.name.replace(['_', '.'], "-")
    }
}

impl fmt::Display for ArtifactId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

/// An artifact and which of its versions: `[NAMESPACE/]NAME[@RANGE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The namespace, when it was written.
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// Which version; the latest when none was written.
    pub selector: Selector,
}

impl Reference {
    /// The artifact, in `namespace` when none was written.
    ///
    /// # Errors
    /// One of the names is not valid.
    pub fn artifact(&self, namespace: &str) -> Result<ArtifactId, String> {
        ArtifactId::new(self.namespace.as_deref().unwrap_or(namespace), &self.name)
    }
}

impl Reference {
    /// Written out, in `namespace` when it names none.
    pub fn in_namespace(&self, namespace: &str) -> String {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        let range = match &self.selector {
            Selector::Latest => "*".to_owned(),
            other => other.to_string(),
        };
        format!("{namespace}/{}@{range}", self.name)
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, selector) = match text.split_once('@') {
            Some((path, range)) => (path, range.parse()?),
            None => (text, Selector::Latest),
        };
        let (namespace, name) = match path.split_once('/') {
            Some((namespace, name)) => (Some(checked("namespace", namespace)?), name),
            None => (None, path),
        };
        Ok(Self {
            namespace,
            name: checked("name", name)?,
            selector,
        })
    }
}

/// The text, when it is a valid namespace or name.
///
/// # Errors
/// Says what is wrong, with the text made visible.
pub fn checked(what: &str, text: &str) -> Result<String, String> {
    let shown: String = text
        .chars()
        .take(MAX_NAME)
        .flat_map(char::escape_default)
        .collect();
    if text.is_empty() || text.len() > MAX_NAME {
        return Err(format!("{what} '{shown}' must have 1 to {MAX_NAME} characters"));
    }
    let stem = text.split('.').next().unwrap_or(text);
    if DEVICES.contains(&stem) {
        return Err(format!("{what} '{shown}' is reserved"));
    }
    let separator = |byte: &u8| matches!(byte, b'.' | b'_' | b'-');
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let fits = bytes.iter().all(|byte| plain(byte) || separator(byte))
        && bytes.first().is_some_and(plain)
        && bytes.last().is_some_and(plain)
        && !bytes.windows(2).any(|pair| pair.iter().all(separator));
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{what} '{shown}' must be lower-case letters and digits, with single '.', '_' or '-' between them"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        for good in ["a", "api", "user-api", "user_api", "v1.2", "0day"] {
            assert_eq!(checked("name", good).as_deref(), Ok(good));
        }
        let long = "a".repeat(65);
        for bad in [
            "",
            "..",
            ".",
            "../x",
            "a/b",
            "a%2fb",
            "A",
            "Api",
            "a--b",
            "a._b",
            "-a",
            "a-",
            "con",
            "nul.txt",
            "аpi",
            "a b",
            "a\0",
            "a\n",
            "é",
            &long,
            "a\u{202e}b",
            "~",
            "@",
        ] {
            assert!(checked("name", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_reference_names_namespace_and_range() {
        let reference: Reference = "acme/auth@^1.2".parse().unwrap();
        assert_eq!(reference.namespace.as_deref(), Some("acme"));
        assert_eq!(reference.artifact("default").unwrap().to_string(), "acme/auth");
        assert_eq!(reference.selector, "^1.2".parse().unwrap());
        let reference: Reference = "auth".parse().unwrap();
        assert_eq!(reference.artifact("default").unwrap().to_string(), "default/auth");
        assert_eq!(reference.selector, Selector::Latest);
        for bad in ["a/b/c", "a@", "a@x.y", "@1.0.0", "/a", "a/"] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn look_alikes_fold_together() {
        let folded = |name| ArtifactId::new("n", name).unwrap().folded();
        assert_eq!(folded("a_b.c"), folded("a-b-c"));
    }
}
