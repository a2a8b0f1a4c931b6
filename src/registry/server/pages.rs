//! Pages for people: what there is, and what an artifact says. Plain HTML without a line of script.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use maud::{DOCTYPE, Markup, html};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::fault::Fault;
use super::routes::Call;
use super::{mirror, readme, reads};
use crate::registry::evidence::Evidence;
use crate::registry::signing::Envelope;
use crate::registry::store::{Artifact, Page, Store, Version};
use crate::registry::version::Selector;

/// Artifacts on a page.
const SHOWN: usize = 50;

const STYLE: &str = include_str!("style.css");

/// Nothing but our own style; forms lead here; nobody may frame it.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// `GET /`.
pub(crate) async fn index(call: Call) -> Result<Response<Body>, Fault> {
    let shown = reads::page(&call, SHOWN).await.map(|page| list(&call, &page));
    Ok(shown_or_told(&call, shown))
}

/// `GET /artifacts/{namespace}/{name}` and `…/{version}`.
pub(crate) async fn artifact(call: Call) -> Result<Response<Body>, Fault> {
    let shown = about(&call).await;
    Ok(shown_or_told(&call, shown))
}

/// `GET /style.css`.
pub(crate) async fn style(call: Call) -> Result<Response<Body>, Fault> {
    Ok(Answer::of("text/css; charset=utf-8", STYLE.into()).to(call.headers()))
}

fn shown_or_told(call: &Call, shown: Result<Markup, Fault>) -> Response<Body> {
    let (status, page) = match shown {
        Ok(page) => (StatusCode::OK, page),
        Err(fault) => (fault.status, trouble(&fault)),
    };
    let kind = "text/html; charset=utf-8";
    let answer = Answer::of(kind, page.into_string().into_bytes())
        .with(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    let mut response = answer.to(call.headers());
    if status != StatusCode::OK {
        *response.status_mut() = status;
    }
    response
}

fn frame(title: &str, search: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                link rel="stylesheet" href="/style.css";
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header {
                    a href="/" { "pactown registry" }
                    form action="/" method="get" role="search" {
                        input type="search" name="search" value=(search) maxlength="256"
                            aria-label="Search artifacts" placeholder="Search";
                        button { "Search" }
                    }
                }
                main #content { (content) }
            }
        }
    }
}

fn trouble(fault: &Fault) -> Markup {
    let title = fault.status.canonical_reason().unwrap_or("No answer");
    frame(title, "", &html! { h1 { (title) } p { (fault.text()) } })
}

fn list(call: &Call, page: &Page) -> Markup {
    let search = call.query("search").unwrap_or_default();
    let namespace = call.query("namespace").unwrap_or_default();
    let title = match (search.as_str(), namespace.as_str()) {
        ("", "") => "Artifacts".to_owned(),
        ("", namespace) => format!("Artifacts of {namespace}"),
        (search, _) => format!("Search: {search}"),
    };
    let content = html! {
        h1 { (title) }
        @if page.artifacts.is_empty() {
            @if search.is_empty() {
                p { "Nothing is published yet. " code { "pactown publish" } " puts the READMEs of an ecosystem here." }
            } @else {
                p { "Nothing found." }
            }
        }
        ul.list { @for artifact in &page.artifacts { li { (entry(artifact)) } } }
        @if let Some(next) = &page.next {
            p { a href=(next_page(&search, &namespace, next)) rel="next" { "More" } }
        }
    };
    frame(&title, &search, &content)
}

fn next_page(search: &str, namespace: &str, cursor: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::from("/?"));
    for (name, value) in [("search", search), ("namespace", namespace), ("cursor", cursor)] {
        if !value.is_empty() {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

fn entry(artifact: &Artifact) -> Markup {
    html! {
        a href={ "/artifacts/" (artifact.namespace) "/" (artifact.name) } {
            (artifact.namespace) "/" (artifact.name)
        }
        " " span.faint { (artifact.latest.as_deref().unwrap_or("no release")) }
        @if !artifact.description.is_empty() { div { (plain(&artifact.description)) } }
        @if !artifact.tags.is_empty() { div { (tags(&artifact.tags)) } }
    }
}

fn tags(tags: &[String]) -> Markup {
    html! { @for tag in tags { span.tag { (plain(tag)) } } }
}

/// Without characters that turn the text around them.
fn plain(text: &str) -> String {
    crate::registry::text::plain(text)
}

async fn about(call: &Call) -> Result<Markup, Fault> {
    let id = call.artifact()?;
    call.caller.must_read(id.namespace())?;
    let own = id.clone();
    let both = move |store: &Store| Ok((store.artifact(&own)?, store.versions(&own)?));
    let (artifact, versions) = mirror::found(call, &id, None, both).await?;
    let selector = match (
        call.captured("version"),
        artifact.latest.as_deref(),
        versions.first(),
    ) {
        ("", Some(_), _) => Selector::Latest,
        // Of an artifact without a release, the highest prerelease.
        ("", None, Some(highest)) => Selector::Exact(highest.number.clone()),
        _ => call.selector()?,
    };
    let (version, text) = reads::content(call, &selector).await?;
    let readme = tokio::task::spawn_blocking(move || readme::html(&text)).await;
    let readme =
        readme.map_err(|_| Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "the README cannot be shown"))?;
    let title = format!("{id} {}", version.number);
    Ok(frame(
        &title,
        "",
        &page_of(&artifact, &versions, &version, readme),
    ))
}

fn page_of(artifact: &Artifact, versions: &[Version], version: &Version, readme: String) -> Markup {
    html! {
        h1 { (artifact.namespace) "/" (artifact.name) " " span.faint { (version.number) } }
        @if !artifact.description.is_empty() { p { (plain(&artifact.description)) } }
        @if !artifact.tags.is_empty() { p { (tags(&artifact.tags)) } }
        @if version.yanked { p { strong { "This version is yanked: " } "new resolutions do not choose it." } }
        pre { code { "pactown pull " (artifact.namespace) "/" (artifact.name) "@" (version.number) } }
        p.faint { "sha256 " code { (version.digest.as_str()) } br; (version.size) " bytes, published " (version.published_at) }
        (proofs(version))
        details {
            summary { (versions.len()) @if versions.len() == 1 { " version" } @else { " versions" } }
            table {
                thead { tr { th { "Version" } th { "Published" } th { "sha256" } } }
                tbody { @for row in versions { (version_row(artifact, row)) } }
            }
        }
        article { (maud::PreEscaped(readme)) }
    }
}

/// What the publisher attached. Nothing here proves a signature: `pull --require-signature` does.
fn proofs(version: &Version) -> Markup {
    let metadata: Map<String, Value> = serde_json::from_str(&version.metadata).unwrap_or_default();
    let evidence = Evidence::within(&metadata, &version.digest);
    let envelopes = Envelope::within(&metadata);
    html! {
        @if let Some(evidence) = evidence { p { "Tests: " (evidence) } }
        @for id in envelopes.iter().flat_map(Envelope::key_ids) {
            p.faint { "signed with the key " code { (plain(id)) } ", to be proved by " code { "pactown pull --require-signature" } }
        }
    }
}

fn version_row(artifact: &Artifact, row: &Version) -> Markup {
    html! {
        tr {
            td {
                a.yanked[row.yanked] href={ "/artifacts/" (artifact.namespace) "/" (artifact.name) "/" (row.number) } {
                    (row.number)
                }
                @if row.yanked { " yanked" }
            }
            td { (row.published_at.get(..10).unwrap_or(&row.published_at)) }
            td { code { (row.digest.as_str()) } }
        }
    }
}
