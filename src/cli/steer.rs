//! Arguments of the verbs that start, stop and restart services of a running ecosystem.

use clap::Args;

/// Arguments of `start`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown start web\n  pactown start api web")]
pub struct StartArguments {
    /// Services; a scheduled job is run now
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
}

/// Arguments of `stop`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown stop web\n  pactown stop --with-dependents db")]
pub struct StopArguments {
    /// Services
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Also those that need them
    #[arg(long)]
    pub with_dependents: bool,
}

/// Arguments of `restart`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown restart api\n  pactown restart --with-dependents api")]
pub struct RestartArguments {
    /// Services
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Also those that need them
    #[arg(long)]
    pub with_dependents: bool,
}
