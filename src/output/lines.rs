//! Log lines as they are shown: with the service in front, as JSON, or as they are. What a service writes is a stranger's
//! text: on a terminal only its colours are obeyed.

use std::io::{self, IsTerminal, Write};

use anstyle::Style;
use serde_json::json;

use super::{FAINT, colour_of, leave_on_error};
use crate::config::ecosystem::UnitName;
use crate::logs::{Line, Stream};
use crate::roster::Seat;

/// Bytes that are collected before they are written.
const BATCH: usize = 64 * 1024;

/// How log lines are shown.
#[derive(Debug, Clone, Default)]
pub struct LogStyle {
    /// The service stands in front of each line; without it, lines of standard error go to standard error.
    pub prefixed: bool,
    /// The time stands in front of each line.
    pub timestamps: bool,
    /// One JSON object per line.
    pub json: bool,
    /// Bytes as they were written, also to a terminal.
    pub raw: bool,
    /// A rule marks where a run begins, on a terminal.
    pub rules: bool,
}

/// What becomes of bytes that are no plain text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    /// Nothing.
    Exact,
    /// Those that are not UTF-8 are shown as `\xff`.
    Text,
    /// Those that command a terminal too, except colours.
    Coloured,
    /// The same, and colours are left out.
    Plain,
}

/// Shows the lines of some sandboxes. Lines are collected: `flush` writes what is left.
#[derive(Debug)]
pub struct LogView {
    seats: Vec<Seat>,
    names: Vec<UnitName>,
    width: usize,
    style: LogStyle,
    bytes: [Bytes; 2],
    coloured: bool,
    rules: bool,
    /// The run of each one's last line.
    runs: Vec<Option<u64>>,
    buffer: Vec<u8>,
}

impl LogView {
    /// For the lines of these sandboxes.
    pub(super) fn new(seats: Vec<Seat>, style: LogStyle) -> Self {
        let names: Vec<UnitName> = seats.iter().map(Seat::unit).collect();
        let bytes = |terminal: bool, choice: anstream::ColorChoice| match (style.raw, terminal, choice) {
            (true, ..) => Bytes::Exact,
            (_, false, _) => Bytes::Text,
            (_, true, anstream::ColorChoice::Never) => Bytes::Plain,
            (_, true, _) => Bytes::Coloured,
        };
        let out = anstream::AutoStream::choice(&io::stdout());
        let err = anstream::AutoStream::choice(&io::stderr());
        Self {
            width: names.iter().map(String::len).max().unwrap_or(0),
            bytes: [
                bytes(io::stdout().is_terminal(), out),
                bytes(io::stderr().is_terminal(), err),
            ],
            coloured: out != anstream::ColorChoice::Never,
            rules: style.rules && !style.json && io::stdout().is_terminal(),
            runs: vec![None; names.len()],
            seats,
            names,
            style,
            buffer: Vec::new(),
        }
    }

    /// One more sandbox; its index is the next.
    pub fn add(&mut self, seat: Seat) {
        let name = seat.unit();
        self.width = self.width.max(name.len());
        self.names.push(name);
        self.seats.push(seat);
        self.runs.push(None);
    }

    /// How many sandboxes it knows.
    pub fn known(&self) -> usize {
        self.seats.len()
    }

    /// Shows a line of the sandbox with this index.
    pub fn show(&mut self, index: usize, line: &Line) {
        if self.style.json {
            let text = self.object(index, line);
            self.buffer.extend_from_slice(text.as_bytes());
            self.buffer.push(b'\n');
        } else {
            self.rule(index, line);
            if line.apart {
                self.prefix(index);
                self.buffer.extend_from_slice(b"--\n");
            }
            self.line(index, line);
        }
        if self.buffer.len() >= BATCH {
            self.flush();
        }
    }

    /// Writes everything that was shown.
    pub fn flush(&mut self) {
        if !self.buffer.is_empty() {
            let mut stdout = io::stdout().lock();
            leave_on_error(stdout.write_all(&self.buffer).and_then(|()| stdout.flush()));
            self.buffer.clear();
        }
    }

    fn object(&self, index: usize, line: &Line) -> String {
        json!({
            "ts": line.time,
            "service": self.seats[index].service,
            "replica": self.seats[index].replica,
            "run": line.run,
            "stream": line.stream.name(),
            "line": line.text(),
        })
        .to_string()
    }

    /// `── api run 3 ──`, before the first line of that run.
    fn rule(&mut self, index: usize, line: &Line) {
        let changed = self.runs[index].replace(line.nth_run) != Some(line.nth_run);
        if let Some(run) = line.run.filter(|_| changed && self.rules) {
            let text = format!("{} run {run}", self.names[index]);
            self.remark(&text);
        }
    }

    fn remark(&mut self, text: &str) {
        let style = if self.coloured { FAINT } else { Style::new() };
        let _ = writeln!(self.buffer, "{style}── {text} ──{style:#}");
    }

    fn prefix(&mut self, index: usize) {
        if self.style.prefixed {
            let name = &self.names[index];
            let style = if self.coloured {
                colour_of(name)
            } else {
                Style::new()
            };
            let _ = write!(self.buffer, "{style}{name:0$} │{style:#} ", self.width);
        }
    }

    fn line(&mut self, index: usize, line: &Line) {
        if line.stream == Stream::System {
            self.prefix(index);
            return self.remark(&line.text());
        }
        let aside = line.stream == Stream::Stderr && !self.style.prefixed;
        let held = aside.then(|| {
            self.flush();
            std::mem::take(&mut self.buffer)
        });
        self.prefix(index);
        if self.style.timestamps {
            self.buffer.extend_from_slice(line.time.as_bytes());
            self.buffer.push(b' ');
        }
        render(&mut self.buffer, &line.text, self.bytes[usize::from(aside)]);
        self.buffer.push(b'\n');
        if let Some(empty) = held {
            // Nobody can be told that standard error is gone.
            let _ = io::stderr().lock().write_all(&self.buffer);
            self.buffer = empty;
        }
    }
}

/// A service's text among our own.
pub(super) fn for_message(text: &str) -> String {
    let mut out = Vec::new();
    // Colours are taken out on the way, where there are to be none.
    render(&mut out, text.as_bytes(), Bytes::Coloured);
    String::from_utf8_lossy(&out).into_owned()
}

fn render(out: &mut Vec<u8>, text: &[u8], bytes: Bytes) {
    if bytes == Bytes::Exact {
        return out.extend_from_slice(text);
    }
    let (text, coloured) = match bytes {
        // The end of a line as other systems write it.
        Bytes::Coloured | Bytes::Plain => (text.strip_suffix(b"\r").unwrap_or(text), true),
        _ => (text, false),
    };
    let mut painted = false;
    for chunk in text.utf8_chunks() {
        if coloured {
            painted |= defuse(out, chunk.valid(), bytes == Bytes::Coloured);
        } else {
            out.extend_from_slice(chunk.valid().as_bytes());
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    if painted {
        out.extend_from_slice(b"\x1b[0m");
    }
}

/// Text that a terminal does not obey, except for colours when they are wanted; whether there were any.
fn defuse(out: &mut Vec<u8>, text: &str, coloured: bool) -> bool {
    let (mut rest, mut painted) = (text, false);
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        if let Some(length) = colour(rest) {
            if coloured {
                out.extend_from_slice(&rest.as_bytes()[..length]);
                painted = true;
            }
            rest = &rest[length..];
        } else if let Some(c) = rest.chars().next() {
            out.extend_from_slice(escaped(c).as_bytes());
            rest = &rest[c.len_utf8()..];
        }
    }
    out.extend_from_slice(rest.as_bytes());
    painted
}

fn escaped(c: char) -> String {
    match u32::from(c) {
        0x0d => "\\r".to_owned(),
        number if number < 0x80 => format!("\\x{number:02x}"),
        number => format!("\\u{{{number:x}}}"),
    }
}

/// Length of the colour sequence (SGR, ECMA-48 8.3.117) at the beginning.
fn colour(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';' && c != ':')?;
    parameters[end..].starts_with('m').then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &[u8], bytes: Bytes) -> String {
        let mut out = Vec::new();
        render(&mut out, text, bytes);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_terminal_obeys_colours_only() {
        let text = b"\x1b]0;title\x07 \x1b[2J\x1b[1;31mred\ttab\x1b[0m a\rb \xc2\x9bx \xff\x08\r";
        assert_eq!(
            rendered(text, Bytes::Coloured),
            "\\x1b]0;title\\x07 \\x1b[2J\x1b[1;31mred\ttab\x1b[0m a\\rb \\u{9b}x \\xff\\x08\x1b[0m"
        );
        assert_eq!(
            rendered(text, Bytes::Plain),
            "\\x1b]0;title\\x07 \\x1b[2Jred\ttab a\\rb \\u{9b}x \\xff\\x08"
        );
        assert_eq!(rendered(b"\x1b[31", Bytes::Coloured), "\\x1b[31");
        assert_eq!(rendered("zażółć ✓".as_bytes(), Bytes::Plain), "zażółć ✓");
    }

    #[test]
    fn what_goes_elsewhere_is_as_it_was_but_for_what_is_no_text() {
        assert_eq!(rendered(b"\x1b[2J\xffx\r", Bytes::Text), "\x1b[2J\\xffx\r");
        let mut out = Vec::new();
        render(&mut out, b"\xff\x00\x1b", Bytes::Exact);
        assert_eq!(out, b"\xff\x00\x1b");
    }

    fn view(style: LogStyle) -> LogView {
        let seat = |name: &str, replica| Seat {
            service: name.to_owned(),
            replica,
        };
        let seats = vec![seat("api", None), seat("gateway", None), seat("api", Some(2))];
        let mut view = LogView::new(seats, style);
        (view.bytes, view.coloured) = ([Bytes::Text; 2], false);
        view
    }

    fn line(text: &str, stream: Stream, nth_run: u64) -> Line {
        Line {
            time: "T".into(),
            stream,
            text: text.into(),
            run: Some(nth_run + 1),
            nth_run,
            apart: false,
        }
    }

    #[test]
    fn names_runs_and_gaps_stand_around_the_lines() {
        let mut view = view(LogStyle {
            prefixed: true,
            timestamps: true,
            ..LogStyle::default()
        });
        view.rules = true;
        view.show(0, &line("a", Stream::Stdout, 2));
        view.show(1, &line("b", Stream::Stderr, 0));
        let mut apart = line("c", Stream::Stdout, 2);
        apart.apart = true;
        view.show(0, &apart);
        view.show(
            0,
            &line("5 bytes were dropped: no space left on device", Stream::System, 2),
        );
        assert_eq!(
            String::from_utf8(std::mem::take(&mut view.buffer)).unwrap(),
            "── api run 3 ──\napi     │ T a\n── gateway run 1 ──\ngateway │ T b\napi     │ --\napi     │ T c\napi     │ ── 5 bytes were dropped: no space left on device ──\n"
        );
    }

    #[test]
    fn json_has_one_object_per_line() {
        let mut view = view(LogStyle {
            json: true,
            rules: true,
            ..LogStyle::default()
        });
        view.show(1, &line("\"x\"", Stream::Stderr, 4));
        assert_eq!(
            String::from_utf8(std::mem::take(&mut view.buffer)).unwrap(),
            "{\"ts\":\"T\",\"service\":\"gateway\",\"replica\":null,\"run\":5,\"stream\":\"stderr\",\"line\":\"\\\"x\\\"\"}\n"
        );
        view.show(2, &line("y", Stream::Stdout, 0));
        let text = String::from_utf8(std::mem::take(&mut view.buffer)).unwrap();
        assert!(text.contains("\"service\":\"api\",\"replica\":2,"), "{text}");
    }
}
