//! Arrow Flight SQL: the queries of `POST /query/sql` over gRPC, with the same keys, profiles, guards and rows.
//!
//! **Invariants**: every call but the handshake's first is let in by [`Engine::admit`](lakehouse_engine::Engine::admit) like an HTTP request;
//! the service keeps no state between calls: a ticket or a handle is the statement itself with its parameters, and is judged each time it
//! comes back, whoever brings it; nothing is written.

mod admission; // a call's key, profile and request id
mod catalog; // what catalog calls answer with
mod handle; // statements as tickets and handles
mod info; // what the server says of itself
mod rows; // answers as Flight data
mod server; // the listener
mod service; // the calls
mod sound; // messages that Arrow's reader may believe
mod status; // failures as gRPC has them

pub use admission::Calls;
pub use server::{Bounds, serve};
