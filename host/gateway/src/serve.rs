//! The listener: connections in bounds, heads in time, and an orderly end.
//!
//! **Invariant**: no more than `max_connections` sockets are open; when they all are, the longest idle one makes room; a
//! connection with a request in flight is closed only when its peer takes nothing of the answer, or the drain time is over.

use std::{
    collections::HashMap,
    future::Future,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use http_body_util::BodyExt;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use lakehouse_engine::Engine;
use lakehouse_types::RequestId;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{
    app::App, envelope::UNMATCHED, flight, head, listeners::Listeners, manners::Polite, parting::Parting, patience::Patient,
    problem, tls::Protocol,
};

/// Room for a request's head, and headers in it: more than [`head::check`] lets pass.
const HEAD_BYTES: usize = 2 * head::MAX_BYTES;
const HEADERS: usize = 2 * head::MAX_HEADERS;

/// A pause after `accept` failed, for instance for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The service without a listener, as tests drive it.
pub fn router(engine: Arc<Engine>) -> Router {
    App::new(engine).router()
}

/// Serves until `shutdown` is ready, then lets running requests finish within `[server] drain_ms`.
///
/// # Errors
/// When a listener has no address, TLS cannot be set up, or Flight SQL ends before it was asked to.
pub async fn serve(
    engine: Arc<Engine>,
    listeners: impl Into<Listeners>,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let Listeners { http: listener, flight, tls } = listeners.into();
    let address = listener.local_addr()?;
    let app = App::new(engine);
    let server = app.engine.settings().server.clone();
    let door = Door {
        router: app.router(),
        app: app.clone(),
        open: Arc::default(),
        stop: CancellationToken::new(),
        kill: CancellationToken::new(),
        began: Instant::now(),
        head_timeout: server.header_timeout,
        answer_timeout: server.answer_idle_timeout,
        tls: tls.as_ref().map(|tls| tls.acceptor(Protocol::Http1)).transpose().map_err(io::Error::other)?,
    };
    let mut flight = tokio::spawn({
        let (app, stop) = (app.clone(), door.stop.clone());
        async move {
            match flight {
                Some(listener) => flight::serve(&app, listener, tls.as_ref(), stop).await,
                None => {
                    stop.cancelled().await;
                    Ok(())
                }
            }
        }
    });
    let tasks = TaskTracker::new();
    tracing::info!(%address, "serving");

    tokio::pin!(shutdown);
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            ended = &mut flight => return ended.map_err(io::Error::other)?,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                number += 1;
                if let Some(guest) = door.let_in(number, server.max_connections) {
                    tasks.spawn(door.clone().welcome(number, guest, stream));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    drop(listener);
    app.engine.begin_shutdown();
    tracing::info!("draining");
    door.stop.cancel();
    tasks.close();
    if tokio::time::timeout(server.drain, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), "the drain time is over; cutting what still runs");
        door.kill.cancel();
        tasks.wait().await;
    }
    flight.await.map_err(io::Error::other)?
}

/// What a connection needs.
#[derive(Clone)]
struct Door {
    router: Router,
    app: App,
    open: Arc<Mutex<HashMap<u64, Arc<Guest>>>>,
    stop: CancellationToken,
    kill: CancellationToken,
    began: Instant,
    head_timeout: Duration,
    answer_timeout: Duration,
    tls: Option<TlsAcceptor>,
}

/// One connection.
#[derive(Debug, Default)]
struct Guest {
    /// Requests whose answer has not ended.
    busy: AtomicUsize,
    /// Milliseconds after the server began: when it last had something to do.
    since: AtomicU64,
    leave: CancellationToken,
}

impl Door {
    /// Counts a connection in, if need be in the place of the one that has been idle for longest; `None` when all are busy.
    fn let_in(&self, number: u64, most: usize) -> Option<Arc<Guest>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= most {
            let idlest = open
                .iter()
                .filter(|(_, guest)| guest.busy.load(Ordering::Relaxed) == 0)
                .min_by_key(|(_, guest)| guest.since.load(Ordering::Relaxed))
                .map(|(number, _)| *number)?;
            open.remove(&idlest)?.leave.cancel();
        }
        let guest = Arc::new(Guest { since: AtomicU64::new(millis_since(self.began)), ..Guest::default() });
        open.insert(number, Arc::clone(&guest));
        Some(guest)
    }

    async fn welcome(self, number: u64, guest: Arc<Guest>, stream: TcpStream) {
        let _counted = self.app.metrics.connection();
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.converse(&guest, stream).await,
            // Who does not finish a handshake gets no more time than for a head.
            Some(tls) => match tokio::time::timeout(self.head_timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.converse(&guest, stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            },
        }
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// The connection's stream: it gives up on a deaf peer, and explains a reply that no request came before.
    fn polite<S>(&self, guest: &Arc<Guest>, stream: S) -> impl AsyncRead + AsyncWrite + Unpin + 'static + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (guest, metrics) = (Arc::clone(guest), Arc::clone(&self.app.metrics));
        Polite::new(Patient::new(stream, self.answer_timeout), move |code, reply: &str| {
            if guest.busy.load(Ordering::Relaxed) > 0 {
                return None;
            }
            let (problem, request_id) = (head::refused(code), RequestId::fresh());
            metrics.answered(UNMATCHED, "", problem.status().as_u16(), Duration::ZERO);
            tracing::debug!(%request_id, code = code.as_str(), "a head was turned away");
            Some(problem::render_onto(reply, &problem, &request_id))
        })
    }

    async fn converse(&self, guest: &Arc<Guest>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let service = service_fn(|request: Request<Incoming>| {
            let held = Visit::begin(Arc::clone(guest), self.began);
            let answer = self.router.clone().oneshot(request.map(Body::new));
            async move {
                let response = answer.await?;
                Ok::<_, std::convert::Infallible>(response.map(|body| {
                    Body::new(Parting::new(body).map_frame(move |frame| {
                        let _ = &held;
                        frame
                    }))
                }))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .max_buf_size(HEAD_BYTES)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(self.polite(guest, stream)), service);
        tokio::pin!(connection);
        let mut stopping = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection ended");
                    }
                    break;
                }
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = guest.leave.cancelled() => break,
                () = self.kill.cancelled() => break,
            }
        }
    }
}

/// A request in flight on a connection.
struct Visit {
    guest: Arc<Guest>,
    began: Instant,
}

impl Visit {
    fn begin(guest: Arc<Guest>, began: Instant) -> Self {
        guest.busy.fetch_add(1, Ordering::Relaxed);
        Self { guest, began }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.guest.since.store(millis_since(self.began), Ordering::Relaxed);
        self.guest.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

fn millis_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
