//! What another registry has, kept here: asked for when somebody asks, checked, and served when the other is away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use super::fault::Fault;
use super::publish::rfc3339;
use super::routes::Call;
use super::upstream::{Away, Listed, Upstream};
use crate::registry::api;
use crate::registry::name::ArtifactId;
use crate::registry::store::{Digest, Publication, Store, StoreError};
use crate::registry::version::{self, Selector};

/// For so long nobody asks a registry again that did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// Artifacts of which it is remembered what they were like at the last question.
const REMEMBERED: usize = 10_000;

/// The other registry, and what is known of it.
#[derive(Debug)]
pub(crate) struct Mirror {
    upstream: Arc<dyn Upstream>,
    max_readme: usize,
    /// Of each artifact, the tag of its versions; locked while it is asked about.
    known: Mutex<HashMap<ArtifactId, Arc<Mutex<Option<String>>>>>,
    /// When it may be asked again, and why not now.
    away: Mutex<Option<(Instant, Away)>>,
}

/// What the store says, after the other registry was asked when it may know more.
///
/// # Errors
/// The store has none; 503 when the other registry might have and does not answer.
pub(crate) async fn found<T: Send + 'static>(
    call: &Call,
    artifact: &ArtifactId,
    wanted: Option<&Selector>,
    ask: impl Fn(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Fault> {
    let Some(mirror) = call.app.mirror.clone() else {
        return Ok(ask(&call.app.store)?);
    };
    // What never changes and is here needs nobody.
    let exact = matches!(wanted, Some(Selector::Exact(_)));
    if exact && let Ok(here) = ask(&call.app.store) {
        return Ok(here);
    }
    let (store, artifact) = (call.app.store.clone(), artifact.clone());
    let runtime = tokio::runtime::Handle::current();
    let asked = tokio::task::spawn_blocking(move || mirror.refresh(&runtime, &store, &artifact)).await;
    let away = asked
        .unwrap_or_else(|_| Err(Away("it could not be asked".to_owned())))
        .err();
    match (ask(&call.app.store), away) {
        (Err(StoreError::NotFound(_)), Some(Away(why))) => Err(Fault::later(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("not here, and the upstream registry is away: {why}"),
            5,
        )),
        (outcome, _) => Ok(outcome?),
    }
}

impl Mirror {
    pub(crate) fn new(upstream: Arc<dyn Upstream>, max_readme: usize) -> Self {
        Self {
            upstream,
            max_readme,
            known: Mutex::default(),
            away: Mutex::default(),
        }
    }

    /// Brings the store's versions of an artifact up to date.
    fn refresh(
        &self,
        runtime: &tokio::runtime::Handle,
        store: &Store,
        artifact: &ArtifactId,
    ) -> Result<(), Away> {
        let known = self.of(artifact);
        // Whoever asks for the same meanwhile waits, and finds it done.
        let mut tag = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(away) = self.still_away() {
            return Err(away);
        }
        let outcome = self.take_over(runtime, store, artifact, &mut tag);
        if let Err(away) = &outcome {
            let until = Instant::now() + PAUSE;
            *self.away.lock().unwrap_or_else(PoisonError::into_inner) = Some((until, away.clone()));
        }
        outcome
    }

    fn still_away(&self) -> Option<Away> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, why) = away.as_ref()?;
        (Instant::now() < *until).then(|| why.clone())
    }

    fn of(&self, artifact: &ArtifactId) -> Arc<Mutex<Option<String>>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            // They are only asked for in full once more.
            known.clear();
        }
        Arc::clone(known.entry(artifact.clone()).or_default())
    }

    fn take_over(
        &self,
        runtime: &tokio::runtime::Handle,
        store: &Store,
        artifact: &ArtifactId,
        tag: &mut Option<String>,
    ) -> Result<(), Away> {
        let (new_tag, mut rows) = match self.upstream.versions(artifact, tag.as_deref())? {
            Listed::Unchanged | Listed::Missing => return Ok(()),
            Listed::Changed { tag, versions } => (tag, versions),
        };
        rows.reverse();
        let here = store.versions(artifact).unwrap_or_default();
        let about = self.upstream.artifact(artifact)?;
        for row in &rows {
            let number = version::parse(&row.version).map_err(Away)?;
            let own = here
                .iter()
                .find(|own| version::identity(&own.number) == version::identity(&number));
            let write = match own {
                // Published here with other content: what is here stays.
                Some(own) if own.digest.as_str() != row.checksum => continue,
                Some(own) if own.yanked == row.yanked => continue,
                Some(_) => None,
                None => Some(self.fetch(store, artifact, &number, row, &about)?),
            };
            keep(runtime, store, (artifact, &number), row.yanked, write)?;
        }
        *tag = new_tag;
        Ok(())
    }

    /// One version, on disk and checked.
    fn fetch(
        &self,
        store: &Store,
        artifact: &ArtifactId,
        number: &semver::Version,
        row: &api::VersionRow,
        about: &api::Artifact,
    ) -> Result<(Publication, String), Away> {
        let answer = self.upstream.version(artifact, number)?;
        let digest = Digest::of(answer.readme_content.as_bytes());
        if digest.as_str() != row.checksum || answer.version != row.version {
            return Err(Away(format!(
                "checksum mismatch: {artifact}@{number} is {digest}"
            )));
        }
        if answer.readme_content.len() > self.max_readme {
            return Err(Away(format!("{artifact}@{number} is larger than --max-body")));
        }
        let content = store
            .blobs()
            .stage(answer.readme_content.as_bytes())
            .map_err(|error| Away(error.to_string()))?;
        let told: Result<jiff::Timestamp, _> = answer.published_at.parse();
        let publication = Publication {
            artifact: artifact.clone(),
            version: number.clone(),
            description: about.description.chars().take(1024).collect(),
            tags: about.tags.iter().take(32).cloned().collect(),
            metadata: serde_json::Value::Object(answer.metadata).to_string(),
            readme: answer.readme_content,
            content,
        };
        let published_at = rfc3339(told.unwrap_or_else(|_| jiff::Timestamp::now()));
        Ok((publication, published_at))
    }
}

/// Publishes what was fetched, and sets whether it is yanked.
fn keep(
    runtime: &tokio::runtime::Handle,
    store: &Store,
    (artifact, number): (&ArtifactId, &semver::Version),
    yanked: bool,
    fetched: Option<(Publication, String)>,
) -> Result<(), Away> {
    let (artifact, number) = (artifact.clone(), number.clone());
    let written = runtime.block_on(store.write(move |batch| {
        if let Some((publication, published_at)) = &fetched {
            batch.publish(publication, published_at)?;
        }
        batch.yank(&artifact, &number, yanked)
    }));
    match written {
        // Somebody published it here at this moment, or the name is too close to one that is here: that stays.
        Ok(()) | Err(StoreError::Conflict(_)) => Ok(()),
        Err(error) => Err(Away(error.to_string())),
    }
}
