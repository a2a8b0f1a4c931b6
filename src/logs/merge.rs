//! Lines of many logs as one sequence, ordered by time: one line of each in memory.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;

use super::line::Line;

/// Gives lines; `None` when there is none at the moment.
pub trait Source {
    /// The next line.
    fn next_line(&mut self) -> io::Result<Option<Line>>;
}

/// After so many lines those that had none are asked again, so that a flood hides nobody.
const TURN: u32 = 1024;

/// Merges sources. Lines of one source stay in their order, even when the clock was set back.
pub struct Merge<S> {
    sources: Vec<S>,
    heads: BinaryHeap<Head>,
    /// Which sources have a line among `heads`.
    filled: Vec<bool>,
    turn: u32,
}

/// The first line of a source. The greatest is the oldest.
struct Head(Line, usize);

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        (&other.0.time, other.1).cmp(&(&self.0.time, self.1))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}

impl<S: Source> Merge<S> {
    /// Of these.
    pub fn new(sources: Vec<S>) -> Self {
        Self {
            filled: vec![false; sources.len()],
            heads: BinaryHeap::new(),
            sources,
            turn: 0,
        }
    }

    /// One more source; its index is the next.
    pub fn add(&mut self, source: S) {
        self.sources.push(source);
        self.filled.push(false);
        self.turn = 0;
    }

    /// The oldest line, with the index of its source; `None` when no source has any at the moment.
    pub fn next_line(&mut self) -> io::Result<Option<(usize, Line)>> {
        if self.turn == 0 || self.heads.is_empty() {
            self.turn = TURN;
            for index in 0..self.sources.len() {
                self.fill(index)?;
            }
        }
        self.turn -= 1;
        let Some(Head(line, index)) = self.heads.pop() else {
            self.turn = 0;
            return Ok(None);
        };
        self.filled[index] = false;
        self.fill(index)?;
        Ok(Some((index, line)))
    }

    /// The sources.
    pub fn sources(&mut self) -> &mut [S] {
        &mut self.sources
    }

    fn fill(&mut self, index: usize) -> io::Result<()> {
        if !self.filled[index]
            && let Some(line) = self.sources[index].next_line()?
        {
            self.heads.push(Head(line, index));
            self.filled[index] = true;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::VecDeque;

    use super::super::line::Stream;
    use super::*;

    /// A line of standard output.
    pub(in super::super) fn line(time: &str, text: &str) -> Line {
        Line {
            time: time.to_owned(),
            stream: Stream::Stdout,
            text: text.as_bytes().to_vec(),
            run: None,
            nth_run: 0,
            apart: false,
        }
    }

    impl Source for VecDeque<Line> {
        fn next_line(&mut self) -> io::Result<Option<Line>> {
            Ok(self.pop_front())
        }
    }

    fn merged(merge: &mut Merge<VecDeque<Line>>) -> Vec<String> {
        std::iter::from_fn(|| merge.next_line().unwrap())
            .map(|(index, line)| format!("{index}{}", line.text()))
            .collect()
    }

    #[test]
    fn lines_come_by_time_and_each_source_keeps_its_order() {
        let of = |lines: &[(&str, &str)]| -> VecDeque<Line> {
            lines.iter().map(|(time, text)| line(time, text)).collect()
        };
        let sources = vec![
            of(&[("1", "a"), ("4", "b"), ("2", "back"), ("9", "c")]),
            of(&[]),
            of(&[("1", "d"), ("3", "e"), ("5", "f")]),
        ];
        let mut merge = Merge::new(sources);
        assert_eq!(merged(&mut merge), ["0a", "2d", "2e", "0b", "0back", "2f", "0c"]);
        merge.sources()[1].push_back(line("0", "late"));
        assert_eq!(merged(&mut merge), ["1late"], "a source may go on");
    }

    #[test]
    fn a_flood_hides_nobody() {
        let flood: VecDeque<Line> = (0..5000).map(|_| line("1", "x")).collect();
        let mut merge = Merge::new(vec![flood, VecDeque::new()]);
        merge.next_line().unwrap();
        merge.sources()[1].push_back(line("0", "quiet"));
        let seen = merged(&mut merge);
        let at = seen.iter().position(|text| text == "1quiet").unwrap();
        assert!(at < 1100 && seen.len() == 5000, "{at}");
    }
}
