//! `file` blocks → files with clean, unique paths. Writes nothing.

use std::collections::HashMap;

use super::block::Block;
use super::fence::Fault;
use super::findings::{Findings, closest, quoted};
use super::paths;
use super::recipe::FileBlock;

const MODE: u32 = 0o644;
const HIGHEST_MODE: u32 = 0o777;

/// The files in document order. A wrong block is left out and reported.
pub(super) fn read(blocks: &[Block], findings: &mut Findings<'_>) -> Vec<FileBlock> {
    let blocks: Vec<&Block> = blocks.iter().filter(|block| block.kind == "file").collect();
    let alone = blocks.len() == 1;
    let read = |block: &&Block| file(block, alone, findings);
    let files: Vec<FileBlock> = blocks.iter().filter_map(read).collect();
    let first = unique(&files, findings);
    apart(&files, &first, findings);
    files
}

fn file(block: &Block, alone: bool, findings: &mut Findings<'_>) -> Option<FileBlock> {
    let line = block.lines.first;
    let mut refuse = |Fault(message, help)| findings.error(line, message, help);
    let template = template(block).map_err(&mut refuse);
    let mode = mode(block).map_err(&mut refuse);
    let path = path(block, alone).map_err(&mut refuse);
    let (path, mode) = (path.ok()?, mode.ok()?);
    template.ok()?;
    if !block.attributes.contains_key("path") {
        findings.note(line, format!("the file block has no path: writing '{path}'"));
    }
    Some(FileBlock {
        path,
        content: block.text.clone(),
        mode,
        language: block.language.clone(),
        lines: block.lines,
    })
}

fn template(block: &Block) -> Result<(), Fault> {
    match block.attributes.get("template").map(String::as_str) {
        None | Some("false") => Ok(()),
        Some(_) => Err(Fault(
            "'template=true' is not supported yet".to_owned(),
            "remove it and read the values from the environment".to_owned(),
        )),
    }
}

fn mode(block: &Block) -> Result<u32, Fault> {
    let Some(text) = block.attributes.get("mode") else {
        return Ok(MODE);
    };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits);
    mode.filter(|mode| *mode <= HIGHEST_MODE).ok_or_else(|| {
        Fault(
            format!("the mode {} is no octal number from 0 to 777", quoted(text)),
            "write, for example, mode=755".to_owned(),
        )
    })
}

fn path(block: &Block, alone: bool) -> Result<String, Fault> {
    let Some(path) = block.attributes.get("path") else {
        return default_path(block, alone);
    };
    match paths::fault(path) {
        Some(fault) => Err(fault),
        None => Ok(path.clone()),
    }
}

fn default_path(block: &Block, alone: bool) -> Result<String, Fault> {
    let language = block.language.to_lowercase();
    let misspelt = block
        .attributes
        .keys()
        .find(|key| closest(key, &["path"]).is_some());
    if alone && misspelt.is_none() && ["python", "py", "python3"].contains(&language.as_str()) {
        return Ok("main.py".to_owned());
    }
    Err(Fault(
        "the file block has no path".to_owned(),
        match misspelt {
            Some(key) => format!("did you mean 'path' instead of {}?", quoted(key)),
            None => "add, for example, path=src/main.py".to_owned(),
        },
    ))
}

/// The first line of each path; a second block of a path is an error.
fn unique<'f>(files: &'f [FileBlock], findings: &mut Findings<'_>) -> HashMap<&'f str, usize> {
    let mut first = HashMap::new();
    for file in files {
        let line = *first.entry(file.path.as_str()).or_insert(file.lines.first);
        if line != file.lines.first {
            findings.error(
                file.lines.first,
                format!(
                    "the file {} is written in line {line} and again in line {}",
                    quoted(&file.path),
                    file.lines.first
                ),
                "keep one of the two blocks, or give it another path",
            );
        }
    }
    first
}

/// A file cannot be the directory of another one.
fn apart(files: &[FileBlock], first: &HashMap<&str, usize>, findings: &mut Findings<'_>) {
    for file in files {
        let is_file = |directory: &&str| first.contains_key(directory);
        let Some(directory) = paths::directories(&file.path).find(is_file) else {
            continue;
        };
        let (here, there) = (file.lines.first, first[directory]);
        findings.error(
            here.max(there),
            format!(
                "{} of line {there} is a file and cannot hold {} of line {here}",
                quoted(directory),
                quoted(&file.path)
            ),
            "give one of the two another path",
        );
    }
}
