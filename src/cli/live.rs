//! Arguments of the verbs that watch: `stats`, `top`, `ui`, `attach`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration;

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown stats\n  pactown stats --no-stream web\n  pactown stats --json --interval 5s"
)]
pub struct StatsArguments {
    /// Services (default: all)
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Show one sample, and end
    #[arg(long)]
    pub no_stream: bool,
    /// Time between two samples (1, 500ms, 5s)
    #[arg(long, value_name = "TIME", value_parser = interval, default_value = "1s")]
    pub interval: Duration,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown top\n  pactown top examples/hello\n\nKeys: c m n sort by CPU, memory or name; q quits"
)]
pub struct TopArguments {
    /// An ecosystem file or its folder
    pub config: Option<PathBuf>,
}

/// Arguments of `ui`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown ui\n  pactown ui examples/hello\n\nInside, ? shows the keys. It runs beside `up` and `attach`; leaving it stops nothing."
)]
pub struct UiArguments {
    /// An ecosystem file or its folder
    pub config: Option<PathBuf>,
}

/// A time between two samples.
fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time < Duration::from_millis(100) => Err("at least 100ms".to_owned()),
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_not_taken_without_a_pause() {
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert!(interval("0").is_err() && interval("often").is_err());
    }
}

/// Arguments of `attach`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pactown attach\n  pactown attach examples/hello")]
pub struct AttachArguments {
    /// An ecosystem file or its folder
    pub config: Option<PathBuf>,
}
