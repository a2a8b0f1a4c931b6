//! Named points of a network's life at which a test can abort, delay or fail this process.
//!
//! Compiled to nothing without the feature `failpoints`. With it, `PACTOWN_FAILPOINTS=name=abort;other=errno:ENOSPC`
//! (also `sleep:MILLISECONDS`, `panic`) is read when a point is passed.

/// Every point there is, in the order of a life. Passing one that is not listed panics.
pub const FAILPOINTS: &[&str] = &[
    "router-created",
    "uplink-created",
    "uplink-configured",
    "policy-in-router",
    "policy-on-host",
    "forwarding-enabled",
    "mended",
    "node-namespace-created",
    "node-link-created",
    "node-configured",
    "node-detached",
    "host-table-deleted",
    "uplink-deleted",
];

/// Passes the point `name`.
///
/// # Errors
/// The errno that a test asked for.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn hit(_name: &str) -> std::io::Result<()> {
    Ok(())
}

/// Passes the point `name`.
///
/// # Errors
/// The errno that a test asked for.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) -> std::io::Result<()> {
    assert!(FAILPOINTS.contains(&name), "failpoint {name} is not registered");
    let plan = std::env::var("PACTOWN_FAILPOINTS").unwrap_or_default();
    let action = plan
        .split(';')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    match action.map(|action| action.split_once(':').unwrap_or((action, ""))) {
        None => Ok(()),
        Some(("abort", _)) => std::process::abort(),
        Some(("panic", _)) => panic!("failpoint {name}"),
        Some(("sleep", milliseconds)) => {
            std::thread::sleep(std::time::Duration::from_millis(
                milliseconds.parse().expect("milliseconds"),
            ));
            Ok(())
        }
        Some(("errno", "ENOSPC")) => Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
        Some(("errno", "EPERM")) => Err(std::io::Error::from_raw_os_error(libc::EPERM)),
        Some((action, _)) => panic!("failpoint {name}: unknown action {action}"),
    }
}
