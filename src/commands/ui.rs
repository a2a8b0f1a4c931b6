//! `ui`: everything in one view, beside whatever else runs the ecosystem.

use std::io::IsTerminal;
use std::sync::Arc;

use super::{Context, follow, privilege, stats, wish};
use crate::cli;
use crate::error::Error;
use crate::session::Session;
use crate::ui::Ending;

pub(super) fn run(context: &Context, arguments: &cli::UiArguments) -> Result<(), Error> {
    require_terminal(context, "`pactown ps` and `pactown logs -f` print what it shows")?;
    privilege::require_root()?;
    let (instance, file) = wish::instance(context, arguments.config.as_deref())?;
    let session = Session::find(&instance)?.ok_or_else(stats::not_running)?;
    let label = wish::label(context)?.map(str::to_owned);
    // A screen has no place for warnings; `pactown validate` shows them.
    let reread = move || Ok(wish::read(&file, label.as_deref(), &|_| {})?.desired);
    let ending = follow::block_on(crate::ui::run(&instance, &session.client, Arc::new(reread)))?;
    if ending == Ending::Stopped {
        session.wait_for_end(&instance)?;
    }
    report(context, ending)
}

/// Refuses without a terminal on both sides, with what does the same without one.
pub(super) fn require_terminal(context: &Context, instead: &str) -> Result<(), Error> {
    let message = if context.json {
        "a screen has no JSON form"
    } else if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        "this needs a terminal"
    } else {
        return Ok(());
    };
    Err(Error::Usage {
        message: message.to_owned(),
        hint: Some(instead.to_owned()),
    })
}

/// What is left to say once the screen is gone.
pub(super) fn report(context: &Context, ending: Ending) -> Result<(), Error> {
    match ending {
        Ending::Left => {}
        Ending::Stopped => context.output.notice("everything is stopped"),
        Ending::Gone => context.output.notice("the ecosystem has ended"),
        Ending::Signal(number) => return Err(Error::Child(128 + number)),
    }
    Ok(())
}
