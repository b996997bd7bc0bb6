//! What a server listens on.

use tokio::net::TcpListener;

use crate::Tls;

/// The sockets of one server.
#[derive(Debug)]
pub struct Listeners {
    pub http: TcpListener,
    /// Arrow Flight SQL, where it is served.
    pub flight: Option<TcpListener>,
    /// Both are plain without it.
    pub tls: Option<Tls>,
}

impl From<TcpListener> for Listeners {
    /// Plain HTTP.
    fn from(http: TcpListener) -> Self {
        Self { http, flight: None, tls: None }
    }
}
