//! `validate`: every problem of the file and its READMEs at once. Exit code 1 when there is one, as the Python tool's.

use serde_json::json;

use super::{Context, wish};
use crate::cli;
use crate::diagnostics::Problem;
use crate::error::Error;

pub(super) fn run(context: &Context, arguments: &cli::ConfigArguments) -> Result<(), Error> {
    let problems = match wish::load(context, arguments.config.as_deref()) {
        Ok(wish) => {
            if context.json {
                return report(context, true, &wish.warnings);
            }
            let count = wish.desired.ecosystem.services.len();
            context.output.line(&format!(
                "ok: {} ({})",
                wish.desired.ecosystem.file.display(),
                counted(count, "service")
            ));
            return Ok(());
        }
        Err(Error::Problems(problems)) => problems.0,
        Err(other) => return Err(other),
    };
    if context.json {
        report(context, false, &problems)?;
    } else {
        context.output.problems(&problems);
    }
    Err(Error::Failed(counted(problems.len(), "problem")))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn report(context: &Context, valid: bool, problems: &[Problem]) -> Result<(), Error> {
    context
        .output
        .json(&json!({"valid": valid, "problems": problems}))
}
