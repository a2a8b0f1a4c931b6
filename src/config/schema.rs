//! The grammar tables → a JSON Schema (2020-12) for editors. Looser than the checks where a schema cannot say it.

use serde_json::{Map, Value, json};

use super::ecosystem::MOST_REPLICAS;
use super::grammar::{DEPENDENCY, HEALTH, Key, SCHEDULE, SERVICE, TOP};
use super::secrets::{SECRET, SECRET_USE};

/// What a key may hold.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// Text.
    Text,
    /// Text, or a number that is taken as text.
    Version,
    /// `true`, `false`.
    Bool,
    /// 1 to 65535.
    Port,
    /// A whole number from 1.
    Count,
    /// How many of a service run.
    Replicas,
    /// A number above 0.
    Number,
    /// Seconds, or text such as `1m30s`.
    Duration,
    /// Bytes, or text such as `256M`.
    Size,
    /// A name or a number.
    Signal,
    /// A restart policy.
    Restart,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A list of text.
    Texts,
    /// A list of ports.
    PortList,
    /// `ports:`.
    Ports,
    /// `env:`.
    Environment,
    /// `depends_on:`.
    Dependencies,
    /// `health_check:`.
    Health,
    /// `schedule:`.
    Schedule,
    /// `secrets:` of the ecosystem.
    Secrets,
    /// `secrets:` of a service.
    SecretUses,
    /// Shell text or a list of arguments.
    Command,
    /// A status or a range of them.
    Statuses,
    /// Names and values of HTTP headers.
    Headers,
    /// `egress:`.
    Egress,
    /// A mapping with these keys.
    Object(&'static [Key]),
    /// A mapping of names to mappings with these keys.
    MapOf(&'static [Key]),
    /// Nothing but the values that change nothing.
    Later,
}

/// The JSON Schema of the ecosystem file.
pub fn schema() -> Value {
    let mut schema = Map::new();
    schema.insert(
        "$schema".into(),
        json!("https://json-schema.org/draft/2020-12/schema"),
    );
    schema.insert("title".into(), json!("pactown ecosystem"));
    schema.insert(
        "description".into(),
        json!("saas.pactown.yaml: services, each an executable README."),
    );
    schema.extend(object(TOP, &[]));
    Value::Object(schema)
}

/// A mapping with these keys, some of them left out.
fn object(table: &[Key], without: &[&str]) -> Map<String, Value> {
    let properties: Map<String, Value> = table
        .iter()
        .filter(|key| !without.contains(&key.name))
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let mut object = Map::new();
    object.insert("type".into(), json!(["object", "null"]));
    object.insert("properties".into(), Value::Object(properties));
    object.insert("additionalProperties".into(), json!(false));
    object
}

fn property(key: &Key) -> Value {
    let mut property = Map::new();
    let prefix = if key.later.is_some() {
        "Not supported yet. "
    } else {
        ""
    };
    property.insert("description".into(), json!(format!("{prefix}{}", key.about)));
    if let Some(default) = key.default {
        property.insert("default".into(), literal(default));
    }
    match (key.later, key.shape) {
        (Some(neutral), _) => {
            let mut values: Vec<Value> = neutral.iter().map(|text| literal(text)).collect();
            values.push(Value::Null);
            property.insert("enum".into(), Value::Array(values));
        }
        (None, Shape::Object(table)) => property.extend(object(table, &[])),
        (None, shape) => {
            property.insert("anyOf".into(), Value::Array(alternatives(shape)));
        }
    }
    Value::Object(property)
}

fn literal(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| json!(text))
}

/// What the shape allows, one after the other; null is always the default.
fn alternatives(shape: Shape) -> Vec<Value> {
    let mut all = match shape {
        Shape::Text => vec![json!({"type": "string"})],
        Shape::Version => vec![json!({"type": ["string", "number"]})],
        Shape::Bool => vec![json!({"type": "boolean"}), variable()],
        Shape::Port => vec![port(), variable()],
        Shape::Count => vec![json!({"type": "integer", "minimum": 1}), variable()],
        Shape::Replicas => vec![replicas(), variable()],
        Shape::Number => vec![json!({"type": "number", "exclusiveMinimum": 0}), variable()],
        Shape::Duration => vec![json!({"type": "number", "minimum": 0}), json!({"type": "string"})],
        Shape::Size => vec![json!({"type": ["integer", "string"], "minimum": 0})],
        Shape::Signal => vec![
            json!({"type": "integer", "minimum": 1, "maximum": 64}),
            json!({"type": "string"}),
        ],
        Shape::Restart => restart(),
        Shape::Choice(words) => vec![json!({"enum": words}), variable()],
        Shape::Texts => vec![json!({"type": "array", "items": {"type": "string"}})],
        Shape::PortList => vec![json!({"type": "array", "items": {"anyOf": [port(), variable()]}})],
        Shape::Ports => vec![json!({"type": "array", "items": {"anyOf": [port(), {"type": "string"}]}})],
        Shape::Environment => vec![json!({
            "type": "object",
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        })],
        Shape::Dependencies => dependencies(),
        Shape::Health => vec![
            json!({"type": "string"}),
            json!({"const": false}),
            Value::Object(object(HEALTH, &[])),
        ],
        Shape::Schedule => vec![json!({"type": "string"}), Value::Object(object(SCHEDULE, &[]))],
        Shape::Secrets => vec![secrets()],
        Shape::SecretUses => vec![secret_uses()],
        Shape::Headers => vec![json!({
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean"]},
        })],
        Shape::Command => vec![
            json!({"type": "string"}),
            json!({"type": "array", "items": {"type": "string"}}),
        ],
        Shape::Statuses => vec![
            json!({"type": "integer", "minimum": 100, "maximum": 599}),
            json!({"type": "string"}),
        ],
        Shape::Egress => vec![
            json!({"enum": ["all", "none"]}),
            variable(),
            json!({"type": "array", "items": {"type": "string"}}),
        ],
        Shape::Object(table) => vec![Value::Object(object(table, &[]))],
        Shape::MapOf(table) => vec![services(table)],
        Shape::Later => vec![],
    };
    all.push(json!({"type": "null"}));
    all
}

fn secrets() -> Value {
    json!({
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}$"},
        "additionalProperties": object(SECRET, &[]),
    })
}

fn secret_uses() -> Value {
    let entry = Value::Object(object(SECRET_USE, &[]));
    json!({"type": "array", "items": {"anyOf": [{"type": "string"}, entry]}})
}

fn replicas() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": MOST_REPLICAS})
}

fn port() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": 65535})
}

/// A value that a variable gives.
fn variable() -> Value {
    json!({"type": "string", "pattern": "\\$\\{"})
}

fn services(table: &[Key]) -> Value {
    debug_assert_eq!(table.len(), SERVICE.len());
    json!({
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9][a-z0-9-]{0,62}$"},
        "additionalProperties": object(table, &[]),
    })
}

fn dependencies() -> Vec<Value> {
    let mut named = object(DEPENDENCY, &[]);
    named.insert("type".into(), json!("object"));
    named.insert("required".into(), json!(["name"]));
    let condition = json!({"enum": super::grammar::CONDITIONS});
    vec![
        json!({"type": "array", "items": {"anyOf": [{"type": "string"}, named]}}),
        json!({
            "type": "object",
            "additionalProperties": {"anyOf": [condition, Value::Object(object(DEPENDENCY, &["name"]))]},
        }),
    ]
}

fn restart() -> Vec<Value> {
    let words = "^(no|never|always|unless-stopped|on-failure(:[1-9][0-9]*)?)$";
    vec![
        json!({"type": "string", "pattern": words}),
        json!({"const": false}),
        variable(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::grammar::{LIMITS, REGISTRY};

    /// Every property name that stands below this value with a description.
    fn described(value: &Value, found: &mut Vec<String>) {
        if let Some(properties) = value.get("properties").and_then(Value::as_object) {
            let with = properties
                .iter()
                .filter(|(_, property)| property["description"].is_string());
            found.extend(with.map(|(name, _)| name.clone()));
        }
        match value {
            Value::Object(entries) => entries.values().for_each(|value| described(value, found)),
            Value::Array(items) => items.iter().for_each(|value| described(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_accepted_key_is_in_the_schema() {
        let schema = schema();
        let mut found = Vec::new();
        described(&schema, &mut found);
        for key in [TOP, REGISTRY, SERVICE, DEPENDENCY, HEALTH, SCHEDULE, LIMITS]
            .into_iter()
            .flatten()
        {
            assert!(found.iter().any(|name| name == key.name), "{}", key.name);
        }
        let service = &schema["properties"]["services"]["anyOf"][0]["additionalProperties"]["properties"];
        assert_eq!(service.as_object().map(Map::len), Some(SERVICE.len()));
        assert_eq!(service["port"]["anyOf"][0]["maximum"], 65535);
        assert_eq!(service["replicas"]["anyOf"][0]["minimum"], 0);
        assert_eq!(service["target"]["enum"], json!(["web", null]));
        assert!(service["restart"]["anyOf"][0]["pattern"].is_string());
    }
}
