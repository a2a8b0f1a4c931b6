//! What travels between client and server. The first half has the shapes of the older tool, and stays as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// An artifact, in a list or alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// One line.
    pub description: String,
    /// The highest release that is not yanked.
    pub latest_version: Option<String>,
    /// Versions that are not yanked, the lowest first.
    pub versions: Vec<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
}

/// One version with its README.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Its number.
    pub version: String,
    /// The README.
    pub readme_content: String,
    /// SHA-256 of the README, in hexadecimal digits.
    pub checksum: String,
    /// When, in RFC 3339.
    pub published_at: String,
    /// What the publisher added.
    pub metadata: Map<String, Value>,
}

/// A README alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Readme {
    /// Its text.
    pub content: String,
}

/// What is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Publish {
    /// Its name: lower-case letters and digits, with single `.`, `_` or `-` between them.
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[a-z0-9]+([._-][a-z0-9]+)*$"))]
    pub name: String,
    /// MAJOR.MINOR.PATCH, as semver.org says.
    #[schemars(
        length(min = 5, max = 128),
        regex(
            pattern = r"^(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})\.(0|[1-9][0-9]{0,17})(-((0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$"
        )
    )]
    pub version: String,
    /// The README.
    pub readme_content: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[a-z0-9]+([._-][a-z0-9]+)*$"))]
    pub namespace: String,
    /// One line.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub description: String,
    /// Words to find it by.
    #[serde(default)]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64)))]
    pub tags: Vec<String>,
    /// Anything else worth keeping.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

fn default_namespace() -> String {
    DEFAULT_NAMESPACE.to_owned()
}

/// Where artifacts are when nothing else is said.
pub const DEFAULT_NAMESPACE: &str = "default";

/// It is published, by this request or an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// Always true.
    pub success: bool,
    /// `namespace/name`.
    pub artifact: String,
    /// Its number.
    pub version: String,
    /// SHA-256 of the README, in hexadecimal digits.
    pub checksum: String,
}

/// A change was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// Always true.
    pub success: bool,
    /// What was done.
    pub message: String,
}

/// The namespaces that hold artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Namespaces {
    /// Sorted.
    pub namespaces: Vec<String>,
}

/// Whether it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// `pactown-registry`.
    pub service: String,
}

/// A version in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionRow {
    /// Its number.
    pub version: String,
    /// SHA-256 of the README, in hexadecimal digits.
    pub checksum: String,
    /// Bytes of the README.
    pub size: u64,
    /// When, in RFC 3339.
    pub published_at: String,
    /// Hidden from new resolutions.
    pub yanked: bool,
}

/// The versions of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Versions {
    /// The highest first, yanked ones too.
    pub versions: Vec<VersionRow>,
}

/// Whether a version is to be hidden from new resolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Yank {
    /// Hidden, or shown again.
    pub yanked: bool,
}

/// A token that is wished for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// `admin`, `read:NAMESPACE`, `publish:NAMESPACE`, `publish:NAMESPACE/NAME`; `*` is all of them.
    #[schemars(
        length(min = 1, max = 32),
        inner(regex(
            pattern = r"^(admin|read:(\*|(?=[a-z0-9._-]{1,64}(/|$))[a-z0-9]+([._-][a-z0-9]+)*)|publish:(\*|(?=[a-z0-9._-]{1,64}(/|$))[a-z0-9]+([._-][a-z0-9]+)*)(/(\*|(?=[a-z0-9._-]{1,64}(/|$))[a-z0-9]+([._-][a-z0-9]+)*))?)$"
        ))
    )]
    pub scopes: Vec<String>,
    /// Seconds until it ends; never when absent.
    #[serde(default, deserialize_with = "whole")]
    #[schemars(range(min = 1, max = 3_155_760_000_u64))]
    pub expires_in_s: Option<u64>,
}

/// A whole number, also as `60.0`, which JSON Schema counts as one.
fn whole<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(from)? else {
        return Ok(None);
    };
    let float = || {
        number
            .as_f64()
            .filter(|float| float.fract() == 0.0 && (0.0..1e15).contains(float))
    };
    let whole = number.as_u64().or_else(|| float().map(|float| float as u64));
    whole
        .map(Some)
        .ok_or_else(|| serde::de::Error::custom("Input should be a whole number of seconds"))
}

/// A token, without what makes it work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// What it is called when it is revoked.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was made, in RFC 3339.
    pub created_at: String,
    /// When it ends, in RFC 3339.
    pub expires_at: Option<String>,
    /// Whether it was ended.
    pub revoked: bool,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenMade {
    /// What makes it work; told only now.
    pub secret: String,
    /// The token.
    pub token: Token,
}

/// All tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// The oldest first.
    pub tokens: Vec<Token>,
}

/// What was swept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Swept {
    /// Contents that were removed.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A version whose content is not what was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Damaged {
    /// `namespace/name`.
    pub artifact: String,
    /// Its number.
    pub version: String,
    /// SHA-256 that its README should have.
    pub checksum: String,
}

/// What a check of the whole store found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    /// Versions that were looked at.
    pub versions: u64,
    /// Those whose content is damaged or gone.
    pub damaged: Vec<Damaged>,
    /// What the database says of itself, when all is not well.
    pub database: Vec<String>,
}

/// No success: one line, or a list of what is wrong with the request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Refused {
    /// Text, or a list.
    pub detail: Detail,
}

/// Why a request got no success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Detail {
    /// One line.
    Text(String),
    /// What is wrong with the request, each with its place.
    List(Vec<Wrong>),
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wrong {
    /// A word for it.
    #[serde(rename = "type")]
    pub kind: String,
    /// `body` or `query`, then the field.
    pub loc: Vec<Value>,
    /// One line.
    pub msg: String,
}
