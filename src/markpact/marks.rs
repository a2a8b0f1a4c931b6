//! Blocks → names and digests, for whoever wants to know whether a README is still the same. Pure.

use sha2::{Digest as _, Sha256};

use super::block::Block;
use super::recipe::Mark;

/// Attributes that name a block, first wins.
const NAMES: [&str; 2] = ["path", "name"];

/// The blocks in document order.
pub(super) fn read(blocks: &[Block]) -> Vec<Mark> {
    let mark = |block: &Block| Mark {
        label: label(block),
        digest: digest(block),
        lines: block.lines,
    };
    blocks.iter().map(mark).collect()
}

fn label(block: &Block) -> String {
    let name = NAMES.iter().find_map(|name| block.attributes.get(*name));
    let detail = match (name, block.kind.as_str()) {
        (Some(name), _) => name.as_str(),
        // Several languages may have one each.
        (None, "deps") => block.language.as_str(),
        (None, _) => "",
    };
    match detail {
        "" => block.kind.clone(),
        // A name may hold anything; in the label it is one line.
        detail => format!("{} {}", block.kind, detail.escape_debug()),
    }
}

/// Each part with its length: no two blocks give the same bytes.
fn digest(block: &Block) -> String {
    let mut attributes: Vec<(&String, &String)> = block.attributes.iter().collect();
    attributes.sort();
    let named = attributes.into_iter().flat_map(|(name, value)| [name, value]);
    let mut hash = Sha256::new();
    for part in [&block.kind, &block.language]
        .into_iter()
        .chain(named)
        .chain([&block.text])
    {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    crate::hex::digits(hash.finalize())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::markpact::parse;
    use crate::markpact::recipe::Mark;

    fn marks(text: &str) -> Vec<Mark> {
        parse(Path::new("README.md"), text).unwrap().marks
    }

    const README: &str = "# A\n\n```python markpact:deps\nflask\n```\n\n```python markpact:file path=main.py\nprint(1)\n```\n\n```sh markpact:run\npython main.py\n```\n";

    #[test]
    fn prose_and_place_do_not_matter_and_one_letter_of_a_block_does() {
        let before = marks(README);
        let labels: Vec<&str> = before.iter().map(|mark| mark.label.as_str()).collect();
        assert_eq!(labels, ["deps python", "file main.py", "run"]);
        let moved = marks(&README.replace(
            "# A\n",
            "# Another title\n\nand a text\n\n```\nno block of ours\n```\n",
        ));
        let digests = |marks: &[Mark]| marks.iter().map(|mark| mark.digest.clone()).collect::<Vec<_>>();
        assert_eq!(digests(&before), digests(&moved));
        assert_ne!(before[0].lines, moved[0].lines);
        let edited = marks(&README.replace("print(1)", "print(2)"));
        assert_eq!(before[0].digest, edited[0].digest);
        assert_ne!(before[1].digest, edited[1].digest);
        let renamed = marks(&README.replace("path=main.py", "path=main.py mode=755"));
        assert_ne!(before[1].digest, renamed[1].digest);
    }
}
