//! A README as an OCI artifact: a manifest with an artifact type, a config that says what it is, and the README as its
//! only layer (<https://github.com/opencontainers/image-spec/blob/main/manifest.md>).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::registry::api;
use crate::registry::store::Digest;

/// Of a manifest.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Of a list of manifests.
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// What this program's artifacts are.
pub(super) const ARTIFACT: &str = "application/vnd.pactown.readme.v1";

/// Their config.
const CONFIG: &str = "application/vnd.pactown.readme.config.v1+json";

/// Their layer.
const README: &str = "text/markdown";

/// Longest README that is fetched, in bytes.
const MAX_README: u64 = 4 << 20;

/// Longest config that is fetched, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// Something in a registry, by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(super) annotations: Map<String, Value>,
}

/// What the config says. Field by field what a version has in a server of this program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Config {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) version: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) metadata: Map<String, Value>,
    /// RFC 3339.
    pub(super) published_at: String,
}

/// A manifest, and the contents that it names.
pub(super) struct Composed {
    pub(super) manifest: Vec<u8>,
    pub(super) blobs: Vec<(Digest, Vec<u8>)>,
}

/// A manifest as it is read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    #[serde(default)]
    pub(super) artifact_type: Option<String>,
    config: Descriptor,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl Descriptor {
    /// Of these bytes.
    pub(super) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes).to_string(),
            size: bytes.len() as u64,
            artifact_type: None,
            annotations: Map::new(),
        }
    }
}

/// The artifact of a README.
pub(super) fn compose(wish: &api::Publish, published_at: &str) -> Composed {
    let config = Config {
        namespace: wish.namespace.clone(),
        name: wish.name.clone(),
        version: wish.version.clone(),
        description: wish.description.clone(),
        tags: wish.tags.clone(),
        metadata: wish.metadata.clone(),
        published_at: published_at.to_owned(),
    };
    let config = json!(config).to_string().into_bytes();
    let readme = wish.readme_content.clone().into_bytes();
    let mut layer = Descriptor::of(README, &readme);
    layer.annotations = Map::from_iter([("org.opencontainers.image.title".to_owned(), json!("README.md"))]);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": ARTIFACT,
        "config": Descriptor::of(CONFIG, &config),
        "layers": [layer],
        "annotations": {
            "org.opencontainers.image.created": published_at,
            "org.opencontainers.image.title": format!("{}/{}", wish.namespace, wish.name),
            "org.opencontainers.image.version": wish.version,
            "org.opencontainers.image.description": wish.description,
        },
    });
    Composed {
        manifest: manifest.to_string().into_bytes(),
        blobs: [config, readme].map(|bytes| (Digest::of(&bytes), bytes)).into(),
    }
}

/// A manifest that belongs to another one: `artifact_type` says as what, `content` is its only layer.
pub(super) fn attached(artifact_type: &str, subject: &Descriptor, content: &[u8]) -> Composed {
    let empty = b"{}";
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": Descriptor::of("application/vnd.oci.empty.v1+json", empty),
        "layers": [Descriptor::of(artifact_type, content)],
        "subject": subject,
    });
    Composed {
        manifest: manifest.to_string().into_bytes(),
        blobs: [empty.to_vec(), content.to_vec()]
            .map(|bytes| (Digest::of(&bytes), bytes))
            .into(),
    }
}

impl Manifest {
    /// # Errors
    /// It is no manifest.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("the manifest is none: {error}"))
    }

    /// The config and the README.
    ///
    /// # Errors
    /// It is something else than a README, or too large.
    pub(super) fn readme(&self) -> Result<(Found, Found), String> {
        let kind = self.artifact_type.as_deref().unwrap_or(&self.config.media_type);
        if (kind != ARTIFACT && kind != CONFIG) || self.config.media_type != CONFIG {
            let kind = crate::registry::text::plain(kind);
            return Err(format!("it is no README of pactown but '{kind}'"));
        }
        match self.layers.as_slice() {
            [layer] if layer.media_type == README => Ok((
                Found::new(&self.config, MAX_CONFIG)?,
                Found::new(layer, MAX_README)?,
            )),
            _ => Err("the manifest has another layer than a README".to_owned()),
        }
    }

    /// The only layer, when it is of this type.
    pub(super) fn layer(&self, media_type: &str) -> Option<Found> {
        match self.layers.as_slice() {
            [layer] if layer.media_type == media_type => Found::new(layer, MAX_CONFIG).ok(),
            _ => None,
        }
    }
}

/// A content that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

impl Found {
    fn new(descriptor: &Descriptor, limit: u64) -> Result<Self, String> {
        if descriptor.size > limit {
            return Err(format!(
                "a content of {} bytes, where {limit} are the most",
                descriptor.size
            ));
        }
        Ok(Self {
            digest: descriptor.digest.parse()?,
            size: descriptor.size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> api::Publish {
        api::Publish {
            name: "greeter".into(),
            version: "1.0.0".into(),
            readme_content: "# Greeter\n".into(),
            namespace: "acme".into(),
            description: "Greets".into(),
            tags: vec![],
            metadata: Map::new(),
        }
    }

    #[test]
    fn what_is_composed_can_be_read() {
        let composed = compose(&wish(), "2026-01-01T00:00:00Z");
        let (config, readme) = Manifest::parse(&composed.manifest).unwrap().readme().unwrap();
        assert_eq!(readme.digest, Digest::of(b"# Greeter\n"));
        assert_eq!(composed.blobs[0].0, config.digest);
        let config: Config = serde_json::from_slice(&composed.blobs[0].1).unwrap();
        assert_eq!(
            (config.namespace.as_str(), config.version.as_str()),
            ("acme", "1.0.0")
        );
    }

    #[test]
    fn what_is_no_readme_is_refused() {
        let composed = compose(&wish(), "");
        let manifest: Value = serde_json::from_slice(&composed.manifest).unwrap();
        let refused = |change: &dyn Fn(&mut Value)| {
            let mut other = manifest.clone();
            change(&mut other);
            let read = Manifest::parse(other.to_string().as_bytes());
            read.and_then(|manifest| manifest.readme()).is_err()
        };
        assert!(!refused(&|_| ()));
        assert!(refused(
            &|value| value["artifactType"] = json!("application/x-other")
        ));
        assert!(refused(
            &|value| value["config"]["mediaType"] = json!("application/json")
        ));
        assert!(refused(&|value| value["layers"][0]["size"] = json!(1_u64 << 40)));
        assert!(refused(&|value| value["layers"][0]["digest"] = json!("md5:00")));
        assert!(refused(&|value| value["layers"] = json!([])));
        assert!(refused(
            &|value| value["layers"][0]["mediaType"] = json!("application/gzip")
        ));
    }
}
