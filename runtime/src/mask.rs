//! Values that nobody may read where they do not belong: found in text and in streams, replaced by `***`. Pure.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::error::{During, Result};

/// What stands in place of a value.
const MASK: &str = "***";
/// Shorter ones are not looked for, in bytes: they would be found everywhere.
pub const SHORTEST: usize = 4;
/// Longer ones are looked for in pieces of this size, in bytes: so much of a stream is held back at most.
const LONGEST: usize = 16 * 1024;

/// Finds values. One of several lines is looked for line by line: that is how it comes out of programs.
#[derive(Debug, Clone)]
pub struct Masker {
    search: AhoCorasick,
    pieces: Vec<Vec<u8>>,
    /// First bytes of the pieces.
    first: [bool; 256],
}

impl Masker {
    /// `None` when there is nothing to look for.
    ///
    /// # Errors
    /// There is more than a search can take (2^31 states): nothing may be shown then.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Self>> {
        let mut pieces: Vec<Vec<u8>> = values.into_iter().flat_map(pieces).collect();
        pieces.sort_unstable();
        pieces.dedup();
        if pieces.is_empty() {
            return Ok(None);
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // A value may have many bytes: a table for each of them would be big.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&pieces)
            .during(|| "make a search for the secrets".to_owned())?;
        let mut first = [false; 256];
        pieces
            .iter()
            .for_each(|piece| first[usize::from(piece[0])] = true);
        Ok(Some(Self {
            search,
            pieces,
            first,
        }))
    }

    /// The text without the values.
    pub fn text(&self, text: &str) -> String {
        match self.search.is_match(text) {
            true => self.search.replace_all(text, &vec![MASK; self.pieces.len()]),
            false => text.to_owned(),
        }
    }

    /// Where the longest end of `text` begins with which a value may begin.
    fn undecided(&self, text: &[u8]) -> usize {
        let longest = self.pieces.iter().map(Vec::len).max().unwrap_or(0);
        let from = text.len().saturating_sub(longest.saturating_sub(1));
        let begins = |at: &usize| {
            self.first[usize::from(text[*at])]
                && self.pieces.iter().any(|piece| piece.starts_with(&text[*at..]))
        };
        (from..text.len()).find(begins).unwrap_or(text.len())
    }
}

/// What is looked for of one value.
fn pieces(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let parts = lines.flat_map(|line| line.chunks(LONGEST));
    parts.filter(|part| part.len() >= SHORTEST).flat_map(spellings)
}

/// The piece as it is, and as it stands in JSON and in XML.
fn spellings(piece: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![piece.to_vec()];
    if let Ok(text) = std::str::from_utf8(piece) {
        let quoted = serde_json::Value::from(text).to_string();
        all.push(quoted.as_bytes()[1..quoted.len() - 1].to_vec());
        let marks = [
            ("&", "&amp;"),
            ("<", "&lt;"),
            (">", "&gt;"),
            ("\"", "&quot;"),
            ("'", "&apos;"),
        ];
        let escape = |text: String, (mark, name): (&str, &str)| text.replace(mark, name);
        all.push(marks.into_iter().fold(text.to_owned(), escape).into_bytes());
    }
    all
}

/// One stream on its way. What may be the beginning of a value waits for what comes next.
#[derive(Debug, Clone)]
pub struct Stream {
    masker: Masker,
    held: Vec<u8>,
}

impl Stream {
    /// Nothing has come yet.
    pub fn new(masker: Masker) -> Self {
        let held = Vec::new();
        Self { masker, held }
    }

    /// Bytes that wait; so much more than goes in may come out.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the first `count` bytes of `buffer` and leaves there what may be seen of the stream; how many bytes.
    pub fn pass(&mut self, buffer: &mut Vec<u8>, count: usize) -> usize {
        let mut whole = std::mem::take(&mut self.held);
        whole.extend_from_slice(&buffer[..count]);
        let (mut seen, mut from) = (Vec::with_capacity(whole.len()), 0);
        let mut decided = self.masker.undecided(&whole);
        for found in self.masker.search.find_iter(&whole) {
            if found.start() >= decided {
                // What comes next may make a longer one of it.
                break;
            }
            seen.extend_from_slice(&whole[from..found.start()]);
            seen.extend_from_slice(MASK.as_bytes());
            from = found.end();
            if from > decided {
                decided = from + self.masker.undecided(&whole[from..]);
            }
        }
        seen.extend_from_slice(&whole[from..decided]);
        self.held = whole[decided..].to_vec();
        if buffer.len() < seen.len() {
            buffer.resize(seen.len(), 0);
        }
        buffer[..seen.len()].copy_from_slice(&seen);
        seen.len()
    }

    /// The end: nothing comes that could make a longer value of what was held back, but it may hold whole shorter ones.
    pub fn finish(&mut self) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let masks = vec![MASK; self.masker.pieces.len()];
        self.masker.search.replace_all_bytes(&held, &masks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masker(values: &[&str]) -> Masker {
        let values = values.iter().map(|value| value.as_bytes());
        Masker::new(values).unwrap().unwrap()
    }

    /// The stream in pieces of these sizes, in turn.
    fn streamed(masker: &Masker, text: &[u8], sizes: &[usize]) -> Vec<u8> {
        let mut stream = Stream::new(masker.clone());
        let (mut out, mut rest) = (Vec::new(), text);
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, after) = rest.split_at((*size).min(rest.len()));
            let mut buffer = part.to_vec();
            let count = stream.pass(&mut buffer, part.len());
            out.extend_from_slice(&buffer[..count]);
            rest = after;
        }
        out.extend(stream.finish());
        out
    }

    #[test]
    fn values_are_replaced_the_longest_first() {
        let masker = masker(&["hunter2", "hunter2-long\n", "abc"]);
        assert_eq!(masker.text("a hunter2-longer hunter2 abc"), "a ***er *** abc");
        let none = Masker::new([b"abc".as_slice(), b"\n"]).unwrap();
        assert!(none.is_none(), "too short");
    }

    #[test]
    fn a_value_of_several_lines_is_found_line_by_line() {
        let masker = masker(&["-----BEGIN KEY-----\n  MIIEvQ==\n}\n"]);
        assert_eq!(masker.text("x MIIEvQ==\r\n}"), "x ***\r\n}");
    }

    #[test]
    fn a_value_is_found_as_json_and_xml_spell_it() {
        let masker = masker(&["a\"b&<c"]);
        let text = "a\"b&<c a\\\"b&<c a&quot;b&amp;&lt;c";
        assert_eq!(masker.text(text), "*** *** ***");
    }

    #[test]
    fn a_prompt_is_not_held_back() {
        let mut stream = Stream::new(masker(&["secret"]));
        let mut buffer = b"password: ".to_vec();
        assert_eq!(stream.pass(&mut buffer, 10), 10);
        let mut buffer = b"it is sec".to_vec();
        assert_eq!((stream.pass(&mut buffer, 9), stream.held()), (6, 3));
        assert_eq!(stream.finish(), b"sec");
    }

    #[test]
    fn a_value_at_the_end_is_hidden_though_another_is_longer() {
        let masker = masker(&["abcd", "zzzzzzzz", "abcdefgh", "cdcdcdcd"]);
        for (text, shown) in [
            ("x abcd", "x ***"),
            ("x abcdef", "x ***ef"),
            ("abcdabcd", "******"),
            ("x zzzz", "x zzzz"),
        ] {
            for sizes in [&[100][..], &[1], &[3]] {
                let out = streamed(&masker, text.as_bytes(), sizes);
                assert_eq!(String::from_utf8(out).unwrap(), shown);
            }
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_no_value_comes_out(
            text in "[ab\\n]{0,300}",
            values in proptest::collection::vec("[ab]{4,9}", 1..8),
            last in proptest::option::of(0..8_usize),
            sizes in proptest::collection::vec(1_usize..40, 1..6),
        ) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            // The end of a stream is where a value is easily missed.
            let last = last.and_then(|last| values.get(last)).copied().unwrap_or_default();
            let text = text + last;
            let masker = masker(&values);
            let out = streamed(&masker, text.as_bytes(), &sizes);
            let out = String::from_utf8(out).unwrap();
            prop_assert!(values.iter().all(|value| !out.contains(value)), "{:?}", out);
            prop_assert_eq!(out, masker.text(&text));
        }
    }
}
