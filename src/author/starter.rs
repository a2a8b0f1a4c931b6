//! What `init` writes: two services that run with nothing but python3, with tests. Pure.

/// Path relative to the ecosystem file, and text, of each file besides it.
pub const READMES: [(&str, &str); 2] = [
    ("api/README.md", include_str!("starter/api.md")),
    ("web/README.md", include_str!("starter/web.md")),
];

/// The ecosystem file for an ecosystem of this name.
pub fn ecosystem(name: &str) -> String {
    // A name is a DNS label: YAML takes it for text once it is quoted.
    include_str!("starter/saas.pactown.yaml").replace("NAME", name)
}
