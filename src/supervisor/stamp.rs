//! The time of day, to be written down and shown. Nothing is measured or waited for by it: it can be set.

/// Microseconds since the Unix epoch.
pub(super) fn now_usec() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}
