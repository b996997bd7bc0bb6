//! Flight SQL beside HTTP: the same bounds, counted in the same metrics.

use std::{io, sync::Arc};

use lakehouse_engine::RowCount;
use lakehouse_flight::{Bounds, Calls};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Tls, app::App, metrics::Metrics, tls::Protocol};

/// Room for what surrounds a statement in a message.
const MESSAGE_ROOM: usize = 64 * 1024;

/// Serves until `stop`, then lets running calls finish within the drain time.
pub(crate) async fn serve(app: &App, listener: TcpListener, tls: Option<&Tls>, stop: CancellationToken) -> io::Result<()> {
    let settings = app.engine.settings();
    let tls = tls.map(|tls| tls.acceptor(Protocol::Http2)).transpose().map_err(io::Error::other)?;
    let bounds = Bounds {
        connections: settings.server.max_connections,
        handshake: settings.server.header_timeout,
        drain: settings.server.drain,
        message_bytes: settings.server.max_json_bytes.max(settings.query.max_sql_bytes) + MESSAGE_ROOM,
    };
    let calls: Arc<dyn Calls> = Arc::new(Counted(Arc::clone(&app.metrics)));
    lakehouse_flight::serve(Arc::clone(&app.engine), calls, listener, tls, bounds, stop).await
}

struct Counted(Arc<Metrics>);

impl Calls for Counted {
    fn began(&self, _method: &'static str) -> Box<dyn Send + Sync> {
        Box::new(self.0.flight_call())
    }

    fn answered(&self, method: &'static str, status: tonic::Code) {
        self.0.flight_answered(method, status);
    }

    fn rows(&self, rows: u64) {
        self.0.query_rows().add(rows);
    }
}
