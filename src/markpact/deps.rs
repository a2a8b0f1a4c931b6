//! `deps` blocks → requirements with their lines. Does not judge versions; installs nothing.

use super::block::Block;
use super::findings::{Findings, instead, quoted};
use super::recipe::{DepsBlock, DepsLanguage, FileBlock};
use super::requirement;

/// What a fence may call the language of its requirements. No language: Python.
const LANGUAGES: &[(&str, DepsLanguage)] = &[
    ("", DepsLanguage::Python),
    ("python", DepsLanguage::Python),
    ("python3", DepsLanguage::Python),
    ("py", DepsLanguage::Python),
    ("pip", DepsLanguage::Python),
    ("text", DepsLanguage::Python),
    ("txt", DepsLanguage::Python),
    ("requirements", DepsLanguage::Python),
    ("node", DepsLanguage::Node),
    ("nodejs", DepsLanguage::Node),
    ("js", DepsLanguage::Node),
    ("javascript", DepsLanguage::Node),
    ("npm", DepsLanguage::Node),
    ("typescript", DepsLanguage::Node),
    ("ts", DepsLanguage::Node),
    ("go", DepsLanguage::Go),
    ("golang", DepsLanguage::Go),
    ("gomod", DepsLanguage::Go),
    ("rust", DepsLanguage::Rust),
    ("cargo", DepsLanguage::Rust),
    ("php", DepsLanguage::Php),
    ("composer", DepsLanguage::Php),
    ("system", DepsLanguage::System),
    ("apt", DepsLanguage::System),
];

/// The blocks in document order.
pub(super) fn read(blocks: &[Block], findings: &mut Findings<'_>) -> Vec<DepsBlock> {
    let blocks = blocks.iter().filter(|block| block.kind == "deps");
    blocks.filter_map(|block| one(block, findings)).collect()
}

fn one(block: &Block, findings: &mut Findings<'_>) -> Option<DepsBlock> {
    let language = language(block, findings)?;
    let continues = language == DepsLanguage::Python;
    let requirements: Vec<(usize, String)> = logical(block.numbered(), continues)
        .into_iter()
        .map(|(line, text)| (line, uncommented(&text).to_owned()))
        .filter(|(_, text)| !text.is_empty())
        .collect();
    for (line, text) in &requirements {
        check(*line, text, language, findings);
    }
    Some(DepsBlock {
        language,
        requirements,
        lines: block.lines,
    })
}

fn language(block: &Block, findings: &mut Findings<'_>) -> Option<DepsLanguage> {
    let line = block.lines.first;
    let name = block.language.to_lowercase();
    let known = LANGUAGES.iter().find(|(known, _)| *known == name);
    if known.is_none() {
        let supported = ["python", "node", "go", "rust", "php", "system"];
        let message = format!("unknown language {} of a 'deps' block", quoted(&block.language));
        findings.error(line, message, instead(&name, &supported));
    }
    known.map(|(_, language)| *language)
}

/// Lines with those joined that end in a backslash, as pip joins them: a requirement with its hashes. Each has the number
/// of its first line. The last line of a block has none to be joined with.
fn logical<'t>(lines: impl Iterator<Item = (usize, &'t str)>, continues: bool) -> Vec<(usize, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (line, text) in lines {
        match joined.last_mut().filter(|_| open) {
            Some((_, before)) => {
                let end = before.trim_end_matches('\\').trim_end().len();
                before.truncate(end);
                before.push(' ');
                before.push_str(text.trim());
            }
            None => joined.push((line, text.trim().to_owned())),
        }
        open = continues && joined.last().is_some_and(|(_, text)| text.ends_with('\\'));
    }
    joined
}

/// A line without its comment and the white space around it.
fn uncommented(line: &str) -> &str {
    let is_comment =
        |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let end = line.match_indices('#').find(is_comment);
    line[..end.map_or(line.len(), |(at, _)| at)].trim()
}

fn check(line: usize, text: &str, language: DepsLanguage, findings: &mut Findings<'_>) {
    let installer = match language {
        DepsLanguage::Python => "pip",
        DepsLanguage::Node => "npm",
        DepsLanguage::Go => "go",
        DepsLanguage::Rust => "cargo",
        DepsLanguage::Php => "composer",
        DepsLanguage::System => "apt",
    };
    if text.starts_with('-') {
        let message = format!("{} is an option of {installer}, not a requirement", quoted(text));
        let help = match text.starts_with("-r") {
            true => "write the requirements themselves into this block".to_owned(),
            false => format!("remove it; {installer} takes its options from your {installer} configuration"),
        };
        findings.error(line, message, help);
    } else if text.ends_with('\\') {
        let (what, help) = match language {
            DepsLanguage::Python => ("continues, and no line follows", "remove the backslash"),
            _ => ("continues in the next line", "write one requirement per line"),
        };
        findings.error(line, format!("the requirement {} {what}", quoted(text)), help);
    } else if text
        .chars()
        .any(|character| character.is_control() && character != '\t')
    {
        let message = format!("the requirement {} holds a control character", quoted(text));
        findings.error(line, message, "remove it");
    } else if let Some(help) = requirement::fault(language, text) {
        let name = format!("{language:?}").to_lowercase();
        let message = format!("{} is no {name} dependency", quoted(text));
        findings.error(line, message, help);
    }
}

/// What a manifest of the README says counts; a requirement that it does not name would never be installed.
pub(super) fn check_manifests(deps: &[DepsBlock], files: &[FileBlock], findings: &mut Findings<'_>) {
    for block in deps {
        let Some(path) = block.language.manifest() else {
            continue;
        };
        let Some(manifest) = files.iter().find(|file| file.path == path) else {
            continue;
        };
        for (line, text) in &block.requirements {
            let name = requirement::name(block.language, text);
            if !manifest.content.contains(name) {
                let message = format!(
                    "{} is not in the README's {path} of line {}, which decides",
                    quoted(name),
                    manifest.lines.first
                );
                findings.error(
                    *line,
                    message,
                    format!("add it to {path}, or remove one of the two blocks"),
                );
            }
        }
    }
}

/// The name of a Python requirement as its index knows it: lower case, runs of `-`, `_` and `.` as one `-`.
pub(super) fn python_name(requirement: &str) -> String {
    let end = requirement
        .find(|character: char| !character.is_ascii_alphanumeric() && !"-_.".contains(character))
        .unwrap_or(requirement.len());
    let parts = requirement[..end].split(['-', '_', '.']);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("-").to_lowercase()
}

/// Whether a Python requirement of these blocks has this name.
pub(super) fn names(deps: &[DepsBlock], name: &str) -> bool {
    let python = deps.iter().filter(|block| block.language == DepsLanguage::Python);
    let mut requirements = python.flat_map(|block| &block.requirements);
    requirements.any(|(_, requirement)| python_name(requirement) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_cut() {
        for (line, wanted) in [
            ("flask", "flask"),
            ("  flask==3.0  # the web", "flask==3.0"),
            ("flask\t# tab", "flask"),
            ("# only a comment", ""),
            ("   ", ""),
            (
                "git+https://example.org/x#egg=x",
                "git+https://example.org/x#egg=x",
            ),
            ("a#b # c # d", "a#b"),
            ("express@4 #x", "express@4"),
        ] {
            assert_eq!(uncommented(line), wanted, "{line}");
        }
    }

    #[test]
    fn continued_lines_are_one_requirement_with_the_number_of_the_first() {
        let text = "flask==3.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n\nsix\nlast \\";
        let lines = || text.lines().enumerate();
        let joined = logical(lines(), true);
        let wanted = [
            (0, "flask==3.0 --hash=sha256:aa --hash=sha256:bb"),
            (3, ""),
            (4, "six"),
            (5, "last \\"),
        ];
        assert_eq!(joined, wanted.map(|(line, text)| (line, text.to_owned())));
        assert_eq!(logical(lines(), false).len(), 6);
    }

    #[test]
    fn names_are_normalised() {
        for (text, wanted) in [
            ("FastAPI==0.115", "fastapi"),
            ("uvicorn[standard]>=0.3", "uvicorn"),
            ("ruamel.yaml ; python_version > '3'", "ruamel-yaml"),
            ("Flask_SQLAlchemy~=3", "flask-sqlalchemy"),
            ("", ""),
        ] {
            assert_eq!(python_name(text), wanted);
        }
    }
}
