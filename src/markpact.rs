//! The executable README: Markdown text → [`Recipe`], with the line of every block.
//!
//! Pure apart from reading the one file. Knows nothing of services, ports or sandboxes.

pub mod recipe;

pub use recipe::Recipe;
