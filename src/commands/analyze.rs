//! `analyze`: where the time of the last start went.

use serde_json::json;

use super::{Context, privilege, wish};
use crate::analyze::{critical_chain, starts};
use crate::error::Error;
use crate::events;

pub(super) fn run(context: &Context) -> Result<(), Error> {
    privilege::require_root()?;
    let wish = wish::load(context, None)?;
    let (roster, services) = (&wish.roster, &wish.desired.ecosystem.services);
    let needs = roster.units().map(|(unit, seat)| {
        let service = services.get(&seat.service).into_iter();
        let needs = service.flat_map(|service| &service.depends_on);
        let needed = needs.flat_map(|need| roster.of_service(&need.name).cloned());
        (unit.clone(), needed.collect())
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
