//! Which `run` block runs: the unnamed one, or the only one. The others are kept.

use std::collections::HashMap;

use super::block::Block;
use super::findings::{Findings, quoted};
use super::recipe::Run;

/// The run block, if the README has one that is beyond doubt.
pub(super) fn choose<'b>(blocks: &'b [Block], findings: &mut Findings<'_>) -> Option<&'b Block> {
    let blocks: Vec<&Block> = blocks.iter().filter(|block| block.kind == "run").collect();
    for block in &blocks {
        check(block, findings);
    }
    let (named, unnamed): (Vec<&Block>, Vec<&Block>) = blocks.iter().partition(|block| name(block).is_some());
    one_of_each_name(&named, findings);
    match (unnamed.as_slice(), named.as_slice()) {
        ([], []) => None,
        ([first], _) | ([], [first]) => Some(first),
        ([], [first, second, ..]) => {
            findings.error(
                second.lines.first,
                format!(
                    "every run block has a name, lines {} and {}: which one is to run",
                    first.lines.first, second.lines.first
                ),
                "remove name= from the one that runs",
            );
            None
        }
        ([first, others @ ..], _) => {
            for other in others {
                second(first, other, findings);
            }
            Some(first)
        }
    }
}

/// The block as a run command.
pub(super) fn written(block: &Block) -> Run {
    Run {
        command: block.commands(),
        lines: Some(block.lines),
    }
}

fn name(block: &Block) -> Option<&str> {
    block.attributes.get("name").map(String::as_str)
}

fn check(block: &Block, findings: &mut Findings<'_>) {
    let line = block.lines.first;
    if block.text.trim().is_empty() {
        let help = "write a command such as 'exec python3 main.py', or remove the block";
        findings.error(line, "the 'run' block is empty", help);
    }
    if let Some((line, _)) = block.numbered().find(|(_, text)| text.contains('\0')) {
        findings.error(line, "the command holds a NUL character", "remove it");
    }
}

fn one_of_each_name(named: &[&Block], findings: &mut Findings<'_>) {
    let mut first = HashMap::new();
    for block in named {
        let line = *first.entry(name(block)).or_insert(block.lines.first);
        if line != block.lines.first {
            findings.error(
                block.lines.first,
                format!(
                    "two run blocks are named {}, lines {line} and {}",
                    quoted(name(block).unwrap_or_default()),
                    block.lines.first
                ),
                "give one of them another name",
            );
        }
    }
}

fn second(first: &Block, other: &Block, findings: &mut Findings<'_>) {
    findings.error(
        other.lines.first,
        format!(
            "more than one run block, lines {} and {}",
            first.lines.first, other.lines.first
        ),
        "join them into one, or give the others a name= each",
    );
}
