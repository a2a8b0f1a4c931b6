//! What is asked and changes nothing, and the small changes: yank, delete, sweep.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::body;
use super::fault::Fault;
use super::mirror;
use super::routes::Call;
use crate::registry::api;
use crate::registry::name::checked;
use crate::registry::store::{self, Digest, Page, Wanted};
use crate::registry::version::Selector;

/// Artifacts of a page when no limit is asked for, and at most.
pub(crate) const PAGE: usize = 1000;

/// Characters of a search text.
pub(crate) const MAX_SEARCH: usize = 256;

/// `GET /health`.
pub(crate) async fn health(_: Call) -> Result<Response<Body>, Fault> {
    Ok(Answer::once(&json!(api::Health {
        status: "ok".to_owned(),
        service: "pactown-registry".to_owned(),
    })))
}

/// `GET /ready`: the store answers.
pub(crate) async fn ready(call: Call) -> Result<Response<Body>, Fault> {
    let asked = call.app.ask(|store| store.namespaces()).await;
    match asked {
        Ok(_) => health(call).await,
        Err(_) => Err(Fault::later(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store does not answer",
            1,
        )),
    }
}

/// `GET /metrics`.
pub(crate) async fn metrics(call: Call) -> Result<Response<Body>, Fault> {
    let text = call.app.metrics.text();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(Answer::of(kind, text.into_bytes()).to(call.headers()))
}

/// `GET /openapi.json`.
pub(crate) async fn openapi(call: Call) -> Result<Response<Body>, Fault> {
    Ok(Answer::json(super::document::openapi())?.to(call.headers()))
}

/// The page of artifacts that a request asks for.
pub(crate) async fn page(call: &Call, limit: usize) -> Result<Page, Fault> {
    let app = &call.app;
    let readable = call.caller.readable(|| Ok(app.store.namespaces()?))?;
    let text = |name: &str| call.query(name).filter(|text| !text.is_empty());
    let search = text("search");
    if search
        .as_ref()
        .is_some_and(|search| search.chars().count() > MAX_SEARCH)
    {
        return Err(Fault::parameter(
            "query",
            "search",
            format!("at most {MAX_SEARCH} characters"),
        ));
    }
    let namespace = match text("namespace") {
        Some(name) => {
            Some(checked("namespace", &name).map_err(|error| Fault::parameter("query", "namespace", error))?)
        }
        None => None,
    };
    let wanted = Wanted {
        namespace,
        readable,
        search,
        cursor: text("cursor"),
        limit,
    };
    Ok(app.ask(move |store| store.list(&wanted)).await?)
}

/// `GET /v1/artifacts`.
pub(crate) async fn list(call: Call) -> Result<Response<Body>, Fault> {
    let limit = match call.query("limit") {
        None => PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=PAGE).contains(limit))
            .ok_or_else(|| Fault::parameter("query", "limit", format!("Input should be 1 to {PAGE}")))?,
    };
    let page = page(&call, limit).await?;
    let artifacts: Vec<api::Artifact> = page.artifacts.into_iter().map(artifact_view).collect();
    let mut answer = Answer::json(&artifacts)?;
    if let Some(link) = page.next.and_then(|next| next_link(&call, &next, limit)) {
        answer = answer.with(header::LINK, link);
    }
    Ok(answer.to(call.headers()))
}

/// As RFC 8288 writes it; relative to the request.
fn next_link(call: &Call, cursor: &str, limit: usize) -> Option<HeaderValue> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in ["namespace", "search"] {
        if let Some(value) = call.query(name) {
            query.append_pair(name, &value);
        }
    }
    query.append_pair("limit", &limit.to_string());
    query.append_pair("cursor", cursor);
    HeaderValue::from_str(&format!("</v1/artifacts?{}>; rel=\"next\"", query.finish())).ok()
}

fn artifact_view(artifact: store::Artifact) -> api::Artifact {
    api::Artifact {
        name: artifact.name,
        namespace: artifact.namespace,
        description: artifact.description,
        latest_version: artifact.latest,
        versions: artifact.versions,
        tags: artifact.tags,
    }
}

/// `GET /v1/artifacts/{namespace}/{name}`.
pub(crate) async fn artifact(call: Call) -> Result<Response<Body>, Fault> {
    let id = call.artifact()?;
    call.caller.must_read(id.namespace())?;
    let own = id.clone();
    let artifact = mirror::found(&call, &id, None, move |store| store.artifact(&own)).await?;
    Ok(Answer::json(&artifact_view(artifact))?.to(call.headers()))
}

/// `GET /v1/artifacts/{namespace}/{name}/versions`.
pub(crate) async fn versions(call: Call) -> Result<Response<Body>, Fault> {
    let id = call.artifact()?;
    call.caller.must_read(id.namespace())?;
    let row = |version: store::Version| api::VersionRow {
        version: version.number.to_string(),
        checksum: version.digest.as_str().to_owned(),
        size: version.size,
        published_at: version.published_at,
        yanked: version.yanked,
    };
    let own = id.clone();
    let versions = mirror::found(&call, &id, None, move |store| store.versions(&own)).await?;
    let versions = versions.into_iter().map(row).collect();
    Ok(Answer::json(&api::Versions { versions })?.to(call.headers()))
}

/// The version that a request means, and its README.
pub(crate) async fn content(call: &Call, selector: &Selector) -> Result<(store::Version, String), Fault> {
    let id = call.artifact()?;
    call.caller.must_read(id.namespace())?;
    let (own, wanted) = (id.clone(), selector.clone());
    let ask = move |store: &store::Store| store.version(&own, &wanted);
    let version = mirror::found(call, &id, Some(selector), ask).await?;
    let digest = version.digest.clone();
    let bytes = call.app.ask(move |store| store.blobs().read(&digest)).await?;
    // What was published was text.
    let text = String::from_utf8(bytes).map_err(|_| store::StoreError::Corrupt(version.digest.clone()))?;
    Ok((version, text))
}

/// `GET /v1/artifacts/{namespace}/{name}/{version}`.
pub(crate) async fn version(call: Call) -> Result<Response<Body>, Fault> {
    let (version, readme_content) = content(&call, &call.selector()?).await?;
    let view = api::Version {
        version: version.number.to_string(),
        readme_content,
        checksum: version.digest.as_str().to_owned(),
        published_at: version.published_at,
        metadata: serde_json::from_str::<Map<String, Value>>(&version.metadata).unwrap_or_default(),
    };
    let mut answer = Answer::json(&view)?;
    if version.yanked {
        answer = answer.with(YANKED, HeaderValue::from_static("true"));
    }
    Ok(answer.to(call.headers()))
}

/// Said of a version that is hidden from new resolutions and was asked for by its number.
pub(crate) const YANKED: HeaderName = HeaderName::from_static("pactown-yanked");

/// `GET /v1/artifacts/{namespace}/{name}/{version}/readme`.
pub(crate) async fn readme(call: Call) -> Result<Response<Body>, Fault> {
    let (_, content) = content(&call, &call.selector()?).await?;
    Ok(Answer::json(&api::Readme { content })?.to(call.headers()))
}

/// `GET /v1/blobs/{digest}`: a README as it is; never shown by a browser.
pub(crate) async fn blob(call: Call) -> Result<Response<Body>, Fault> {
    let missing = || Fault::new(StatusCode::NOT_FOUND, "Blob not found");
    let digest: Digest = call.captured("digest").parse().map_err(|_| missing())?;
    let holders = call.app.store.holders(&digest)?;
    if !holders.iter().any(|namespace| call.caller.reads(namespace)) {
        return Err(missing());
    }
    let bytes = call.app.ask(move |store| store.blobs().read(&digest)).await?;
    let answer = Answer::of("application/octet-stream", bytes).with(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"README.md\""),
    );
    Ok(answer.to(call.headers()))
}

/// `GET /v1/namespaces`.
pub(crate) async fn namespaces(call: Call) -> Result<Response<Body>, Fault> {
    let all = call.app.store.namespaces()?;
    let readable = call.caller.readable(|| Ok(all.clone()))?;
    let namespaces = readable.unwrap_or(all);
    Ok(Answer::json(&api::Namespaces { namespaces })?.to(call.headers()))
}

/// `DELETE /v1/artifacts/{namespace}/{name}`.
pub(crate) async fn delete(call: Call) -> Result<Response<Body>, Fault> {
    let id = call.artifact()?;
    call.caller.must_administer()?;
    let message = format!("Deleted {id}");
    call.app.store.write(move |batch| batch.delete(&id)).await?;
    Ok(Answer::once(&json!(api::Done {
        success: true,
        message
    })))
}

/// `POST /v1/artifacts/{namespace}/{name}/{version}/yank`.
pub(crate) async fn yank(call: Call) -> Result<Response<Body>, Fault> {
    let id = call.artifact()?;
    call.caller.must_publish(&id)?;
    let Selector::Exact(version) = call.selector()? else {
        return Err(Fault::new(StatusCode::NOT_FOUND, "Version not found"));
    };
    let (app, parts, body) = call.into_body();
    let wish: api::Yank = body::json(&app, &parts.headers, body).await?;
    let verb = if wish.yanked { "Yanked" } else { "Restored" };
    let message = format!("{verb} {id} {version}");
    app.store
        .write(move |batch| batch.yank(&id, &version, wish.yanked))
        .await?;
    Ok(Answer::once(&json!(api::Done {
        success: true,
        message
    })))
}

/// `POST /v1/admin/check`.
pub(crate) async fn check(call: Call) -> Result<Response<Body>, Fault> {
    call.caller.must_administer()?;
    let health = call.app.ask(|store| store.check()).await?;
    let damaged = health
        .damaged
        .into_iter()
        .map(|(artifact, version, digest)| api::Damaged {
            artifact,
            version,
            checksum: digest.as_str().to_owned(),
        });
    Ok(Answer::once(&json!(api::Checked {
        versions: health.versions as u64,
        damaged: damaged.collect(),
        database: health.database,
    })))
}

/// `POST /v1/admin/sweep`.
pub(crate) async fn sweep(call: Call) -> Result<Response<Body>, Fault> {
    call.caller.must_administer()?;
    let swept = call.app.store.write(|batch| batch.sweep()).await?;
    Ok(Answer::once(&json!(api::Swept {
        count: swept.count as u64,
        bytes: swept.bytes,
    })))
}
