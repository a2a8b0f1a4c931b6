//! The control API: HTTP over `<instance>/control.sock` between the CLI and the supervisor.
//!
//! Root may do everything; the invoking user may read. Who asks is taken from `SO_PEERCRED`, never from the request.

pub mod api;
