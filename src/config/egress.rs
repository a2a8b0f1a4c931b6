//! What a service may reach outside. Data only.

use serde::{Deserialize, Serialize};

/// `egress:`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Egress {
    /// `all` (default).
    #[default]
    All,
    /// `none`.
    None,
    /// A list of `ADDRESS[/PREFIX][:PORT]`.
    Only(Vec<String>),
}
