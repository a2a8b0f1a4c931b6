//! Connections of the proxy: tunnels (CONNECT), and plain requests, which are handed on.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::parents::Parent;
use super::{MOST, Question, Rules};

/// Connections and tunnels at the same time; more wait. A test cannot have as many descriptors.
pub(super) const AT_ONCE: usize = if cfg!(test) { 4 } else { 256 };
/// Time to connect to one address, and for another proxy to make a tunnel. No test waits as long.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 20 });
/// Headers that concern one connection only (RFC 9110, 7.6.1), and those for a proxy.
const OWN: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
];

/// One of the places of [`AT_ONCE`], for as long as somebody has it.
type Place = Arc<OwnedSemaphorePermit>;
type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// Rules, and the file in which questions are told.
pub(super) struct Desk {
    rules: Rules,
    talk: Mutex<File>,
    told: AtomicUsize,
}

/// Why a question is not answered: a status, and a line that installers show.
struct Refused(StatusCode, String);

impl Desk {
    pub(super) fn new(rules: Rules, talk: File) -> Self {
        Self {
            rules,
            talk: Mutex::new(talk),
            told: AtomicUsize::new(0),
        }
    }

    fn tell(&self, host: &str, port: u16, address: Option<IpAddr>, denied: bool) {
        if self.told.fetch_add(1, Ordering::Relaxed) >= MOST {
            return;
        }
        let question = Question {
            host: host.to_owned(),
            port,
            address,
            denied,
        };
        if let Ok(line) = serde_json::to_string(&question) {
            let mut talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writeln!(talk, "{line}");
        }
    }

    fn check(&self, host: &str, port: u16) -> Result<(), Refused> {
        if self.rules.allow(host, port) {
            return Ok(());
        }
        self.tell(host, port, None, true);
        Err(Refused(
            StatusCode::FORBIDDEN,
            format!("pactown: {host}:{port} is no package host; `build_hosts` of the service allows it"),
        ))
    }

    /// A connection to the host, or to the proxy through which it is reached.
    async fn dial(
        &self,
        host: &str,
        port: u16,
        tunnelled: bool,
    ) -> Result<(TcpStream, Option<&Parent>), Refused> {
        let parent = self.rules.parents.of_host(host, tunnelled);
        let connected = match parent {
            // The caller's own, wherever it is.
            Some(parent) => connect(&parent.host, parent.port, |_| true).await,
            None => connect(host, port, is_outside).await,
        };
        let connected = connected.and_then(|stream| Ok((stream.peer_addr()?.ip(), stream)));
        match connected {
            Ok((address, stream)) => {
                self.tell(host, port, Some(address), false);
                Ok((stream, parent))
            }
            Err(error) => {
                self.tell(host, port, None, false);
                Err(Refused(
                    StatusCode::BAD_GATEWAY,
                    format!("pactown: {host}:{port} cannot be reached: {error}"),
                ))
            }
        }
    }
}

/// The host's own loopback, where only the host's programs are expected, and addresses of the link, where machines
/// get their secrets from, are not reached, whatever name leads there.
fn is_outside(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            !(address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified()
                || address.is_broadcast())
        }
        IpAddr::V6(address) => {
            !(address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified())
        }
    }
}

async fn connect(host: &str, port: u16, may: impl Fn(&IpAddr) -> bool) -> io::Result<TcpStream> {
    let found: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address of it may be reached");
    for address in found.into_iter().filter(|address| may(&address.ip())) {
        match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// Serves for ever.
pub(super) fn run(socket: std::net::TcpListener, desk: Desk) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(socket)?;
        let (desk, places) = (Arc::new(desk), Arc::new(Semaphore::new(AT_ONCE)));
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = Arc::new(place.map_err(io::Error::other)?);
            let Ok((stream, _)) = listener.accept().await else {
                // A client that is gone again, or no descriptor left: the next one may fare better.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                let answer = service_fn(|request| answer(Arc::clone(&desk), Arc::clone(&place), request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .preserve_header_case(true)
                    .serve_connection(TokioIo::new(stream), answer)
                    .with_upgrades();
                let _ = connection.await;
            });
        }
    })
}

async fn answer(desk: Arc<Desk>, place: Place, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let answered = match *request.method() {
        Method::CONNECT => tunnel(&desk, place, request).await,
        _ => hand_on(&desk, request).await,
    };
    Ok(answered.unwrap_or_else(|Refused(status, text)| {
        let mut answer = Response::new(full(format!("{text}\n")));
        *answer.status_mut() = status;
        answer
    }))
}

fn full(text: impl Into<Bytes>) -> BoxBody<Bytes, hyper::Error> {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

/// Host, in lower case and without a final dot, and port.
fn target(uri: &Uri, default: Option<u16>) -> Result<(String, u16), Refused> {
    let host = uri
        .host()
        .map(|host| host.trim_matches(['[', ']']).trim_end_matches('.').to_lowercase());
    match (host, uri.port_u16().or(default)) {
        (Some(host), Some(port)) if !host.is_empty() => Ok((host, port)),
        _ => Err(Refused(
            StatusCode::BAD_REQUEST,
            "pactown: this is a proxy: it takes CONNECT, and http:// addresses".to_owned(),
        )),
    }
}

/// The connection ends with its answer, as hyper sees it; `place` is the tunnel's until that ends.
async fn tunnel(desk: &Arc<Desk>, place: Place, request: Request<Incoming>) -> Result<Answer, Refused> {
    let (host, port) = target(request.uri(), None)?;
    desk.check(&host, port)?;
    let (stream, parent) = desk.dial(&host, port, true).await?;
    match parent {
        None => {
            tokio::spawn(async move {
                if let Ok(client) = hyper::upgrade::on(request).await {
                    splice(client, stream).await;
                }
                drop(place);
            });
        }
        Some(parent) => {
            let far = through(parent, stream, &host, port).await?;
            tokio::spawn(async move {
                if let (Ok(client), Ok(far)) = tokio::join!(hyper::upgrade::on(request), far) {
                    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(far))
                        .await;
                }
                drop(place);
            });
        }
    }
    Ok(Response::new(full("")))
}

async fn splice(client: hyper::upgrade::Upgraded, mut stream: TcpStream) {
    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut stream).await;
}

/// A tunnel through another proxy, which has [`PATIENCE`] to make it.
async fn through(
    parent: &Parent,
    stream: TcpStream,
    host: &str,
    port: u16,
) -> Result<hyper::upgrade::OnUpgrade, Refused> {
    let failed = |error: &dyn std::fmt::Display| {
        Refused(
            StatusCode::BAD_GATEWAY,
            format!("pactown: the proxy {}: {error}", parent.host),
        )
    };
    let name = match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    };
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(&name)
        .header(HOST, &name)
        .body(full(""))
        .map_err(|error| failed(&error))?;
    authorize(&mut request, parent);
    let asked = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await
    };
    let answer = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| failed(&error))?,
        Err(_) => return Err(failed(&"it does not answer")),
    };
    match answer.status().is_success() {
        true => Ok(hyper::upgrade::on(answer)),
        false => Err(failed(&answer.status())),
    }
}

fn authorize<B>(request: &mut Request<B>, parent: &Parent) {
    let Some(credentials) = &parent.credentials else {
        return;
    };
    let value = format!("Basic {}", STANDARD.encode(credentials));
    if let Ok(value) = HeaderValue::from_str(&value) {
        request.headers_mut().insert(PROXY_AUTHORIZATION, value);
    }
}

/// A plain request, to the host itself or to another proxy.
async fn hand_on(desk: &Arc<Desk>, mut request: Request<Incoming>) -> Result<Answer, Refused> {
    if request.uri().scheme_str().is_some_and(|scheme| scheme != "http") {
        return Err(Refused(
            StatusCode::BAD_REQUEST,
            "pactown: use CONNECT for that".to_owned(),
        ));
    }
    let (host, port) = target(request.uri(), request.uri().scheme().map(|_| 80))?;
    desk.check(&host, port)?;
    let (stream, parent) = desk.dial(&host, port, false).await?;
    for name in OWN {
        request.headers_mut().remove(HeaderName::from_static(name));
    }
    // What was checked is what is asked for, whoever reads which of the two.
    name_host(&mut request)?;
    match parent {
        Some(parent) => authorize(&mut request, parent),
        None => origin_form(&mut request)?,
    }
    let failed = |error: hyper::Error| {
        Refused(
            StatusCode::BAD_GATEWAY,
            format!("pactown: {host}:{port}: {error}"),
        )
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(failed)?;
    Ok(answer.map(BodyExt::boxed))
}

fn wrong() -> Refused {
    Refused(StatusCode::BAD_REQUEST, "pactown: that is no address".to_owned())
}

/// `Host` is that of the address (RFC 9112, 3.2.2), not what the client says besides.
fn name_host(request: &mut Request<Incoming>) -> Result<(), Refused> {
    let authority = request.uri().authority().ok_or_else(wrong)?.as_str();
    let host = authority.rsplit('@').next().unwrap_or(authority);
    let host = HeaderValue::from_str(host).map_err(|_| wrong())?;
    request.headers_mut().insert(HOST, host);
    Ok(())
}

/// `GET /path`, as a server wants it.
fn origin_form(request: &mut Request<Incoming>) -> Result<(), Refused> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = path.parse().map_err(|_| wrong())?;
    *request.uri_mut() = path;
    Ok(())
}
