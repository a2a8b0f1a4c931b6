//! The control API: HTTP over `<instance>/control.sock` between the CLI and the supervisor.
//!
//! Root may do everything; the invoking user may read. Who asks is taken from `SO_PEERCRED`, never from the request.
//! What an answer means is decided in [`crate::supervisor`]; nothing here knows about services.

pub mod api;
pub mod client;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod server;

pub use client::Client;
