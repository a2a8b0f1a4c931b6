//! Log files in the CRI format, read: the last lines, all since a time, or as they are written.
//!
//! One writer, the keeper, appends and rotates (`current.log` → `current.log.1`). Reading never makes it wait.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use serde::Serialize;

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// RFC 3339, UTC, nanoseconds.
    pub time: String,
    /// `stdout`, `stderr`, or `system` for the keeper's own remarks.
    pub stream: String,
    /// The text, without its newline.
    pub text: String,
}

/// Puts lines together from the parts in the file: a text longer than a part comes as several, all but the last
/// marked `P`.
#[derive(Debug, Default)]
struct Assembler {
    unfinished: Vec<(String, Line)>,
    /// Of longer lines only the beginning is kept, in bytes.
    longest: Option<usize>,
}

impl Assembler {
    /// One line of the file; a whole line of the log when this ends one. What has another shape is left out.
    fn feed(&mut self, raw: &[u8]) -> Option<Line> {
        let text = String::from_utf8_lossy(raw);
        let mut fields = text.splitn(4, ' ');
        let (time, stream, tag) = (fields.next()?, fields.next()?, fields.next()?);
        let text = fields.next().unwrap_or("");
        let begun = self.unfinished.iter().position(|(of, _)| of == stream);
        let mut line = match begun {
            Some(index) => self.unfinished.swap_remove(index).1,
            None => Line {
                time: time.to_owned(),
                stream: stream.to_owned(),
                text: String::new(),
            },
        };
        let room = self
            .longest
            .map_or(usize::MAX, |most| most.saturating_sub(line.text.len()));
        line.text.push_str(beginning(text, room));
        match tag {
            "F" => Some(line),
            _ => {
                self.unfinished.push((stream.to_owned(), line));
                None
            }
        }
    }

    /// What never had a newline.
    fn rest(self) -> impl Iterator<Item = Line> {
        self.unfinished.into_iter().map(|(_, line)| line)
    }
}

/// At most so many bytes, in whole characters.
fn beginning(text: &str, most: usize) -> &str {
    let ends = text.char_indices().map(|(start, c)| start + c.len_utf8());
    match text.len() <= most {
        true => text,
        false => &text[..ends.take_while(|end| *end <= most).last().unwrap_or(0)],
    }
}

/// All lines of the log at `path`, rotated files first, through `keep`. A log that is not there is empty.
pub fn read(path: &Path, keep: impl FnMut(Line)) -> io::Result<()> {
    read_with(Assembler::default(), path, keep)
}

fn read_with(mut assembler: Assembler, path: &Path, mut keep: impl FnMut(Line)) -> io::Result<()> {
    raw(path, |line| {
        if let Some(line) = assembler.feed(line) {
            keep(line);
        }
    })?;
    assembler.rest().for_each(keep);
    Ok(())
}

/// The same for a file of any lines, as they are, without their newlines.
pub fn raw(path: &Path, mut keep: impl FnMut(&[u8])) -> io::Result<()> {
    for file in files(path) {
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            keep(line.strip_suffix(b"\n").unwrap_or(&line));
            line.clear();
        }
    }
    Ok(())
}

/// The files of a log, oldest first.
fn files(path: &Path) -> Vec<File> {
    let rotated = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        File::open(PathBuf::from(name)).ok()
    };
    let mut files: Vec<File> = (1..).map_while(rotated).collect();
    files.reverse();
    files.extend(File::open(path));
    files
}

/// The last `count` lines that a service wrote since it was started last.
pub fn last_run(path: &Path, count: usize) -> Vec<String> {
    let mut lines = std::collections::VecDeque::new();
    let read = read(path, |line| match line.stream.as_str() {
        "system" if line.text == "starting" => lines.clear(),
        "system" => {}
        _ => {
            if lines.len() == count {
                lines.pop_front();
            }
            lines.push_back(line.text);
        }
    });
    match read {
        Ok(()) => lines.into(),
        Err(_) => Vec::new(),
    }
}

/// Whether a line since the last start, of which only the first `longest` bytes are looked at, is the wanted one.
pub fn last_run_has(
    path: &Path,
    longest: usize,
    mut is_wanted: impl FnMut(&Line) -> bool,
) -> io::Result<bool> {
    let assembler = Assembler {
        longest: Some(longest),
        ..Assembler::default()
    };
    let mut found = false;
    read_with(assembler, path, |line| {
        found = match line.stream.as_str() {
            "system" if line.text == "starting" => false,
            _ => found || is_wanted(&line),
        };
    })?;
    Ok(found)
}

/// Reads what is appended to logs, as it comes, across rotation. One inotify instance for all of them: a host has few.
pub struct Follower {
    tails: Vec<Tail>,
    watch: Inotify,
    stop: Arc<EventFd>,
}

/// One log that is followed.
struct Tail {
    path: PathBuf,
    directory: WatchDescriptor,
    file: Option<File>,
    inode: u64,
    partial: Vec<u8>,
}

/// Ends a [`Follower`] from another thread, once it has read what is there.
#[derive(Clone)]
pub struct Stopper(Arc<EventFd>);

impl Stopper {
    /// Ends it.
    pub fn stop(&self) {
        let _ = self.0.write(1);
    }
}

impl Follower {
    /// Follows these logs from their present ends. Their directories are made when they are not there.
    pub fn new(paths: &[PathBuf]) -> io::Result<Self> {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let tails = paths
            .iter()
            .map(|path| Tail::new(path, &watch))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            tails,
            watch,
            stop: Arc::new(EventFd::new()?),
        })
    }

    /// Keeps only the beginning of lines longer than this, in bytes.
    pub fn cut_lines_at(mut self, longest: usize) -> Self {
        for tail in &mut self.tails {
            tail.assembler.longest = Some(longest);
        }
        self
    }

    /// The way to end it.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Gives each new line, with the index of its log, to `on_line` until it is stopped; then what is there is still
    /// read.
    pub fn run(&mut self, on_line: &mut dyn FnMut(usize, Line)) -> io::Result<()> {
        let mut assemblers: Vec<Assembler> = self.tails.iter().map(|_| Assembler::default()).collect();
        self.run_raw(&mut |index, raw| {
            if let Some(line) = assemblers[index].feed(raw) {
                on_line(index, line);
            }
        })?;
        for (index, assembler) in assemblers.into_iter().enumerate() {
            assembler.rest().for_each(|line| on_line(index, line));
        }
        Ok(())
    }

    /// The same for files of any lines, as they are, without their newlines.
    pub fn run_raw(&mut self, on_line: &mut dyn FnMut(usize, &[u8])) -> io::Result<()> {
        loop {
            let (changed, stopped) = self.wait()?;
            for (index, tail) in self.tails.iter_mut().enumerate() {
                if stopped || changed.contains(&tail.directory) {
                    tail.drain(&mut |line| on_line(index, line))?;
                }
            }
            if stopped {
                return Ok(());
            }
        }
    }

    /// Waits for an event: directories in which something changed, and whether it is to end.
    fn wait(&self) -> io::Result<(Vec<WatchDescriptor>, bool)> {
        let mut fds = [
            PollFd::new(self.watch.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
        ];
        while let Err(errno) = poll(&mut fds, PollTimeout::NONE) {
            if errno != nix::errno::Errno::EINTR {
                return Err(errno.into());
            }
        }
        let stopped = fds[1].any().unwrap_or(false);
        let mut changed = Vec::new();
        while let Ok(events) = self.watch.read_events() {
            changed.extend(events.into_iter().map(|event| event.wd));
        }
        Ok((changed, stopped))
    }
}

impl Tail {
    fn new(path: &Path, watch: &Inotify) -> io::Result<Self> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory)?;
        let events = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_FROM;
        let mut tail = Self {
            path: path.to_owned(),
            directory: watch.add_watch(directory, events)?,
            file: None,
            inode: 0,
            partial: Vec::new(),
        };
        if let Ok(mut file) = File::open(path) {
            file.seek(SeekFrom::End(0))?;
            tail.inode = file.metadata()?.ino();
            tail.file = Some(file);
        }
        Ok(tail)
    }

    /// Reads to the end, first of the file that is open, then of the one that took its place.
    fn drain(&mut self, on_line: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        loop {
            self.read(on_line)?;
            let current = fs::metadata(&self.path).map(|metadata| metadata.ino()).ok();
            if current.is_none() || current == Some(self.inode) {
                return Ok(());
            }
            // What came between the last read and the rename.
            self.read(on_line)?;
            let Ok(file) = File::open(&self.path) else {
                return Ok(());
            };
            self.inode = file.metadata()?.ino();
            self.file = Some(file);
        }
    }

    fn read(&mut self, on_line: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut buffer = [0; 1 << 16];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let mut rest = &buffer[..count];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                self.partial.extend_from_slice(&rest[..end]);
                on_line(&self.partial);
                self.partial.clear();
                rest = &rest[end + 1..];
            }
            self.partial.extend_from_slice(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn place(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("pactown-logs-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory.join("current.log")
    }

    fn texts(path: &Path) -> Vec<String> {
        let mut all = Vec::new();
        read(path, |line| all.push(format!("{} {}", line.stream, line.text))).unwrap();
        all
    }

    #[test]
    fn parts_become_lines_and_rotated_files_come_first() {
        let path = place("parts");
        fs::write(path.with_extension("log.1"), "T stdout F old\nT stdout P ab\n").unwrap();
        fs::write(
            &path,
            "T stderr F err\nT stdout P c\nT stdout F d e\nT system F exited\nT stdout P rest\n",
        )
        .unwrap();
        assert_eq!(
            texts(&path),
            [
                "stdout old",
                "stderr err",
                "stdout abcd e",
                "system exited",
                "stdout rest"
            ]
        );
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn the_last_run_is_what_came_after_the_last_start() {
        let path = place("run");
        fs::write(
            &path,
            "T system F starting\nT stdout F one\nT system F starting\nT stdout F two\nT stderr F three\n",
        )
        .unwrap();
        assert_eq!(last_run(&path, 10), ["two", "three"]);
        assert_eq!(last_run(&path, 1), ["three"]);
        assert!(last_run(Path::new("/nonexistent/log"), 1).is_empty());
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_follower_sees_each_line_once_across_rotation() {
        let path = place("follow");
        fs::write(&path, "T stdout F before\n").unwrap();
        let mut follower = Follower::new(std::slice::from_ref(&path)).unwrap();
        let stop = follower.stopper();
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || {
                for number in 0..200 {
                    if number % 50 == 49 {
                        fs::rename(&path, path.with_extension("log.1")).unwrap();
                    }
                    let mut file = File::options().append(true).create(true).open(&path).unwrap();
                    writeln!(file, "T stdout F {number}").unwrap();
                    std::thread::sleep(std::time::Duration::from_micros(300));
                }
                stop.stop();
            })
        };
        let mut seen = Vec::new();
        follower.run(&mut |_, line| seen.push(line.text)).unwrap();
        writer.join().unwrap();
        let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        assert_eq!(seen, expected);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
