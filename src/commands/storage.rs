//! `df` and `prune`: what is kept on the disk, and removing of it what nothing uses.

use std::fs;
use std::io::IsTerminal;
use std::path::Path;

use serde_json::json;

use super::wish::{self, Wish};
use super::{Context, privilege};
use crate::cli::{DfArguments, PruneArguments};
use crate::desired::Desired;
use crate::error::{Error, chain};
use crate::output::figures;
use crate::prepare::Layers;
use crate::state::{self, InstanceRecord};
use crate::storage::{self, Item, Kind};

/// How much of a layer's key is shown.
const SHORT: usize = 12;

/// `df`.
pub(super) fn df(context: &Context, arguments: &DfArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let items = items(context, arguments.config.as_deref())?;
    if context.json {
        let free: u64 = sum(items.iter().filter(|item| !item.used));
        return context
            .output
            .json(&json!({"items": items, "bytes": sum(items.iter()), "unused_bytes": free}));
    }
    if arguments.all {
        list(context, &items);
        return Ok(());
    }
    let rows = Kind::ALL.iter().map(|kind| {
        let of_kind = || items.iter().filter(|item| item.kind == *kind);
        let unused = || of_kind().filter(|item| !item.used);
        vec![
            kind.plural().to_owned(),
            of_kind().count().to_string(),
            size(sum(of_kind())),
            unused().count().to_string(),
            size(sum(unused())),
        ]
    });
    context
        .output
        .table(&["KIND", "NUMBER", "SIZE", "UNUSED", "ITS SIZE"], rows.collect());
    Ok(())
}

/// `prune`.
pub(super) fn prune(context: &Context, arguments: &PruneArguments) -> Result<(), Error> {
    privilege::require_root()?;
    let mut items = items(context, arguments.config.as_deref())?;
    let oldest = arguments.older.map_or(0, |time| time.as_secs());
    items.retain(|item| {
        let wanted = match item.kind {
            Kind::Layer => true,
            Kind::Log => arguments.logs,
            Kind::Volume => arguments.volumes,
            Kind::Disk => false,
        };
        wanted && !item.used && item.age >= oldest
    });
    if !context.json && !items.is_empty() {
        list(context, &items);
    }
    if arguments.dry_run {
        return report(context, &items, true);
    }
    if !items.is_empty() {
        confirm(arguments, &items)?;
    }
    let removed = remove(&items)?;
    report(context, &removed, false)
}

/// What is kept, with the volumes of the ecosystem that is named or lies here; without one, none.
fn items(context: &Context, config: Option<&Path>) -> Result<Vec<Item>, Error> {
    let named = config.is_some() || context.file.is_some();
    let wish: Option<Wish> = match wish::load(context, config) {
        Ok(wish) => Some(wish),
        Err(error) if named => return Err(error),
        Err(_) => None,
    };
    let running = wish.as_ref().and_then(|wish| {
        let record = state::read::<InstanceRecord>(&wish.desired.instance.record());
        record.ok().flatten().map(|record| record.desired)
    });
    let desired: Vec<&Desired> = wish.iter().map(|wish| &wish.desired).chain(&running).collect();
    Ok(storage::items(&Layers::system(), &desired))
}

fn confirm(arguments: &PruneArguments, items: &[Item]) -> Result<(), Error> {
    if arguments.yes {
        return Ok(());
    }
    let refused = |message: &str| Error::Usage {
        message: message.to_owned(),
        hint: Some("`--yes` removes it without asking, `--dry-run` only shows it".to_owned()),
    };
    if !std::io::stdin().is_terminal() {
        return Err(refused("nobody is there to be asked"));
    }
    let question = format!("remove this, {}? [y/N] ", size(sum(items.iter())));
    crate::output::ask(&question)
        .filter(|answer| ["y", "yes"].contains(&answer.to_lowercase().as_str()))
        .map(drop)
        .ok_or_else(|| refused("nothing was removed"))
}

/// Removes what is still not used; answers what was removed.
fn remove(items: &[Item]) -> Result<Vec<Item>, Error> {
    let broken = |error: &dyn std::error::Error| Error::Environment {
        message: chain(error),
        hint: None,
    };
    let layers = Layers::system();
    let of_layers = items.iter().filter(|item| item.kind == Kind::Layer);
    let keys: Vec<String> = of_layers.map(|item| item.name.clone()).collect();
    let gone = layers
        .remove(&keys, || storage::used_layers(&layers))
        .map_err(|error| broken(&error))?;
    let mut removed = Vec::new();
    for item in items {
        let is_gone = match item.kind {
            Kind::Layer => gone.contains(&item.name),
            Kind::Log => remove_logs(item).map_err(|error| broken(&error))?,
            Kind::Volume => fs::remove_dir_all(&item.path)
                .map(|()| true)
                .map_err(|error| broken(&error))?,
            Kind::Disk => false,
        };
        removed.extend(is_gone.then(|| item.clone()));
    }
    Ok(removed)
}

/// Out of the way first, under the lock under which instances begin: one that has begun meanwhile keeps its logs.
fn remove_logs(item: &Item) -> Result<bool, std::io::Error> {
    let apart = item.path.with_file_name(format!(".removed-{}", item.name));
    {
        let _lock = state::lock().map_err(std::io::Error::other)?;
        if storage::is_used(Kind::Log, &item.name) {
            return Ok(false);
        }
        let _ = fs::remove_dir_all(&apart);
        fs::rename(&item.path, &apart)?;
    }
    fs::remove_dir_all(&apart).map(|()| true)
}

fn list(context: &Context, items: &[Item]) {
    let rows = items.iter().map(|item| {
        let name = match item.kind {
            Kind::Layer => item.name.chars().take(SHORT).collect(),
            _ => item.name.clone(),
        };
        let state = if item.used { "used" } else { "unused" };
        vec![
            format!("{:?}", item.kind).to_lowercase(),
            name,
            size(item.bytes),
            state.to_owned(),
            figures::span(Some(item.age as f64)),
        ]
    });
    context
        .output
        .table(&["KIND", "NAME", "SIZE", "STATE", "LAST USED"], rows.collect());
}

fn report(context: &Context, items: &[Item], dry_run: bool) -> Result<(), Error> {
    let bytes = sum(items.iter());
    if context.json {
        return context
            .output
            .json(&json!({"removed": items, "bytes": bytes, "dry_run": dry_run}));
    }
    context.output.line(&match (items.len(), dry_run) {
        (0, _) => "nothing to remove".to_owned(),
        (_, true) => format!("{} would be free", size(bytes)),
        (_, false) => format!("{} are free", size(bytes)),
    });
    Ok(())
}

fn sum<'a>(items: impl Iterator<Item = &'a Item>) -> u64 {
    items.map(|item| item.bytes).sum()
}

fn size(bytes: u64) -> String {
    figures::bytes(Some(bytes))
}
