//! `analyze`: where the time of the last start went.

use serde_json::json;

use super::{Context, privilege, wish};
use crate::analyze::{critical_chain, starts};
use crate::error::Error;
use crate::events;

pub(super) fn run(context: &Context) -> Result<(), Error> {
    privilege::require_root()?;
    let wish = wish::load(context, None)?;
    let services = &wish.desired.ecosystem.services;
    let needs = services.values().map(|service| {
        let names = service.depends_on.iter().map(|need| need.name.clone());
        (service.name.clone(), names.collect())
    });
    let all = events::read(&wish.desired.instance);
    let starts = starts(events::of_this_life(&all), &needs.collect());
    let chain = critical_chain(&starts);
    if context.json {
        let names: Vec<_> = chain.iter().map(|start| &start.service).collect();
        return context
            .output
            .json(&json!({"services": starts, "critical_chain": names}));
    }
    if starts.is_empty() {
        return Err(Error::Failed(
            "nothing has become ready yet: `pactown up` first".to_owned(),
        ));
    }
    context.output.starts(&starts, &chain);
    Ok(())
}
