//! The store of layers between processes: one builds, others wait; what a killed one leaves is never seen.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pactown::prepare::Layers;
use pactown::prepare::layers::LayerError;

const KEY: &str = "4f6b1c";

/// A store that is removed with the test.
struct Store(PathBuf);

impl Store {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pactown-store-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a store");
        Self(path)
    }

    /// Another process that makes the layer and stops in the middle until `<store>/go` appears.
    fn builder(&self) -> Child {
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "layers::builder", "--ignored", "--nocapture"])
            .env("PACTOWN_TEST_STORE", &self.0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("another process")
    }

    fn wait_for(&self, name: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.0.join(name).exists() {
            assert!(Instant::now() < end, "{name} did not appear");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn content(making: &Path, text: &str) -> PathBuf {
    let content = making.join("content");
    fs::create_dir(&content).expect("an empty directory");
    fs::write(content.join("text"), text).expect("a file");
    content
}

/// Not a test of its own: what the other process runs.
#[test]
#[ignore = "the other process of the tests below"]
fn builder() {
    let store = PathBuf::from(std::env::var_os("PACTOWN_TEST_STORE").expect("a store"));
    let made = Layers::at(&store).obtain::<LayerError>(KEY, |making| {
        let content = content(making, "theirs");
        fs::write(store.join("started"), "").expect("a mark");
        while !store.join("go").exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(content)
    });
    made.expect("a layer");
}

#[test]
fn the_second_process_waits_for_the_first_and_builds_nothing() {
    let store = Store::new("two");
    let mut first = store.builder();
    store.wait_for("started");
    let layers = Layers::at(&store.0);
    assert_eq!(layers.lookup(KEY), None, "half a layer is no layer");
    let root = store.0.clone();
    let second = std::thread::spawn(move || {
        Layers::at(&root)
            .obtain::<LayerError>(KEY, |_| panic!("built twice"))
            .expect("the first one's layer")
    });
    // Whether it waits is asked of the kernel: /proc/locks lists waiters with an arrow (proc_locks(5)).
    let end = Instant::now() + Duration::from_secs(20);
    while !fs::read_to_string("/proc/locks")
        .expect("locks")
        .contains("-> FLOCK")
    {
        assert!(Instant::now() < end, "the second process does not wait");
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::write(store.0.join("go"), "").expect("a mark");
    let layer = second.join().expect("no panic");
    assert_eq!(fs::read_to_string(layer.join("text")).expect("a file"), "theirs");
    assert!(first.wait().expect("an end").success());
}

#[test]
fn a_killed_builder_leaves_nothing_that_is_seen_and_the_next_one_builds() {
    let store = Store::new("killed");
    let mut first = store.builder();
    store.wait_for("started");
    first.kill().expect("SIGKILL");
    first.wait().expect("an end");
    let layers = Layers::at(&store.0);
    assert_eq!(layers.lookup(KEY), None);
    let layer = layers
        .obtain::<LayerError>(KEY, |making| Ok(content(making, "ours")))
        .expect("a layer");
    assert_eq!(fs::read_to_string(layer.join("text")).expect("a file"), "ours");
    assert!(!store.0.join(format!(".making-{KEY}")).exists());
}
