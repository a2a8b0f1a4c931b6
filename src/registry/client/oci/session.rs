//! Requests to one OCI registry, with the proof of who asks that it wants: RFC 7617 (Basic), or a token from whom it names
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use std::cell::RefCell;

use axum::http::uri::PathAndQuery;
use axum::http::{Method, Request, Response, StatusCode, Uri, header};
use serde::Deserialize;

use super::super::transport::ClientError;
use super::super::wire::{Answer, agent, is_loopback, is_private, persistently};
use super::credentials::Credentials;
use crate::registry::text::plain;

/// Bytes of an answer that are taken.
const MAX_ANSWER: u64 = 8 << 20;

/// How often a registry may send us on to where it stores contents.
const MAX_REDIRECTS: usize = 3;

/// One registry.
pub(super) struct Session {
    agent: ureq::Agent,
    /// Scheme and host.
    origin: String,
    credentials: Option<Credentials>,
    /// What it last took.
    authorization: RefCell<Option<String>>,
}

/// A request, as it is sent once more with authorization.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// A path at the registry, or a whole address there.
    pub(super) target: String,
    pub(super) accept: &'a str,
    pub(super) content_type: &'a str,
    pub(super) body: &'a [u8],
    /// What is asked for, when the registry does not say: `repository:NAME:pull`.
    pub(super) scope: String,
}

impl Session {
    /// With `HOST[:PORT]`: over TLS, without it on this machine or when `plain_http` says so.
    ///
    /// # Errors
    /// No certificates can be read; or the credentials would travel in the clear.
    pub(super) fn new(
        host: &str,
        plain_http: bool,
        credentials: Option<Credentials>,
    ) -> Result<Self, ClientError> {
        let scheme = match plain_http || is_loopback(host) {
            true => "http",
            false => "https",
        };
        let origin = format!("{scheme}://{host}");
        if credentials.is_some() && !is_private(&origin) {
            return Err(ClientError::Unreachable(format!(
                "the login to {host} would travel in the clear: leave --plain-http out"
            )));
        }
        Ok(Self {
            agent: agent()?,
            origin,
            credentials,
            authorization: RefCell::default(),
        })
    }

    /// The answer, whatever it is, after a proof of who asks when the registry wanted one.
    ///
    /// # Errors
    /// It cannot be reached, or wants a proof of a kind that nobody has.
    pub(super) fn send(&self, ask: &Ask<'_>) -> Result<Answer, ClientError> {
        let answer = persistently(|| self.once(&self.absolute(&ask.target)?, ask, true))?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return self.followed(answer, ask);
        }
        let Some(authorization) = self.prove(&answer, &ask.scope)? else {
            return Ok(answer);
        };
        *self.authorization.borrow_mut() = Some(authorization);
        let answer = persistently(|| self.once(&self.absolute(&ask.target)?, ask, true))?;
        self.followed(answer, ask)
    }

    /// Contents are often stored elsewhere. Nothing of a login goes there, and what comes is checked by its digest.
    fn followed(&self, mut answer: Answer, ask: &Ask<'_>) -> Result<Answer, ClientError> {
        for _ in 0..MAX_REDIRECTS {
            if ask.method != Method::GET || !answer.status().is_redirection() {
                return Ok(answer);
            }
            let target = text(&answer, &header::LOCATION)
                .ok_or_else(|| ClientError::Mismatch("a redirect leads nowhere".to_owned()))?;
            let target = match target.starts_with('/') {
                true => format!("{}{target}", self.origin),
                false => target,
            };
            let from_tls = self.origin.starts_with("https://");
            if !is_private(&target) || (from_tls && !target.starts_with("https://")) {
                return Err(ClientError::Mismatch(
                    "a redirect leads out of TLS, which is not followed".to_owned(),
                ));
            }
            answer = persistently(|| self.once(&target, ask, false))?;
        }
        Ok(answer)
    }

    /// The address of a target that must be at this registry, since a login goes there.
    fn absolute(&self, target: &str) -> Result<String, ClientError> {
        let elsewhere = || ClientError::Mismatch("it sends us to another registry".to_owned());
        if target.starts_with('/') {
            return Ok(format!("{}{target}", self.origin));
        }
        let uri: Uri = target.parse().map_err(|_| elsewhere())?;
        let own: Uri = self.origin.parse().map_err(|_| elsewhere())?;
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        // A registry behind a proxy may not know of its TLS: the host counts, and our scheme.
        match uri.authority().map(|authority| authority.host()) == own.authority().map(|own| own.host()) {
            true => Ok(format!("{}{path}", self.origin)),
            false => Err(elsewhere()),
        }
    }

    fn once(&self, url: &str, ask: &Ask<'_>, authorized: bool) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(&ask.method).uri(url);
        if !ask.accept.is_empty() {
            request = request.header(header::ACCEPT, ask.accept);
        }
        if !ask.content_type.is_empty() {
            request = request.header(header::CONTENT_TYPE, ask.content_type);
        }
        if let (true, Some(authorization)) = (authorized, self.authorization.borrow().as_ref()) {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        self.run(request.body(ask.body))
    }

    fn run(&self, request: axum::http::Result<Request<&[u8]>>) -> Result<Answer, ClientError> {
        let told = |error: &dyn std::fmt::Display| {
            ClientError::Unreachable(format!(
                "the registry at {} cannot be reached: {error}",
                self.origin
            ))
        };
        let request = request.map_err(|error| told(&error))?;
        let answer = self.agent.run(request).map_err(|error| told(&error))?;
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(MAX_ANSWER).read_to_vec();
        Ok(Response::from_parts(parts, body.map_err(|error| told(&error))?))
    }

    /// What to send in `Authorization`; `None` when nobody is logged in and the registry gives nothing to anybody.
    fn prove(&self, answer: &Answer, scope: &str) -> Result<Option<String>, ClientError> {
        let challenges = answer.headers().get_all(header::WWW_AUTHENTICATE);
        let challenges: Vec<&str> = challenges
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let of = |kind: &str| {
            challenges.iter().find_map(|text| {
                let (own, rest) = text.split_once(' ').unwrap_or((text, ""));
                own.eq_ignore_ascii_case(kind).then_some(rest)
            })
        };
        match (of("bearer"), of("basic"), &self.credentials) {
            (_, _, Some(own @ Credentials::Token(_))) => Ok(Some(own.authorization())),
            (Some(challenge), ..) => self.token(challenge, scope).map(Some),
            (None, Some(_), Some(own)) => Ok(Some(own.authorization())),
            (None, Some(_), None) => Ok(None),
            (None, None, _) => Err(ClientError::Mismatch(
                "it wants a login, and does not say of which kind".to_owned(),
            )),
        }
    }

    /// A token from whom the registry names.
    fn token(&self, challenge: &str, scope: &str) -> Result<String, ClientError> {
        let realm = parameter(challenge, "realm").unwrap_or_default();
        let from_here = self.origin.starts_with("http://") && realm.starts_with("http://");
        let is_proper = realm.starts_with("https://") || (from_here && is_private(&realm));
        if !is_proper {
            return Err(ClientError::Mismatch(format!(
                "it sends us for a token to '{}', which is not private",
                plain(&realm)
            )));
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(service) = parameter(challenge, "service") {
            query.append_pair("service", &service);
        }
        let asked = parameter(challenge, "scope");
        for scope in asked
            .as_deref()
            .unwrap_or(scope)
            .split(' ')
            .filter(|scope| !scope.is_empty())
        {
            query.append_pair("scope", scope);
        }
        let joint = if realm.contains('?') { '&' } else { '?' };
        let url = format!("{realm}{joint}{}", query.finish());
        let answer = persistently(|| {
            let mut request = Request::builder().method(Method::GET).uri(&url);
            if let Some(own) = &self.credentials {
                request = request.header(header::AUTHORIZATION, own.authorization());
            }
            self.run(request.body(&[]))
        })?;
        if answer.status() != StatusCode::OK {
            return Err(ClientError::Refused {
                status: answer.status().as_u16(),
                message: format!("no token for {}", plain(scope)),
            });
        }
        let given: Given = serde_json::from_slice(answer.body())
            .map_err(|error| ClientError::Mismatch(format!("the token is none: {error}")))?;
        let token = given.token.or(given.access_token).unwrap_or_default();
        Ok(format!("Bearer {token}"))
    }
}

#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
}

/// A header's text.
pub(super) fn text(answer: &Answer, name: &header::HeaderName) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().ok()?.to_owned())
}

/// One parameter of a challenge: `name="value"`, separated by commas.
fn parameter(challenge: &str, name: &str) -> Option<String> {
    let mut rest = challenge;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = after.trim_start().trim_start_matches(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read() {
        let challenge =
            r#"realm="https://a.test/token",service="r.test", scope="repository:a/b:pull,push",error=x"#;
        assert_eq!(
            parameter(challenge, "realm").as_deref(),
            Some("https://a.test/token")
        );
        assert_eq!(
            parameter(challenge, "scope").as_deref(),
            Some("repository:a/b:pull,push")
        );
        assert_eq!(parameter(challenge, "error").as_deref(), Some("x"));
        assert_eq!(parameter(challenge, "other"), None);
        assert_eq!(parameter("", "realm"), None);
    }

    #[test]
    fn a_login_goes_to_its_registry_only() {
        let session = Session::new("r.test", false, None).unwrap();
        assert_eq!(session.absolute("/v2/x").unwrap(), "https://r.test/v2/x");
        assert_eq!(
            session.absolute("http://r.test/v2/x?y").unwrap(),
            "https://r.test/v2/x?y"
        );
        assert!(session.absolute("https://other.test/v2/x").is_err());
        let secret = Some(Credentials::parse("a:b"));
        assert!(Session::new("r.test", true, secret.clone()).is_err());
        assert!(Session::new("localhost:5000", false, secret).is_ok());
    }
}
