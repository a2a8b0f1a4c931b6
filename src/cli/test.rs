//! Arguments of `test`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{SupplyArguments, duration};

/// Arguments of `test`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown test\n  pactown test examples/hello --junit results.xml\n  pactown test --watch --filter health\n  pactown test greeter/README.md"
)]
pub struct TestArguments {
    /// An ecosystem file or its folder, and services; or one README on its own (default: all services)
    #[arg(value_name = "CONFIG|SERVICE|README")]
    pub targets: Vec<String>,
    /// Only tests whose 'README:LINE TEST' contains this text, and those that they need; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub filter: Vec<String>,
    /// Run the tests of this many READMEs at the same time
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: u16,
    /// Give up when not everything is over after this time (90, 90s, 2m)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Also write what is needed to understand a failure into one archive, for `pactown open` (FILE.tar.gz)
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
    /// Also print failures as GitHub annotations [default: when GITHUB_ACTIONS is true]
    #[arg(long)]
    pub github: bool,
    /// Stay, and run the tests again whenever a README or the ecosystem file changes
    #[arg(long, conflicts_with_all = ["json", "junit", "timeout", "bundle"])]
    pub watch: bool,
    /// Run nothing: list READMEs and declared endpoints that no test speaks of
    #[arg(long, conflicts_with_all = ["watch", "junit", "filter", "bundle"])]
    pub coverage: bool,
    /// Run what is new from a registry without asking
    #[arg(long)]
    pub trust: bool,
    /// Where dependencies come from.
    #[command(flatten)]
    pub supply: SupplyArguments,
}

impl TestArguments {
    /// All tests of these targets.
    pub fn of(targets: Vec<String>) -> Self {
        Self {
            targets,
            filter: Vec::new(),
            jobs: 1,
            timeout: None,
            junit: None,
            bundle: None,
            github: false,
            watch: false,
            coverage: false,
            trust: false,
            supply: SupplyArguments::default(),
        }
    }
}
