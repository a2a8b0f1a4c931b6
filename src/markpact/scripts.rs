//! `setup`, `build` and `job` blocks: scripts that run once before the service does, for artifacts, and by hand while it runs.

use super::block::Block;
use super::fence::Fault;
use super::findings::{Findings, quoted};
use super::paths;
use super::recipe::{JobBlock, TextBlock, artifacts};

/// Languages that `sh` reads.
const SHELLS: &[&str] = &["", "sh", "shell", "bash", "dash", "console", "text"];

/// The setup scripts in document order.
pub(super) fn setup(blocks: &[Block], findings: &mut Findings<'_>) -> Vec<TextBlock> {
    let blocks = blocks.iter().filter(|block| block.kind == "setup");
    let mut found = Vec::new();
    for block in blocks {
        check(block, findings);
        found.push(TextBlock {
            text: block.commands(),
            lines: block.lines,
        });
    }
    found
}

/// The build blocks are scripts, and what they name lies below `/app`.
pub(super) fn check_builds(blocks: &[Block], findings: &mut Findings<'_>) {
    for block in blocks.iter().filter(|block| block.kind == "build") {
        check(block, findings);
        for path in artifacts(&block.attributes) {
            if let Some(Fault(message, help)) = paths::fault(path) {
                findings.error(block.lines.first, message, help);
            }
        }
    }
}

/// The jobs in document order.
pub(super) fn jobs(blocks: &[Block], findings: &mut Findings<'_>) -> Vec<JobBlock> {
    let mut found: Vec<JobBlock> = Vec::new();
    for block in blocks.iter().filter(|block| block.kind == "job") {
        check(block, findings);
        let name = block.attributes.get("name").cloned().unwrap_or_default();
        check_name(block, &name, &found, findings);
        found.push(JobBlock {
            name,
            command: block.commands(),
            lines: block.lines,
        });
    }
    found
}

fn check_name(block: &Block, name: &str, before: &[JobBlock], findings: &mut Findings<'_>) {
    let line = block.lines.first;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || !name.chars().all(fits) {
        let message = match name.is_empty() {
            true => "a job has no name".to_owned(),
            false => format!("{} is no name of a job", quoted(name)),
        };
        let help = "write, for example, name=seed: letters, digits, '-', '_' and '.'";
        findings.error(line, message, help);
    } else if let Some(first) = before.iter().find(|job| job.name == name) {
        let lines = (first.lines.first, line);
        let message = format!(
            "two jobs are named {}, lines {} and {}",
            quoted(name),
            lines.0,
            lines.1
        );
        findings.error(line, message, "give one of them another name");
    }
}

fn check(block: &Block, findings: &mut Findings<'_>) {
    let line = block.lines.first;
    let kind = &block.kind;
    if block.text.trim().is_empty() {
        let help = "write shell commands, or remove the block";
        findings.error(line, format!("the '{kind}' block is empty"), help);
    }
    if !SHELLS.contains(&block.language.to_lowercase().as_str()) {
        let message = format!("a '{kind}' block in {} cannot be run", quoted(&block.language));
        findings.error(line, message, "use 'sh', which may call any program");
    }
    if let Some((line, _)) = block.numbered().find(|(_, text)| text.contains('\0')) {
        findings.error(line, "the command holds a NUL character", "remove it");
    }
}
