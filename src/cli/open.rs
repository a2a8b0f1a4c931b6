//! Arguments of `open`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `open`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown open failure.tar.gz\n  pactown open failure.tar.gz why\n  pactown open failure.tar.gz logs api web\n  pactown open failure.tar.gz files plan.txt"
)]
pub struct OpenArguments {
    /// The archive; it is read, and nothing of it is written anywhere
    pub archive: PathBuf,
    /// What of it
    #[arg(default_value = "summary", hide_default_value = true)]
    pub part: Part,
    /// Only of these services; of files, the contents of these
    #[arg(value_name = "SERVICE|FILE")]
    pub names: Vec<String>,
}

/// What of a failure bundle is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What ran, how it ended, and why
    Summary,
    /// The services as they stood
    Ps,
    /// Why each service was not as it should be
    Why,
    /// What happened
    Events,
    /// What services wrote
    Logs,
    /// The outcomes of the tests
    Tests,
    /// What was done, and why
    Plan,
    /// What services used
    Report,
    /// What held each service, as the kernel told
    Inspect,
    /// The machine
    Host,
    /// What is in the archive
    Files,
}
