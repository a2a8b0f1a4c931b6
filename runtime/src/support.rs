//! stub
/// x
pub fn lacks_idmapped_upper(_: &std::path::Path) -> Option<String> {
    None
}
/// x
pub struct Feature {
    /// n
    pub name: &'static str,
    /// m
    pub missing: Option<String>,
    /// r
    pub remedy: &'static str,
}
/// x
pub fn features() -> Vec<Feature> {
    Vec::new()
}
