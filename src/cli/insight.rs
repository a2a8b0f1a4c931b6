//! Arguments of the verbs that look back: `logs`, `events` and `why`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::moment;
use crate::events::Kind;
use crate::logs::RunChoice;

/// Arguments of `logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown logs web\n  pactown logs -f -n 20\n  pactown logs --since 10m api web\n  pactown logs --run last --grep 'error|panic' --context 3 api"
)]
pub struct LogsArguments {
    /// The ecosystem file or its folder; `-f` behind this verb means --follow
    #[arg(id = "file", long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Services (default: all)
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
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

/// Arguments of `why`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown why\n  pactown why web\n  pactown why --json")]
pub struct WhyArguments {
    /// The service (default: all that are not as they should be)
    pub service: Option<String>,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown events web\n  pactown events -f --json\n  pactown events --since 10m --kind failed,exited"
)]
pub struct EventsArguments {
    /// The ecosystem file or its folder; `-f` behind this verb means --follow
    #[arg(id = "file", long = "file", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Services (default: all)
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last N events
    #[arg(short, long, value_name = "N")]
    pub number: Option<usize>,
    /// Only what is newer than this (10m, 2h, 2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<Timestamp>,
    /// Only these kinds, such as failed,exited,oom,ready
    #[arg(long, value_name = "KIND", value_delimiter = ',', hide_possible_values = true)]
    pub kind: Vec<Kind>,
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
