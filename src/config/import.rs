//! What a file asks a registry for. Data only.

use serde::{Deserialize, Serialize};

use super::ecosystem::{Place, ServiceName};

/// What the file asks a registry for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// The service that it becomes.
    pub service: ServiceName,
    /// `namespace/name`.
    pub artifact: String,
    /// Which versions of it.
    pub range: String,
    /// The service that asks for it.
    pub by: ServiceName,
    /// Where.
    pub place: Place,
}
