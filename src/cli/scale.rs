//! Arguments of `scale`. Parsing only.

use clap::Args;

/// Arguments of `scale`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pactown scale api=3\n  pactown scale api=1 worker=4\n  pactown scale api=0\n\nThe numbers hold until the next `up`, which follows the file."
)]
pub struct ScaleArguments {
    /// How many of each
    #[arg(value_name = "SERVICE=N", required = true, value_parser = number)]
    pub numbers: Vec<(String, u32)>,
}

fn number(text: &str) -> Result<(String, u32), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let parts = parts.and_then(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
    parts.ok_or_else(|| format!("'{text}' is no SERVICE=N: write api=3"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_and_how_many_of_it() {
        assert_eq!(number("api=3"), Ok(("api".to_owned(), 3)));
        assert_eq!(number("api=0"), Ok(("api".to_owned(), 0)));
        for wrong in ["api", "=3", "api=", "api=-1", "api=x", "api=1=2"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }
}
