//! `up --dry-run`: what would be done, and why; nothing is touched.

use indexmap::IndexMap;
use serde_json::json;

use super::Context;
use super::wish::Wish;
use crate::config::ecosystem::ServiceName;
use crate::error::Error;
use crate::plan::{self, Observed};
use crate::prepare::{self, Layers, settings};
use crate::{network, resolver, state, toolchain};

pub(super) fn run(context: &Context, wish: &Wish, services: &[ServiceName]) -> Result<(), Error> {
    let desired = &wish.desired;
    let wanted = if services.is_empty() {
        wish.graph.start_order()
    } else {
        wish.graph.with_needs(services)
    };
    let directory = desired
        .ecosystem
        .file
        .parent()
        .unwrap_or(std::path::Path::new("/"));
    let toolchains = toolchain::discover(&desired.caller, directory);
    let settings = settings::collect(&desired.caller);
    let mut prints = IndexMap::new();
    let mut rows = Vec::new();
    for name in &wanted {
        let (Some(service), Some(recipe)) = (desired.ecosystem.services.get(name), desired.recipes.get(name))
        else {
            continue;
        };
        let layers = prepare::plan(recipe, &toolchains, &settings).unwrap_or_default();
        let extras = prepare::extras(&layers, &toolchains).with_named(&service.toolchains);
        let variables = resolver::variables(desired, service, &extras);
        prints.insert(
            name.clone(),
            plan::fingerprint(desired, service, &variables, &layers),
        );
        let ports: Vec<String> = network::wanted(desired, service)
            .iter()
            .map(|port| format!("{}:{}→{}", port.host, port.host_port.port, port.port))
            .collect();
        let kinds: Vec<String> = layers
            .iter()
            .map(|layer| {
                let cached = Layers::system().lookup(&layer.key).is_some();
                format!(
                    "{} ({})",
                    layer.kind(),
                    if cached { "cached" } else { "to be made" }
                )
            })
            .collect();
        rows.push((name.clone(), ports, kinds));
    }
    let plan = plan::plan(desired, &wanted, &prints, &observed(wish));
    if context.json {
        let services: Vec<_> = rows
            .iter()
            .map(|(name, ports, layers)| json!({"name": name, "ports": ports, "layers": layers}))
            .collect();
        return context
            .output
            .json(&json!({"instance": desired.instance.name, "plan": plan.lines(), "services": services}));
    }
    for (number, wave) in wish.graph.waves().iter().enumerate() {
        let wave: Vec<&str> = wave
            .iter()
            .filter(|name| wanted.contains(name))
            .map(String::as_str)
            .collect();
        if !wave.is_empty() {
            context
                .output
                .line(&format!("Wave {}: {}", number + 1, wave.join(", ")));
        }
    }
    for line in plan.lines() {
        context.output.line(&line);
    }
    let cells = rows
        .into_iter()
        .map(|(name, ports, layers)| vec![name, ports.join(", "), layers.join(", ")])
        .collect();
    context.output.table(&["SERVICE", "PORTS", "LAYERS"], cells);
    Ok(())
}

/// What runs, as the records on disk say; another user than root sees nothing of it.
fn observed(wish: &Wish) -> IndexMap<ServiceName, Observed> {
    state::services(&wish.desired.instance)
        .into_iter()
        .map(|record| {
            let observed = Observed {
                fingerprint: record.fingerprint,
                in_place: true,
            };
            (record.name, observed)
        })
        .collect()
}
