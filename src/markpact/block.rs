//! Markdown → the blocks that concern us, in document order, with exact content and lines. CommonMark; only fences at
//! the top level count: what stands in a quote, a list, an HTML comment or a longer fence is prose.

use std::ops::Range;

use indexmap::IndexMap;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::fence::{self, Fault, Info};
use super::findings::Findings;
use super::recipe::Lines;

/// One marked fence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    /// One of the known kinds.
    pub(super) kind: String,
    /// Language of the fence, empty when it names none.
    pub(super) language: String,
    /// `key=value` attributes.
    pub(super) attributes: IndexMap<String, String>,
    /// The body, byte for byte.
    pub(super) text: String,
    /// Columns that the opening fence is indented by, and that the body's lines therefore lost.
    pub(super) indent: usize,
    /// Its place; of one that comes from another README, the line that includes that.
    pub(super) lines: Lines,
    /// Whether it comes from another README.
    pub(super) is_included: bool,
}

/// The kind of what stands for another README, until that is read.
pub(super) const INCLUDE: &str = "include";

impl Block {
    /// The body as lines for a shell or a reader: a line ends with a newline, also in a file with CRLF.
    pub(super) fn commands(&self) -> String {
        self.text.replace("\r\n", "\n")
    }

    /// The body's lines with their number in the README.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (usize, &str)> {
        let (first, step) = match self.is_included {
            true => (self.lines.first, 0),
            false => (self.lines.first + 1, 1),
        };
        let lines = self.text.lines().enumerate();
        lines.map(move |(index, line)| (first + index * step, line))
    }
}

/// The text of the first heading, and every marked block.
pub(super) fn read(text: &str, findings: &mut Findings<'_>) -> (Option<String>, Vec<Block>) {
    let source = Source::new(text);
    let mut blocks = Vec::new();
    let mut title = Title::Wanted;
    let mut depth = 0_usize;
    for (event, range) in Parser::new_ext(text, Options::empty()).into_offset_iter() {
        match &event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(info))) if depth == 0 => {
                blocks.extend(one(&source, info, range, findings));
            }
            Event::Start(Tag::HtmlBlock) if depth == 0 => includes(&source, range, findings, &mut blocks),
            _ => {}
        }
        title = title.after(&event);
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (title.text(), blocks)
}

/// The comments of an HTML block that include other READMEs, one a line.
fn includes(source: &Source<'_>, range: Range<usize>, findings: &mut Findings<'_>, blocks: &mut Vec<Block>) {
    let first = source.line(range.start);
    for (index, line) in source.text[range].lines().enumerate() {
        let comment = line
            .trim()
            .strip_prefix("<!--")
            .and_then(|rest| rest.strip_suffix("-->"));
        let at = first + index;
        match comment.and_then(fence::include) {
            None => {}
            Some(Err(Fault(message, help))) => findings.error(at, message, help),
            Some(Ok(path)) => blocks.push(Block {
                kind: INCLUDE.to_owned(),
                language: String::new(),
                attributes: IndexMap::from([("path".to_owned(), path)]),
                text: String::new(),
                indent: 0,
                lines: Lines { first: at, last: at },
                is_included: false,
            }),
        }
    }
}

/// The block of one top-level fence, `None` when it is prose or wrong.
fn one(source: &Source<'_>, info: &str, range: Range<usize>, findings: &mut Findings<'_>) -> Option<Block> {
    let fence = source.fence(range);
    let sound = closed(&fence, info, findings);
    let info = match fence::read(info)? {
        Ok(info) => info,
        Err(Fault(message, help)) => {
            findings.error(fence.lines.first, message, help);
            return None;
        }
    };
    (sound && info.kind != "bootstrap").then(|| block(info, &fence))
}

fn block(info: Info, fence: &Fence<'_>) -> Block {
    Block {
        kind: info.kind,
        language: info.language,
        attributes: info.attributes,
        text: fence.content(),
        indent: fence.indent,
        lines: fence.lines,
        is_included: false,
    }
}

/// Whether the fence ends where its author meant it to. A fence that is prose matters only when it hides a block.
fn closed(fence: &Fence<'_>, info: &str, findings: &mut Findings<'_>) -> bool {
    let ours = fence::read(info).is_some();
    let hidden = fence.hidden_opening();
    let help = format!("close it with a line that holds only {}", fence.mark);
    if let Some(line) = fence.end_with_tab().filter(|_| ours) {
        findings.error(line, "a tab follows the closing fence", "remove it");
        return false;
    }
    match (fence.is_closed, hidden, ours) {
        (false, None, true) => findings.error(
            fence.lines.first,
            format!("the fence that opens in line {} is not closed", fence.lines.first),
            help,
        ),
        (false, Some(line), _) | (true, Some(line), true) => findings.error(
            fence.lines.first,
            format!(
                "the fence that opens in line {} is not closed before the block of line {line}",
                fence.lines.first
            ),
            format!("{help}, or make it longer when line {line} belongs to its content"),
        ),
        (true, Some(line), false) => {
            let first = fence.lines.first;
            let text = format!("the block of line {line} is text of the fence that opens in line {first}");
            findings.note(line, text);
            return true;
        }
        (_, None, _) => return true,
    }
    false
}

/// The README with an index of its lines.
struct Source<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Self {
        let after_newline = text.match_indices('\n').map(|(at, _)| at + 1);
        Source {
            text,
            starts: std::iter::once(0).chain(after_newline).collect(),
        }
    }

    /// The line of a byte, from 1.
    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// Takes a code block apart; `range` is the parser's, from the first fence character to the closing fence.
    fn fence(&self, range: Range<usize>) -> Fence<'a> {
        let text = &self.text[range.clone()];
        let (opening, rest) = text.split_once('\n').unwrap_or((text, ""));
        let mark = fence_mark(opening).unwrap_or("```");
        let last_start = rest.rfind('\n').map_or(0, |at| at + 1);
        let last = &rest[last_start..];
        let is_closed = !rest.is_empty() && closes(last, mark);
        let before = self.text[..range.start].bytes().rev();
        Fence {
            mark,
            indent: before.take_while(|byte| *byte == b' ').count(),
            body: if is_closed { &rest[..last_start] } else { rest },
            is_closed,
            lines: Lines {
                first: self.line(range.start),
                last: self.line(range.end.saturating_sub(1).max(range.start)),
            },
        }
    }
}

/// A code block's parts.
struct Fence<'a> {
    /// The fence characters.
    mark: &'a str,
    /// Columns before the opening fence, 0 to 3.
    indent: usize,
    /// What is between the fence lines.
    body: &'a str,
    is_closed: bool,
    lines: Lines,
}

impl Fence<'_> {
    /// The body without the indentation of the opening fence.
    fn content(&self) -> String {
        match self.indent {
            0 => self.body.to_owned(),
            indent => {
                let lines = self.body.split_inclusive('\n');
                lines.map(|line| outdented(line, indent)).collect()
            }
        }
    }

    /// Line that closes the fence for CommonMark but not for the parser, which takes no tab behind it.
    fn end_with_tab(&self) -> Option<usize> {
        let index = self.body.lines().position(|line| closes(line, self.mark))?;
        Some(self.lines.first + 1 + index)
    }

    /// Line of a fence in the body that opens a marked block. It would have to be shorter, or of the other character,
    /// to be content: its own closing fence ends this one.
    fn hidden_opening(&self) -> Option<usize> {
        let opens = |line: &str| {
            let line = line.trim_end_matches(['\r', '\n']);
            let inner = unindented(line)?;
            let mark = fence_mark(inner).filter(|mark| mark.starts_with(self.mark))?;
            fence::is_marked(&inner[mark.len()..]).then_some(())
        };
        let index = self.body.lines().position(|line| opens(line).is_some())?;
        Some(self.lines.first + 1 + index)
    }
}

/// The fence characters that a line begins with.
fn fence_mark(line: &str) -> Option<&str> {
    let first = line.chars().next().filter(|first| ['`', '~'].contains(first))?;
    let length = line.len() - line.trim_start_matches(first).len();
    (length >= 3).then_some(&line[..length])
}

/// The line without its indentation when that makes no indented code of it.
fn unindented(line: &str) -> Option<&str> {
    let inner = line.trim_start_matches(' ');
    (line.len() - inner.len() < 4).then_some(inner)
}

fn closes(line: &str, mark: &str) -> bool {
    let own = unindented(line).and_then(|inner| Some((inner, fence_mark(inner)?)));
    own.is_some_and(|(inner, own)| {
        own.starts_with(mark) && inner[own.len()..].trim_matches([' ', '\t', '\r']).is_empty()
    })
}

/// A body line without up to `indent` columns of white space; a tab that is cut leaves the rest of its columns.
fn outdented(line: &str, indent: usize) -> String {
    let spaces = line.bytes().take(indent).take_while(|byte| *byte == b' ').count();
    let rest = &line[spaces..];
    match rest.strip_prefix('\t') {
        Some(rest) if spaces < indent => format!("{}{rest}", " ".repeat(4 - indent)),
        _ => rest.to_owned(),
    }
}

/// The first heading that has a text.
enum Title {
    Wanted,
    Reading(String),
    Found(String),
}

impl Title {
    fn after(self, event: &Event<'_>) -> Self {
        match (self, event) {
            (Title::Wanted, Event::Start(Tag::Heading { .. })) => Title::Reading(String::new()),
            (Title::Reading(text), Event::End(TagEnd::Heading(_))) => match text.trim() {
                "" => Title::Wanted,
                text => Title::Found(text.to_owned()),
            },
            (Title::Reading(text), Event::Text(more) | Event::Code(more)) => Title::Reading(text + more),
            (Title::Reading(text), Event::SoftBreak | Event::HardBreak) => Title::Reading(text + " "),
            (same, _) => same,
        }
    }

    fn text(self) -> Option<String> {
        match self {
            Title::Found(text) => Some(text),
            _ => None,
        }
    }
}
