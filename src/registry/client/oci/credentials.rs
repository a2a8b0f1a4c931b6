//! What proves to an OCI registry who asks: a login of this program, or one that `docker login` left.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user with a password; sent as they are, or to whom the registry names to get a token.
    User {
        /// Their name.
        name: String,
        /// Their password.
        password: String,
    },
    /// A token that the registry takes as it is.
    Token(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// From `USER:PASSWORD`, or from a token, which has no colon.
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((name, password)) => Self::User {
                name: name.to_owned(),
                password: password.to_owned(),
            },
            None => Self::Token(text.to_owned()),
        }
    }

    /// As the header `Authorization` carries it.
    pub(super) fn authorization(&self) -> String {
        match self {
            Self::User { name, password } => {
                format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
            }
            Self::Token(token) => format!("Bearer {token}"),
        }
    }
}

/// The logins in Docker's `config.json`. What a credential helper keeps is not among them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerLogins(BTreeMap<String, Credentials>);

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
}

impl DockerLogins {
    /// What the file says; nothing when there is none.
    ///
    /// # Errors
    /// It cannot be read, or is no such file.
    pub fn read(file: &Path) -> io::Result<Self> {
        match std::fs::read(file) {
            Ok(bytes) => Self::parse(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        let config: Config = serde_json::from_slice(bytes)?;
        let known = config
            .auths
            .into_iter()
            .filter_map(|(host, auth)| Some((registry(&host), auth.credentials()?)));
        Ok(Self(known.collect()))
    }

    /// The login to `HOST[:PORT]`.
    pub fn of(&self, host: &str) -> Option<&Credentials> {
        self.0.get(host)
    }
}

impl Auth {
    fn credentials(self) -> Option<Credentials> {
        if let (Some(name), Some(password)) = (self.username, self.password) {
            return Some(Credentials::User { name, password });
        }
        let decoded = String::from_utf8(STANDARD.decode(self.auth?).ok()?).ok()?;
        let (name, password) = decoded.split_once(':')?;
        Some(Credentials::User {
            name: name.to_owned(),
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// Docker's keys are hosts, and with older versions addresses.
fn registry(key: &str) -> String {
    let bare = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    bare.split('/').next().unwrap_or(bare).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockers_logins_are_found_by_host() {
        let text = r#"{"auths": {"r.test:5000": {"auth": "YW5uOnMzOmNyZXQ="}, "https://old.test/v1/": {"username": "u", "password": "p"}, "helped.test": {}}, "credsStore": "pass"}"#;
        let logins = DockerLogins::parse(text.as_bytes()).unwrap();
        let user = |name: &str, password: &str| Credentials::User {
            name: name.into(),
            password: password.into(),
        };
        assert_eq!(logins.of("r.test:5000"), Some(&user("ann", "s3:cret")));
        assert_eq!(logins.of("old.test"), Some(&user("u", "p")));
        assert_eq!(logins.of("helped.test"), None);
        assert_eq!(user("a", "b").authorization(), "Basic YTpi");
        assert_eq!(Credentials::parse("tok").authorization(), "Bearer tok");
        assert!(!format!("{:?}", user("a", "hidden")).contains("hidden"));
    }
}
