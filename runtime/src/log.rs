//! The log of one sandbox on disk: appended, rotated by size. One writer; its directory is root's.
//!
//! What the disk refuses is dropped and counted, and the log says so as soon as the disk takes lines again. What is in
//! the file are whole lines: half of one, left by a write that failed, is cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cri::{self, Time};
use crate::failpoint;
use crate::protocol::LogFile;

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    place: LogFile,
    file: File,
    /// What of it is known to whoever gives the lines.
    standing: Standing,
    /// The file may end in half a line.
    torn: bool,
    /// Lines of the keeper's own that the disk did not take: a run that begins must be found later.
    owed: Vec<u8>,
    /// Bytes behind the standing that a writer left who was killed before it could tell: the beginning of what comes next.
    ahead: usize,
}

/// Bytes of lines of the keeper's own that wait for the disk.
const OWED: usize = 16 * 1024;

/// How far a log is. A writer that is started anew goes on from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Of the current file.
    pub(crate) inode: u64,
    /// Bytes of it that are written.
    pub(crate) size: u64,
    /// What the service wrote and the disk did not take, in bytes, and why: to be told.
    pub(crate) dropped: Option<(u64, String)>,
}

/// Lines for a log.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    /// Whole lines of the file.
    pub(crate) text: &'a [u8],
    /// How many bytes of the service's they stand for; 0 for lines of the keeper's own, which are kept when the disk
    /// refuses.
    pub(crate) service_bytes: u64,
    /// Bytes of the service's before them that were never offered to the disk, and why.
    pub(crate) missing: Option<(u64, String)>,
}

impl Log {
    /// Opens the file for appending, making its directory (0700). `earlier` is how far it was when another process had
    /// it.
    pub(crate) fn open(place: LogFile, earlier: Option<Standing>) -> io::Result<Self> {
        if let Some(directory) = place.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = open(&place.path)?;
        let metadata = file.metadata()?;
        failpoint::hit("log-opened")?;
        let mut standing = Standing {
            inode: metadata.ino(),
            size: metadata.len(),
            dropped: None,
        };
        let (mut ahead, mut torn) = (0, false);
        match earlier {
            Some(earlier) if earlier.inode == standing.inode && earlier.size <= standing.size => {
                ahead = usize::try_from(standing.size - earlier.size).unwrap_or(0);
                standing = earlier;
            }
            earlier => {
                standing.dropped = earlier.and_then(|earlier| earlier.dropped);
                let mut last = *b"\n";
                if standing.size > 0 {
                    // A writer that was killed may have left half a line.
                    file.read_at(&mut last, standing.size - 1)?;
                }
                torn = last != *b"\n";
            }
        }
        Ok(Self {
            place,
            file,
            standing,
            torn,
            owed: Vec::new(),
            ahead,
        })
    }

    /// How far it is.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Writes lines, or drops and counts them: a disk that refuses is not the service's fault, it is never made to wait for
    /// one. `moved` is told when the file is a new one, before anything is written into it.
    pub(crate) fn take(&mut self, lines: &Lines, moved: &mut dyn FnMut(&Standing)) {
        let time = Time::now();
        if let Some((bytes, why)) = &lines.missing {
            self.drop_bytes(*bytes, why.clone());
        }
        if let Err(error) = self.write(&time, lines.text, moved) {
            if lines.service_bytes > 0 {
                self.drop_bytes(lines.service_bytes, plain(&error));
            } else if self.owed.len() + lines.text.len() <= OWED {
                self.owed.extend_from_slice(lines.text);
            }
        }
    }

    fn drop_bytes(&mut self, bytes: u64, why: String) {
        let earlier = self.standing.dropped.take().map_or(0, |(count, _)| count);
        self.standing.dropped = Some((earlier + bytes, why));
    }

    /// All of the lines, behind what is to be told of earlier ones; or nothing, and an error.
    fn write(&mut self, time: &Time, lines: &[u8], moved: &mut dyn FnMut(&Standing)) -> io::Result<()> {
        let standing = &self.standing;
        if standing.size > 0 && standing.size + lines.len() as u64 > self.place.max_bytes && self.ahead == 0 {
            self.rotate()?;
            moved(&self.standing);
        }
        let there = self.already_there(lines);
        if there > 0 {
            self.put(&lines[there..])?;
            self.standing.size += there as u64;
            return Ok(());
        }
        if !self.torn && self.standing.dropped.is_none() && self.owed.is_empty() {
            return self.put(lines);
        }
        // In one piece: on a disk that has room for little, the mark alone would fill it again and again.
        let mut whole = if self.torn { b"\n".to_vec() } else { Vec::new() };
        if let Some((count, why)) = &self.standing.dropped {
            whole.extend(cri::note(time, &format!("{count} bytes were dropped: {why}")));
        }
        whole.extend_from_slice(&self.owed);
        whole.extend_from_slice(lines);
        self.put(&whole)?;
        self.torn = false;
        self.standing.dropped = None;
        self.owed.clear();
        Ok(())
    }

    /// How many of these bytes a writer who was killed has written. What it left and is something else stays: a line more
    /// is better than one less.
    fn already_there(&mut self, lines: &[u8]) -> usize {
        let ahead = std::mem::take(&mut self.ahead);
        if ahead == 0 {
            return 0;
        }
        let mut left = vec![0; ahead.min(lines.len())];
        let same = self.file.read_exact_at(&mut left, self.standing.size).is_ok() && lines.starts_with(&left);
        if same && left.len() == ahead {
            return ahead;
        }
        self.standing.size += ahead as u64;
        self.torn = true;
        0
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            match self.file.write(&bytes[done..]) {
                Ok(0) => return self.cut_off(done, io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.cut_off(done, error),
            }
        }
        self.standing.size += bytes.len() as u64;
        Ok(())
    }

    /// Takes back the first `done` bytes of a write that failed. The end is asked for: somebody may have emptied the file.
    fn cut_off(&mut self, done: usize, error: io::Error) -> io::Result<()> {
        if done > 0 {
            let end = self
                .file
                .metadata()
                .map(|data| data.len().saturating_sub(done as u64));
            self.torn |= end.and_then(|end| self.file.set_len(end)).is_err();
        }
        Err(error)
    }

    /// `current` → `.1` → `.2` …; the oldest goes. The new file exists before anything is moved: a disk that has no
    /// room for it costs no old lines.
    fn rotate(&mut self) -> io::Result<()> {
        let next = self.named(".next");
        ignore_missing(fs::remove_file(&next))?;
        let file = open(&next)?;
        let oldest = match self.place.files {
            0 | 1 => String::new(),
            files => format!(".{}", files - 1),
        };
        // After a rotation that went wrong half-way there is nothing to move.
        if self.place.path.exists() {
            // Removed, not replaced: ext4 writes a file to the disk at once when it takes the place of another.
            ignore_missing(fs::remove_file(self.named(&oldest)))?;
        }
        if self.place.files > 1 && self.place.path.exists() {
            for number in (1..self.place.files - 1).rev() {
                let (from, to) = (
                    self.named(&format!(".{number}")),
                    self.named(&format!(".{}", number + 1)),
                );
                ignore_missing(fs::rename(from, to))?;
            }
            fs::rename(&self.place.path, self.named(".1"))?;
        }
        fs::rename(&next, &self.place.path)?;
        failpoint::hit("log-rotated")?;
        self.standing.inode = file.metadata()?.ino();
        self.standing.size = 0;
        self.file = file;
        self.torn = false;
        Ok(())
    }

    fn named(&self, ending: &str) -> PathBuf {
        let mut name = self.place.path.clone().into_os_string();
        name.push(ending);
        name.into()
    }
}

/// `no space left on device`, without the number that the standard library puts behind it.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use nix::mount::{MsFlags, mount, umount};
    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::cri::Cutter;

    fn place(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("pactown-log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn log(directory: &std::path::Path, max_bytes: u64, files: u32) -> Log {
        let path = directory.join("current.log");
        let place = LogFile {
            path,
            max_bytes,
            files,
            run: 1,
        };
        Log::open(place, None).unwrap()
    }

    /// The lines of the file.
    fn cut(text: &[u8]) -> Vec<u8> {
        let mut room = vec![0; 64 * text.len() + cri::overshoot(0)];
        let mut page = cri::Page::new(&mut room, 0);
        Cutter::stdout().feed(&Time::now(), text, &mut page, usize::MAX);
        let length = page.len();
        room.truncate(length);
        room
    }

    fn take(log: &mut Log, text: &[u8], service_bytes: usize) {
        let lines = Lines {
            text,
            service_bytes: service_bytes as u64,
            missing: None,
        };
        log.take(&lines, &mut |_| {});
    }

    fn append(log: &mut Log, text: &[u8]) {
        take(log, &cut(text), text.len());
    }

    /// Texts behind the time, of files that must have whole lines only.
    fn lines(path: &std::path::Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
        text.lines()
            .filter_map(|line| Some(line.split_once(' ')?.1.to_owned()))
            .collect()
    }

    #[test]
    fn rotation_keeps_so_many_files_and_every_line_of_theirs() {
        let directory = place("rotation");
        let mut log = log(&directory, 2000, 3);
        (0..200).for_each(|number| append(&mut log, format!("line {number}\n").as_bytes()));
        let mut kept = Vec::new();
        for name in ["current.log.2", "current.log.1", "current.log"] {
            let path = directory.join(name);
            assert!(fs::metadata(&path).unwrap().len() <= 2000, "{name}");
            kept.extend(lines(&path));
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 3);
        let expected: Vec<String> = (0..200).map(|number| format!("stdout F line {number}")).collect();
        assert!(
            kept.len() > 80 && expected.ends_with(&kept),
            "{} lines",
            kept.len()
        );
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn half_a_line_of_a_killed_keeper_stays_alone() {
        let directory = place("torn");
        fs::write(directory.join("current.log"), "T stdout F one\nT stdout F ha").unwrap();
        let mut log = log(&directory, 2000, 3);
        append(&mut log, b"two\n");
        assert_eq!(
            lines(&directory.join("current.log")),
            ["stdout F one", "stdout F ha", "stdout F two"]
        );
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_next_writer_goes_on_where_one_was_killed() {
        let directory = place("killed");
        let path = directory.join("current.log");
        let mut before = log(&directory, 2000, 3);
        append(&mut before, b"one\n");
        let (standing, batch) = (before.standing().clone(), cut(b"two\nthree\nfour\n"));
        // So much of the batch was written, of which nobody knows.
        for written in 0..=batch.len() {
            let mut file = File::options().append(true).open(&path).unwrap();
            file.set_len(standing.size).unwrap();
            file.write_all(&batch[..written]).unwrap();
            let mut after = Log::open(before.place.clone(), Some(standing.clone())).unwrap();
            take(&mut after, &batch, 15);
            append(&mut after, b"five\n");
            assert_eq!(after.standing().size, fs::metadata(&path).unwrap().len());
            let whole = ["one", "two", "three", "four", "five"].map(|text| format!("stdout F {text}"));
            assert_eq!(lines(&path), whole, "after {written} bytes");
        }
        // Something else is there: it stays.
        let mut file = File::options().append(true).open(&path).unwrap();
        file.set_len(standing.size).unwrap();
        file.write_all(b"T stdout F fore").unwrap();
        let mut after = Log::open(before.place.clone(), Some(standing)).unwrap();
        take(&mut after, &batch, 15);
        let whole = ["one", "fore", "two", "three", "four"].map(|text| format!("stdout F {text}"));
        assert_eq!(lines(&path), whole);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_a_full_disk_refuses_is_counted_and_told_once_it_has_room() {
        let directory = place("full");
        // In a mount namespace of this thread's own, so that nobody else sees it.
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(
            Some("tmpfs"),
            &directory,
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=64k"),
        )
        .unwrap();
        let mut log = log(&directory, 1 << 20, 2);
        append(&mut log, b"before\n");
        fs::write(directory.join("filler"), vec![0; 52 * 1024]).unwrap();
        // Some of this fits.
        append(&mut log, &b"0123456789abcdef\n".repeat(1000));
        assert_eq!(lines(&directory.join("current.log")), ["stdout F before"]);
        append(&mut log, &b"0123456789abcdef\n".repeat(10_000));
        let dropped = log.standing().dropped.clone().map(|(count, _)| count);
        assert_eq!(dropped, Some(187_000));
        let full = File::options().append(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut log.file, full);
        take(&mut log, &cri::note(&Time::now(), "starting run=2"), 0);
        log.file = file;
        fs::remove_file(directory.join("filler")).unwrap();
        append(&mut log, b"after\n");
        assert_eq!(
            lines(&directory.join("current.log")),
            [
                "stdout F before",
                "system F 187000 bytes were dropped: no space left on device",
                "system F starting run=2",
                "stdout F after"
            ]
        );
        drop(log);
        umount(&directory).unwrap();
        fs::remove_dir(directory).unwrap();
    }

    #[test]
    fn causes_are_told_in_lower_case_without_their_number() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!(plain(&full), "no space left on device");
    }
}
