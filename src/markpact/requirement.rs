//! One line of a `deps` block for Go, Rust, PHP and the distribution: its shape, and the parts of it. Pure. What pip and npm
//! take has too many shapes to be judged here.

use super::recipe::DepsLanguage;

impl DepsLanguage {
    /// The file of a README that names all its dependencies, where a `deps` block adds none to it.
    pub fn manifest(self) -> Option<&'static str> {
        match self {
            Self::Go => Some("go.mod"),
            Self::Rust => Some("Cargo.toml"),
            Self::Php => Some("composer.json"),
            Self::Python | Self::Node | Self::System => None,
        }
    }
}

/// How to write it, when `text` is no dependency of that language.
pub(super) fn fault(language: DepsLanguage, text: &str) -> Option<&'static str> {
    match language {
        DepsLanguage::Python | DepsLanguage::Node => None,
        DepsLanguage::Go => go(text)
            .is_none()
            .then_some("write a module with or without a version: example.org/module@v1.2.3"),
        DepsLanguage::Rust => rust(text)
            .is_none()
            .then_some("write it as in Cargo.toml, in one line: serde = \"1\", or serde@1"),
        DepsLanguage::Php => php(text)
            .is_none()
            .then_some("write a package with or without a constraint: monolog/monolog:^3"),
        DepsLanguage::System => system(text)
            .is_none()
            .then_some("write a Debian package with or without a version: jq, or jq=1.6-2.1"),
    }
}

/// The name in a requirement, as a manifest would have it.
pub(super) fn name(language: DepsLanguage, text: &str) -> &str {
    let ends: &[char] = match language {
        DepsLanguage::Rust => &['=', '@', ' ', '\t'],
        DepsLanguage::Php => &[':', ' ', '\t'],
        _ => &['@', '=', ' ', '\t'],
    };
    text.split(ends).next().unwrap_or(text)
}

fn split<'t>(text: &'t str, ends: &[char]) -> (&'t str, &'t str) {
    let end = text.find(ends).unwrap_or(text.len());
    let rest = text[end..].trim_start_matches(|c: char| ends.contains(&c));
    (&text[..end], rest.trim())
}

/// `module@version` of `module`, `module@version` or, as in a go.mod, `module version`.
pub(crate) fn go(text: &str) -> Option<String> {
    let (module, version) = split(text, &['@', ' ', '\t']);
    let path = |c: char| c.is_ascii_alphanumeric() || "-_.~/+".contains(c);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+/".contains(c);
    let fits = module.starts_with(|c: char| c.is_ascii_alphanumeric())
        && module.chars().all(path)
        && !module.contains("..")
        && version.chars().all(plain);
    let version = if version.is_empty() { "latest" } else { version };
    fits.then(|| format!("{module}@{version}"))
}

/// A line of `[dependencies]` of `name`, `name@version` or such a line itself.
pub(crate) fn rust(text: &str) -> Option<String> {
    let line = match text.split_once('=').filter(|(name, _)| !name.contains('@')) {
        Some(_) => text.to_owned(),
        None => {
            let (name, version) = split(text, &['@', ' ', '\t']);
            let version = if version.is_empty() { "*" } else { version };
            format!("{name} = \"{version}\"")
        }
    };
    let table: toml::Table = toml::from_str(&line).ok()?;
    let (name, value) = table.iter().next().filter(|_| table.len() == 1)?;
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    (named && (value.is_str() || value.is_table())).then_some(line)
}

/// `name` or `name:constraint` of the same, or of `name constraint`.
pub(crate) fn php(text: &str) -> Option<String> {
    let (package, constraint) = split(text, &[':', ' ', '\t']);
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let platform = package == "php" || package.starts_with("ext-") || package.starts_with("lib-");
    let fits = match package.split_once('/') {
        Some((vendor, name)) => part(vendor) && part(name),
        None => platform && part(package),
    };
    let plain = constraint.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    match constraint {
        "" if fits => Some(package.to_owned()),
        constraint if fits && plain => Some(format!("{package}:{constraint}")),
        _ => None,
    }
}

/// The text, when it is a Debian package's name (Debian Policy, 5.6.1) with or without a version.
pub(crate) fn system(text: &str) -> Option<String> {
    let (name, version) = split(text, &['=']);
    // For apt-get(8) a hyphen at the end asks for the removal.
    let fits = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
        && !name.ends_with('-');
    let plain = version
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || ".+-~:".contains(c));
    (fits && plain).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_its_own_shape() {
        let good = [
            (DepsLanguage::Go, "rsc.io/quote", "rsc.io/quote@latest"),
            (DepsLanguage::Go, "rsc.io/quote@v1.5.2", "rsc.io/quote@v1.5.2"),
            (DepsLanguage::Go, "rsc.io/quote v1.5.2", "rsc.io/quote@v1.5.2"),
            (DepsLanguage::Rust, "itoa", "itoa = \"*\""),
            (DepsLanguage::Rust, "itoa@1.0", "itoa = \"1.0\""),
            (DepsLanguage::Rust, "itoa = \"1\"", "itoa = \"1\""),
            (
                DepsLanguage::Rust,
                "serde = { version = \"1\", features = [\"derive\"] }",
                "serde = { version = \"1\", features = [\"derive\"] }",
            ),
            (DepsLanguage::Php, "psr/log", "psr/log"),
            (DepsLanguage::Php, "psr/log ^3 || ^2", "psr/log:^3 || ^2"),
            (DepsLanguage::Php, "ext-json:*", "ext-json:*"),
            (DepsLanguage::System, "libstdc++6", "libstdc++6"),
            (DepsLanguage::System, "g++", "g++"),
            (DepsLanguage::System, "jq=1.6-2.1+deb12u1", "jq=1.6-2.1+deb12u1"),
        ];
        for (language, text, wanted) in good {
            let normal = match language {
                DepsLanguage::Go => go(text),
                DepsLanguage::Rust => rust(text),
                DepsLanguage::Php => php(text),
                _ => system(text),
            };
            assert_eq!(normal.as_deref(), Some(wanted), "{text}");
            assert_eq!(fault(language, text), None);
        }
    }

    #[test]
    fn what_would_be_an_option_a_path_or_another_line_is_refused() {
        for (language, text) in [
            (DepsLanguage::Go, "../x"),
            (DepsLanguage::Go, "a b c"),
            (DepsLanguage::Go, "$(id)"),
            (DepsLanguage::Rust, "itoa = 1"),
            (DepsLanguage::Rust, "[dependencies]"),
            (DepsLanguage::Rust, "a b = \"1\""),
            (DepsLanguage::Php, "monolog"),
            (DepsLanguage::Php, "a/b/c"),
            (DepsLanguage::System, "Jq"),
            (DepsLanguage::System, "jq-"),
            (DepsLanguage::System, "jq=1 x"),
            (DepsLanguage::System, "./x.deb"),
        ] {
            assert!(fault(language, text).is_some(), "{text}");
        }
    }

    #[test]
    fn the_name_is_what_a_manifest_has() {
        assert_eq!(name(DepsLanguage::Go, "rsc.io/quote@v1"), "rsc.io/quote");
        assert_eq!(name(DepsLanguage::Rust, "serde = { version = \"1\" }"), "serde");
        assert_eq!(name(DepsLanguage::Php, "psr/log:^3"), "psr/log");
    }
}
