//! The CRI log format (Kubernetes `docs`: `<RFC 3339 time> <stream> <P|F> <text>`): bytes in, lines out. Pure.

use memchr::memchr;

/// Longest text of one line, in bytes; longer lines are written in parts, all but the last marked `P`.
const LONGEST: usize = 16 * 1024;

/// `2026-11-24T20:41:32.000000000Z`.
const TIME: usize = 30;
/// Time, stream (both names are of six letters), tag, and the blanks between them.
const HEAD: usize = TIME + 10;
/// Lines up to here are searched and copied in one piece of this size: what has a length that the compiler knows is a few
/// instructions, what has any length is a call.
const SHORT: usize = 16;

/// What stands in front of every line of one stream at one time.
type Head = [u8; HEAD];

/// Room for log lines, of a fixed size.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    room: &'a mut [u8],
    length: usize,
}

impl<'a> Page<'a> {
    /// Goes on behind the first `length` bytes.
    pub(crate) fn new(room: &'a mut [u8], length: usize) -> Self {
        Self { room, length }
    }

    /// Bytes written.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    #[inline]
    fn push(&mut self, bytes: &[u8]) {
        self.room[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Writes the whole piece, and keeps so much of it.
    #[inline]
    fn push_front(&mut self, piece: &[u8; HEAD + SHORT], kept: usize) {
        self.room[self.length..self.length + HEAD + SHORT].copy_from_slice(piece);
        self.length += kept;
    }
}

/// Cuts one stream into log lines; holds what has no newline yet.
#[derive(Debug)]
pub(crate) struct Cutter {
    stream: &'static [u8; 6],
    partial: Vec<u8>,
}

impl Cutter {
    pub(crate) fn stdout() -> Self {
        Self::new(b"stdout")
    }

    pub(crate) fn stderr() -> Self {
        Self::new(b"stderr")
    }

    fn new(stream: &'static [u8; 6]) -> Self {
        Self {
            stream,
            partial: Vec::new(),
        }
    }

    /// Bytes of a line that has not ended.
    pub(crate) fn held(&self) -> usize {
        self.partial.len()
    }

    /// Appends the log lines of `input` to `out` until that holds `enough` bytes; what of the input is left. Every byte
    /// comes out once, in order. `out` must have room for [`overshoot`] bytes more than `enough`.
    pub(crate) fn feed<'a>(
        &mut self,
        time: &Time,
        input: &'a [u8],
        out: &mut Page,
        enough: usize,
    ) -> &'a [u8] {
        let head = self.head(time, b'F');
        let mut piece = [0; HEAD + SHORT];
        piece[..HEAD].copy_from_slice(&head);
        let mut start = 0;
        while out.len() < enough {
            let near = input[start..].first_chunk::<SHORT>();
            if let Some((window, at)) = near.and_then(|window| Some((window, newline_in(window)?)))
                && self.partial.is_empty()
            {
                piece[HEAD..].copy_from_slice(window);
                out.push_front(&piece, HEAD + at + 1);
                start += at + 1;
                continue;
            }
            let Some(at) = memchr(b'\n', &input[start..]) else {
                break;
            };
            let line = &input[start..=start + at];
            if !self.partial.is_empty() || line.len() > LONGEST {
                self.long_line(time, &head, line, out);
            } else {
                out.push(&head);
                out.push(line);
            }
            start += at + 1;
        }
        if out.len() >= enough {
            return &input[start..];
        }
        self.hold(time, &input[start..], out);
        &[]
    }

    /// Takes what has no newline and waits for the end of the stream.
    pub(crate) fn hold_back(&mut self, text: &[u8]) {
        self.partial.extend_from_slice(text);
    }

    /// What has no newline yet is kept for later; when it is too much, it goes out as parts.
    fn hold(&mut self, time: &Time, text: &[u8], out: &mut Page) {
        self.partial.extend_from_slice(text);
        let head = self.head(time, b'P');
        let whole = self.partial.len() / LONGEST * LONGEST;
        self.partial[..whole]
            .chunks_exact(LONGEST)
            .for_each(|part| write(out, &head, part));
        self.partial.drain(..whole);
    }

    /// A line, with its newline, of which parts may have come before.
    fn long_line(&mut self, time: &Time, head: &Head, line: &[u8], out: &mut Page) {
        self.partial.extend_from_slice(&line[..line.len() - 1]);
        let part = self.head(time, b'P');
        let mut rest = self.partial.as_slice();
        while rest.len() > LONGEST {
            write(out, &part, &rest[..LONGEST]);
            rest = &rest[LONGEST..];
        }
        write(out, head, rest);
        self.partial.clear();
    }

    /// The end of the stream: what had no newline is written as a part, or as several where more was held back.
    pub(crate) fn finish(&mut self, time: &Time) -> Vec<u8> {
        let rest = std::mem::take(&mut self.partial);
        let head = self.head(time, b'P');
        let part = |text: &[u8]| [&head[..], text, b"\n"].concat();
        rest.chunks(LONGEST).flat_map(part).collect()
    }

    fn head(&self, time: &Time, tag: u8) -> Head {
        head(time, self.stream, tag)
    }
}

/// Where the first newline is. The lowest byte in which the subtraction borrows is the first that is zero (Mycroft).
fn newline_in(window: &[u8; SHORT]) -> Option<usize> {
    const LOW: u128 = u128::from_le_bytes([0x01; SHORT]);
    const HIGH: u128 = u128::from_le_bytes([0x80; SHORT]);
    const NEWLINES: u128 = u128::from_le_bytes([b'\n'; SHORT]);
    let zeroed = u128::from_le_bytes(*window) ^ NEWLINES;
    let found = zeroed.wrapping_sub(LOW) & !zeroed & HIGH;
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

fn head(time: &Time, stream: &[u8; 6], tag: u8) -> Head {
    let mut head = [b' '; HEAD];
    head[..TIME].copy_from_slice(&time.0);
    head[TIME + 1..TIME + 7].copy_from_slice(stream);
    head[TIME + 8] = tag;
    head
}

fn write(out: &mut Page, head: &Head, text: &[u8]) {
    out.push(head);
    out.push(text);
    out.push(b"\n");
}

/// Most bytes that come out, beyond those asked for, when so many go in at once: one line of all of them, in parts.
pub(crate) const fn overshoot(input: usize) -> usize {
    let text = input + LONGEST;
    text + (text / LONGEST + 2) * (HEAD + 1) + HEAD + SHORT
}

/// A line of the keeper's own, stream `system`.
pub(crate) fn note(time: &Time, text: &str) -> Vec<u8> {
    let text = text.replace('\n', " ");
    [&head(time, b"system", b'F')[..], text.as_bytes(), b"\n"].concat()
}

/// A time as it stands in a log: RFC 3339 in UTC with nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Time([u8; TIME]);

impl Time {
    /// The time now.
    pub(crate) fn now() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self::at(
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            since.subsec_nanos(),
        )
    }

    fn at(seconds: i64, nanoseconds: u32) -> Self {
        let mut time = [b'0'; TIME];
        let text = rfc3339(seconds, nanoseconds);
        // Longer only after the year 9999.
        let length = text.len().min(TIME);
        time[..length].copy_from_slice(&text.as_bytes()[..length]);
        Self(time)
    }
}

/// RFC 3339 in UTC with nanoseconds. Days to a date after Howard Hinnant, "chrono-compatible low-level date algorithms".
fn rfc3339(seconds: i64, nanoseconds: u32) -> String {
    let days = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_399, 5), "2000-02-28T23:59:59.000000005Z");
        assert_eq!(rfc3339(951_782_400, 0), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_795_424_461, 0), "2026-11-23T09:01:01.000000000Z");
    }

    const T: &str = "1970-01-01T00:00:00.000000000Z";

    /// The log of these chunks, with `T` for the time; written out whenever `enough` bytes have come together.
    fn cut(chunks: &[&[u8]], enough: usize) -> Vec<u8> {
        let (mut cutter, mut log, time) = (Cutter::stdout(), Vec::new(), Time::at(0, 0));
        for chunk in chunks {
            let mut rest = *chunk;
            while !rest.is_empty() {
                let mut room = vec![0; enough + overshoot(rest.len())];
                let mut out = Page::new(&mut room, 0);
                rest = cutter.feed(&time, rest, &mut out, enough);
                let length = out.len();
                log.extend_from_slice(&room[..length]);
            }
        }
        log.extend(cutter.finish(&time));
        log
    }

    fn text(log: Vec<u8>) -> String {
        String::from_utf8(log).unwrap().replace(T, "T")
    }

    /// What a reader makes of it: parts joined.
    fn joined(log: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in log.split_inclusive(|byte| *byte == b'\n') {
            assert!(line.len() > HEAD && line.starts_with(T.as_bytes()), "{line:?}");
            let (head, text) = line.split_at(HEAD);
            assert!(text.len() <= LONGEST + 1);
            let whole = head[HEAD - 2] == b'F';
            bytes.extend_from_slice(if whole { text } else { &text[..text.len() - 1] });
        }
        bytes
    }

    #[test]
    fn lines_are_cut_at_newlines_whatever_the_chunks() {
        let whole = "T stdout F one\nT stdout F \nT stdout F two\nT stdout P rest\n";
        assert_eq!(text(cut(&[b"one\n\ntwo\nrest"], 1 << 20)), whole);
        let small: [&[u8]; 7] = [b"o", b"ne", b"\n", b"\nt", b"wo\nre", b"st", b""];
        assert_eq!(text(cut(&small, 1)), whole);
    }

    #[test]
    fn long_lines_come_in_parts_and_lose_nothing() {
        let long = "x".repeat(LONGEST * 2 + 7);
        let log = text(cut(&[long.as_bytes(), b"\n"], 1 << 20));
        let tags: Vec<&str> = log.lines().map(|line| &line[9..10]).collect();
        assert_eq!(tags, ["P", "P", "F"]);
        let joined: String = log.lines().map(|line| &line[11..]).collect();
        assert_eq!(joined, long);
    }

    #[test]
    fn what_was_held_back_comes_in_parts_too() {
        let mut cutter = Cutter::stdout();
        cutter.hold_back(&vec![b'x'; LONGEST - 1]);
        cutter.hold_back(&vec![b'y'; LONGEST + 2]);
        let log = cutter.finish(&Time::at(0, 0));
        assert_eq!(joined(&log).len(), 2 * LONGEST + 1);
        assert_eq!(text(log).lines().last(), Some("T stdout P y"));
    }

    #[test]
    fn an_empty_line_behind_a_full_part_stays_a_newline() {
        let log = text(cut(&[&[b'x'; LONGEST], b"\n"], 1 << 20));
        assert_eq!(log.lines().last(), Some("T stdout F "));
    }

    proptest::proptest! {
        #[test]
        fn every_byte_comes_out_once(
            lines in proptest::collection::vec((proptest::num::u8::ANY, proptest::prop_oneof![0..60_usize, 0..120_000_usize]), 0..24),
            sizes in proptest::collection::vec(1..70_000_usize, 1..8),
            enough in 1..100_000_usize,
        ) {
            let mut input = Vec::new();
            for (byte, length) in &lines {
                input.extend(std::iter::repeat_n(*byte, *length));
                input.push(b'\n');
            }
            input.extend_from_slice(b"rest");
            let (mut chunks, mut rest, mut turn) = (Vec::new(), input.as_slice(), 0);
            while !rest.is_empty() {
                let (chunk, later) = rest.split_at(sizes[turn % sizes.len()].min(rest.len()));
                chunks.push(chunk);
                (rest, turn) = (later, turn + 1);
            }
            proptest::prop_assert_eq!(joined(&cut(&chunks, enough)), input);
        }
    }
}
