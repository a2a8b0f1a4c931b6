//! Connections: accepted within a limit, given a time for their headers, ended in order.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::admission::{Admission, Seat};
use super::measure::LogLine;
use super::{App, Settings, routes};
use crate::registry::store::Store;

/// How long a connection may take to send its request's headers, also the next one's.
const HEADERS: Duration = Duration::from_secs(10);

/// How long requests may take to end once the server is to stop.
const FAREWELL: Duration = Duration::from_secs(5);

/// Pause after the system had no descriptor for a connection.
const RELIEF: Duration = Duration::from_millis(20);

const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// What is said when there is no seat and nobody to make room.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A certificate chain and its key.
pub struct Tls(TlsAcceptor);

impl Tls {
    /// From PEM files.
    ///
    /// # Errors
    /// A file cannot be read, holds no certificate or key, or they do not fit.
    pub fn load(certificates: &Path, key: &Path) -> Result<Self, String> {
        let told = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let chain =
            CertificateDer::pem_file_iter(certificates).map_err(|error| told(certificates, &error))?;
        let chain = chain
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| told(certificates, &error))?;
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| told(certificates, &error))?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// A server that has its address, and does not answer yet.
pub struct Listening {
    listener: TcpListener,
    app: App,
    router: Router,
    tls: Option<Tls>,
    admission: Admission,
}

impl Listening {
    /// Takes the address. `connections` may be open at the same time.
    ///
    /// # Errors
    /// The address is taken, or is none of this machine's.
    pub async fn bind(
        address: SocketAddr,
        store: Store,
        settings: Settings,
        connections: usize,
        tls: Option<Tls>,
    ) -> io::Result<Self> {
        let app = App::new(store, settings);
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            router: routes::router(app.clone()),
            admission: Admission::new(connections),
            app,
            tls,
        })
    }

    /// The address, with the port that was chosen.
    ///
    /// # Errors
    /// The socket has none any more.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Tells of each request.
    pub fn tell(&self, log: impl Fn(LogLine) + Send + Sync + 'static) {
        self.app.metrics.tell(log);
    }

    /// Answers until `stop` is over; then what was begun is ended. Whether everything ended in time.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> bool {
        let graceful = GracefulShutdown::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, peer)) => self.welcome(stream, peer, graceful.watcher()),
                // A connection that was gone again, or no descriptor for it.
                Err(_) => {
                    self.admission.make_room();
                    tokio::time::sleep(RELIEF).await;
                }
            }
        }
        drop(self.listener);
        timeout(FAREWELL, graceful.shutdown()).await.is_ok()
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Answers are written whole: waiting for more only delays them.
        let _ = stream.set_nodelay(true);
        let Some(seat) = self.admission.seat() else {
            let _ = stream.try_write(FULL);
            return;
        };
        if seat.displaced {
            self.app.metrics.turned_away.inc();
        }
        let (router, app) = (self.router.clone(), self.app.clone());
        let acceptor = self.tls.as_ref().map(|tls| tls.0.clone());
        let holder = seat.clone();
        let task = tokio::spawn(async move {
            app.metrics.connections.inc();
            match acceptor {
                None => answer(stream, peer, router, &seat, watcher).await,
                Some(acceptor) => {
                    if let Ok(Ok(stream)) = timeout(HEADERS, acceptor.accept(stream)).await {
                        answer(stream, peer, router, &seat, watcher).await;
                    }
                }
            }
            app.metrics.connections.dec();
        });
        holder.taken_by(task.abort_handle());
    }
}

/// All requests of one connection.
async fn answer<S>(stream: S, peer: SocketAddr, router: Router, seat: &Seat, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + AsyncWriteExt + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let router = router.clone();
        let busy = seat.busy();
        async move {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let response = router.oneshot(request).await;
            drop(busy);
            response
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // The other end went away or spoke no HTTP: hyper has answered what could be answered.
    let _ = watcher.watch(connection).await;
}
