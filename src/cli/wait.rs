//! Arguments of `wait`; the other verbs are in [`super`].

use std::time::Duration;

use clap::Args;

use super::duration;
use crate::control::api::Goal;

/// Arguments of `wait`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code: 0 reached, 1 cannot be reached any more, 124 time is up, 2 no such service\n\nExamples:\n  pactown wait web\n  pactown wait seed --for completed\n  pactown wait api web --for stopped -t 2m"
)]
pub struct WaitArguments {
    /// Services; all of them at the same time
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
    /// healthy, completed, stopped or running; without a check, healthy is running
    #[arg(
        long = "for",
        value_name = "STATE",
        default_value = "healthy",
        hide_possible_values = true
    )]
    pub goal: Goal,
    /// Give up after this time (30, 30s, 2m)
    #[arg(short, long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}
