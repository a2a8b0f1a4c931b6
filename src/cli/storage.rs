//! Arguments of the verbs about what is kept on the disk.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration;

/// Arguments of `df`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown df\n  pactown df --all\n  pactown df examples/shop --json")]
pub struct DfArguments {
    /// An ecosystem file or its folder, for its volumes
    pub config: Option<PathBuf>,
    /// Show each layer, log, disk and volume
    #[arg(short, long)]
    pub all: bool,
}

/// Arguments of `prune`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown prune --dry-run\n  pactown prune --older 7d --yes\n  pactown prune --logs\n  pactown prune -v examples/shop"
)]
pub struct PruneArguments {
    /// An ecosystem file or its folder, for its volumes
    pub config: Option<PathBuf>,
    /// Only what was not used for this time (12h, 7d)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub older: Option<Duration>,
    /// Also the logs of ecosystems that do not run
    #[arg(long)]
    pub logs: bool,
    /// Also volumes that no service of the ecosystem file names any more
    #[arg(short, long)]
    pub volumes: bool,
    /// Show what would be removed, and remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}
