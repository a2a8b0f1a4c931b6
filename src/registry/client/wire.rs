//! What every connection to a registry has in common: time limits, trusted certificates, who may read along, and when a
//! request is sent again.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use axum::http::{Response, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::transport::ClientError;

/// Tries until a registry that cannot be reached is given up.
const TRIES: u32 = 4;

/// Pause before the second try; doubled for each further one.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest pause, whatever the server says.
const LONGEST: Duration = Duration::from_secs(10);

/// An answer that was read whole.
pub(super) type Answer = Response<Vec<u8>>;

/// A client without redirects: a token must not be carried to where its owner did not send it. `SSL_CERT_FILE` names the
/// certificates that are trusted instead of the built-in ones, as with OpenSSL.
///
/// # Errors
/// That file is there and holds no certificate.
pub(super) fn agent() -> Result<ureq::Agent, ClientError> {
    let trusted = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty());
    let roots = match trusted {
        Some(file) => certificates(Path::new(&file))?,
        None => RootCerts::WebPki,
    };
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_global(Some(Duration::from_secs(60)))
        .user_agent(concat!("pactown/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        .build();
    Ok(config.into())
}

fn certificates(file: &Path) -> Result<RootCerts, ClientError> {
    let wrong = |why: String| ClientError::Mismatch(format!("SSL_CERT_FILE names {}: {why}", file.display()));
    let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            found.push(certificate);
        }
    }
    match found.is_empty() {
        true => Err(wrong("it holds no certificate in PEM form".to_owned())),
        false => Ok(RootCerts::new_with_certs(&found)),
    }
}

/// Nobody on the way can read along: TLS, or no way at all.
pub(super) fn is_private(url: &str) -> bool {
    match url.strip_prefix("http://") {
        Some(rest) => is_loopback(rest.split('/').next().unwrap_or(rest)),
        None => true,
    }
}

/// Whether `HOST[:PORT]` is this machine.
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Sends until there is an answer that will not be another one next time. Only for requests that may be sent twice.
///
/// # Errors
/// Those of the last try.
pub(super) fn persistently(
    mut send: impl FnMut() -> Result<Answer, ClientError>,
) -> Result<Answer, ClientError> {
    let mut pause = PAUSE;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let answer = send();
        let again = match &answer {
            Ok(answer) => is_passing(answer.status()),
            Err(ClientError::Unreachable(_)) => true,
            Err(_) => false,
        };
        if !again || attempt == TRIES {
            return answer;
        }
        let asked = answer.ok().and_then(|answer| retry_after(&answer));
        std::thread::sleep(asked.unwrap_or_else(|| scattered(pause)).min(LONGEST));
        pause *= 2;
    }
}

/// Whether an answer of this status may be different next time.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

fn retry_after(answer: &Answer) -> Option<Duration> {
    let value = answer.headers().get(header::RETRY_AFTER)?;
    Some(Duration::from_secs(value.to_str().ok()?.parse().ok()?))
}

/// Between half of it and all of it, so that many clients do not come back together.
fn scattered(pause: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    // Without randomness it is the whole pause.
    let part = match rustix::rand::getrandom(&mut byte[..], rustix::rand::GetRandomFlags::empty()) {
        Ok(1) => 0.5 + f64::from(byte[0]) / 510.0,
        _ => 1.0,
    };
    pause.mul_f64(part)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
