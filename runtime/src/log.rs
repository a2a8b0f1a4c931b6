//! The log of one sandbox on disk: appended, rotated by size. One writer; its directory is root's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::cri::{self, Cutter};
use crate::protocol::LogFile;

/// An open log.
#[derive(Debug)]
pub(crate) struct Log {
    place: LogFile,
    file: File,
    size: u64,
    buffer: Vec<u8>,
}

impl Log {
    /// Opens the file for appending, making its directory (0700).
    pub(crate) fn open(place: LogFile) -> io::Result<Self> {
        if let Some(directory) = place.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let file = open(&place.path)?;
        let size = file.metadata()?.len();
        Ok(Self {
            place,
            file,
            size,
            buffer: Vec::new(),
        })
    }

    /// Writes what came from a stream, as whole log lines, in one write.
    pub(crate) fn append(&mut self, cutter: &mut Cutter, input: &[u8]) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        cutter.feed(&cri::now(), input, &mut buffer);
        let result = self.write(&buffer);
        self.buffer = buffer;
        result
    }

    /// The end of a stream.
    pub(crate) fn finish(&mut self, cutter: &mut Cutter) -> io::Result<()> {
        let mut buffer = Vec::new();
        cutter.finish(&cri::now(), &mut buffer);
        self.write(&buffer)
    }

    /// A line of the keeper's own, stream `system`.
    pub(crate) fn note(&mut self, text: &str) -> io::Result<()> {
        let mut buffer = Vec::new();
        cri::write(&mut buffer, &cri::now(), "system", b'F', text.as_bytes());
        self.write(&buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + bytes.len() as u64 > self.place.max_bytes {
            self.rotate()?;
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// `current` → `.1` → `.2` …; the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        let name = |number: u32| -> PathBuf {
            let mut name = self.place.path.clone().into_os_string();
            name.push(format!(".{number}"));
            name.into()
        };
        for number in (1..self.place.files.saturating_sub(1)).rev() {
            ignore_missing(fs::rename(name(number), name(number + 1)))?;
        }
        if self.place.files > 1 {
            ignore_missing(fs::rename(&self.place.path, name(1)))?;
        } else {
            ignore_missing(fs::remove_file(&self.place.path))?;
        }
        self.file = open(&self.place.path)?;
        self.size = 0;
        Ok(())
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new()
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
