//! Who stands for a version: an Ed25519 signature (RFC 8032) over a statement of in-toto's, in a DSSE envelope
//! (<https://github.com/secure-systems-lab/dsse>). Keys are PEM as OpenSSL writes them (RFC 8410).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::evidence::Evidence;
use super::name::ArtifactId;
use super::store::Digest;

/// Under this name a version's metadata holds its envelopes.
pub const SIGNATURES: &str = "signatures";

/// What an envelope is, also as a media type in an OCI registry.
pub const ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "urn:pactown:publication:v1";

/// In front of the 32 bytes of a private key, by RFC 8410.
const PRIVATE: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// In front of the 32 bytes of a public key, by RFC 8410.
const PUBLIC: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// What signs.
pub struct SigningKey(Ed25519KeyPair);

/// What proves a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// A signed statement, as DSSE writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    #[serde(default)]
    keyid: String,
    sig: String,
}

#[derive(Serialize, Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Serialize, Deserialize)]
struct Subject {
    name: String,
    digest: Map<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Predicate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evidence: Option<Evidence>,
}

/// What is signed: a README as this version of this artifact.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The artifact.
    pub artifact: &'a ArtifactId,
    /// Its version.
    pub version: &'a semver::Version,
    /// Of the README.
    pub digest: &'a Digest,
}

impl SigningKey {
    /// A new one, and its text: PKCS #8 in PEM.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub fn generate() -> Result<(Self, String), String> {
        let mut der = PRIVATE.to_vec();
        der.resize(PRIVATE.len() + 32, 0);
        let seed = &mut der[PRIVATE.len()..];
        match rustix::rand::getrandom(&mut *seed, rustix::rand::GetRandomFlags::empty()) {
            Ok(32) => (),
            _ => return Err("the kernel gives no random bytes".to_owned()),
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|error| error.to_string())?;
        Ok((Self(pair), pem("PRIVATE KEY", &der)))
    }

    /// From PKCS #8 in PEM.
    ///
    /// # Errors
    /// It is no Ed25519 key.
    pub fn from_pem(text: &str) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| "it holds no private key in PEM form (PKCS #8)".to_owned())?;
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map(Self)
            .map_err(|error| format!("it is no Ed25519 key: {error}"))
    }

    /// Its other half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// Signs a claim, and what its tests were.
    pub fn sign(&self, claim: Claim<'_>, evidence: Option<Evidence>) -> Envelope {
        let statement = Statement {
            kind: STATEMENT.to_owned(),
            subject: vec![Subject {
                name: claim.name(),
                digest: Map::from_iter([("sha256".to_owned(), json!(claim.digest.as_str()))]),
            }],
            predicate_type: PREDICATE.to_owned(),
            predicate: Predicate { evidence },
        };
        let payload = json!(statement).to_string();
        let signature = self.0.sign(&encoded(PAYLOAD, payload.as_bytes()));
        Envelope {
            payload_type: PAYLOAD.to_owned(),
            payload: STANDARD.encode(payload),
            signatures: vec![Signed {
                keyid: self.public().id(),
                sig: STANDARD.encode(signature),
            }],
        }
    }
}

impl PublicKey {
    /// From PEM (`BEGIN PUBLIC KEY`), or from its one line of base64.
    ///
    /// # Errors
    /// It is no Ed25519 key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let der = match text.contains("-----BEGIN") {
            true => SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
                .map(|der| der.as_ref().to_vec())
                .map_err(|_| "it holds no public key in PEM form".to_owned())?,
            false => STANDARD
                .decode(text.trim())
                .map_err(|_| "it is neither PEM nor base64".to_owned())?,
        };
        let bytes = der.strip_prefix(&PUBLIC).and_then(|key| key.try_into().ok());
        bytes
            .map(Self)
            .ok_or_else(|| "it is no public Ed25519 key".to_owned())
    }

    /// As PEM.
    pub fn to_pem(&self) -> String {
        pem("PUBLIC KEY", &self.der())
    }

    /// As one line, for an argument.
    pub fn to_line(&self) -> String {
        STANDARD.encode(self.der())
    }

    /// By which it is told from others: SHA-256 of its DER form.
    pub fn id(&self) -> String {
        Digest::of(&self.der()).to_string()
    }

    fn der(&self) -> Vec<u8> {
        [PUBLIC.as_slice(), &self.0].concat()
    }

    fn proves(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl Claim<'_> {
    fn name(&self) -> String {
        format!("{}@{}", self.artifact, self.version)
    }
}

impl Envelope {
    /// Those that a version's metadata holds.
    pub fn within(metadata: &Map<String, Value>) -> Vec<Self> {
        let list = metadata.get(SIGNATURES).and_then(Value::as_array);
        let each = list.into_iter().flatten();
        each.filter_map(|value| serde_json::from_value(value.clone()).ok())
            .collect()
    }

    /// The keys that it says it is signed with; nothing is proved by that.
    pub fn key_ids(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|signed| signed.keyid.as_str())
    }

    /// The evidence in it, when `key` has signed exactly this claim.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn check(&self, key: &PublicKey, claim: Claim<'_>) -> Result<Option<Evidence>, String> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| "it is not base64".to_owned());
        let payload = decode(&self.payload)?;
        let message = encoded(&self.payload_type, &payload);
        let is_proved = self
            .signatures
            .iter()
            .filter_map(|signed| decode(&signed.sig).ok())
            .any(|signature| key.proves(&message, &signature));
        if !is_proved {
            return Err("it is of another key, or was changed".to_owned());
        }
        let statement: Statement =
            serde_json::from_slice(&payload).map_err(|error| format!("it says nothing: {error}"))?;
        let is_ours = self.payload_type == PAYLOAD
            && statement.kind == STATEMENT
            && statement.predicate_type == PREDICATE;
        let named = |subject: &Subject| {
            subject.name == claim.name()
                && subject.digest.get("sha256").and_then(Value::as_str) == Some(claim.digest.as_str())
        };
        match is_ours && statement.subject.iter().any(named) {
            true => Ok(statement
                .predicate
                .evidence
                .filter(|evidence| evidence.is_of(claim.digest))),
            false => Err("it is of something else".to_owned()),
        }
    }
}

/// What is signed of a payload: DSSE's pre-authentication encoding.
fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn pem(label: &str, der: &[u8]) -> String {
    // One line is enough for these keys: at most 64 characters.
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_of_one_key_and_one_claim() {
        let (key, text) = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&text).unwrap();
        assert_eq!(key.public(), again.public());
        for text in [key.public().to_pem(), key.public().to_line()] {
            assert_eq!(PublicKey::parse(&text), Ok(key.public()));
        }
        let artifact = ArtifactId::new("acme", "api").unwrap();
        let other = ArtifactId::new("acme", "apj").unwrap();
        let (one, two) = (semver::Version::new(1, 0, 0), semver::Version::new(2, 0, 0));
        let (digest, changed) = (Digest::of(b"a"), Digest::of(b"b"));
        let claim = Claim {
            artifact: &artifact,
            version: &one,
            digest: &digest,
        };
        let evidence = Evidence::new(&digest, "2026-01-01T00:00:00Z".into(), (2, 0, 1));
        let envelope = key.sign(claim, Some(evidence.clone()));
        let public = key.public();
        assert_eq!(envelope.check(&public, claim), Ok(Some(evidence)));
        let foreign = SigningKey::generate().unwrap().0.public();
        assert!(envelope.check(&foreign, claim).is_err());
        for other in [
            Claim {
                artifact: &other,
                ..claim
            },
            Claim {
                version: &two,
                ..claim
            },
            Claim {
                digest: &changed,
                ..claim
            },
        ] {
            assert!(envelope.check(&public, other).is_err());
        }
        let payload = STANDARD.decode(&envelope.payload).unwrap();
        for position in 0..payload.len() {
            let mut bytes = payload.clone();
            bytes[position] ^= 1;
            let changed = Envelope {
                payload: STANDARD.encode(bytes),
                ..envelope.clone()
            };
            assert!(changed.check(&public, claim).is_err(), "{position}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let (key, text) = SigningKey::generate().unwrap();
        for bad in [
            "",
            "x",
            "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n",
        ] {
            assert!(SigningKey::from_pem(bad).is_err(), "{bad}");
            assert!(PublicKey::parse(bad).is_err(), "{bad}");
        }
        assert!(PublicKey::parse(&text).is_err());
        assert!(SigningKey::from_pem(&key.public().to_pem()).is_err());
    }
}
