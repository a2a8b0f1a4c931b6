//! Lines of the file and lines of the log: a long text comes in parts, which belong together. Pure.

use std::borrow::Cow;
use std::fmt::Write;

/// Longest text, in bytes, that is put together from parts; what is longer comes as several lines.
const LONGEST: usize = 8 << 20;

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// The service's standard output.
    Stdout,
    /// The service's standard error.
    Stderr,
    /// The keeper's own remarks.
    System,
}

impl Stream {
    const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::System];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::System => "system",
        }
    }
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// RFC 3339, UTC, nanoseconds: later is greater.
    pub time: String,
    /// Where it comes from.
    pub stream: Stream,
    /// What was written, without its newline.
    pub text: Vec<u8>,
    /// Number of the run, when the log still has its start.
    pub run: Option<u64>,
    /// How many starts the log has before this line.
    pub nth_run: u64,
    /// Lines that were not chosen lie between this one and the one before.
    pub apart: bool,
}

impl Line {
    /// The text, with bytes that are not UTF-8 as `\xff`.
    pub fn text(&self) -> Cow<'_, str> {
        if let Ok(text) = std::str::from_utf8(&self.text) {
            return Cow::Borrowed(text);
        }
        let mut text = String::with_capacity(self.text.len());
        for chunk in self.text.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
        Cow::Owned(text)
    }

    /// Whether it is for the reader's eyes: what a service wrote, or that something of it is missing.
    pub fn is_told(&self) -> bool {
        self.stream != Stream::System
            || self.text.starts_with(GONE.as_bytes())
            || memchr::memmem::find(&self.text, b" bytes were dropped: ").is_some()
    }

    fn begins_run(&self) -> bool {
        self.stream == Stream::System && self.text.starts_with(b"starting")
    }

    /// Whether what has no newline by now never gets one.
    fn ends_run(&self) -> bool {
        const ENDS: [&[u8]; 4] = [b"starting", b"exited with", b"ended by", b"was killed"];
        self.stream == Stream::System && ENDS.iter().any(|end| self.text.starts_with(end))
    }
}

/// What is told in place of lines that were rotated away before they could be read.
const GONE: &str = "lines are missing: the log was rotated faster than it was read";

/// Puts lines together, and knows which run they belong to.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    unfinished: [Option<Line>; 3],
    run: Option<u64>,
    nth_run: u64,
    time: String,
}

impl Assembler {
    /// Takes one line of the file, without its newline; whole lines of the log go to `out`. What has another shape is
    /// left out.
    pub(super) fn feed(&mut self, raw: &[u8], out: &mut impl Extend<Line>) {
        let Some((time, stream, whole, text)) = parse(raw) else {
            return;
        };
        let (run, nth_run) = (self.run, self.nth_run);
        let begun = &mut self.unfinished[stream as usize];
        let line = begun.get_or_insert_with(|| Line {
            time: time.to_owned(),
            stream,
            text: Vec::new(),
            run,
            nth_run,
            apart: false,
        });
        line.text.extend_from_slice(text);
        if !whole && line.text.len() < LONGEST {
            return;
        }
        let Some(mut line) = begun.take() else { return };
        if line.ends_run() {
            self.rest(out);
        }
        if line.begins_run() {
            self.nth_run += 1;
            self.run = number_of_run(&line.text);
            (line.run, line.nth_run) = (self.run, self.nth_run);
        }
        self.time.clone_from(&line.time);
        out.extend([line]);
    }

    /// What never had a newline.
    pub(super) fn rest(&mut self, out: &mut impl Extend<Line>) {
        out.extend(self.unfinished.iter_mut().filter_map(Option::take));
    }

    /// A line that says that lines are missing here.
    pub(super) fn gone(&mut self) -> Line {
        self.unfinished = [None, None, None];
        Line {
            time: self.time.clone(),
            stream: Stream::System,
            text: GONE.as_bytes().to_vec(),
            run: self.run,
            nth_run: self.nth_run,
            apart: false,
        }
    }
}

/// `starting run=3`.
fn number_of_run(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.split_once("run=")?.1.parse().ok()
}

/// Time, stream, whether it is whole, and text.
fn parse(raw: &[u8]) -> Option<(&str, Stream, bool, &[u8])> {
    let mut fields = raw.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag) = (fields.next()?, fields.next()?, fields.next()?);
    let stream = Stream::ALL
        .into_iter()
        .find(|one| one.name().as_bytes() == stream)?;
    let whole = match tag {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some((
        std::str::from_utf8(time).ok()?,
        stream,
        whole,
        fields.next().unwrap_or_default(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(raw: &[&[u8]]) -> Vec<Line> {
        let (mut assembler, mut out) = (Assembler::default(), Vec::new());
        raw.iter().for_each(|raw| assembler.feed(raw, &mut out));
        assembler.rest(&mut out);
        out
    }

    fn texts(raw: &[&[u8]]) -> Vec<String> {
        lines(raw)
            .iter()
            .map(|line| format!("{} {}", line.stream.name(), line.text()))
            .collect()
    }

    #[test]
    fn parts_become_lines_each_stream_for_itself() {
        let raw: &[&[u8]] = &[
            b"T stdout P ab",
            b"T stderr F err or",
            b"",
            b"nonsense",
            b"T stdout X no",
            b"T stdout F c d",
            b"T stdout F ",
            b"T stdout P rest",
        ];
        assert_eq!(
            texts(raw),
            ["stderr err or", "stdout abc d", "stdout ", "stdout rest"]
        );
    }

    #[test]
    fn a_character_cut_by_a_part_is_whole_and_strange_bytes_are_shown() {
        let cut = "ż".as_bytes();
        let first = [b"T stdout P a".as_slice(), &cut[..1]].concat();
        let second = [b"T stdout F ".as_slice(), &cut[1..], b"\xff\xfeb"].concat();
        assert_eq!(texts(&[&first, &second]), ["stdout aż\\xff\\xfeb"]);
    }

    #[test]
    fn what_a_run_left_without_newline_is_not_joined_to_the_next() {
        let raw: &[&[u8]] = &[
            b"T stdout F old",
            b"T system F starting run=7",
            b"T stdout P half",
            b"T system F exited with code 1",
            b"T system F starting run=8",
            b"T stdout F new",
        ];
        let found: Vec<(String, Option<u64>, u64)> = lines(raw)
            .into_iter()
            .filter(|line| line.is_told())
            .map(|line| (line.text().into_owned(), line.run, line.nth_run))
            .collect();
        assert_eq!(
            found,
            [
                ("old".into(), None, 0),
                ("half".into(), Some(7), 1),
                ("new".into(), Some(8), 2)
            ]
        );
    }

    #[test]
    fn an_endless_line_is_not_kept_forever() {
        let part = [b"T stdout P ".as_slice(), &[b'x'; 1 << 20]].concat();
        let found = lines(&vec![part.as_slice(); 20]);
        assert!(found.iter().all(|line| line.text.len() <= LONGEST) && found.len() == 3);
        assert_eq!(found.iter().map(|line| line.text.len()).sum::<usize>(), 20 << 20);
    }
}
