//! Publishing: everything is checked, with all problems at once, before anything is written.

use axum::body::Body;
use axum::http::Response;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::body;
use super::fault::Fault;
use super::routes::Call;
use crate::registry::api;
use crate::registry::name::{ArtifactId, checked};
use crate::registry::store::{Publication, StoreError};
use crate::registry::version;

const MAX_DESCRIPTION: usize = 1024;
const MAX_TAGS: usize = 32;
const MAX_TAG: usize = 64;
const MAX_METADATA: usize = 64 * 1024;

/// `POST /v1/publish`.
pub(crate) async fn publish(call: Call) -> Result<Response<Body>, Fault> {
    call.caller.must_be_publisher()?;
    body::must_be_json(call.headers())?;
    let caller = call.caller.clone();
    let (app, parts, body) = call.into_body();
    let read = body::read(&app, &parts.headers, body).await?;
    let request = wish(body::object(&read.bytes)?)?;
    let artifact = ArtifactId::new(&request.namespace, &request.name)
        .map_err(|error| Fault::parameter("body", "name", error))?;
    let number =
        version::parse(&request.version).map_err(|error| Fault::parameter("body", "version", error))?;
    caller.must_publish(&artifact)?;
    let store = app.store.clone();
    let staged = tokio::task::spawn_blocking(move || {
        let content = store.blobs().stage(request.readme_content.as_bytes());
        content.map(|content| Publication {
            artifact,
            version: number,
            description: request.description,
            tags: request.tags,
            metadata: Value::Object(request.metadata).to_string(),
            readme: request.readme_content,
            content,
        })
    });
    let publication = staged.await.unwrap_or(Err(StoreError::Closed))?;
    let (name, number) = (publication.artifact.to_string(), publication.version.to_string());
    let now = jiff::Timestamp::now();
    let act = app
        .store
        .write(move |batch| batch.publish(&publication, &rfc3339(now)));
    let published = act.await?;
    // Held until here: the README was in memory all the time.
    drop(read);
    Ok(Answer::once(&json!(api::Published {
        success: true,
        artifact: name,
        version: number,
        checksum: published.digest.as_str().to_owned(),
    })))
}

/// With the offset that Python's `isoformat` writes.
pub(crate) fn rfc3339(time: jiff::Timestamp) -> String {
    format!("{}", time.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00"))
}

/// The fields of the body, or all that is wrong with them.
fn wish(mut body: Map<String, Value>) -> Result<api::Publish, Fault> {
    let mut problems = Vec::new();
    let mut fields = Fields {
        body: &mut body,
        problems: &mut problems,
    };
    let request = api::Publish {
        name: fields.text("name", None),
        version: fields.text("version", None),
        readme_content: fields.text("readme_content", None),
        namespace: fields.text("namespace", Some(api::DEFAULT_NAMESPACE)),
        description: fields.text("description", Some("")),
        tags: fields.tags(),
        metadata: fields.metadata(),
    };
    check(&request, &mut problems);
    if problems.is_empty() {
        Ok(request)
    } else {
        Err(Fault::invalid(problems))
    }
}

fn check(request: &api::Publish, problems: &mut Vec<Value>) {
    let told: Vec<Value> = problems.iter().map(|problem| problem["loc"][1].clone()).collect();
    let mut tell = |field: &str, outcome: Result<(), String>| {
        if let Err(message) = outcome
            && !told.iter().any(|name| name == field)
        {
            problems.push(json!({"type": "value_error", "loc": ["body", field], "msg": message}));
        }
    };
    tell("name", checked("name", &request.name).map(drop));
    tell("namespace", checked("namespace", &request.namespace).map(drop));
    tell("version", version::parse(&request.version).map(drop));
    let limit = |length: usize, limit: usize, what: &str| match length <= limit {
        true => Ok(()),
        false => Err(format!("at most {limit} {what}")),
    };
    tell(
        "description",
        limit(request.description.chars().count(), MAX_DESCRIPTION, "characters"),
    );
    tell("tags", limit(request.tags.len(), MAX_TAGS, "tags"));
    let longest = request
        .tags
        .iter()
        .map(|tag| tag.chars().count())
        .max()
        .unwrap_or(0);
    tell("tags", limit(longest, MAX_TAG, "characters in a tag"));
    let empty = request.tags.iter().any(String::is_empty);
    tell(
        "tags",
        if empty {
            Err("a tag is empty".to_owned())
        } else {
            Ok(())
        },
    );
    let metadata = Value::Object(request.metadata.clone()).to_string().len();
    tell("metadata", limit(metadata, MAX_METADATA, "bytes"));
}

struct Fields<'a> {
    body: &'a mut Map<String, Value>,
    problems: &'a mut Vec<Value>,
}

impl Fields<'_> {
    fn text(&mut self, name: &str, default: Option<&str>) -> String {
        match (self.body.remove(name), default) {
            (Some(Value::String(text)), _) => text,
            (None, Some(default)) => default.to_owned(),
            (None, None) => self.problem("missing", name, "Field required"),
            (Some(_), _) => self.problem("string_type", name, "Input should be a valid string"),
        }
    }

    fn tags(&mut self) -> Vec<String> {
        let Some(value) = self.body.remove("tags") else {
            return Vec::new();
        };
        serde_json::from_value(value).unwrap_or_else(|_| {
            self.problem::<Vec<String>>("list_type", "tags", "Input should be a list of strings")
        })
    }

    fn metadata(&mut self) -> Map<String, Value> {
        match self.body.remove("metadata") {
            None => Map::new(),
            Some(Value::Object(metadata)) => metadata,
            Some(_) => self.problem("dict_type", "metadata", "Input should be a valid dictionary"),
        }
    }

    fn problem<T: Default>(&mut self, kind: &str, name: &str, message: &str) -> T {
        self.problems
            .push(json!({"type": kind, "loc": ["body", name], "msg": message}));
        T::default()
    }
}
