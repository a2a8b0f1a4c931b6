//! The dependency graph as text, mermaid, dot and JSON. Pure.

use serde_json::{Value, json};

use super::graph::{Graph, condition};
use crate::config::ecosystem::{Condition, Dependency, Service};
use crate::desired::Desired;

/// Formats of `pactown graph`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// Indented text.
    #[default]
    Text,
    /// Mermaid flowchart.
    Mermaid,
    /// Graphviz.
    Dot,
    /// JSON: services in start order, with their dependencies.
    Json,
}

/// The graph of `desired` in this format; ends with a newline.
pub fn render(desired: &Desired, graph: &Graph, format: Format) -> String {
    match format {
        Format::Text => text(desired, graph),
        Format::Mermaid => mermaid(desired, graph),
        Format::Dot => dot(desired, graph),
        Format::Json => format!("{:#}\n", value(desired, graph)),
    }
}

fn edges<'a>(desired: &'a Desired, graph: &Graph) -> Vec<(&'a Service, &'a Dependency, Condition)> {
    let order = graph.start_order();
    let services = order
        .iter()
        .filter_map(|name| desired.ecosystem.services.get(name));
    services
        .flat_map(|service| {
            service
                .depends_on
                .iter()
                .map(move |dependency| (service, dependency))
        })
        .map(|(service, dependency)| {
            let recipe = desired.recipes.get(&dependency.name);
            (
                service,
                dependency,
                condition(dependency, &desired.ecosystem, recipe),
            )
        })
        .collect()
}

fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "started",
        Condition::Healthy => "healthy",
        Condition::Completed => "completed",
    }
}

fn text(desired: &Desired, graph: &Graph) -> String {
    let edges = edges(desired, graph);
    let mut out = String::new();
    for (number, wave) in graph.waves().iter().enumerate() {
        out.push_str(&format!("Wave {}: {}\n", number + 1, wave.join(", ")));
    }
    for name in graph.start_order() {
        out.push_str(&format!("\n{name}{}\n", times(desired, &name)));
        for (_, dependency, condition) in edges.iter().filter(|(service, ..)| service.name == name) {
            let outside = if desired.ecosystem.services.contains_key(&dependency.name) {
                word(*condition)
            } else {
                "outside"
            };
            out.push_str(&format!("  needs {} ({outside})\n", dependency.name));
        }
    }
    out
}

/// ` × 3`, for a service with replicas.
fn times(desired: &Desired, name: &str) -> String {
    let service = desired.ecosystem.services.get(name);
    let replicas = service.and_then(|service| service.replicas);
    replicas.map(|count| format!(" × {count}")).unwrap_or_default()
}

fn mermaid(desired: &Desired, graph: &Graph) -> String {
    let mut out = String::from("flowchart LR\n");
    for name in graph.start_order() {
        let port = desired
            .ecosystem
            .services
            .get(&name)
            .map_or(0, |service| service.port);
        let times = times(desired, &name);
        out.push_str(&format!("    {}[\"{name} :{port}{times}\"]\n", identifier(&name)));
    }
    for (service, dependency, condition) in edges(desired, graph) {
        out.push_str(&format!(
            "    {} -->|{}| {}\n",
            identifier(&service.name),
            word(condition),
            identifier(&dependency.name)
        ));
    }
    out
}

/// Mermaid takes a `-` in a name for the beginning of an arrow, and `end` for a keyword.
fn identifier(name: &str) -> String {
    format!("s_{}", name.replace('-', "_"))
}

fn dot(desired: &Desired, graph: &Graph) -> String {
    let mut out = String::from("digraph ecosystem {\n    rankdir=LR;\n    node [shape=box];\n");
    for name in graph.start_order() {
        match times(desired, &name).as_str() {
            "" => out.push_str(&format!("    \"{name}\";\n")),
            times => out.push_str(&format!("    \"{name}\" [label=\"{name}{times}\"];\n")),
        }
    }
    for (service, dependency, condition) in edges(desired, graph) {
        out.push_str(&format!(
            "    \"{}\" -> \"{}\" [label=\"{}\"];\n",
            service.name,
            dependency.name,
            word(condition)
        ));
    }
    out.push_str("}\n");
    out
}

fn value(desired: &Desired, graph: &Graph) -> Value {
    let edges = edges(desired, graph);
    let service = |name: &String| {
        let needs: Vec<Value> = edges
            .iter()
            .filter(|(service, ..)| service.name == *name)
            .map(|(_, dependency, condition)| json!({"name": dependency.name, "condition": word(*condition)}))
            .collect();
        let service = desired.ecosystem.services.get(name);
        json!({
            "name": name,
            "port": service.map(|service| service.port),
            "replicas": service.and_then(|service| service.replicas),
            "depends_on": needs,
        })
    };
    json!({
        "name": desired.ecosystem.name,
        "waves": graph.waves(),
        "stop_order": graph.stop_order(),
        "services": graph.start_order().iter().map(service).collect::<Vec<_>>(),
    })
}
