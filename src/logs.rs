//! Log files in the CRI format, read: what is there, merged by time and chosen, and what comes as it is written.
//!
//! One writer, the keeper, appends and rotates (`current.log` → `current.log.1`). Reading never makes it wait, holds a
//! few lines of each log in memory however long it is, and never repeats one. Nothing here prints.

mod follow;
mod line;
mod merge;
mod reader;
mod select;

use std::collections::VecDeque;
use std::io;
use std::path::Path;

pub use follow::{Event, Follower, Joiner, Stopper, Watch};
pub use line::{Line, Stream};
pub use merge::{Merge, Source};
pub use reader::{History, Reader};
pub use select::{RunChoice, Runs, Selected, Selection};

/// The last `count` lines that a service wrote since it was started last, as text.
pub fn last_run(path: &Path, count: usize) -> Vec<String> {
    let mut reader = Reader::new(&History::open(path), false);
    let (mut lines, mut run) = (VecDeque::new(), 0);
    while let Ok(Some(line)) = reader.read_line() {
        if line.nth_run != run {
            run = line.nth_run;
            lines.clear();
        }
        if line.stream != Stream::System {
            if lines.len() == count {
                lines.pop_front();
            }
            lines.push_back(line.text().into_owned());
        }
    }
    lines.into()
}

/// Whether a line that a service wrote since it was started last is the wanted one.
pub fn last_run_has(path: &Path, mut is_wanted: impl FnMut(&Line) -> bool) -> io::Result<bool> {
    let mut reader = Reader::new(&History::open(path), false);
    let (mut found, mut run) = (false, 0);
    while let Some(line) = reader.read_line()? {
        if line.nth_run != run {
            (run, found) = (line.nth_run, false);
        }
        found = found || (line.stream != Stream::System && is_wanted(&line));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::ops::Deref;
    use std::path::PathBuf;

    use super::*;

    /// The path of a log in a directory of its own, which goes with it.
    pub(super) struct Place(PathBuf);

    pub(super) fn place(name: &str) -> Place {
        let directory = std::env::temp_dir().join(format!("pactown-logs-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        Place(directory.join("current.log"))
    }

    impl Deref for Place {
        type Target = PathBuf;

        fn deref(&self) -> &PathBuf {
            &self.0
        }
    }

    impl AsRef<Path> for Place {
        fn as_ref(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    #[test]
    fn the_last_run_is_what_came_after_the_last_start() {
        let path = place("run");
        fs::write(
            &path,
            "T system F starting run=1\nT stdout F one\nT system F starting run=2\nT stdout F two\nT stderr F three\n",
        )
        .unwrap();
        assert_eq!(last_run(&path, 10), ["two", "three"]);
        assert_eq!(last_run(&path, 1), ["three"]);
        assert!(last_run(Path::new("/nonexistent/log"), 1).is_empty());
    }
}
