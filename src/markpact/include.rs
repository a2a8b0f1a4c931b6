//! READMEs that include others: `<!-- markpact:include path=db/README.md -->`. Their blocks stand where the comment does.

use std::path::{Path, PathBuf};

use super::block::{self, Block, INCLUDE};
use super::findings::{Findings, quoted};
use super::recipe::Lines;

/// Most READMEs within each other.
const DEEPEST: usize = 5;

/// The READMEs that are being read, the outermost first.
pub(super) struct Chain(Vec<PathBuf>);

impl Chain {
    /// Of one that nobody includes.
    pub(super) fn of(readme: &Path) -> Self {
        Self(vec![real(readme)])
    }

    /// The blocks of `readme` with those of what it includes in their places.
    pub(super) fn expand(
        &mut self,
        readme: &Path,
        blocks: Vec<Block>,
        findings: &mut Findings<'_>,
    ) -> Vec<Block> {
        let mut all = Vec::new();
        for block in blocks {
            match block.attributes.get("path").filter(|_| block.kind == INCLUDE) {
                Some(path) => {
                    let directory = readme.parent().unwrap_or(Path::new(""));
                    all.extend(self.included(&directory.join(path), block.lines, findings));
                }
                None => all.push(block),
            }
        }
        all
    }

    /// The blocks of an included README, all with the place of the comment.
    fn included(&mut self, path: &Path, lines: Lines, findings: &mut Findings<'_>) -> Vec<Block> {
        let inner = real(path);
        if let Some(first) = self.0.iter().position(|above| *above == inner) {
            let circle = self.0[first..].iter().chain([&inner]);
            let circle: Vec<String> = circle.map(|path| path.display().to_string()).collect();
            findings.error(
                lines.first,
                format!("READMEs include each other: {}", circle.join(" -> ")),
                "take one of the comments out",
            );
            return Vec::new();
        }
        if self.0.len() > DEEPEST {
            findings.error(
                lines.first,
                format!("READMEs are included more than {DEEPEST} deep"),
                "include this one further up",
            );
            return Vec::new();
        }
        let text = match super::text(path) {
            Ok(text) => text,
            Err(problems) => {
                let cause = problems.0.first().map_or("", |problem| &problem.message);
                let message = format!(
                    "{} cannot be included: {cause}",
                    quoted(&path.display().to_string())
                );
                findings.error(lines.first, message, "write its path as seen from this README");
                return Vec::new();
            }
        };
        self.0.push(inner);
        let blocks = self.judged(path, &text, findings);
        self.0.pop();
        let placed = blocks.into_iter().map(|block| Block {
            lines,
            is_included: true,
            ..block
        });
        placed.collect()
    }

    /// Its blocks, when it is right by itself; else its problems are told with its own lines.
    fn judged(&mut self, path: &Path, text: &str, findings: &mut Findings<'_>) -> Vec<Block> {
        let mut own = Findings::new(path, text);
        let (title, blocks) = block::read(text, &mut own);
        let blocks = self.expand(path, blocks, &mut own);
        match super::recipe_of(path, text, (title, &blocks), own) {
            Ok(_) => blocks,
            Err(problems) => {
                findings.adopt(problems);
                Vec::new()
            }
        }
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
