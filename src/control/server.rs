//! The server's end of the control API: routes, who may use them, and how answers are written. Every request becomes
//! one [`Request`] for the supervisor's loop; nothing is decided here.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{DefaultBodyLimit, Path as UrlPath, Request as HttpRequest, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::api::{
    BuildRequest, DownRequest, Progress, ResolveRequest, ScaleRequest, ServiceRequest, ServiceStatus,
    UpRequest, WaitRequest,
};
use crate::config::ecosystem::ServiceName;
use crate::desired::Desired;

/// Largest request: all READMEs of an ecosystem travel in one.
const MAX_BODY: usize = 256 << 20;

/// The one route that is posted to and changes nothing.
const WAIT: &str = "/v1/wait";

/// One request, with the place for its answer.
pub(crate) enum Request {
    /// `GET /v1/services`.
    Services(oneshot::Sender<Vec<ServiceStatus>>),
    /// The same, once all events that led there are in their file.
    Settled(oneshot::Sender<Vec<ServiceStatus>>),
    /// `GET /v1/desired`.
    Desired(oneshot::Sender<Option<Desired>>),
    /// `POST /v1/up`.
    Up(Box<UpRequest>, Answer),
    /// `POST /v1/resolve`.
    Resolve(Box<ResolveRequest>, Answer),
    /// `POST /v1/build`.
    Build(Box<BuildRequest>, Answer),
    /// `POST /v1/down`.
    Down(DownRequest, Answer),
    /// `POST /v1/attach`.
    Attach(Answer),
    /// `POST /v1/detach`.
    Detach(oneshot::Sender<()>),
    /// `POST /v1/scale`.
    Scale(ScaleRequest, Answer),
    /// `POST /v1/wait`.
    Wait(WaitRequest, Answer),
    /// `POST /v1/services/{name}/{verb}`.
    Service(ServiceName, Verb, ServiceRequest, Answer),
}

/// What is asked of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verb {
    /// Run it, with what it needs.
    Start,
    /// End it.
    Stop,
    /// End it and run it anew.
    Restart,
}

/// Where the answer goes: a stream of progress, or a refusal before anything was done.
pub(crate) type Answer = oneshot::Sender<Result<mpsc::UnboundedReceiver<Progress>, Refusal>>;

/// Why a request is not carried out; the body of an error answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// One line.
    pub(crate) message: String,
    /// Further causes, outermost first.
    #[serde(default)]
    pub(crate) causes: Vec<String>,
    /// What to do.
    #[serde(default)]
    pub(crate) hint: Option<String>,
    /// Exit code of the command.
    pub(crate) exit_code: i32,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ErrorBody {
    pub(super) error: Refusal,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// What every route knows.
#[derive(Clone)]
pub(super) struct Shared {
    /// The supervisor's loop.
    pub(super) requests: mpsc::UnboundedSender<Request>,
    /// The instance's name.
    pub(super) instance: String,
    /// The user who may look.
    pub(super) reader: u32,
}

/// Binds `socket` (replacing one of a dead supervisor): mode 0600, owned by `reader`, the invoking user.
pub(crate) fn bind(socket: &Path, reader: u32) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Under a private name first: nobody connects before mode and owner are right.
    let private = socket.with_extension("new");
    let _ = std::fs::remove_file(&private);
    let listener = UnixListener::bind(&private)?;
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600))?;
    std::os::unix::fs::chown(&private, Some(reader), None)?;
    std::fs::rename(&private, socket)?;
    Ok(listener)
}

/// Serves until `stop` comes; answers that are on their way then are still written.
pub(crate) async fn serve(
    listener: UnixListener,
    instance: String,
    reader: u32,
    requests: mpsc::UnboundedSender<Request>,
    stop: oneshot::Receiver<()>,
) -> io::Result<()> {
    let router = router(Shared {
        requests,
        instance,
        reader,
    });
    axum::serve(listener, router.into_make_service_with_connect_info::<Peer>())
        .with_graceful_shutdown(async {
            let _ = stop.await;
        })
        .await
}

/// The routes and who may use them.
pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/services", get(services))
        .route("/v1/services/settled", get(settled))
        .route("/v1/desired", get(desired))
        .route("/v1/up", post(up))
        .route("/v1/resolve", post(resolve))
        .route("/v1/build", post(build))
        .route("/v1/down", post(down))
        .route("/v1/attach", post(attach))
        .route("/v1/detach", post(detach))
        .route("/v1/scale", post(scale))
        .route(WAIT, post(wait))
        .route("/v1/services/{name}/{verb}", post(service))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(shared.clone(), guard))
        .with_state(shared)
}

/// Root may do everything, the invoking user may read.
async fn guard(
    State(shared): State<Shared>,
    ConnectInfo(Peer(uid)): ConnectInfo<Peer>,
    request: HttpRequest,
    next: Next,
) -> Response {
    let reads = request.method() == Method::GET || request.uri().path() == WAIT;
    match uid {
        Some(0) => next.run(request).await,
        Some(uid) if uid == shared.reader && reads => next.run(request).await,
        _ => refused(
            StatusCode::FORBIDDEN,
            Refusal {
                message: "only root may change a running ecosystem".to_owned(),
                causes: Vec::new(),
                hint: Some("run the command with sudo".to_owned()),
                exit_code: 3,
            },
        ),
    }
}

async fn health(State(shared): State<Shared>) -> Response {
    Json(serde_json::json!({"ok": true, "pid": std::process::id(), "instance": shared.instance}))
        .into_response()
}

async fn services(State(shared): State<Shared>) -> Response {
    json(ask(&shared, Request::Services).await)
}

async fn settled(State(shared): State<Shared>) -> Response {
    json(ask(&shared, Request::Settled).await)
}

async fn desired(State(shared): State<Shared>) -> Response {
    match ask(&shared, Request::Desired).await {
        Some(None) => refused(
            StatusCode::NOT_FOUND,
            Refusal {
                message: "nothing was asked to run yet".to_owned(),
                causes: Vec::new(),
                hint: None,
                exit_code: 1,
            },
        ),
        answer => json(answer.flatten()),
    }
}

async fn up(State(shared): State<Shared>, Json(request): Json<Box<UpRequest>>) -> Response {
    stream(&shared, |answer| Request::Up(request, answer)).await
}

async fn resolve(State(shared): State<Shared>, Json(request): Json<Box<ResolveRequest>>) -> Response {
    stream(&shared, |answer| Request::Resolve(request, answer)).await
}

async fn build(State(shared): State<Shared>, Json(request): Json<Box<BuildRequest>>) -> Response {
    stream(&shared, |answer| Request::Build(request, answer)).await
}

async fn down(State(shared): State<Shared>, Json(request): Json<DownRequest>) -> Response {
    stream(&shared, |answer| Request::Down(request, answer)).await
}

async fn scale(State(shared): State<Shared>, Json(request): Json<ScaleRequest>) -> Response {
    stream(&shared, |answer| Request::Scale(request, answer)).await
}

async fn attach(State(shared): State<Shared>) -> Response {
    stream(&shared, Request::Attach).await
}

async fn detach(State(shared): State<Shared>) -> Response {
    json(
        ask(&shared, Request::Detach)
            .await
            .map(|()| serde_json::json!({})),
    )
}

async fn wait(State(shared): State<Shared>, Json(request): Json<WaitRequest>) -> Response {
    stream(&shared, |answer| Request::Wait(request, answer)).await
}

async fn service(
    State(shared): State<Shared>,
    UrlPath((name, verb)): UrlPath<(ServiceName, Verb)>,
    Json(request): Json<ServiceRequest>,
) -> Response {
    stream(&shared, |answer| Request::Service(name, verb, request, answer)).await
}

async fn ask<T>(shared: &Shared, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
    let (answer, receive) = oneshot::channel();
    shared.requests.send(request(answer)).ok()?;
    receive.await.ok()
}

async fn stream(shared: &Shared, request: impl FnOnce(Answer) -> Request) -> Response {
    match ask(shared, request).await {
        None => gone(),
        Some(Err(refusal)) => refused(StatusCode::CONFLICT, refusal),
        Some(Ok(lines)) => {
            let body = futures_util::stream::unfold(lines, |mut lines| async move {
                let progress = lines.recv().await?;
                let mut line = serde_json::to_vec(&progress).expect("progress has only text keys");
                line.push(b'\n');
                Some((Ok::<_, Infallible>(Bytes::from(line)), lines))
            });
            (
                [(header::CONTENT_TYPE, "application/x-ndjson")],
                Body::from_stream(body),
            )
                .into_response()
        }
    }
}

fn json<T: Serialize>(answer: Option<T>) -> Response {
    answer.map_or_else(gone, |answer| Json(answer).into_response())
}

/// The loop has ended between the request and its answer.
fn gone() -> Response {
    refused(
        StatusCode::SERVICE_UNAVAILABLE,
        Refusal {
            message: "the ecosystem is going down".to_owned(),
            causes: Vec::new(),
            hint: Some("try again when it has ended".to_owned()),
            exit_code: 1,
        },
    )
}

fn refused(status: StatusCode, error: Refusal) -> Response {
    (status, Json(ErrorBody { error })).into_response()
}
