//! Lock files of package managers → the packages in them, with their versions, for reports. What is not understood is
//! left out: the manager itself judges its file. Pure.

use serde_json::Value;
use toml::Table;

/// The packages that the lock file `name` has.
pub(super) fn of(name: &str, text: &str) -> Vec<(String, String)> {
    match name {
        "go.sum" => of_go(text),
        "Cargo.lock" => of_cargo(text),
        "composer.lock" => of_composer(text),
        _ => Vec::new(),
    }
}

/// Lines `module version h1:…`; of a `version/go.mod` only the file is known (Go Modules Reference, "go.sum files").
fn of_go(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    lines
        .filter_map(|words| match words.as_slice() {
            [module, version, _] if !version.ends_with("/go.mod") => {
                Some(((*module).to_owned(), (*version).to_owned()))
            }
            _ => None,
        })
        .collect()
}

/// Packages with a source; those without are the README's own.
fn of_cargo(text: &str) -> Vec<(String, String)> {
    let lock: Table = toml::from_str(text).unwrap_or_default();
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let field = |package: &toml::Value, name: &str| Some(package.get(name)?.as_str()?.to_owned());
    packages
        .into_iter()
        .flatten()
        .filter(|package| package.get("source").is_some())
        .filter_map(|package| Some((field(package, "name")?, field(package, "version")?)))
        .collect()
}

fn of_composer(text: &str) -> Vec<(String, String)> {
    let lock: Value = serde_json::from_str(text).unwrap_or_default();
    let field = |package: &Value, name: &str| Some(package.get(name)?.as_str()?.to_owned());
    ["packages", "packages-dev"]
        .iter()
        .filter_map(|group| lock.get(group)?.as_array())
        .flatten()
        .filter_map(|package| Some((field(package, "name")?, field(package, "version")?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lock_file_tells_what_it_holds() {
        let pair = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let go = "rsc.io/quote v1.5.2 h1:aa=\nrsc.io/quote v1.5.2/go.mod h1:bb=\n";
        assert_eq!(of("go.sum", go), [pair("rsc.io/quote", "v1.5.2")]);
        let cargo = "version = 3\n[[package]]\nname = \"app\"\nversion = \"0.0.0\"\n[[package]]\nname = \"itoa\"\nversion = \"1.0.9\"\nsource = \"registry+x\"\n";
        assert_eq!(of("Cargo.lock", cargo), [pair("itoa", "1.0.9")]);
        let composer = r#"{"packages": [{"name": "psr/log", "version": "3.0.0"}], "packages-dev": []}"#;
        assert_eq!(of("composer.lock", composer), [pair("psr/log", "3.0.0")]);
        assert!(of("Cargo.lock", "[").is_empty() && of("composer.json", "{}").is_empty());
    }
}
