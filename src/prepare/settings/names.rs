//! Which variables and options of installers count, by name. Pure.

use indexmap::IndexMap;

/// Variables of proxies and certificates (either case for the proxies, as curl(1) reads them).
const GENERAL: [&str; 12] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "LANG",
    "TZ",
];

/// Options that say where an installer puts things, and what proxy it asks: the build has its own.
const LOCATIONS: [&str; 28] = [
    "cache",
    "cache_dir",
    "config_file",
    "globalconfig",
    "global_style",
    "home",
    "http_proxy",
    "https_proxy",
    "init_module",
    "install_dir",
    "log",
    "log_file",
    "logs_dir",
    "noproxy",
    "prefix",
    "project_environment",
    "proxy",
    "python",
    "python_install_dir",
    "require_virtualenv",
    "root",
    "src",
    "target",
    "tmp",
    "tool_dir",
    "user",
    "userconfig",
    "virtualenv",
];

/// Settings for caches and mirrors under pactown's own names, and what the installers call them.
const MIRRORS: [(&str, &str); 7] = [
    ("PACTOWN_PIP_INDEX_URL", "PIP_INDEX_URL"),
    ("PACTOWN_PIP_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
    ("PACTOWN_PIP_TRUSTED_HOST", "PIP_TRUSTED_HOST"),
    ("PACTOWN_PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT"),
    ("PACTOWN_PIP_DEFAULT_TIMEOUT", "PIP_DEFAULT_TIMEOUT"),
    ("PACTOWN_PIP_RETRIES", "PIP_RETRIES"),
    ("PACTOWN_NPM_REGISTRY_URL", "NPM_CONFIG_REGISTRY"),
];

/// The variables of `caller` that a build gets.
pub(super) fn environment(caller: &IndexMap<String, String>) -> IndexMap<String, String> {
    let taken = caller.iter().filter(|(name, _)| is_taken(name));
    let mut env: IndexMap<String, String> =
        taken.map(|(name, value)| (name.clone(), value.clone())).collect();
    for (own, name) in MIRRORS {
        if let Some(value) = caller.get(own).filter(|value| !value.is_empty()) {
            env.insert(name.to_owned(), value.clone());
        }
    }
    env
}

fn is_taken(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    if GENERAL.contains(&upper.as_str()) {
        return true;
    }
    if decides_go(name) || decides_cargo(name) || upper == "COMPOSER_AUTH" {
        return true;
    }
    let option = ["PIP_", "NPM_CONFIG_", "UV_"]
        .iter()
        .find_map(|prefix| upper.strip_prefix(prefix));
    option.is_some_and(|option| !is_location(option))
}

/// Whether a variable of Go's says where modules come from and who vouches for them (`go help environment`).
pub(super) fn decides_go(name: &str) -> bool {
    let names = [
        "GOPROXY",
        "GOPRIVATE",
        "GONOPROXY",
        "GOSUMDB",
        "GONOSUMDB",
        "GOINSECURE",
        "GOVCS",
        "GOAUTH",
    ];
    names.contains(&name)
}

/// Whether a variable of Cargo's says where crates come from (The Cargo Book, "Environment Variables"). Its proxy is the
/// build's own.
pub(super) fn decides_cargo(name: &str) -> bool {
    let prefixes = [
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_HTTP_",
        "CARGO_NET_",
    ];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) && name != "CARGO_HTTP_PROXY"
}

/// Whether an option names a place of the installer's own.
pub(super) fn is_location(option: &str) -> bool {
    let plain = option.to_ascii_lowercase().replace('-', "_");
    LOCATIONS.contains(&plain.as_str())
}

/// Whether an option of pip changes what is installed.
pub(super) fn decides_pip(option: &str) -> bool {
    let options = [
        "index-url",
        "extra-index-url",
        "find-links",
        "no-index",
        "constraint",
        "pre",
        "prefer-binary",
        "no-binary",
        "only-binary",
        "no-build-isolation",
        "platform",
        "implementation",
        "abi",
        "upgrade-strategy",
        "no-deps",
    ];
    options.contains(&option.to_ascii_lowercase().replace('_', "-").as_str())
}

/// Whether an option of uv changes what is installed.
pub(super) fn decides_uv(option: &str) -> bool {
    let options = [
        "constraint",
        "override",
        "prerelease",
        "resolution",
        "exclude_newer",
        "no_binary",
        "find_links",
    ];
    option.contains("index") || options.contains(&option)
}

/// Whether an option of npm changes what is installed; scoped registries (`@scope:registry`) do too.
pub(super) fn decides_npm(option: &str) -> bool {
    let options = [
        "registry",
        "omit",
        "include",
        "legacy-peer-deps",
        "ignore-scripts",
        "tag",
        "before",
        "install-strategy",
    ];
    let option = option.to_ascii_lowercase().replace('_', "-");
    options.contains(&option.as_str()) || (option.starts_with('@') && option.ends_with(":registry"))
}
