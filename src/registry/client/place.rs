//! Which registry is meant, and with which token. The first that says something counts:
//!
//! | | registry | token |
//! |---|---|---|
//! | 1 | `--registry` | |
//! | 2 | `PACTOWN_REGISTRY_URL` | `PACTOWN_REGISTRY_TOKEN` |
//! | 3 | `registry.url` of the ecosystem file | `registry.auth_token` of the ecosystem file, filled in from a variable |
//! | 4 | the last `registry login` | the token of a `registry login` to that registry |
//! | 5 | the user's own store | none is needed |

use std::path::{Path, PathBuf};

use super::login::Logins;
use super::transport::{ClientError, Transport};
use super::wire::is_private;
use super::{Client, oci};

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
    /// An OCI registry.
    Oci(OciPlace),
}

/// An OCI registry, and what goes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciPlace {
    /// Where it is.
    pub address: oci::Address,
    /// Whether the address is the repository of the artifact, not what artifacts are below.
    pub exact: bool,
    /// Without TLS, also to another machine.
    pub plain_http: bool,
    /// Who asks.
    pub credentials: Option<oci::Credentials>,
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
    /// What `docker login` kept, for OCI registries.
    pub docker: oci::DockerLogins,
    /// `--plain-http`.
    pub plain_http: bool,
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
        if text.starts_with(oci::SCHEME) {
            let address: oci::Address = text.parse()?;
            if address.wanted.is_some() {
                return Err(format!("'{address}' names a version, not a registry"));
            }
            return Ok(Self::Oci(OciPlace::new(address, false, sources)));
        }
        let url = address(text)?;
        let token = token(&url, sources);
        Ok(Self::Server { url, token })
    }

    /// The way there.
    ///
    /// # Errors
    /// The store cannot be opened; or a token would travel in the clear.
    pub fn open(&self) -> Result<Client, ClientError> {
        match self {
            Self::Store(directory) => Ok(Client::new(Transport::local(directory)?)),
            Self::Oci(place) => Ok(Client::oci(place.open()?)),
            Self::Server { url, token: Some(_) } if !is_private(url) => Err(ClientError::Unreachable(
                format!("the token for {url} would travel in the clear: use https"),
            )),
            Self::Server { url, token } => Ok(Client::new(Transport::http(url, token.clone())?)),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Server { url, .. } => out.write_str(url),
            Self::Store(directory) => directory.display().fmt(out),
            Self::Oci(place) => place.address.fmt(out),
        }
    }
}

impl OciPlace {
    /// With what these sources know of that registry.
    pub fn new(address: oci::Address, exact: bool, sources: &Sources) -> Self {
        let own = token(&address.login(), sources);
        let own = own.as_deref().map(oci::Credentials::parse);
        let credentials = own.or_else(|| sources.docker.of(&address.host).cloned());
        Self {
            address,
            exact,
            plain_http: sources.plain_http,
            credentials,
        }
    }

    /// The way there, for what only OCI registries know.
    ///
    /// # Errors
    /// A login would travel in the clear; or no certificates can be read.
    pub fn open(&self) -> Result<oci::Remote, ClientError> {
        oci::Remote::new(
            &self.address,
            self.exact,
            self.plain_http,
            self.credentials.clone(),
        )
    }
}

/// The token for a registry: the first that says something.
fn token(url: &str, sources: &Sources) -> Option<String> {
    let tokens = [
        sources.token_variable.as_ref(),
        sources.token_file.as_ref(),
        sources.logins.tokens.get(url),
    ];
    let mut tokens = tokens.into_iter().flatten();
    tokens.find(|token| !token.is_empty()).cloned()
}

/// An address of a server in its one spelling.
///
/// # Errors
/// It is none.
pub fn address(text: &str) -> Result<String, String> {
    let wrong = || {
        let shown = crate::registry::text::plain(text);
        format!(
            "'{shown}' is no registry: write https://HOST[:PORT], oci://HOST[:PORT]/PATH, a path to a store, or local"
        )
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
            other => (other.to_string(), String::new()),
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
    fn an_address_has_one_spelling() {
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
