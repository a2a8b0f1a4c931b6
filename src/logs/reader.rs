//! One log from its oldest rotated file to its end, and further while it is written: each line once, in order.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::line::{Assembler, Line};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// A live reader looks for newer files every so many bytes and opens them: then they can be rotated away before their
/// turn comes.
const AHEAD: usize = 1 << 20;
/// How many files it holds open, at most: the space of removed ones is in use as long.
const HELD: usize = 16;

/// The files of a log as they are at one moment, oldest first. They stay readable when they are rotated away.
#[derive(Debug, Clone)]
pub struct History {
    path: PathBuf,
    files: Vec<Part>,
}

/// One file of a log.
#[derive(Debug, Clone)]
struct Part {
    file: Arc<File>,
    /// Device and inode: the same file under whatever name. It cannot be used anew while the file is open.
    identity: (u64, u64),
    /// Bytes that are read of it when it is not live.
    length: u64,
    /// What was written before it is gone.
    gap: bool,
}

impl History {
    /// Opens what there is; a log that is not there is empty.
    pub fn open(path: &Path) -> Self {
        let mut files: Vec<Part> = Vec::new();
        // Newest first: what is rotated meanwhile comes up a second time under its next name, and is told by its inode.
        for name in std::iter::once(path.to_owned()).chain((1..).map(|number| rotated(path, number))) {
            let Some(part) = Part::open(&name) else {
                // Between two renames the newest has no name.
                if name == path {
                    continue;
                }
                break;
            };
            if files.iter().all(|known| known.identity != part.identity) {
                files.push(part);
            }
        }
        files.reverse();
        Self {
            path: path.to_owned(),
            files,
        }
    }
}

fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

impl Part {
    fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok()?;
        Some(Self {
            identity: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            gap: false,
            file: Arc::new(file),
        })
    }

    /// Where the line begins that is being written at its end.
    fn last_line(&self) -> io::Result<u64> {
        let start = self.length.saturating_sub(CHUNK as u64);
        let mut tail = vec![0; CHUNK];
        let count = self.file.read_at(&mut tail, start)?;
        let count = count.min(usize::try_from(self.length - start).unwrap_or(count));
        let newline = memchr::memrchr(b'\n', &tail[..count]);
        Ok(newline.map_or(self.length, |at| start + at as u64 + 1))
    }
}

/// Reads one log.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    part: Option<Part>,
    /// Bytes of `part` that were read.
    offset: u64,
    /// Nothing more comes into `part`: a newer file is there.
    sealed: bool,
    /// Bytes until the next look for files that are newer.
    ahead: usize,
    later: VecDeque<Part>,
    live: bool,
    /// Bytes of the file from `start` on that are no whole line yet.
    buffer: Vec<u8>,
    start: usize,
    assembler: Assembler,
    ready: VecDeque<Line>,
}

impl Reader {
    /// From the beginning of a history to its end; when `live`, on with what is written afterwards.
    pub fn new(history: &History, live: bool) -> Self {
        Self {
            path: history.path.clone(),
            part: None,
            offset: 0,
            sealed: false,
            ahead: AHEAD,
            later: history.files.iter().cloned().collect(),
            live,
            buffer: Vec::new(),
            start: 0,
            assembler: Assembler::default(),
            ready: VecDeque::new(),
        }
    }

    /// Only what is written from now on.
    pub fn at_end(path: &Path) -> io::Result<Self> {
        let mut history = History::open(path);
        history.files.drain(..history.files.len().saturating_sub(1));
        let mut reader = Self::new(&history, true);
        if let Some(part) = reader.later.pop_front() {
            reader.offset = part.last_line()?;
            reader.part = Some(part);
        }
        Ok(reader)
    }

    /// The next line; `None` when there is none at the moment, or none any more when it is not live.
    pub fn read_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            let unread = &self.buffer[self.start..];
            if let Some(end) = memchr::memchr(b'\n', unread) {
                self.assembler.feed(&unread[..end], &mut self.ready);
                self.start += end + 1;
            } else if !self.fill()? {
                if !self.live {
                    self.assembler.rest(&mut self.ready);
                }
                return Ok(self.ready.pop_front());
            }
        }
    }

    /// What is there by now is the end of it.
    pub fn close(&mut self) -> io::Result<()> {
        if self.live {
            let newer = self.newer();
            self.later.extend(newer);
        }
        for part in self.part.iter_mut().chain(&mut self.later) {
            part.length = part.file.metadata()?.len();
        }
        self.live = false;
        Ok(())
    }

    /// Reads on; whether there was anything.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        loop {
            let count = self.read()?;
            if count > 0 {
                return Ok(true);
            }
            if !self.advance()? {
                return Ok(false);
            }
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let Some(part) = &self.part else { return Ok(0) };
        let room = match part.length.saturating_sub(self.offset) {
            left if !self.live => usize::try_from(left).unwrap_or(CHUNK).min(CHUNK),
            _ => CHUNK,
        };
        let old = self.buffer.len();
        self.buffer.resize(old + room, 0);
        let count = part.file.read_at(&mut self.buffer[old..], self.offset)?;
        self.buffer.truncate(old + count);
        self.offset += count as u64;
        self.ahead = self.ahead.saturating_sub(count);
        if self.live && self.ahead == 0 && self.later.len() < HELD {
            self.ahead = AHEAD;
            let newer = self.newer();
            self.later.extend(newer);
            self.sealed = !self.later.is_empty();
        }
        Ok(count)
    }

    /// At the end of a file: goes on with the next, if there is one.
    fn advance(&mut self) -> io::Result<bool> {
        if self.live && self.later.is_empty() {
            if let Some(part) = &self.part {
                let own =
                    fs::metadata(&self.path).is_ok_and(|data| (data.dev(), data.ino()) == part.identity);
                if own {
                    return self.was_emptied();
                }
            }
            let newer = self.newer();
            self.later.extend(newer);
            self.sealed = self.part.is_some() && !self.later.is_empty();
            // What came into the old file between the last look and the rotation.
            if self.sealed {
                return Ok(true);
            }
        }
        let Some(part) = self.later.pop_front() else {
            return Ok(false);
        };
        if part.gap {
            self.ready.push_back(self.assembler.gone());
        }
        self.part = Some(part);
        self.offset = 0;
        self.sealed = !self.later.is_empty();
        // Half a line at the end of a file has no other half.
        self.buffer.clear();
        Ok(true)
    }

    /// Somebody has cut the file: from its beginning on, it is new.
    fn was_emptied(&mut self) -> io::Result<bool> {
        let Some(part) = &self.part else { return Ok(false) };
        let emptied = part.file.metadata()?.len() < self.offset;
        if emptied {
            self.offset = 0;
            self.buffer.clear();
        }
        Ok(emptied)
    }

    /// The files behind the newest that is known.
    fn newer(&mut self) -> Vec<Part> {
        let mut files = History::open(&self.path).files;
        let Some(newest) = self.later.back().or(self.part.as_ref()) else {
            return files;
        };
        match files.iter().position(|file| file.identity == newest.identity) {
            Some(own) => files.split_off(own + 1),
            None => {
                // A log that begins anew, because somebody removed it, has one file.
                if let [oldest, _, ..] = files.as_mut_slice() {
                    oldest.gap = true;
                }
                files
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::tests::place;
    use super::*;

    fn texts(reader: &mut Reader) -> Vec<String> {
        std::iter::from_fn(|| reader.read_line().unwrap())
            .map(|line| line.text().into_owned())
            .collect()
    }

    fn append(path: &Path, texts: &[&str]) {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        for text in texts {
            writeln!(file, "T stdout F {text}").unwrap();
        }
    }

    /// As the keeper does, with three files.
    fn rotate(path: &Path) {
        let _ = fs::rename(rotated(path, 1), rotated(path, 2));
        fs::rename(path, rotated(path, 1)).unwrap();
        File::create(path).unwrap();
    }

    #[test]
    fn rotated_files_come_first_and_parts_are_joined_across_them() {
        let path = place("reader-order");
        fs::write(rotated(&path, 2), "T stdout F oldest\n").unwrap();
        fs::write(rotated(&path, 1), "T stdout F old\nT stdout P ab\n").unwrap();
        fs::write(&path, "T stdout F cd\nT stdout P rest\n").unwrap();
        let mut reader = Reader::new(&History::open(&path), false);
        assert_eq!(texts(&mut reader), ["oldest", "old", "abcd", "rest"]);
        assert!(
            texts(&mut Reader::new(
                &History::open(Path::new("/nonexistent/x")),
                false
            ))
            .is_empty()
        );
    }

    #[test]
    fn a_history_ends_where_it_was_opened_and_outlives_rotation() {
        let path = place("reader-history");
        append(&path, &["one", "two"]);
        let history = History::open(&path);
        append(&path, &["three"]);
        (0..4).for_each(|_| rotate(&path));
        assert_eq!(texts(&mut Reader::new(&history, false)), ["one", "two"]);
        assert_eq!(texts(&mut Reader::new(&history, false)), ["one", "two"]);
    }

    #[test]
    fn a_live_reader_goes_through_every_file_that_was_rotated_meanwhile() {
        let path = place("reader-live");
        let mut reader = Reader::new(&History::open(&path), true);
        assert!(texts(&mut reader).is_empty(), "it is not there yet");
        append(&path, &["a"]);
        assert_eq!(texts(&mut reader), ["a"]);
        append(&path, &["b"]);
        rotate(&path);
        append(&path, &["c"]);
        rotate(&path);
        append(&path, &["d"]);
        assert_eq!(texts(&mut reader), ["b", "c", "d"]);
        assert!(texts(&mut reader).is_empty());
        append(&path, &["e"]);
        rotate(&path);
        append(&path, &["f"]);
        reader.close().unwrap();
        append(&path, &["too late"]);
        assert_eq!(texts(&mut reader), ["e", "f"]);
    }

    #[test]
    fn lines_that_were_rotated_away_unread_are_told_as_missing() {
        let path = place("reader-gone");
        append(&path, &["a"]);
        let mut reader = Reader::at_end(&path).unwrap();
        for text in ["b", "c", "d", "e"] {
            append(&path, &[text]);
            rotate(&path);
        }
        append(&path, &["f"]);
        let seen = texts(&mut reader);
        assert_eq!(seen.len(), 5, "{seen:?}");
        assert_eq!(seen[0], "b");
        assert!(seen[1].contains("missing"), "{seen:?}");
        assert_eq!(seen[2..], ["d", "e", "f"]);
    }

    #[test]
    fn from_the_end_means_from_the_line_that_is_being_written() {
        let path = place("reader-end");
        append(&path, &["old"]);
        write!(File::options().append(true).open(&path).unwrap(), "T stdout F ha").unwrap();
        let mut reader = Reader::at_end(&path).unwrap();
        writeln!(File::options().append(true).open(&path).unwrap(), "lf").unwrap();
        assert_eq!(texts(&mut reader), ["half"]);
        File::options().write(true).truncate(true).open(&path).unwrap();
        append(&path, &["x"]);
        assert_eq!(texts(&mut reader), ["x"], "after somebody emptied it");
    }
}
