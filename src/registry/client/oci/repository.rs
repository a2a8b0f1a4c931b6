//! One repository of an OCI registry: its tags, manifests and contents
//! (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md>). What comes is compared with its digest.

use axum::http::{HeaderName, Method, StatusCode, header};
use semver::Version;
use serde::Deserialize;

use super::super::transport::ClientError;
use super::super::wire::Answer;
use super::address;
use super::manifest::{Composed, Config, Found, MANIFEST, Manifest};
use super::session::{Ask, Session, text};
use crate::registry::store::Digest;
use crate::registry::text::plain;

/// Tags in one answer.
const PAGE: usize = 1000;

/// Answers of a list of tags that are read.
const MAX_PAGES: usize = 100;

/// What a registry says that a manifest's bytes are.
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A repository.
pub(super) struct Repository<'a> {
    pub(super) session: &'a Session,
    pub(super) name: String,
}

/// A manifest that was read and checked.
pub(super) struct Read {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
}

impl Repository<'_> {
    /// Those of its tags that are versions, the lowest first.
    pub(super) fn versions(&self) -> Result<Vec<Version>, ClientError> {
        #[derive(Deserialize)]
        struct Tags {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let mut target = format!("/v2/{}/tags/list?n={PAGE}", self.name);
        let mut versions = Vec::new();
        for _ in 0..MAX_PAGES {
            let answer = self.session.send(&ask(Method::GET, &target, &self.pull()))?;
            if answer.status() == StatusCode::NOT_FOUND {
                return Err(not_found("Artifact"));
            }
            expect(&answer, &[StatusCode::OK])?;
            let tags: Tags = parsed(answer.body())?;
            versions.extend(tags.tags.iter().flatten().filter_map(|tag| address::version(tag)));
            let next = text(&answer, &header::LINK);
            match next
                .as_deref()
                .and_then(|link| link.strip_prefix('<')?.split_once('>'))
            {
                Some((next, _)) => next.clone_into(&mut target),
                None => break,
            }
        }
        versions.sort();
        Ok(versions)
    }

    /// Something of this repository.
    pub(super) fn ask(&self, method: Method, what: &str, accept: &str) -> Result<Answer, ClientError> {
        self.session.send(&Ask {
            accept,
            ..ask(method, &format!("/v2/{}/{what}", self.name), &self.pull())
        })
    }

    /// A manifest by tag or digest; `None` when there is none.
    pub(super) fn manifest(&self, reference: &str) -> Result<Option<Read>, ClientError> {
        let answer = self.ask(Method::GET, &format!("manifests/{reference}"), MANIFEST)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        expect(&answer, &[StatusCode::OK])?;
        let told = text(&answer, &CONTENT_DIGEST);
        let bytes = answer.into_body();
        let digest = Digest::of(&bytes);
        let wanted = reference.starts_with("sha256:").then_some(reference);
        for claimed in [wanted, told.as_deref()].into_iter().flatten() {
            if claimed != digest.to_string() {
                return Err(ClientError::Mismatch(format!(
                    "checksum mismatch: the manifest should be {} and is {digest}",
                    plain(claimed)
                )));
            }
        }
        Ok(Some(Read { bytes, digest }))
    }

    /// Config and README of a manifest.
    pub(super) fn read(&self, read: &Read) -> Result<(Config, String), ClientError> {
        let (config, readme) = read.manifest()?.readme().map_err(ClientError::Mismatch)?;
        let config = parsed(&self.blob(&config)?)?;
        let readme = String::from_utf8(self.blob(&readme)?)
            .map_err(|_| ClientError::Mismatch("the README is not UTF-8".to_owned()))?;
        Ok((config, readme))
    }

    pub(super) fn blob(&self, found: &Found) -> Result<Vec<u8>, ClientError> {
        let target = format!("/v2/{}/blobs/{}", self.name, found.digest);
        let answer = self.session.send(&ask(Method::GET, &target, &self.pull()))?;
        expect(&answer, &[StatusCode::OK])?;
        let bytes = answer.into_body();
        let digest = Digest::of(&bytes);
        if digest != found.digest || bytes.len() as u64 != found.size {
            return Err(ClientError::Mismatch(format!(
                "checksum mismatch: a content should be {} with {} bytes, and is {digest} with {}",
                found.digest,
                found.size,
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    /// Contents first, then the manifest that names them: whoever sees it can read all of it.
    pub(super) fn push(&self, reference: &str, composed: &Composed) -> Result<Digest, ClientError> {
        for (digest, bytes) in &composed.blobs {
            self.upload(digest, bytes)?;
        }
        self.put(reference, MANIFEST, &composed.manifest)?;
        Ok(Digest::of(&composed.manifest))
    }

    pub(super) fn put(&self, reference: &str, kind: &str, bytes: &[u8]) -> Result<Answer, ClientError> {
        let target = format!("/v2/{}/manifests/{reference}", self.name);
        let answer = self.session.send(&Ask {
            content_type: kind,
            body: bytes,
            ..ask(Method::PUT, &target, &self.both())
        })?;
        expect(&answer, &[StatusCode::CREATED])?;
        let digest = Digest::of(bytes).to_string();
        match text(&answer, &CONTENT_DIGEST) {
            Some(told) if told != digest => Err(ClientError::Mismatch(format!(
                "checksum mismatch: sent {digest}, the registry has {}",
                plain(&told)
            ))),
            _ => Ok(answer),
        }
    }

    pub(super) fn upload(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ClientError> {
        let scope = self.both();
        let there = ask(Method::HEAD, &format!("/v2/{}/blobs/{digest}", self.name), &scope);
        if self.session.send(&there)?.status() == StatusCode::OK {
            return Ok(());
        }
        let begin = ask(Method::POST, &format!("/v2/{}/blobs/uploads/", self.name), &scope);
        let answer = self.session.send(&begin)?;
        expect(&answer, &[StatusCode::ACCEPTED])?;
        let location = text(&answer, &header::LOCATION)
            .ok_or_else(|| ClientError::Mismatch("it does not say where to send a content".to_owned()))?;
        let joint = if location.contains('?') { '&' } else { '?' };
        let answer = self.session.send(&Ask {
            content_type: "application/octet-stream",
            body: bytes,
            ..ask(Method::PUT, &format!("{location}{joint}digest={digest}"), &scope)
        })?;
        expect(&answer, &[StatusCode::CREATED])
    }

    fn pull(&self) -> String {
        format!("repository:{}:pull", self.name)
    }

    fn both(&self) -> String {
        format!("repository:{}:pull,push", self.name)
    }
}

impl Read {
    /// What it says.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn manifest(&self) -> Result<Manifest, ClientError> {
        Manifest::parse(&self.bytes).map_err(ClientError::Mismatch)
    }
}

pub(super) fn not_found(what: &str) -> ClientError {
    ClientError::Refused {
        status: StatusCode::NOT_FOUND.as_u16(),
        message: format!("{what} not found"),
    }
}

pub(super) fn ask<'a>(method: Method, target: &str, scope: &str) -> Ask<'a> {
    Ask {
        method,
        target: target.to_owned(),
        accept: "",
        content_type: "",
        body: &[],
        scope: scope.to_owned(),
    }
}

pub(super) fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ClientError::Mismatch(format!("the answer is not an OCI registry's: {error}")))
}

/// Every other status is a refusal, with the registry's words for it.
pub(super) fn expect(answer: &Answer, statuses: &[StatusCode]) -> Result<(), ClientError> {
    #[derive(Deserialize)]
    struct Refusal {
        errors: Vec<Reason>,
    }
    #[derive(Deserialize)]
    struct Reason {
        code: String,
        #[serde(default)]
        message: String,
    }
    if statuses.contains(&answer.status()) {
        return Ok(());
    }
    let status = answer.status().as_u16();
    let message = match serde_json::from_slice::<Refusal>(answer.body()) {
        Ok(refusal) => {
            let reasons = refusal.errors.iter();
            let reasons = reasons.map(|reason| plain(&format!("{}: {}", reason.code, reason.message)));
            reasons.collect::<Vec<_>>().join("; ")
        }
        Err(_) => format!("status {status}"),
    };
    Err(ClientError::Refused { status, message })
}
