//! Arguments of `up`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{SupplyArguments, duration};

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown up\n  pactown up -d examples/hello\n  pactown up -d --timeout 60s --bundle failure.tar.gz\n  pactown up --exit-code-from e2e"
)]
pub struct UpArguments {
    /// An ecosystem file or its folder, and services (default: all)
    #[arg(value_name = "CONFIG|SERVICE")]
    pub targets: Vec<String>,
    /// Leave it running in the background once everything is ready
    #[arg(short, long)]
    pub detach: bool,
    /// The same as --detach
    #[arg(long)]
    pub wait: bool,
    /// Show what would be done, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not wait for health checks
    #[arg(long)]
    pub no_health: bool,
    /// Start one service after another
    #[arg(short, long)]
    pub sequential: bool,
    /// Prepare at most this many services at the same time [default: 4]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,
    /// When not everything is ready after this time (90, 90s, 2m): say why, end what Ctrl-C would end, exit with 124
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Fail when a preferred port is taken, instead of using the next free one
    #[arg(long)]
    pub strict_ports: bool,
    /// Stop services that run and are no longer in the file
    #[arg(long)]
    pub remove_orphans: bool,
    /// Start everything anew, also what has not changed
    #[arg(long)]
    pub force_recreate: bool,
    /// Take everything down as soon as a service ends or a job fails; a job that others wait for may complete
    #[arg(long, conflicts_with_all = ["detach", "wait"])]
    pub abort_on_exit: bool,
    /// The same, and exit with the exit code of this service or job
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "wait"])]
    pub exit_code_from: Option<String>,
    /// Also write what is needed to understand a failure into one archive, for `pactown open` (FILE.tar.gz)
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    pub bundle: Option<PathBuf>,
    /// Run what is new from a registry without asking
    #[arg(long)]
    pub trust: bool,
    /// Where dependencies come from.
    #[command(flatten)]
    pub supply: SupplyArguments,
}
