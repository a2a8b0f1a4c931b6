//! What of ours is in the host's namespace, read from the kernel: tables and links that carry pactown's names.

use crate::error::Result;
use crate::link::Links;
use crate::nft;

/// An object of some instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// `table` or `link`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The instance's tag, from the name.
    pub tag: String,
}

/// Every table `pactown_<tag>` and link `pt<tag>` of the host.
///
/// # Errors
/// The kernel's netlink refuses.
pub fn list() -> Result<Vec<Leftover>> {
    let tables = nft::Session::open()?
        .tables()?
        .into_iter()
        .filter_map(|name| found("table", "pactown_", name));
    let links = Links::open()?
        .list()?
        .into_iter()
        .filter_map(|(_, name, ..)| found("link", "pt", name));
    Ok(tables.chain(links).collect())
}

fn found(kind: &'static str, prefix: &str, name: String) -> Option<Leftover> {
    let tag = name.strip_prefix(prefix)?.to_owned();
    let is_tag = tag.len() == 8 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_tag.then_some(Leftover { kind, name, tag })
}
