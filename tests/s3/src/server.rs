//! The listener and its thread.
//!
//! **Invariant**: it answers whatever the test's own runtime does, and ends when it is dropped.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use s3s::{
    auth::SimpleAuth,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::{
    bucket::Objects,
    faults::{Fault, Faults},
};

/// The bucket that there is.
pub const BUCKET: &str = "lake";
/// The key id that is let in.
pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
/// Its secret.
pub const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Failure>;

/// A running server with one empty bucket.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropped, the thread ends.
    _running: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    service: S3Service,
    objects: Objects,
    faults: Faults,
    requests: AtomicU64,
}

impl S3Server {
    /// # Panics
    /// When there is no port or no thread to be had.
    pub fn start() -> Self {
        let objects = Objects::default();
        let mut service = S3ServiceBuilder::new(objects.clone());
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let (faults, requests) = (Faults::default(), AtomicU64::new(0));
        let shared = Arc::new(Shared { service: service.build(), objects, faults, requests });
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (running, ended) = oneshot::channel();
        let served = Arc::clone(&shared);
        std::thread::spawn(move || run(listener, &served, ended));
        Self { address, shared, _running: running }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The keys of the objects, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.shared.objects.keys()
    }

    /// Uploads that were begun, and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.shared.objects.open_uploads()
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Relaxed)
    }

    /// The next `times` requests of this method whose path and query contain `target` fail in this way.
    pub fn inject(&self, method: Method, target: &str, fault: Fault, times: usize) {
        self.shared.faults.add(method, target, fault, times);
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        self.shared.faults.clear();
    }

    /// From now on preconditions of puts are ignored, as by a server that does not know them.
    pub fn ignore_preconditions(&self) {
        self.shared.objects.ignore_preconditions();
    }
}

fn run(listener: std::net::TcpListener, shared: &Arc<Shared>, ended: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        listener.set_nonblocking(true).expect("a socket that does not block");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let serve = async {
            loop {
                if let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(serve(socket, Arc::clone(shared)));
                }
            }
        };
        tokio::select! {
            () = serve => {}
            _ = ended => {}
        }
    });
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| answer(Arc::clone(&shared), request));
    // A broken connection is what a test may have asked for.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    shared.requests.fetch_add(1, Relaxed);
    let target = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    let fault = shared.faults.of(request.method(), target);
    match fault {
        Some(Fault::Refuse) => return Ok(failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        Some(Fault::Conflict) => return Ok(failure(StatusCode::CONFLICT, "ConditionalRequestConflict")),
        Some(Fault::Hang) => return std::future::pending().await,
        _ => {}
    }
    let answer = shared.service.call(request.map(s3s::Body::from)).await?;
    match fault {
        Some(Fault::LoseAnswer) => Ok(failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError")),
        Some(Fault::Drop) => Err("the connection breaks".into()),
        Some(Fault::Cut(after)) => {
            let (head, body) = answer.into_parts();
            let whole = BodyExt::collect(body).await?.to_bytes();
            let first = whole.slice(..after.min(whole.len()));
            let broken = stream::iter([Ok(Frame::data(first)), Err(Failure::from("the body breaks off"))]);
            // What was sent must be on its way before the connection goes.
            let paced = broken.then(|part| async move {
                if part.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                part
            });
            Ok(Response::from_parts(head, BodyExt::boxed_unsync(StreamBody::new(paced))))
        }
        _ => Ok(answer.map(BodyExt::boxed_unsync)),
    }
}

/// What S3 says when it fails: with words in it that must never come out at our other end.
fn failure(status: StatusCode, code: &str) -> Response<Body> {
    let text = format!("<Error><Code>{code}</Code><Message>told by the server</Message></Error>");
    let body = Full::from(text).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}
