//! Which lines of a log are wanted: by time, run and text, with their neighbours. One log, in its order.

use std::collections::VecDeque;
use std::io;

use regex::bytes::RegexSet;

use super::line::Line;
use super::merge::Source;
use super::reader::{History, Reader};

/// Which runs are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RunChoice {
    /// All that the log still has.
    #[default]
    All,
    /// The last one, and when the log is followed those that come.
    Last,
    /// The latest of this number.
    Number(u64),
}

/// The runs of one log: how many starts it has, and their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    numbers: Vec<Option<u64>>,
}

impl Runs {
    /// Looks through a log.
    pub fn of(history: &History) -> io::Result<Self> {
        let mut numbers = Vec::new();
        let mut reader = Reader::new(history, false);
        while let Some(line) = reader.read_line()? {
            if line.nth_run > numbers.len() as u64 {
                numbers.push(line.run);
            }
        }
        Ok(Self { numbers })
    }

    /// Their numbers, oldest first.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.numbers.iter().flatten().copied()
    }

    /// The starts between which the lines of these runs lie; `None` when there is no such run.
    pub fn range(&self, choice: RunChoice) -> Option<(u64, u64)> {
        match choice {
            RunChoice::All => Some((0, u64::MAX)),
            RunChoice::Last => Some((self.numbers.len() as u64, u64::MAX)),
            RunChoice::Number(wanted) => {
                let at = self.numbers.iter().rposition(|number| *number == Some(wanted))?;
                Some((at as u64 + 1, at as u64 + 1))
            }
        }
    }
}

/// What is wanted of every log.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Nothing that is older; as it stands in the log.
    pub since: Option<String>,
    /// Nothing that is newer.
    pub until: Option<String>,
    /// Lines that one of these expressions matches.
    pub grep: Option<RegexSet>,
    /// So many lines around each of them.
    pub context: usize,
}

impl Selection {
    fn is_in_time(&self, line: &Line) -> bool {
        self.since.as_ref().is_none_or(|since| line.time >= *since)
            && self.until.as_ref().is_none_or(|until| line.time <= *until)
    }

    fn matches(&self, line: &Line) -> bool {
        self.grep.as_ref().is_none_or(|grep| grep.is_match(&line.text))
    }
}

/// The wanted lines of one source.
#[derive(Debug)]
pub struct Selected<S> {
    source: S,
    selection: Selection,
    runs: (u64, u64),
    /// Wanted lines that are still left out.
    skip: usize,
    before: VecDeque<Line>,
    /// Lines that are shown because of the match before them.
    after: usize,
    hole: bool,
    found: bool,
    ready: VecDeque<Line>,
}

impl<S: Source> Selected<S> {
    /// Of `source`, in the runs of `runs` (see [`Runs::range`]), without the first `skip` of the wanted lines.
    pub fn new(source: S, selection: Selection, runs: (u64, u64), skip: usize) -> Self {
        Self {
            source,
            selection,
            runs,
            skip,
            before: VecDeque::new(),
            after: 0,
            hole: false,
            found: false,
            ready: VecDeque::new(),
        }
    }

    /// Everything that is for the reader's eyes.
    pub fn all(source: S) -> Self {
        Self::new(source, Selection::default(), (0, u64::MAX), 0)
    }

    /// Reads to the end: how many lines are wanted.
    pub fn count(mut self) -> io::Result<usize> {
        let mut count = 0;
        while self.next_line()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// What it reads from.
    pub fn source(&mut self) -> &mut S {
        &mut self.source
    }

    fn take(&mut self, line: Line) {
        let within = (self.runs.0..=self.runs.1).contains(&line.nth_run);
        if !line.is_told() || !within || !self.selection.is_in_time(&line) {
            return;
        }
        if self.selection.matches(&line) {
            self.after = self.selection.context;
            let mut group: Vec<Line> = self.before.drain(..).collect();
            group.push(line);
            if let Some(first) = group.first_mut() {
                first.apart = self.hole && self.found && self.selection.context > 0;
            }
            (self.hole, self.found) = (false, true);
            group.into_iter().for_each(|line| self.give(line));
        } else if self.after > 0 {
            self.after -= 1;
            self.give(line);
        } else {
            self.before.push_back(line);
            if self.before.len() > self.selection.context {
                self.before.pop_front();
                self.hole = true;
            }
        }
    }

    fn give(&mut self, line: Line) {
        if self.skip > 0 {
            self.skip -= 1;
        } else {
            self.ready.push_back(line);
        }
    }
}

impl<S: Source> Source for Selected<S> {
    fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            match self.source.next_line()? {
                Some(line) => self.take(line),
                None => return Ok(None),
            }
        }
    }
}

impl Source for Reader {
    fn next_line(&mut self) -> io::Result<Option<Line>> {
        self.read_line()
    }
}

#[cfg(test)]
mod tests {
    use super::super::merge::tests::line;
    use super::super::tests::place;
    use super::*;

    /// Numbers 0 to 20, one per second, as `n0`…, those of the selection.
    fn chosen(selection: Selection, skip: usize) -> Vec<String> {
        let lines: VecDeque<Line> = (0..20)
            .map(|number| line(&format!("{number:02}"), &format!("n{number}")))
            .collect();
        let mut selected = Selected::new(lines, selection, (0, u64::MAX), skip);
        std::iter::from_fn(|| selected.next_line().unwrap())
            .map(|line| format!("{}{}", if line.apart { "-- " } else { "" }, line.text()))
            .collect()
    }

    fn grep(patterns: &[&str], context: usize) -> Selection {
        Selection {
            grep: Some(RegexSet::new(patterns).unwrap()),
            context,
            ..Selection::default()
        }
    }

    #[test]
    fn any_expression_matches() {
        assert_eq!(chosen(grep(&["^n3$", "1[78]"], 0), 0), ["n3", "n17", "n18"]);
        assert_eq!(
            chosen(grep(&["^n3$", "1[78]"], 0), 2),
            ["n18"],
            "without the first two"
        );
        assert!(chosen(grep(&["x"], 3), 0).is_empty());
    }

    #[test]
    fn neighbours_come_once_and_groups_are_told_apart() {
        assert_eq!(
            chosen(grep(&["^n[37]$", "^n19"], 2), 0),
            [
                "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9", "-- n17", "n18", "n19"
            ]
        );
        assert_eq!(chosen(grep(&["^n0$"], 1), 0), ["n0", "n1"]);
    }

    #[test]
    fn times_are_bounds_of_both_ends() {
        let within = Selection {
            since: Some("05".into()),
            until: Some("07".into()),
            ..Selection::default()
        };
        assert_eq!(chosen(within, 0), ["n5", "n6", "n7"]);
    }

    #[test]
    fn runs_are_chosen_by_number_or_place() {
        let path = place("runs");
        std::fs::write(
            &path,
            "T stdout F before\nT system F starting run=1\nT stdout F one\nT system F starting run=2\nT stdout F two\nT system F starting run=1\nT stdout F three\n",
        )
        .unwrap();
        let history = History::open(&path);
        let runs = Runs::of(&history).unwrap();
        assert_eq!(runs.numbers().collect::<Vec<_>>(), [1, 2, 1]);
        assert_eq!(runs.range(RunChoice::Number(9)), None);
        let texts = |choice| {
            let range = runs.range(choice).unwrap();
            let reader = Reader::new(&history, false);
            let mut selected = Selected::new(reader, Selection::default(), range, 0);
            let found: Vec<String> = std::iter::from_fn(|| selected.next_line().unwrap())
                .map(|line| line.text().into_owned())
                .collect();
            found
        };
        assert_eq!(texts(RunChoice::All), ["before", "one", "two", "three"]);
        assert_eq!(texts(RunChoice::Last), ["three"]);
        assert_eq!(texts(RunChoice::Number(2)), ["two"]);
        assert_eq!(
            texts(RunChoice::Number(1)),
            ["three"],
            "the latest of this number"
        );
    }
}
