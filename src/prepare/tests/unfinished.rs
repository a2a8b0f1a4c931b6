//! What builds leave that do not come to their end.

use super::*;

#[test]
fn what_a_killed_builder_left_is_cleared_and_never_seen() {
    let store = Store::new("killed");
    let plans = plan(
        &flask(),
        &toolchains(&["python3"]),
        &BuildSettings::default(),
        &[],
    )
    .unwrap();
    let making = store.0.join(format!(".making-{}", plans[1].key));
    fs::create_dir_all(making.join("upper/.venv")).unwrap();
    fs::write(making.join("upper/.venv/half"), "half").unwrap();
    assert_eq!(store.1.lookup(&plans[1].key), None);
    let runner = Pretend {
        runs: AtomicU32::new(0),
        status: ExitStatus::Code(0),
    };
    let made = store.make(&flask(), &runner).unwrap();
    assert!(!made[1].join(".venv/half").exists());
    assert!(!making.exists());
}

#[test]
fn a_build_that_dies_slowly_is_not_waited_for() {
    let store = Store::new("dying");
    let plans = plan(
        &flask(),
        &toolchains(&["python3"]),
        &BuildSettings::default(),
        &[],
    )
    .unwrap();
    let upper = store.0.join(format!(".making-{}/upper", plans[1].key));
    fs::create_dir_all(&upper).unwrap();
    let directory = fs::File::open(&upper).unwrap();
    let dying = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // As a process does whose directory is moved and emptied under it.
            let below = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&directory));
            for number in (0..100_000).cycle() {
                if !dying.load(Ordering::SeqCst) {
                    return;
                }
                let _ = fs::write(format!("{below}/{number}"), "");
            }
        });
        let made = store.make(&flask(), &succeeding());
        dying.store(false, Ordering::SeqCst);
        assert!(made.unwrap()[1].join(".venv/bin/python").exists());
    });
    // The next one who makes something clears away what is left.
    let other = recipe(vec![], &[(DepsLanguage::Python, &["other"])]);
    store.make(&other, &succeeding()).unwrap();
    let left = store.names();
    assert!(!left.iter().any(|name| name.starts_with('.')), "{left:?}");
}
