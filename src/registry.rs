//! The registry: stores, versions and serves READMEs.
//!
//! One way: `store` keeps them; `server` answers HTTP requests from a store; `client` asks a server, or the same
//! answering code in this process over the user's own store. Knows nothing of sandboxes.

pub mod api;
pub mod client;
pub mod evidence;
pub mod name;
pub mod server;
pub mod signing;
pub mod store;
pub mod text;
pub mod version;
