//! Upper directories as services leave them, hostile ones included.

use super::*;
use std::os::unix::fs::{MetadataExt, symlink};

/// A directory that is removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pactown-upper-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn block(path: &str, content: &str) -> FileBlock {
    FileBlock {
        path: path.into(),
        content: content.into(),
        mode: 0o644,
        language: String::new(),
        lines: Default::default(),
    }
}

#[test]
fn planted_links_pipes_and_devices_go_and_what_they_point_to_stays() {
    let scratch = Scratch::new("planted");
    let (upper, canary) = (scratch.0.join("upper"), scratch.0.join("canary"));
    fs::create_dir_all(upper.join("real/deep")).unwrap();
    fs::create_dir_all(canary.join("sub")).unwrap();
    fs::write(canary.join("main.py"), "canary").unwrap();
    fs::write(canary.join("sub/x"), "canary").unwrap();
    symlink(&canary, upper.join("app")).unwrap();
    symlink("app", upper.join("cfg")).unwrap();
    fs::hard_link(canary.join("main.py"), upper.join("hard")).unwrap();
    let pipe = rustix::fs::CWD;
    rustix::fs::mknodat(pipe, upper.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    rustix::fs::mknodat(
        pipe,
        upper.join("whiteout"),
        FileType::CharacterDevice,
        Mode::empty(),
        0,
    )
    .unwrap();
    fs::create_dir(upper.join("dir")).unwrap();
    symlink(&canary, upper.join("dir/link")).unwrap();
    fs::write(upper.join("real/deep/kept"), "kept").unwrap();
    fs::write(upper.join("real/deep/x.py"), "old").unwrap();
    let paths = [
        "app/main.py",
        "cfg/sub/x",
        "hard",
        "pipe",
        "whiteout",
        "dir",
        "real/deep/x.py",
        "absent/y",
        "none",
    ];
    let removed = refresh(&upper, &paths.map(str::to_owned)).unwrap();
    assert_eq!(removed, paths[..7]);
    assert_eq!(fs::read_to_string(canary.join("main.py")).unwrap(), "canary");
    assert_eq!(fs::read_to_string(canary.join("sub/x")).unwrap(), "canary");
    assert_eq!(fs::read_to_string(upper.join("real/deep/kept")).unwrap(), "kept");
    assert_eq!(fs::read_dir(&upper).unwrap().count(), 1);
}

#[test]
fn only_changed_blocks_are_refreshed_and_the_services_other_files_stay() {
    let scratch = Scratch::new("changed");
    let place = Place {
        root: scratch.0.join("a/b/root"),
        name: "api".into(),
        upper: None,
    };
    let first = [block("main.py", "1"), block("data.json", "{}")];
    assert!(place.make((4242, 4243), &first).unwrap().is_empty());
    let upper = place.writable().upper;
    for name in ["main.py", "data.json", "own.txt"] {
        fs::write(upper.join(name), "by the service").unwrap();
    }
    assert!(place.make((4242, 4243), &first).unwrap().is_empty());
    let second = [
        block("main.py", "2"),
        block("data.json", "{}"),
        block("new.py", ""),
    ];
    assert_eq!(place.make((4242, 4243), &second).unwrap(), ["main.py"]);
    assert!(!upper.join("main.py").exists());
    assert!(upper.join("data.json").exists() && upper.join("own.txt").exists());
}

#[test]
fn nothing_of_roots_appears_in_a_users_project() {
    let scratch = Scratch::new("owner");
    let place = Place {
        root: scratch.0.join("root"),
        name: "api".into(),
        upper: None,
    };
    let lock = place.lock((4242, 4243)).unwrap();
    place.make((4242, 4243), &[]).unwrap();
    volume(&scratch.0.join("root"), "data", (4242, 4243)).unwrap();
    let mut left = vec![scratch.0.join("root")];
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            (4242, 4243),
            "{}",
            path.display()
        );
        if metadata.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    drop(lock);
}

#[test]
fn what_roots_services_write_is_not_roots() {
    let scratch = Scratch::new("root");
    let place = Place {
        root: scratch.0.clone(),
        name: "api".into(),
        upper: None,
    };
    place.make((0, 0), &[]).unwrap();
    assert!(fs::metadata(place.writable().upper).unwrap().uid() >= crate::identity::STORAGE_BASE);
    assert_eq!(fs::metadata(place.writable().work).unwrap().uid(), 0);
}

#[test]
fn a_link_in_place_of_an_upper_directory_is_refused() {
    let scratch = Scratch::new("link");
    let target = scratch.0.join("target");
    fs::create_dir(&target).unwrap();
    symlink(&target, scratch.0.join("api")).unwrap();
    let place = Place {
        root: scratch.0.clone(),
        name: "api".into(),
        upper: None,
    };
    assert!(place.make((4242, 4243), &[]).is_err());
    assert_ne!(fs::metadata(&target).unwrap().uid(), 4242);
}

#[test]
fn an_upper_directory_is_for_one_sandbox_at_a_time() {
    let scratch = Scratch::new("lock");
    let place = Place {
        root: scratch.0.clone(),
        name: "api".into(),
        upper: None,
    };
    let lock = place.lock((0, 0)).unwrap();
    assert!(lock.is_some());
    assert!(place.lock((0, 0)).unwrap().is_none());
    drop(lock);
    assert!(place.lock((0, 0)).unwrap().is_some());
}
