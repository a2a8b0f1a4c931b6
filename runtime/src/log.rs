//! The log of one sandbox on disk: appended, rotated by size. One writer; its directory is root's.
//!
//! What the disk refuses is dropped and counted, and the log says so as soon as the disk takes lines again. What is in
//! the file are whole lines: half of one, left by a write that failed, is cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use crate::cri::{self, Cutter, Time};
use crate::protocol::LogFile;

/// Bytes of one write: enough for the kernel to take big pages.
const BATCH: usize = 512 * 1024;

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    place: LogFile,
    file: File,
    size: u64,
    /// The file may end in half a line.
    torn: bool,
    /// What the service wrote and the disk did not take, in bytes, and why.
    dropped: Option<(u64, io::Error)>,
    /// Lines of the keeper's own that the disk did not take: a run that begins must be found later.
    owed: Vec<u8>,
}

/// Bytes of lines of the keeper's own that wait for the disk.
const OWED: usize = 16 * 1024;

impl Log {
    /// Opens the file for appending, making its directory (0700).
    pub(crate) fn open(place: LogFile) -> io::Result<Self> {
        if let Some(directory) = place.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = open(&place.path)?;
        let size = file.metadata()?.len();
        let mut last = *b"\n";
        if size > 0 {
            // A keeper that was killed may have left half a line.
            file.read_at(&mut last, size - 1)?;
        }
        Ok(Self {
            place,
            file,
            size,
            torn: last != *b"\n",
            dropped: None,
            owed: Vec::new(),
        })
    }

    /// Writes what came from a stream, as whole log lines. `buffer` is only room to work in.
    pub(crate) fn append(&mut self, cutter: &mut Cutter, input: &[u8], buffer: &mut Vec<u8>) {
        let time = Time::now();
        let mut rest = input;
        while !rest.is_empty() {
            let before = cutter.held() + rest.len();
            buffer.clear();
            rest = cutter.feed(&time, rest, buffer, BATCH);
            let service_bytes = before - cutter.held() - rest.len();
            self.write_or_drop(&time, buffer, service_bytes);
        }
    }

    /// The end of a stream.
    pub(crate) fn finish(&mut self, cutter: &mut Cutter) {
        let (mut buffer, time, held) = (Vec::new(), Time::now(), cutter.held());
        cutter.finish(&time, &mut buffer);
        self.write_or_drop(&time, &buffer, held);
    }

    /// A line of the keeper's own, stream `system`.
    pub(crate) fn note(&mut self, text: &str) {
        let (mut buffer, time) = (Vec::new(), Time::now());
        cri::note(&mut buffer, &time, text);
        if self.write(&time, &buffer).is_err() && self.owed.len() + buffer.len() <= OWED {
            self.owed.extend_from_slice(&buffer);
        }
    }

    /// A disk that refuses is not the service's fault: it is never made to wait for one.
    fn write_or_drop(&mut self, time: &Time, lines: &[u8], service_bytes: usize) {
        if lines.is_empty() {
            return;
        }
        if let Err(error) = self.write(time, lines) {
            let earlier = self.dropped.take().map_or(0, |(count, _)| count);
            self.dropped = Some((earlier + service_bytes as u64, error));
        }
    }

    /// All of the lines, behind what is to be told of earlier ones; or nothing, and an error.
    fn write(&mut self, time: &Time, lines: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + lines.len() as u64 > self.place.max_bytes {
            self.rotate()?;
        }
        if !self.torn && self.dropped.is_none() && self.owed.is_empty() {
            return self.put(lines);
        }
        // In one piece: on a disk that has room for little, the mark alone would fill it again and again.
        let mut whole = if self.torn { b"\n".to_vec() } else { Vec::new() };
        if let Some((count, error)) = &self.dropped {
            let mark = format!("{count} bytes were dropped: {}", plain(error));
            cri::note(&mut whole, time, &mark);
        }
        whole.extend_from_slice(&self.owed);
        whole.extend_from_slice(lines);
        self.put(&whole)?;
        self.torn = false;
        self.dropped = None;
        self.owed.clear();
        Ok(())
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
        self.size += bytes.len() as u64;
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
        self.file = file;
        self.size = 0;
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
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    use super::*;

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
        Log::open(place).unwrap()
    }

    fn append(log: &mut Log, text: &[u8]) {
        log.append(&mut Cutter::stdout(), text, &mut Vec::new());
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
        log.dropped = log.dropped.filter(|(count, _)| *count == 187_000);
        let full = File::options().append(true).open("/dev/full").unwrap();
        let file = std::mem::replace(&mut log.file, full);
        log.note("starting run=2");
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
    }

    #[test]
    fn causes_are_told_in_lower_case_without_their_number() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!(plain(&full), "no space left on device");
    }
}
