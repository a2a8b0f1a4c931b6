//! Configuration files of Go, Cargo and Composer: what of them says where packages come from. Pure.

use serde_json::Value;
use toml::Table;

use super::{names, values};

/// Tables of Cargo's configuration (The Cargo Book, "Configuration"): neither wrappers nor targets nor aliases.
const CARGO: [&str; 5] = ["source", "registries", "registry", "net", "http"];
/// Places in Composer's configuration.
const PLACES: [&str; 8] = [
    "bin-dir",
    "cache-dir",
    "cache-files-dir",
    "cache-repo-dir",
    "cache-vcs-dir",
    "data-dir",
    "home",
    "vendor-dir",
];

/// The lines of `go env -w`'s file that say where modules come from.
pub(super) fn go(text: &str) -> String {
    let kept = text.lines().filter(|line| {
        line.split_once('=')
            .is_some_and(|(name, _)| names::decides_go(name.trim()))
    });
    kept.map(|line| format!("{line}\n")).collect()
}

/// Cargo's tables that say where crates come from. A damaged file is none: Cargo would have said so to its user.
pub(super) fn cargo(text: &str) -> String {
    let mut table: Table = toml::from_str(text).unwrap_or_default();
    table.retain(|name, _| CARGO.contains(&name));
    if let Some(http) = table.get_mut("http").and_then(toml::Value::as_table_mut) {
        // The build asks its own proxy, which asks the caller's.
        http.remove("proxy");
    }
    toml::to_string(&table).unwrap_or_default()
}

/// Composer's configuration without places of its own.
pub(super) fn composer(text: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(config) = value.get_mut("config").and_then(Value::as_object_mut) {
        config.retain(|name, _| !PLACES.contains(&name.as_str()));
    }
    match value {
        Value::Object(_) => format!("{value}\n"),
        _ => "{}\n".to_owned(),
    }
}

/// The same as lines that decide a layer, without credentials.
pub(super) fn lines(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let words = lines.map(|line| line.replace('"', " \" "));
    words
        .map(|line| values::public("", &line).trim_start_matches('=').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_stay_and_what_belongs_to_the_host_goes() {
        let text = "[build]\nrustc-wrapper = \"sccache\"\n[http]\nproxy = \"p:1\"\ntimeout = 9\n[source.crates-io]\nreplace-with = \"near\"\n[source.near]\nregistry = \"sparse+https://u:p@crates.example/index/\"\n";
        let kept = cargo(text);
        assert!(
            kept.contains("crates.example") && kept.contains("timeout"),
            "{kept}"
        );
        assert!(!kept.contains("sccache") && !kept.contains("p:1"), "{kept}");
        let told = lines(&kept).join("\n");
        assert!(
            told.contains("sparse+https://crates.example/index/") && !told.contains("u:p"),
            "{told}"
        );
        assert_eq!(
            go("GOPROXY=https://go.example\nGOFLAGS=-x\nGOBIN=/b\n"),
            "GOPROXY=https://go.example\n"
        );
        let kept = composer(
            r#"{"config": {"cache-dir": "/c", "secure-http": true}, "repositories": [{"type": "composer", "url": "https://u:p@php.example"}]}"#,
        );
        assert!(
            kept.contains("php.example") && kept.contains("secure-http") && !kept.contains("cache-dir"),
            "{kept}"
        );
        assert!(!lines(&kept).join("").contains("u:p"));
        assert_eq!((cargo("["), composer("[")), (String::new(), "{}\n".to_owned()));
    }
}
