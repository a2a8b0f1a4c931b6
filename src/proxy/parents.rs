//! Proxies that the host itself has to ask, as its environment says (curl(1), "ENVIRONMENT"). Pure.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// The host's proxies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parents {
    /// For `http://` addresses.
    http: Option<Parent>,
    /// For `https://` addresses, and whatever else is tunnelled.
    https: Option<Parent>,
    /// Names, and ends of names, that are asked directly.
    direct: Vec<String>,
}

/// One proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parent {
    pub(super) host: String,
    pub(super) port: u16,
    /// `user:password`, as the address has it.
    pub(super) credentials: Option<String>,
}

impl Parents {
    /// From the variables of an environment; lower case wins.
    pub fn of(env: &IndexMap<String, String>) -> Self {
        let get = |name: &str| {
            let value = env.get(name).or_else(|| env.get(&name.to_ascii_uppercase()));
            value.map(String::as_str).filter(|value| !value.is_empty())
        };
        let all = get("all_proxy");
        let direct = get("no_proxy").unwrap_or_default().split([',', ' ']);
        let direct = direct.map(|name| name.trim_start_matches(['*', '.']).to_lowercase());
        Self {
            http: get("http_proxy").or(all).and_then(parent),
            https: get("https_proxy").or(all).and_then(parent),
            direct: direct.filter(|name| !name.is_empty()).collect(),
        }
    }

    /// Whom to ask for `host`.
    pub(super) fn of_host(&self, host: &str, tunnelled: bool) -> Option<&Parent> {
        let under = |name: &String| {
            host.strip_suffix(name.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        match self.direct.iter().any(under) {
            true => None,
            false if tunnelled => self.https.as_ref(),
            false => self.http.as_ref(),
        }
    }
}

/// `http://[user:password@]host[:port]`; a proxy that is itself asked over TLS is none that we can ask.
fn parent(text: &str) -> Option<Parent> {
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return None,
        None => text,
    };
    let authority = rest.split('/').next()?;
    let (credentials, address) = match authority.rsplit_once('@') {
        Some((credentials, address)) => (Some(credentials.to_owned()), address),
        None => (None, authority),
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (address, 80),
    };
    (!host.is_empty()).then(|| Parent {
        host: host.to_owned(),
        port,
        credentials,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_whom_to_ask() {
        let env = IndexMap::from([
            (
                "HTTPS_PROXY".to_owned(),
                "http://u:p@proxy.example:3128".to_owned(),
            ),
            ("http_proxy".to_owned(), "plain.example".to_owned()),
            (
                "NO_PROXY".to_owned(),
                "localhost, .corp.example,10.0.0.1".to_owned(),
            ),
        ]);
        let parents = Parents::of(&env);
        let https = parents.of_host("a.example", true).expect("a proxy");
        assert_eq!((https.host.as_str(), https.port), ("proxy.example", 3128));
        assert_eq!(https.credentials.as_deref(), Some("u:p"));
        assert_eq!(
            parents.of_host("a.example", false).map(|parent| parent.port),
            Some(80)
        );
        for direct in ["localhost", "x.corp.example", "corp.example", "10.0.0.1"] {
            assert_eq!(parents.of_host(direct, true), None, "{direct}");
        }
        assert!(parents.of_host("notcorp.example", true).is_some());
        assert_eq!(Parents::of(&IndexMap::new()), Parents::default());
    }
}
