//! `top`: what services use, live and sorted, on the whole screen.

use super::{Context, follow, stats, ui, wish};
use crate::cli;
use crate::error::Error;

pub(super) fn run(context: &Context, arguments: &cli::TopArguments) -> Result<(), Error> {
    ui::require_terminal(context, "`pactown stats` prints the same")?;
    let (instance, _) = wish::instance(context, arguments.config.as_deref())?;
    let client = stats::reach(&instance)?;
    let ending = follow::block_on(crate::ui::top(&instance, &client))?;
    ui::report(context, ending)
}
