//! The supervisor.

mod step;
mod unit;
