//! The reader as a whole: what a README becomes.

use std::path::Path;

use super::recipe::{DepsLanguage, Lines, WorkloadKind};
use super::*;

fn recipe(text: &str) -> Recipe {
    parse(Path::new("README.md"), text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn problems(text: &str) -> String {
    match parse(Path::new("README.md"), text) {
        Ok(recipe) => panic!("{recipe:?}"),
        Err(problems) => problems.to_string(),
    }
}
