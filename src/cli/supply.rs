//! Where dependencies come from: flags of the verbs that start services, and the arguments of `lock`.

use std::path::PathBuf;

use clap::Args;

/// Flags of `up`, `test` and `run`.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct SupplyArguments {
    /// Refuse when READMEs, dependencies or toolchains are not as pactown.lock says
    #[arg(long)]
    pub locked: bool,
    /// Fetch nothing: use what was installed before
    #[arg(long)]
    pub offline: bool,
    /// No service reaches anything outside; published ports answer
    #[arg(long)]
    pub hermetic: bool,
}

/// Arguments of `lock`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown lock\n  pactown lock --update api\n  pactown lock --check\n  pactown lock examples/shop --update"
)]
pub struct LockArguments {
    /// An ecosystem file or its folder
    pub config: Option<PathBuf>,
    /// Resolve dependencies anew, of these services only when they are named
    #[arg(long, value_name = "SERVICE", num_args = 0..)]
    pub update: Option<Vec<String>>,
    /// Write nothing: exit with 1 when READMEs and ecosystem file are not as it says
    #[arg(long, conflicts_with = "update")]
    pub check: bool,
}
