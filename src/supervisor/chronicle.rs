//! The one writer of the file of events: it appends, rotates, and lets nothing wait for a reader. An error of the disk is
//! told once and stops nothing.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pactown_runtime::protocol::ExitRecord;

use super::tell;
use crate::config::ecosystem::ServiceName;
use crate::control::api::ServiceStatus;
use crate::events::decide::decide;
use crate::events::{self, Event, Kind, Used, Witness};
use crate::instance::Instance;

/// A file of events is rotated beyond this size, in bytes.
const LIMIT: u64 = 1 << 20;

/// The writer.
pub(super) struct Chronicle {
    path: PathBuf,
    file: Option<(File, u64)>,
    /// The last row of each service that was told.
    rows: HashMap<ServiceName, ServiceStatus>,
    /// What the runs have used whose end is about to be told.
    used: HashMap<ServiceName, Used>,
    /// What goes with a failure that is about to be told.
    evidence: HashMap<ServiceName, (Vec<String>, Option<Witness>)>,
    complained: bool,
}

impl Chronicle {
    /// The chronicle of `instance`. The file is made with the first event.
    pub(super) fn of(instance: &Instance) -> Self {
        Self::at(events::file(instance))
    }

    fn at(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            rows: HashMap::new(),
            used: HashMap::new(),
            evidence: HashMap::new(),
            complained: false,
        }
    }

    /// A service's row is this now; `last` is how it ended last.
    pub(super) fn row(&mut self, row: &ServiceStatus, last: Option<&ExitRecord>) {
        let before = self.rows.insert(row.name.clone(), row.clone());
        for mut event in decide(before.as_ref(), row, last, super::stamp::now_usec()) {
            if matches!(event.kind, Kind::Failed | Kind::Backoff)
                && let Some((details, witness)) = self.evidence.remove(&row.name)
            {
                (event.details, event.witness) = (details, witness);
            }
            if event.kind == Kind::Exited {
                event.used = self.used.remove(&row.name).map(Box::new);
            }
            self.write(event);
        }
    }

    /// What the run of `name` has used that has just ended; the event of its end takes it.
    pub(super) fn used(&mut self, name: &str, used: Used) {
        self.used.insert(name.to_owned(), used);
    }

    /// A limit was reached.
    pub(super) fn limit(&mut self, row: &ServiceStatus, cause: String) {
        self.write(Event {
            cause: Some(cause),
            ..Event::of(row, Kind::Limit)
        });
    }

    /// The ecosystem has ended, having used so much in all.
    pub(super) fn closed(&mut self, used: Option<Used>) {
        self.write(Event {
            used: used.map(Box::new),
            ..Event::new(Kind::Stopped)
        });
    }

    /// Lines and the kernel's view that go with the failure of `name`; the next event of it takes them.
    pub(super) fn evidence(&mut self, name: &str, details: &[String], witness: Option<Witness>) {
        self.evidence.insert(name.to_owned(), (details.to_vec(), witness));
    }

    /// The time of a scheduled job came, or was missed.
    pub(super) fn turn(&mut self, name: &str, run: Option<u64>, kind: Kind, cause: &str) {
        self.write(Event {
            service: Some(name.to_owned()),
            run,
            cause: Some(cause.to_owned()),
            ..Event::new(kind)
        });
    }

    /// Something happened to the ecosystem as a whole.
    pub(super) fn note(&mut self, kind: Kind, cause: Option<&str>) {
        self.write(Event {
            cause: cause.map(str::to_owned),
            ..Event::new(kind)
        });
    }

    fn write(&mut self, mut event: Event) {
        event.ts = events::time_of(super::stamp::now_usec());
        if let Err(error) = self.append(&event) {
            // Tried anew with the next event: a full disk may be cleaned meanwhile.
            self.file = None;
            if !std::mem::replace(&mut self.complained, true) {
                tell(&format!("cannot write `{}`: {error}", self.path.display()));
            }
        }
    }

    fn append(&mut self, event: &Event) -> io::Result<()> {
        let line = format!("{} stdout F {}\n", event.ts, serde_json::to_string(event)?);
        if self.file.as_ref().is_some_and(|(_, size)| *size >= LIMIT) {
            self.file = None;
            rotate(&self.path)?;
        }
        let (file, size) = match &mut self.file {
            Some(open) => open,
            none => none.insert(open(&self.path)?),
        };
        // One write: a reader that comes meanwhile sees the whole line or none of it.
        file.write_all(line.as_bytes())?;
        *size += line.len() as u64;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o640)
        .open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// `events.log` → `….1` → `….2` → gone.
fn rotate(path: &Path) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    match fs::rename(numbered(1), numbered(2)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::logs::{History, Reader};

    fn place(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("pactown-events-{name}-{}", std::process::id()));
        directory.join("i").join("events.log")
    }

    #[test]
    fn lines_are_appended_and_two_older_files_are_kept() {
        let path = place("rotate");
        let mut chronicle = Chronicle::at(path.clone());
        let cause = "x".repeat(1000);
        for _ in 0..4500 {
            chronicle.note(Kind::Notice, Some(&cause));
        }
        drop(chronicle);
        let mut next = Chronicle::at(path.clone());
        next.note(Kind::Up, None);
        let directory = path.parent().unwrap();
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["events.log", "events.log.1", "events.log.2"]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let mut reader = Reader::new(&History::open(&path), false);
        let lines = std::iter::from_fn(|| reader.read_line().unwrap());
        let kinds: Vec<_> = lines.map(|line| events::parse(&line).unwrap().kind).collect();
        assert_eq!(
            kinds.last(),
            Some(&Kind::Up),
            "a new writer goes on in the same file"
        );
        assert!(kinds.len() > 2000 && kinds.len() < 4501, "{}", kinds.len());
        fs::remove_dir_all(directory.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_disk_that_refuses_is_told_once_and_tried_again() {
        let path = place("refuse");
        let blocked = path.parent().unwrap();
        fs::create_dir_all(blocked.parent().unwrap()).unwrap();
        fs::write(blocked, "a file in the way").unwrap();
        let mut chronicle = Chronicle::at(path.clone());
        chronicle.note(Kind::Up, None);
        assert!(chronicle.complained);
        fs::remove_file(blocked).unwrap();
        chronicle.note(Kind::Down, None);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        fs::remove_dir_all(blocked.parent().unwrap()).unwrap();
    }
}
