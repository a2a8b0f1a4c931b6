//! The ecosystem file: `saas.pactown.yaml` text → [`Ecosystem`], with every problem of the file at once.
//!
//! Only this module sees unvalidated YAML: an [`Ecosystem`] that exists is valid. Reads one file, writes nothing.

pub mod ecosystem;
mod dotenv;
mod interpolate;
mod report;
mod scalars;
mod tree;

pub use ecosystem::Ecosystem;
