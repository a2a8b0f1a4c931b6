//! The OpenAPI document, made from the table of operations.

use std::sync::OnceLock;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::catalogue::{Access, Gives, Operation, operations};
use crate::registry::api;

/// What every operation may answer besides its success.
const ALWAYS: [u16; 7] = [400, 401, 403, 421, 429, 500, 503];

/// The document; made once.
pub(super) fn openapi() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(make)
}

fn make() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described(&operation, &mut generator);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "pactown registry",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Stores, versions and serves executable READMEs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn described(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let mut value = json!({
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": responses(operation, generator),
        "security": match operation.access {
            Access::Open => json!([]),
            Access::Readers => json!([{}, {"token": []}]),
            Access::Holders => json!([{"token": []}, {}]),
        },
    });
    let parameters: Vec<Value> = captured(operation.path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
        .chain(operation.query.iter().map(|(name, what, shape)| {
            json!({"name": name, "in": "query", "description": what, "schema": shape(generator)})
        }))
        .collect();
    if !parameters.is_empty() {
        value["parameters"] = parameters.into();
    }
    if let Some(shape) = operation.takes {
        value["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": shape(generator)}},
        });
    }
    value
}

fn responses(operation: &Operation, generator: &mut SchemaGenerator) -> Value {
    let content = match operation.gives {
        Gives::Json(shape) => json!({"application/json": {"schema": shape(generator)}}),
        Gives::Other(kind) => json!({kind: {}}),
    };
    let mut responses = json!({"200": {"description": "Done", "content": content}});
    if operation.method == axum::http::Method::GET {
        responses["304"] = json!({"description": "Nothing changed since If-None-Match"});
    }
    let refusal = generator.subschema_for::<api::Refused>();
    let page = matches!(operation.gives, Gives::Other("text/html"));
    for status in ALWAYS.iter().chain(operation.refusals) {
        let reason = axum::http::StatusCode::from_u16(*status).ok();
        let mut content = json!({"application/json": {"schema": refusal}});
        if page {
            content["text/html"] = json!({});
        }
        responses[status.to_string()] = json!({
            "description": reason.and_then(|status| status.canonical_reason()).unwrap_or("Refused"),
            "content": content,
        });
    }
    responses
}

/// The names in braces.
fn captured(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_described_and_every_reference_leads_somewhere() {
        let document = openapi();
        let text = document.to_string();
        for operation in operations() {
            let described =
                &document["paths"][operation.path][operation.method.as_str().to_ascii_lowercase()];
            assert!(described["responses"]["200"].is_object(), "{}", operation.path);
        }
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name}");
        }
        assert!(
            document["components"]["schemas"]["Publish"]["required"]
                .as_array()
                .unwrap()
                .len()
                == 3
        );
    }
}
