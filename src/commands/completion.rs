//! `completion`: what a shell needs to complete this command line.

use clap::CommandFactory;

use super::Context;
use crate::cli::{Cli, CompletionArguments};
use crate::error::Error;

pub(super) fn run(context: &Context, arguments: &CompletionArguments) -> Result<(), Error> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "pactown", &mut script);
    context.output.text(&String::from_utf8_lossy(&script));
    Ok(())
}
