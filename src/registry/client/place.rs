//! Which registry is meant, and with which token. The first that says something counts:
//!
//! | | registry | token |
//! |---|---|---|
//! | 1 | `--registry` | |
//! | 2 | `PACTOWN_REGISTRY_URL` | `PACTOWN_REGISTRY_TOKEN` |
//! | 3 | `registry.url` of the ecosystem file | `registry.auth_token` of the ecosystem file, filled in from a variable |
//! | 4 | the last `registry login` | the token of a `registry login` to that registry |
//! | 5 | the user's own store | none is needed |

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::login::Logins;
use super::transport::{ClientError, Transport};

/// A registry that was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A server.
    Server {
        /// Its address, without a `/` at the end.
        url: String,
        /// A token, when there is one for it.
        token: Option<String>,
    },
    /// A store on this machine.
    Store(PathBuf),
}

/// Who may say which registry is meant.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--registry`.
    pub option: Option<String>,
    /// `PACTOWN_REGISTRY_URL`.
    pub variable: Option<String>,
    /// `registry.url`.
    pub file: Option<String>,
    /// `PACTOWN_REGISTRY_TOKEN`.
    pub token_variable: Option<String>,
    /// `registry.auth_token`.
    pub token_file: Option<String>,
    /// What `login` kept.
    pub logins: Logins,
    /// The user's own store.
    pub store: PathBuf,
}

impl Place {
    /// The one that counts.
    ///
    /// # Errors
    /// What was written is neither `local`, a path nor an address.
    pub fn choose(sources: &Sources) -> Result<Self, String> {
        let written = [
            &sources.option,
            &sources.variable,
            &sources.file,
            &sources.logins.default,
        ];
        let Some(text) = written.into_iter().flatten().find(|text| !text.is_empty()) else {
            return Ok(Self::Store(sources.store.clone()));
        };
        if text == "local" {
            return Ok(Self::Store(sources.store.clone()));
        }
        if text.starts_with(['/', '.']) {
            return Ok(Self::Store(PathBuf::from(text)));
        }
        let url = address(text)?;
        let tokens = [
            sources.token_variable.as_ref(),
            sources.token_file.as_ref(),
            sources.logins.tokens.get(&url),
        ];
        let token = tokens
            .into_iter()
            .flatten()
            .find(|token| !token.is_empty())
            .cloned();
        Ok(Self::Server { url, token })
    }

    /// The way there.
    ///
    /// # Errors
    /// The store cannot be opened; or a token would travel in the clear.
    pub fn open(&self) -> Result<Transport, ClientError> {
        match self {
            Self::Store(directory) => Transport::local(directory),
            Self::Server { url, token: Some(_) } if !is_private(url) => Err(ClientError::Unreachable(
                format!("the token for {url} would travel in the clear: use https"),
            )),
            Self::Server { url, token } => Ok(Transport::http(url, token.clone())),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server { url, .. } => out.write_str(url),
            Self::Store(directory) => directory.display().fmt(out),
        }
    }
}

/// An address of a server in its one spelling.
///
/// # Errors
/// It is none.
pub fn address(text: &str) -> Result<String, String> {
    let wrong = || {
        let shown = crate::registry::text::plain(text);
        format!("'{shown}' is no registry: write https://HOST[:PORT], a path to a store, or local")
    };
    let uri: axum::http::Uri = text.parse().map_err(|_| wrong())?;
    let (scheme, authority) = (
        uri.scheme_str(),
        uri.authority().map(|authority| authority.as_str()),
    );
    match (scheme, authority) {
        (Some(scheme @ ("http" | "https")), Some(authority))
            if !authority.contains('@') && uri.query().is_none() =>
        {
            let path = uri.path().trim_end_matches('/');
            Ok(format!("{scheme}://{}{path}", authority.to_ascii_lowercase()))
        }
        _ => Err(wrong()),
    }
}

/// Nobody on the way can read along: TLS, or no way at all.
fn is_private(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return true;
    };
    let host = rest.split('/').next().unwrap_or(rest);
    let host = match host.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => host,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The store of a user with this home and environment.
pub fn own_store(home: &Path, data_home: Option<&str>) -> PathBuf {
    let base = data_home.map(PathBuf::from).filter(|path| path.is_absolute());
    base.unwrap_or_else(|| home.join(".local/share"))
        .join("pactown/registry")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        Sources {
            store: "/store".into(),
            ..Sources::default()
        }
    }

    #[test]
    fn the_first_that_says_something_counts() {
        assert_eq!(Place::choose(&sources()), Ok(Place::Store("/store".into())));
        let mut all = Sources {
            option: Some("https://a.test/".into()),
            variable: Some("https://b.test".into()),
            file: Some("https://c.test".into()),
            token_variable: Some("t1".into()),
            token_file: Some("t2".into()),
            ..sources()
        };
        all.logins.default = Some("https://d.test".into());
        all.logins.tokens.insert("https://d.test".into(), "t3".into());
        let chosen = |sources: &Sources| match Place::choose(sources).unwrap() {
            Place::Server { url, token } => (url, token.unwrap_or_default()),
            Place::Store(path) => (path.display().to_string(), String::new()),
        };
        assert_eq!(chosen(&all), ("https://a.test".into(), "t1".into()));
        all.option = None;
        all.token_variable = None;
        assert_eq!(chosen(&all), ("https://b.test".into(), "t2".into()));
        all.variable = Some(String::new());
        all.token_file = None;
        assert_eq!(chosen(&all), ("https://c.test".into(), String::new()));
        all.file = None;
        assert_eq!(chosen(&all), ("https://d.test".into(), "t3".into()));
        all.option = Some("local".into());
        assert_eq!(chosen(&all), ("/store".into(), String::new()));
    }

    #[test]
    fn a_token_travels_in_private_only() {
        for (url, private) in [
            ("https://a.test", true),
            ("http://localhost:8800", true),
            ("http://127.0.0.1:8800", true),
            ("http://[::1]:8800", true),
            ("http://a.test", false),
            ("http://10.0.0.1:8800", false),
            ("http://localhost.a.test", false),
        ] {
            assert_eq!(is_private(url), private, "{url}");
        }
        for bad in [
            "ftp://a",
            "a.test:80",
            "https://user@a.test",
            "https://",
            "http://a/?q",
            "x y",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
        assert_eq!(address("HTTPS://A.test:443/r/").unwrap(), "https://a.test:443/r");
    }
}
