//! What the user wants to run: the validated ecosystem, its READMEs and who asked. Made by the CLI,
//! sent to the supervisor as JSON; everything later is computed from it.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::config::Ecosystem;
use crate::config::ecosystem::ServiceName;
use crate::instance::Instance;
use crate::markpact::Recipe;

/// The whole wish, self-contained: no file of the user's is read again after this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    /// Which copy.
    pub instance: Instance,
    /// The configuration.
    pub ecosystem: Ecosystem,
    /// One recipe per service.
    pub recipes: IndexMap<ServiceName, Recipe>,
    /// Who asked.
    pub caller: Caller,
}

/// The person (or CI job) behind the command: `sudo`'s invoking user, else the user itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// `SUDO_UID`, else the real uid.
    pub uid: u32,
    /// `SUDO_GID`, else the real gid.
    pub gid: u32,
    /// Login name.
    pub user: String,
    /// Home directory (of the invoking user, also under sudo).
    pub home: PathBuf,
    /// Directories of PATH: the invoking user's login PATH under sudo when it can be learnt, then the process's own.
    pub path: Vec<PathBuf>,
    /// The caller's environment as it came, for the allow-list, `env_passthrough` and the build phase's
    /// pip/npm/proxy settings. Never written to disk.
    pub env: IndexMap<String, String>,
}
