//! One failure type for the whole crate: what was being done, to what, and the kernel's reason.

use std::io;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call or a file.
    #[error("{step}")]
    Io {
        /// A verb phrase naming its object.
        step: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A request on a route netlink socket.
    #[error("{step}")]
    Route {
        /// A verb phrase naming its object.
        step: String,
        /// The kernel's answer.
        #[source]
        source: rtnetlink::Error,
    },
    /// Several independent steps of a removal; the others were carried out.
    #[error("{}", .0.iter().map(describe).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
    /// The address range is used up, or no free range was found.
    #[error("{0}")]
    Addresses(String),
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

fn describe(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Names the step of a fallible call.
pub(crate) trait During<T> {
    /// `step` failed.
    fn during(self, step: impl FnOnce() -> String) -> Result<T>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { step: step(), source })
    }
}

impl<T> During<T> for std::result::Result<T, nix::errno::Errno> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Error::Io {
            step: step(),
            source: errno.into(),
        })
    }
}

impl<T> During<T> for std::result::Result<T, rtnetlink::Error> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Route { step: step(), source })
    }
}

/// Collects the failures of steps that do not depend on each other: a removal goes on past the first.
#[derive(Debug, Default)]
pub(crate) struct Collected(Vec<Error>);

impl Collected {
    pub(crate) fn step(&mut self, result: Result<()>) {
        self.0.extend(result.err());
    }

    pub(crate) fn finish(self) -> Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Error::Several(self.0))
        }
    }
}
