//! Every operation, with what the OpenAPI document says of it. What is not in this table is not answered.

use axum::http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::routes::{Call, Handled};
use super::{pages, publish, reads, token};
use crate::registry::api;

/// How a type is described.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// Who may do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everybody.
    Open,
    /// Whoever may read, as the server is set.
    Readers,
    /// Who holds a token that allows it.
    Holders,
}

/// What comes back when all is well.
pub(super) enum Gives {
    /// JSON of this shape.
    Json(Shape),
    /// Something else, of this media type.
    Other(&'static str),
}

/// One method of one path.
pub(super) struct Operation {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) access: Access,
    /// Name, what it is, and its shape.
    pub(super) query: &'static [(&'static str, &'static str, Shape)],
    pub(super) takes: Option<Shape>,
    pub(super) gives: Gives,
    /// Statuses beyond those that every operation has.
    pub(super) refusals: &'static [u16],
    pub(super) handler: fn(Call) -> Handled,
}

impl Operation {
    fn new(
        method: Method,
        path: &'static str,
        name: &'static str,
        summary: &'static str,
        handler: fn(Call) -> Handled,
    ) -> Self {
        Self {
            method,
            path,
            name,
            summary,
            access: Access::Readers,
            query: &[],
            takes: None,
            gives: Gives::Other("text/html"),
            refusals: &[],
            handler,
        }
    }

    fn json<T: JsonSchema>(mut self) -> Self {
        self.gives = Gives::Json(shape::<T>);
        self
    }

    fn other(mut self, kind: &'static str) -> Self {
        self.gives = Gives::Other(kind);
        self
    }

    fn takes<T: JsonSchema>(mut self) -> Self {
        self.takes = Some(shape::<T>);
        self
    }

    fn query(mut self, query: &'static [(&'static str, &'static str, Shape)]) -> Self {
        self.query = query;
        self
    }

    fn refuses(mut self, refusals: &'static [u16]) -> Self {
        self.refusals = refusals;
        self
    }

    fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }
}

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const SEARCH: (&str, &str, Shape) = (
    "search",
    "Part of a name, description or tag, or words of the README",
    |_| schemars::json_schema!({"type": "string", "maxLength": reads::MAX_SEARCH}),
);
const NAMESPACE: (&str, &str, Shape) = (
    "namespace",
    "Only those of this namespace; empty: of all",
    |_| schemars::json_schema!({"type": "string", "pattern": "^([a-z0-9]+([._-][a-z0-9]+)*)?$", "maxLength": 64}),
);
const LIMIT: (&str, &str, Shape) = (
    "limit",
    "At most so many; the header Link then leads to the next page",
    |_| schemars::json_schema!({"type": "integer", "minimum": 1, "maximum": reads::PAGE}),
);
const CURSOR: (&str, &str, Shape) = (
    "cursor",
    "Where the page begins, as the header Link says",
    |_| schemars::json_schema!({"type": "string"}),
);

/// The table.
pub(super) fn operations() -> Vec<Operation> {
    [
        service(),
        artifacts(),
        contents(),
        changes(),
        tokens(),
        for_people(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn service() -> Vec<Operation> {
    let get = |path, name, summary, handler| Operation::new(Method::GET, path, name, summary, handler);
    vec![
        get("/health", "health", "Whether the server runs", |call| {
            Box::pin(reads::health(call))
        })
        .json::<api::Health>()
        .access(Access::Open),
        get("/ready", "ready", "Whether the store answers", |call| {
            Box::pin(reads::ready(call))
        })
        .json::<api::Health>()
        .access(Access::Open),
        get("/metrics", "metrics", "Figures for Prometheus", |call| {
            Box::pin(reads::metrics(call))
        })
        .other("application/openmetrics-text")
        .access(Access::Open),
        get("/openapi.json", "openapi", "This document", |call| {
            Box::pin(reads::openapi(call))
        })
        .json::<serde_json::Map<String, serde_json::Value>>()
        .access(Access::Open),
    ]
}

fn artifacts() -> Vec<Operation> {
    let get = |path, name, summary, handler| Operation::new(Method::GET, path, name, summary, handler);
    vec![
        get(
            "/v1/artifacts",
            "listArtifacts",
            "List or search artifacts",
            |call| Box::pin(reads::list(call)),
        )
        .query(&[NAMESPACE, SEARCH, LIMIT, CURSOR])
        .json::<Vec<api::Artifact>>()
        .refuses(&[422]),
        get(
            "/v1/artifacts/{namespace}/{name}",
            "getArtifact",
            "One artifact",
            |call| Box::pin(reads::artifact(call)),
        )
        .json::<api::Artifact>()
        .refuses(&[404]),
        get(
            "/v1/artifacts/{namespace}/{name}/versions",
            "listVersions",
            "All versions of an artifact, the highest first",
            |call| Box::pin(reads::versions(call)),
        )
        .json::<api::Versions>()
        .refuses(&[404]),
    ]
}

fn contents() -> Vec<Operation> {
    let get = |path, name, summary, handler| Operation::new(Method::GET, path, name, summary, handler);
    vec![
        get(
            "/v1/artifacts/{namespace}/{name}/{version}",
            "getVersion",
            "One version; {version} is a number, a range such as ^1.2, or latest",
            |call| Box::pin(reads::version(call)),
        )
        .json::<api::Version>()
        .refuses(&[404]),
        get(
            "/v1/artifacts/{namespace}/{name}/{version}/readme",
            "getReadme",
            "The README of one version",
            |call| Box::pin(reads::readme(call)),
        )
        .json::<api::Readme>()
        .refuses(&[404]),
        get(
            "/v1/blobs/{digest}",
            "getBlob",
            "A README by its digest, as it is",
            |call| Box::pin(reads::blob(call)),
        )
        .other("application/octet-stream")
        .refuses(&[404]),
        get(
            "/v1/namespaces",
            "listNamespaces",
            "The namespaces, sorted",
            |call| Box::pin(reads::namespaces(call)),
        )
        .json::<api::Namespaces>(),
    ]
}

fn changes() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::POST,
            "/v1/publish",
            "publish",
            "Publish a version",
            |call| Box::pin(publish::publish(call)),
        )
        .takes::<api::Publish>()
        .json::<api::Published>()
        .refuses(&[408, 409, 413, 415, 422, 507]),
        Operation::new(
            Method::POST,
            "/v1/artifacts/{namespace}/{name}/{version}/yank",
            "yank",
            "Hide a version from new resolutions, or show it again",
            |call| Box::pin(reads::yank(call)),
        )
        .takes::<api::Yank>()
        .json::<api::Done>()
        .refuses(&[404, 408, 413, 415, 422, 507]),
        Operation::new(
            Method::DELETE,
            "/v1/artifacts/{namespace}/{name}",
            "deleteArtifact",
            "Take an artifact away; its versions stay taken",
            |call| Box::pin(reads::delete(call)),
        )
        .json::<api::Done>()
        .refuses(&[404, 507]),
        Operation::new(
            Method::POST,
            "/v1/admin/check",
            "check",
            "Compare every content with its digest",
            |call| Box::pin(reads::check(call)),
        )
        .json::<api::Checked>(),
        Operation::new(
            Method::POST,
            "/v1/admin/sweep",
            "sweep",
            "Remove contents that no version names",
            |call| Box::pin(reads::sweep(call)),
        )
        .json::<api::Swept>()
        .refuses(&[507]),
    ]
    .into_iter()
    .map(|operation| operation.access(Access::Holders))
    .collect()
}

fn tokens() -> Vec<Operation> {
    let make = |method: Method, name| {
        Operation::new(
            method,
            "/v1/tokens",
            name,
            "Make a token; its secret is told once",
            |call| Box::pin(token::create(call)),
        )
        .takes::<api::NewToken>()
        .json::<api::TokenMade>()
        .refuses(&[408, 413, 415, 422, 507])
    };
    vec![
        make(Method::POST, "createToken"),
        make(Method::PUT, "putToken"),
        Operation::new(Method::GET, "/v1/tokens", "listTokens", "All tokens", |call| {
            Box::pin(token::list(call))
        })
        .json::<api::Tokens>(),
        Operation::new(
            Method::DELETE,
            "/v1/tokens/{id}",
            "revokeToken",
            "End a token",
            |call| Box::pin(token::revoke(call)),
        )
        .json::<api::Done>()
        .refuses(&[404, 507]),
        Operation::new(
            Method::GET,
            "/v1/token",
            "ownToken",
            "The token of this request",
            |call| Box::pin(token::own(call)),
        )
        .json::<api::Token>(),
    ]
    .into_iter()
    .map(|operation| operation.access(Access::Holders))
    .collect()
}

fn for_people() -> Vec<Operation> {
    let get = |path, name, summary, handler| Operation::new(Method::GET, path, name, summary, handler);
    vec![
        get(
            "/",
            "indexPage",
            "A page that lists and searches artifacts",
            |call| Box::pin(pages::index(call)),
        )
        .query(&[NAMESPACE, SEARCH, CURSOR])
        .refuses(&[422]),
        get(
            "/artifacts/{namespace}/{name}",
            "artifactPage",
            "A page about an artifact",
            |call| Box::pin(pages::artifact(call)),
        )
        .refuses(&[404]),
        get(
            "/artifacts/{namespace}/{name}/{version}",
            "versionPage",
            "A page about one version",
            |call| Box::pin(pages::artifact(call)),
        )
        .refuses(&[404]),
        get("/style.css", "style", "The pages' style", |call| {
            Box::pin(pages::style(call))
        })
        .other("text/css")
        .access(Access::Open),
    ]
}
