//! Waits for logs to be written. One inotify instance for all of them: a host has few.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::line::Line;
use super::merge::Merge;
use super::reader::Reader;
use super::select::Selected;

/// Reads what is appended to logs, as it comes, across rotation.
pub struct Follower {
    merge: Merge<Selected<Reader>>,
    watch: Watch,
    stop: Arc<EventFd>,
    joiner: Joiner,
    joining: Receiver<PathBuf>,
    /// Whoever reads what we print: when that end closes, nobody wants to know any more.
    reader: Option<OwnedFd>,
    stage: Stage,
    /// Lines until the next look at what may end it: a flood has no pause.
    turn: u32,
}

const TURN: u32 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    /// Everything was read; the next call waits.
    Idle,
    /// Stopped: what is there is still read.
    Ending,
}

/// What comes next.
#[derive(Debug)]
pub enum Event {
    /// A line, with the index of its log.
    Line(usize, Line),
    /// There is no more for the moment.
    Idle,
    /// It was stopped, and everything was read.
    End,
}

/// Directories in which something may change.
pub struct Watch(Inotify);

impl Watch {
    /// Watches the directories of these logs, and makes those that are not there. To be called before the first look
    /// at a log: what comes between them is then not missed.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a Path>) -> io::Result<Self> {
        let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let watch = Self(watch);
        paths.into_iter().try_for_each(|path| watch.add(path))?;
        Ok(watch)
    }

    fn add(&self, path: &Path) -> io::Result<()> {
        let events = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_MOVED_TO;
        let directory = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        self.0.add_watch(directory, events)?;
        Ok(())
    }
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

/// Adds logs to a [`Follower`] from another thread.
#[derive(Clone)]
pub struct Joiner {
    bell: Arc<EventFd>,
    paths: Sender<PathBuf>,
}

impl Joiner {
    /// Follows one more log, from its end at the time that this is seen; its index is the next one.
    pub fn add(&self, path: PathBuf) {
        // A follower that has ended follows nothing more.
        if self.paths.send(path).is_ok() {
            let _ = self.bell.write(1);
        }
    }
}

impl Follower {
    /// Follows these logs from their present ends.
    pub fn new(paths: &[PathBuf]) -> io::Result<Self> {
        let watch = Watch::new(paths.iter().map(PathBuf::as_path))?;
        let reader = |path: &PathBuf| Reader::at_end(path).map(Selected::all);
        let readers = paths.iter().map(reader).collect::<io::Result<_>>()?;
        Self::of(watch, readers)
    }

    /// Goes on with these readers, which are live.
    pub fn of(watch: Watch, readers: Vec<Selected<Reader>>) -> io::Result<Self> {
        let (paths, joining) = mpsc::channel();
        let bell = Arc::new(EventFd::new()?);
        Ok(Self {
            merge: Merge::new(readers),
            watch,
            stop: Arc::new(EventFd::new()?),
            joiner: Joiner { bell, paths },
            joining,
            reader: None,
            stage: Stage::Reading,
            turn: TURN,
        })
    }

    /// Ends at once when the other end of this pipe is closed.
    pub fn until_closed(mut self, pipe: OwnedFd) -> Self {
        self.reader = Some(pipe);
        self
    }

    /// The way to end it.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// The way to follow more.
    pub fn joiner(&self) -> Joiner {
        self.joiner.clone()
    }

    /// The next event; waits for one after [`Event::Idle`].
    pub fn next_event(&mut self) -> io::Result<Event> {
        let timeout = match self.stage {
            Stage::Idle => Some(PollTimeout::NONE),
            Stage::Reading if self.turn == 0 => Some(PollTimeout::ZERO),
            _ => None,
        };
        self.turn = self.turn.checked_sub(1).unwrap_or(TURN);
        if let Some(timeout) = timeout
            && self.wait(timeout)?
        {
            return Ok(Event::End);
        }
        if let Some((index, line)) = self.merge.next_line()? {
            return Ok(Event::Line(index, line));
        }
        match self.stage {
            Stage::Ending => Ok(Event::End),
            _ => {
                self.stage = Stage::Idle;
                Ok(Event::Idle)
            }
        }
    }

    /// Gives each line, with the index of its log, to `on_line` until it is stopped; then what is there is still read.
    pub fn run(&mut self, on_line: &mut dyn FnMut(usize, Line)) -> io::Result<()> {
        loop {
            match self.next_event()? {
                Event::Line(index, line) => on_line(index, line),
                Event::Idle => {}
                Event::End => return Ok(()),
            }
        }
    }

    /// Waits for an event; whether nobody reads any more.
    fn wait(&mut self, timeout: PollTimeout) -> io::Result<bool> {
        let mut fds = vec![
            PollFd::new(self.watch.0.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.joiner.bell.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(
            self.reader
                .as_ref()
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::empty())),
        );
        while let Err(errno) = poll(&mut fds, timeout) {
            if errno != nix::errno::Errno::EINTR {
                return Err(errno.into());
            }
        }
        let happened = |at: usize| fds.get(at).and_then(PollFd::any).unwrap_or(false);
        let (stopped, joined, closed) = (happened(1), happened(2), happened(3));
        // What they tell is of no interest: all logs are looked at, and a queue that ran over hides nothing.
        while self.watch.0.read_events().is_ok() {}
        self.stage = Stage::Reading;
        if joined {
            self.join()?;
        }
        if stopped {
            self.stage = Stage::Ending;
            for reader in self.merge.sources() {
                reader.source().close()?;
            }
        }
        Ok(closed)
    }

    fn join(&mut self) -> io::Result<()> {
        let _ = self.joiner.bell.read();
        for path in self.joining.try_iter() {
            self.watch.add(&path)?;
            self.merge.add(Selected::all(Reader::at_end(&path)?));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;

    use super::super::tests::place;
    use super::*;

    #[test]
    fn a_follower_sees_each_line_once_across_rotation() {
        let path = place("follow");
        fs::write(&path, "T stdout F before\n").unwrap();
        let mut follower = Follower::new(std::slice::from_ref(&*path)).unwrap();
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
        follower
            .run(&mut |_, line| seen.push(line.text().into_owned()))
            .unwrap();
        writer.join().unwrap();
        let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_log_that_joins_is_followed_from_then_on() {
        let (first, second) = (place("first"), place("second"));
        fs::write(&second, "2026-01-01T00:00:00.000000001Z stdout F before\n").unwrap();
        let mut follower = Follower::new(std::slice::from_ref(&first)).unwrap();
        assert!(matches!(follower.next_event().unwrap(), Event::Idle));
        follower.joiner().add(second.clone());
        assert!(matches!(follower.next_event().unwrap(), Event::Idle));
        let mut file = File::options().append(true).open(&second).unwrap();
        writeln!(file, "2026-01-01T00:00:00.000000002Z stdout F after").unwrap();
        let Event::Line(1, line) = follower.next_event().unwrap() else {
            panic!("a line of the second log");
        };
        assert_eq!(line.text(), "after");
    }

    #[test]
    fn it_ends_when_nobody_reads_any_more() {
        let path = place("closed");
        let (reader, writer) = io::pipe().unwrap();
        let mut follower = Follower::new(std::slice::from_ref(&path))
            .unwrap()
            .until_closed(writer.into());
        assert!(matches!(follower.next_event().unwrap(), Event::Idle));
        drop(reader);
        assert!(matches!(follower.next_event().unwrap(), Event::End));
    }
}
