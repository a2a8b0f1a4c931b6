//! The CRI log format (Kubernetes `docs`: `<RFC 3339 time> <stream> <P|F> <text>`): bytes in, lines out. Pure.

/// Longest text of one line, in bytes; longer lines are written in parts, all but the last marked `P`.
pub const LONGEST: usize = 16 * 1024;

/// Cuts one stream into log lines; holds what has no newline yet.
#[derive(Debug)]
pub(crate) struct Cutter {
    stream: &'static str,
    partial: Vec<u8>,
}

impl Cutter {
    pub(crate) fn new(stream: &'static str) -> Self {
        Self {
            stream,
            partial: Vec::new(),
        }
    }

    /// Appends the log lines of `input` to `out`; every byte comes out once, in order.
    pub(crate) fn feed(&mut self, time: &str, mut input: &[u8], out: &mut Vec<u8>) {
        while let Some(end) = memchr(input) {
            self.line(time, &input[..end], out);
            input = &input[end + 1..];
        }
        self.partial.extend_from_slice(input);
        while self.partial.len() >= LONGEST {
            let rest = self.partial.split_off(LONGEST);
            write(out, time, self.stream, b'P', &self.partial);
            self.partial = rest;
        }
    }

    fn line(&mut self, time: &str, text: &[u8], out: &mut Vec<u8>) {
        if self.partial.is_empty() && text.len() <= LONGEST {
            return write(out, time, self.stream, b'F', text);
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(text);
        let mut rest = whole.as_slice();
        while rest.len() > LONGEST {
            write(out, time, self.stream, b'P', &rest[..LONGEST]);
            rest = &rest[LONGEST..];
        }
        write(out, time, self.stream, b'F', rest);
    }

    /// The end of the stream: what had no newline is written as a part.
    pub(crate) fn finish(&mut self, time: &str, out: &mut Vec<u8>) {
        if !self.partial.is_empty() {
            write(out, time, self.stream, b'P', &std::mem::take(&mut self.partial));
        }
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

pub(crate) fn write(out: &mut Vec<u8>, time: &str, stream: &str, tag: u8, text: &[u8]) {
    out.reserve(time.len() + stream.len() + text.len() + 5);
    out.extend_from_slice(time.as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(&[b' ', tag, b' ']);
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// RFC 3339 in UTC with nanoseconds. Days to a date after Howard Hinnant, "chrono-compatible low-level date algorithms".
pub(crate) fn rfc3339(seconds: i64, nanoseconds: u32) -> String {
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

/// The time now.
pub(crate) fn now() -> String {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    rfc3339(
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        since.subsec_nanos(),
    )
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

    fn cut(chunks: &[&[u8]]) -> String {
        let (mut cutter, mut out) = (Cutter::new("stdout"), Vec::new());
        chunks.iter().for_each(|chunk| cutter.feed("T", chunk, &mut out));
        cutter.finish("T", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_cut_at_newlines_whatever_the_chunks() {
        let whole = "T stdout F one\nT stdout F \nT stdout F two\nT stdout P rest\n";
        assert_eq!(cut(&[b"one\n\ntwo\nrest"]), whole);
        assert_eq!(cut(&[b"o", b"ne", b"\n", b"\nt", b"wo\nre", b"st"]), whole);
    }

    #[test]
    fn long_lines_come_in_parts_and_lose_nothing() {
        let long = "x".repeat(LONGEST * 2 + 7);
        let text = cut(&[long.as_bytes(), b"\n"]);
        let tags: Vec<&str> = text.lines().map(|line| &line[9..10]).collect();
        assert_eq!(tags, ["P", "P", "F"]);
        let joined: String = text.lines().map(|line| &line[11..]).collect();
        assert_eq!(joined, long);
    }
}
