//! Arguments of the verbs that look: `events`, `inspect` and `why`.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::logs::{Followed, moment};
use crate::events::Kind;

/// Arguments of `why`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown why\n  pactown why web\n  pactown why --json")]
pub struct WhyArguments {
    /// The service (default: all that are not as they should be)
    pub service: Option<String>,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown report\n  pactown report --json\n  pactown report --budget budget.yaml\n  pactown report --suggest"
)]
pub struct ReportArguments {
    /// Fail with 1 when something exceeds its ceiling in this file
    #[arg(long, value_name = "FILE")]
    pub budget: Option<PathBuf>,
    /// Print limits for the services instead: their peaks times 1.3, as YAML
    #[arg(long, conflicts_with = "budget")]
    pub suggest: bool,
}

/// Arguments of `inspect`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown inspect web\n  pactown inspect web --json\n  pactown inspect web --score"
)]
pub struct InspectArguments {
    /// A running service
    pub service: String,
    /// Show the exposure of a systemd unit that would hold it in the same way
    #[arg(long)]
    pub score: bool,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown events web\n  pactown events -f --json\n  pactown events --since 10m --kind failed,exited"
)]
pub struct EventsArguments {
    /// Whose, and whether to go on.
    #[command(flatten)]
    pub of: Followed,
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
