//! Why a service could not be made, in the words and with the exit code that its user gets.

use crate::bundle::BundleError;
use crate::error::chain;
use crate::identity::IdentityError;
use crate::prepare::PrepareError;
use crate::prepare::disk::DiskError;
use crate::prepare::layers::LayerError;

/// Why a service could not be made.
#[derive(Debug)]
pub(super) struct Unmade {
    /// One line.
    pub(super) cause: String,
    /// What is worth reading below it.
    pub(super) details: Vec<String>,
    /// What a command that waits for it exits with.
    pub(super) exit: i32,
}

impl Unmade {
    /// The host's fault.
    pub(super) fn host(error: &dyn std::error::Error) -> Self {
        Self {
            cause: chain(error),
            details: Vec::new(),
            exit: 3,
        }
    }
}

impl From<LayerError> for Unmade {
    fn from(error: LayerError) -> Self {
        Self::host(&error)
    }
}

impl From<IdentityError> for Unmade {
    fn from(error: IdentityError) -> Self {
        Self::host(&error)
    }
}

impl From<BundleError> for Unmade {
    fn from(error: BundleError) -> Self {
        Self::host(&error)
    }
}

impl From<pactown_netns::Error> for Unmade {
    fn from(error: pactown_netns::Error) -> Self {
        Self::host(&error)
    }
}

impl From<DiskError> for Unmade {
    fn from(error: DiskError) -> Self {
        Self::host(&error)
    }
}

impl From<PrepareError> for Unmade {
    fn from(error: PrepareError) -> Self {
        let mut details = error.details().to_vec();
        details.extend(error.hint().map(|hint| format!("hint: {hint}")));
        Self {
            cause: chain(&error),
            details,
            exit: match error {
                PrepareError::Install { .. } => 1,
                _ => 3,
            },
        }
    }
}
