//! Layers of a sandbox that a test may leave out, to see that the layer is what denies, and what denies behind it.
//!
//! Compiled to nothing without the feature `failpoints`. With it, `PACTOWN_TEST_DISABLE=seccomp,landlock` in the
//! keeper's environment leaves these out of every sandbox that it makes.

/// A layer that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// The filter of system calls.
    Seccomp,
    /// The Landlock domain.
    Landlock,
    /// Hidden paths and those of `readonlyPaths`.
    Masks,
    /// Read-only flags of mounts.
    ReadOnly,
    /// The user namespace: ids inside are those of the host.
    UserNamespace,
    /// The limit on nested user namespaces.
    Nested,
    /// Giving up capabilities.
    Capabilities,
    /// The network namespace.
    Network,
}

impl Layer {
    /// Whether a test has left it out.
    #[cfg(not(feature = "failpoints"))]
    #[inline]
    pub(crate) fn is_off(self) -> bool {
        false
    }

    /// Whether a test has left it out.
    #[cfg(feature = "failpoints")]
    pub(crate) fn is_off(self) -> bool {
        let plan = std::env::var("PACTOWN_TEST_DISABLE").unwrap_or_default();
        plan.split(',').any(|word| word == self.name())
    }

    #[cfg(feature = "failpoints")]
    fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::Masks => "masks",
            Self::ReadOnly => "read-only",
            Self::UserNamespace => "user-namespace",
            Self::Nested => "nested",
            Self::Capabilities => "capabilities",
            Self::Network => "network",
        }
    }
}
