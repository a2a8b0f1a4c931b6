//! `up --dry-run`: what would be done, and why; nothing is touched.

use indexmap::IndexMap;
use serde_json::json;

use super::Context;
use super::wish::Wish;
use crate::config::ecosystem::{ServiceName, UnitName};
use crate::desired::Desired;
use crate::error::Error;
use crate::plan::{self, Asked, Observed};
use crate::prepare::{LayerPlan, Layers, Tools};
use crate::roster::{Member, Roster, Scale};
use crate::{network, resolver, secrets, state, supervisor};

/// One service of the plan.
struct Row {
    name: ServiceName,
    units: Vec<UnitName>,
    ports: Vec<String>,
    layers: Vec<String>,
    loosened: Vec<String>,
}

pub(super) fn run(context: &Context, wish: &Wish, services: &[ServiceName]) -> Result<(), Error> {
    let wanted = resolver::needed(&wish.desired.ecosystem, services)?;
    let desired = with_values(&wish.desired);
    // An `up` follows the file, whatever was asked for by hand.
    let roster = Roster::of_file(&wish.desired.ecosystem);
    let (rows, prints) = rows(context, &desired, &wanted, &roster);
    let asked = Asked {
        ecosystem: &wish.desired.ecosystem,
        roster: &roster,
        scale: &Scale::new(),
        scale_before: &wish.scale,
    };
    let units: Vec<UnitName> = wanted
        .iter()
        .flat_map(|name| roster.of_service(name).cloned())
        .collect();
    let plan = plan::plan(&asked, &units, &prints, &observed(wish)).lines();
    if context.json {
        let services: Vec<_> = rows
            .iter()
            .map(|row| json!({"name": row.name, "units": row.units, "ports": row.ports, "layers": row.layers, "loosened": row.loosened}))
            .collect();
        return context
            .output
            .json(&json!({"instance": wish.desired.instance.name, "plan": plan, "services": services}));
    }
    for line in waves(wish, &wanted).iter().chain(&plan) {
        context.output.line(line);
    }
    for row in &rows {
        for line in &row.loosened {
            context.output.line(&format!("loosen {}: {line}", row.name));
        }
    }
    let cells = rows
        .into_iter()
        .map(|row| vec![row.name, row.ports.join(", "), row.layers.join(", ")])
        .collect();
    context.output.table(&["SERVICE", "PORTS", "LAYERS"], cells);
    Ok(())
}

fn waves(wish: &Wish, wanted: &[ServiceName]) -> Vec<String> {
    let waves = wish.graph.waves();
    let wanted = waves.iter().map(|wave| {
        let names = wave.iter().filter(|name| wanted.contains(name));
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    });
    wanted
        .enumerate()
        .filter(|(_, names)| !names.is_empty())
        .map(|(number, names)| format!("Wave {}: {names}", number + 1))
        .collect()
}

/// The wish with the secrets that can be had without running anything; the others are those of what runs, as far as its
/// keeper tells.
fn with_values(desired: &Desired) -> Desired {
    let mut running = desired.clone();
    let known = supervisor::recall(&desired.instance.keeper_socket(), &mut running);
    let mut wished = desired.clone();
    wished.secrets = secrets::at_rest(&desired.ecosystem, &desired.caller);
    if known.is_ok() {
        wished.secrets.succeed(&running.secrets);
    }
    wished
}

/// Ports and layers of each wanted service, and what it would be made from.
fn rows(
    context: &Context,
    desired: &Desired,
    wanted: &[ServiceName],
    roster: &Roster,
) -> (Vec<Row>, IndexMap<UnitName, serde_json::Value>) {
    let tools = Tools::find(desired);
    let (mut rows, mut prints) = (Vec::new(), IndexMap::new());
    for name in wanted {
        let (Some(service), Some(recipe)) = (desired.ecosystem.services.get(name), desired.recipes.get(name))
        else {
            continue;
        };
        let layers = tools.layers(name, recipe).unwrap_or_else(|missing| {
            context.output.notice(&format!(
                "{name} cannot start here: {missing}; {}",
                missing.remedy
            ));
            Vec::new()
        });
        let extras = tools.extras(&layers, service);
        for unit in roster.of_service(name) {
            let member = Member::named(&desired.ecosystem, unit);
            let variables = member.map(|member| resolver::variables(desired, member, &extras));
            let print = plan::fingerprint(desired, service, &variables.unwrap_or_default(), &layers);
            prints.insert(unit.clone(), print);
        }
        let ports = network::wanted(desired, service);
        let port = |port: &network::Wanted| format!("{}:{}→{}", port.host, port.host_port.port, port.port);
        rows.push(Row {
            name: name.clone(),
            units: roster.of_service(name).cloned().collect(),
            ports: ports.iter().map(port).collect(),
            layers: layers.iter().map(layer).collect(),
            loosened: service.loosened(),
        });
    }
    (rows, prints)
}

fn layer(layer: &LayerPlan) -> String {
    let state = match Layers::system().lookup(&layer.key) {
        Some(_) => "cached",
        None => "to be made",
    };
    format!("{} ({state})", layer.kind())
}

/// What runs, as the records on disk say; another user than root sees nothing of it.
fn observed(wish: &Wish) -> IndexMap<UnitName, Observed> {
    state::services(&wish.desired.instance)
        .into_iter()
        .filter(|record| record.process.is_some() || record.appointment.is_some())
        .map(|record| {
            let observed = Observed {
                fingerprint: record.fingerprint,
                in_place: true,
            };
            (record.name, observed)
        })
        .collect()
}
