//! The door through which a fuzzer talks to [`super::server`]; exists with the feature `fuzzing` only.

use axum::Extension;
use axum::extract::connect_info::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use super::server::{Peer, Request, Shared, router};

/// The user who may look.
pub const READER: u32 = 1000;

/// What a request that reached the supervisor's loop wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// To be told something.
    Look,
    /// To change something.
    Change,
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// One connection of the user `uid`, who sends `bytes` and nothing more: what came back, and what reached the loop,
/// which answers nobody.
pub fn converse(uid: u32, bytes: &[u8]) -> (Vec<u8>, Vec<Reached>) {
    RUNTIME.with(|runtime| runtime.block_on(conversation(uid, bytes)))
}

async fn conversation(uid: u32, bytes: &[u8]) -> (Vec<u8>, Vec<Reached>) {
    let (requests, mut asked) = mpsc::unbounded_channel();
    let shared = Shared {
        requests,
        instance: "town-01234567".to_owned(),
        reader: READER,
    };
    let service = router(shared).layer(Extension(ConnectInfo(Peer(Some(uid)))));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (mut answers, mut questions) = tokio::io::split(near);
    let serve = async move {
        let connection = http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(far), TowerToHyperService::new(service));
        let _ = connection.await;
    };
    let ask = async move {
        let _ = questions.write_all(bytes).await;
        let _ = questions.shutdown().await;
    };
    let mut answer = Vec::new();
    let hear = async { drop(answers.read_to_end(&mut answer).await) };
    let mut reached = Vec::new();
    let record = async {
        while let Some(request) = asked.recv().await {
            reached.push(kind(&request));
        }
    };
    tokio::join!(serve, ask, hear, record);
    (answer, reached)
}

fn kind(request: &Request) -> Reached {
    match request {
        Request::Services(_) | Request::Settled(_) | Request::Desired(_) | Request::Wait(..) => Reached::Look,
        _ => Reached::Change,
    }
}
