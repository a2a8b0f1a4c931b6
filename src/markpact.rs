//! The executable README: Markdown text → [`Recipe`], with the line of every block and every problem at once.
//!
//! Pure apart from reading that file and those that it includes. Knows nothing of services, ports or sandboxes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::config::ecosystem::Place;
use crate::diagnostics::{Problem, Problems, Severity};

mod block;
mod deps;
mod endpoints;
mod fence;
mod files;
mod findings;
mod http_test;
mod include;
mod infer;
mod marks;
mod paths;
mod programs;
mod reader;
pub mod recipe;
pub(crate) mod requirement;
mod run;
mod scripts;
pub mod template;
mod test_block;
pub mod test_case;
mod workload;

pub use recipe::Recipe;

use block::Block;
use findings::Findings;
use include::Chain;
use recipe::{OtherBlock, TextBlock};

/// A README may have this many bytes.
const LIMIT: u64 = 16 * 1024 * 1024;

/// Reads and parses one README, and those that it includes: at most 16 MiB of UTF-8 each.
pub fn read(readme: &Path) -> Result<Recipe, Problems> {
    let text = text(readme)?;
    let mut findings = Findings::new(readme, &text);
    let (title, blocks) = block::read(&text, &mut findings);
    let blocks = Chain::of(readme).expand(readme, blocks, &mut findings);
    recipe_of(readme, &text, (title, &blocks), findings)
}

/// The text of one README.
fn text(readme: &Path) -> Result<String, Problems> {
    let bytes = bytes(readme).map_err(|(message, help)| of_file(readme, message, help))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(unmarked(text).to_owned()),
        Err(error) => Err(not_utf8(readme, &bytes, error.valid_up_to())),
    }
}

/// Without the byte order mark.
fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The recipe in `text`, or all its problems; `readme` is only named in them. What it includes is not read.
pub fn parse(readme: &Path, text: &str) -> Result<Recipe, Problems> {
    let text = unmarked(text);
    let mut findings = Findings::new(readme, text);
    let (title, blocks) = block::read(text, &mut findings);
    recipe_of(readme, text, (title, &blocks), findings)
}

/// The first other README that `text` includes: the line and its path.
pub fn first_include(text: &str) -> Option<(usize, String)> {
    let (_, blocks) = block::read(text, &mut Findings::new(Path::new(""), text));
    let block = blocks.into_iter().find(|block| block.kind == block::INCLUDE)?;
    Some((block.lines.first, block.attributes.get("path")?.clone()))
}

/// What the blocks of a README say together.
fn recipe_of(
    readme: &Path,
    text: &str,
    (title, blocks): (Option<String>, &[Block]),
    mut findings: Findings<'_>,
) -> Result<Recipe, Problems> {
    let files = files::read(blocks, &mut findings);
    let mut deps = deps::read(blocks, &mut findings);
    deps::check_manifests(&deps, &files, &mut findings);
    let workload = workload::read(blocks, &mut findings);
    let health = health(blocks, &mut findings);
    let chosen = run::choose(blocks, &mut findings);
    let run = match chosen {
        Some(block) => Some(run::written(block)),
        None if blocks.iter().any(|block| block.kind == "run") => None,
        None => infer::run(&files, &deps, &mut findings),
    };
    if let Some(run) = &run {
        programs::add_servers(run, &mut deps, &mut findings);
    }
    let setup = scripts::setup(blocks, &mut findings);
    let jobs = scripts::jobs(blocks, &mut findings);
    scripts::check_builds(blocks, &mut findings);
    let tests = test_block::read(blocks, &mut findings);
    let others = others(blocks, chosen);
    findings.finish(|notes| Recipe {
        readme: readme.to_owned(),
        title,
        files,
        deps,
        run,
        workload,
        health,
        setup,
        jobs,
        tests,
        endpoints: endpoints::read(text),
        others,
        marks: marks::read(blocks),
        notes,
    })
}

fn health(blocks: &[Block], findings: &mut Findings<'_>) -> Option<TextBlock> {
    let block = findings.only(blocks, &["health", "healthcheck"])?;
    if block.text.trim().is_empty() {
        findings.error(
            block.lines.first,
            "the 'health' block is empty",
            "write a path such as '/health', or remove the block",
        );
    }
    Some(TextBlock {
        text: block.commands(),
        lines: block.lines,
    })
}

/// The blocks that later verbs read, and the run blocks that were not chosen.
fn others(blocks: &[Block], chosen: Option<&Block>) -> Vec<OtherBlock> {
    let kept = |block: &&Block| {
        let is_chosen = chosen.is_some_and(|run| run.lines == block.lines);
        fence::KEPT.contains(&block.kind.as_str()) || (block.kind == "run" && !is_chosen)
    };
    let other = |block: &Block| OtherBlock {
        kind: block.kind.clone(),
        language: block.language.clone(),
        attributes: block.attributes.clone(),
        text: block.commands(),
        lines: block.lines,
    };
    blocks.iter().filter(kept).map(other).collect()
}

/// The file's bytes, or what is wrong and what to do. A README is a regular file: opening a pipe would wait for ever.
fn bytes(readme: &Path) -> Result<Vec<u8>, (String, String)> {
    let unreadable = |error: std::io::Error| {
        let help = "check the path and its permissions".to_owned();
        (format!("the README cannot be read: {error}"), help)
    };
    let about = std::fs::metadata(readme).map_err(unreadable)?;
    if about.is_dir() {
        let help = format!("name the file: {}", readme.join("README.md").display());
        return Err(("the README is a directory".to_owned(), help));
    }
    if !about.is_file() {
        let help = "name a Markdown file".to_owned();
        return Err(("the README is not a regular file".to_owned(), help));
    }
    let mut bytes = Vec::new();
    let file = File::open(readme).map_err(unreadable)?;
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LIMIT {
        let help = "keep large data in a volume or a mounted directory".to_owned();
        return Err(("the README is larger than 16 MiB".to_owned(), help));
    }
    Ok(bytes)
}

fn not_utf8(readme: &Path, bytes: &[u8], valid: usize) -> Problems {
    let (before, after) = bytes.split_at(valid);
    let begin = before
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    let end = after
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |at| valid + at);
    let mut problems = of_file(
        readme,
        "the README is not valid UTF-8".to_owned(),
        "save it as UTF-8".to_owned(),
    );
    for problem in &mut problems.0 {
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        problem.place = Place { line, column: 1 };
        problem.source = Some(String::from_utf8_lossy(&bytes[begin..end]).trim_end().to_owned());
    }
    problems
}

fn of_file(readme: &Path, message: String, help: String) -> Problems {
    Problems(vec![Problem {
        severity: Severity::Error,
        file: readme.to_owned(),
        place: Place { line: 0, column: 0 },
        length: 0,
        message,
        help: Some(help),
        source: None,
    }])
}

#[cfg(test)]
mod tests;
