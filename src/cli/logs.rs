//! Arguments of `logs`: which lines, and how they are shown. Parsing only.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::duration;
use crate::logs::RunChoice;

/// Whose past is shown, and whether what comes is too.
#[derive(Debug, Args)]
pub struct Followed {
    /// The ecosystem file or its folder; `-f` behind this verb means --follow
    #[arg(id = "file", long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Services (default: all)
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Go on with what comes from now on
    #[arg(short, long)]
    pub follow: bool,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown logs web\n  pactown logs -f -n 20\n  pactown logs --since 10m api web\n  pactown logs --run last --grep 'error|panic' --context 3 api"
)]
pub struct LogsArguments {
    /// Whose, and whether to go on.
    #[command(flatten)]
    pub of: Followed,
    /// Only the last N lines of each service
    #[arg(short = 'n', long, value_name = "N")]
    pub tail: Option<usize>,
    /// Only what is newer than this (10m, 2h, 2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Only what is older than this
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Timestamp>,
    /// Only this run of each service: last, a number, or all
    #[arg(long, value_name = "RUN", default_value = "all", hide_default_value = true, value_parser = run_choice)]
    pub run: RunChoice,
    /// Only lines that match; of several expressions, any
    #[arg(long, value_name = "REGEX", value_parser = expression)]
    pub grep: Vec<String>,
    /// Also N lines around each line that matches
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        requires = "grep"
    )]
    pub context: usize,
    /// Show when each line was written
    #[arg(long)]
    pub timestamps: bool,
    /// Send every byte as it was written, also to a terminal
    #[arg(long, conflicts_with = "json")]
    pub raw: bool,
}

/// A point in time, or how long ago.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Ok(moment);
    }
    let ago =
        duration(text).map_err(|_| format!("'{text}' is no time: write 10m or 2026-01-31T12:00:00Z"))?;
    Timestamp::now()
        .checked_sub(ago)
        .map_err(|error| error.to_string())
}

/// Which runs of a service.
fn run_choice(text: &str) -> Result<RunChoice, String> {
    match text {
        "all" => Ok(RunChoice::All),
        "last" => Ok(RunChoice::Last),
        number => number
            .parse()
            .map(RunChoice::Number)
            .map_err(|_| format!("'{text}' is no run: write last, all or a number such as 3")),
    }
}

/// A regular expression, checked.
fn expression(text: &str) -> Result<String, String> {
    match regex::bytes::Regex::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_runs_and_expressions_are_checked() {
        assert!(moment("2026-01-31T12:00:00Z").is_ok() && moment("10m").is_ok() && moment("x").is_err());
        assert_eq!(run_choice("last"), Ok(RunChoice::Last));
        assert_eq!(run_choice("12"), Ok(RunChoice::Number(12)));
        assert!(run_choice("-1").is_err() && run_choice("first").is_err());
        assert!(expression("a|b").is_ok() && expression("(").is_err());
    }
}
