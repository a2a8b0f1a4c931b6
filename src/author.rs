//! Writing ecosystems: a small one that runs, one for READMEs that are there, one from another tool's file. What is to be
//! written is decided here, as text; nothing is written here.

pub mod compose;
pub mod draft;
pub mod guess;
pub mod procfile;
pub mod scan;
mod shell;
pub mod starter;

use std::path::Path;

use serde::Serialize;

/// What another tool's file becomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The ecosystem file.
    pub draft: draft::Draft,
    /// README of each service: path relative to the ecosystem file, and text.
    pub readmes: Vec<(String, String)>,
    /// What is not taken over.
    pub dropped: Vec<Dropped>,
}

/// A part of another tool's file that is not taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// The service; `None` = the whole file.
    pub service: Option<String>,
    /// The key.
    pub key: String,
    /// Why, and what to do instead.
    pub why: String,
}

/// The name of a README's service: its folder's for a `README.md`, else its own, as a DNS label.
pub fn service_name(readme: &Path) -> String {
    let stem = readme.file_stem().unwrap_or_default().to_string_lossy();
    let parent = readme
        .parent()
        .and_then(Path::file_name)
        .map(|name| name.to_string_lossy());
    match parent {
        Some(parent) if stem.eq_ignore_ascii_case("readme") => label(&parent),
        _ => label(&stem),
    }
}

/// Any text as a DNS label of at most 40 characters.
pub fn label(text: &str) -> String {
    let clean: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let clean = clean.trim_matches('-');
    let clean = clean
        .get(..clean.len().min(40))
        .unwrap_or_default()
        .trim_end_matches('-');
    match clean.is_empty() {
        true => "readme".to_owned(),
        false => clean.to_owned(),
    }
}

/// A fenced block; its fence is longer than any in `body`.
fn fenced(info: &str, body: &str) -> String {
    let longest = body.lines().map(|line| {
        let rest = line.trim_start();
        rest.len() - rest.trim_start_matches('`').len()
    });
    let fence = "`".repeat(longest.max().unwrap_or(0).max(2) + 1);
    format!("{fence}{info}\n{}\n{fence}\n", body.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_folders_or_files() {
        assert_eq!(service_name(Path::new("a/My App/README.md")), "my-app");
        assert_eq!(service_name(Path::new("a/web.md")), "web");
        assert_eq!(service_name(Path::new("README.md")), "readme");
        assert_eq!(label("…"), "readme");
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        assert_eq!(fenced("sh", "a\n"), "```sh\na\n```\n");
        assert_eq!(
            fenced("sh", "cat <<E\n````\nE"),
            "`````sh\ncat <<E\n````\nE\n`````\n"
        );
    }
}
