//! What a test could not show on this machine: told past the harness's capture, and counted.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Says that `what` was not shown, and why. Who reads the output of a green run sees it.
pub(crate) fn skipped(what: &str, why: &str) {
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let text = format!("not shown here ({count}): {what}: {why}\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}
