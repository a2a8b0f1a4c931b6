//! Arguments of `build`.

use std::path::PathBuf;

use clap::Args;

use super::SupplyArguments;

/// Arguments of `build`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown build\n  pactown build web --output out\n  pactown build app/README.md -o out\n  pactown build --list"
)]
pub struct BuildArguments {
    /// A service, or a README on its own (default: all services with a build block)
    #[arg(value_name = "SERVICE|README")]
    pub target: Option<String>,
    /// Where the artifacts go; without a target, a folder for each service in it
    #[arg(short, long, value_name = "DIR", default_value = "build-output")]
    pub output: PathBuf,
    /// Show what can be built, and build nothing
    #[arg(long)]
    pub list: bool,
    /// Where dependencies come from.
    #[command(flatten)]
    pub supply: SupplyArguments,
}
