//! An S3 server for tests, in memory and on loopback. The protocol is `s3s`, which knows nothing of our client: signatures are
//! verified, requests and answers are read and written by AWS's own model. What a bucket does with them is here.
//!
//! **Invariant**: it is as strict as S3 where S3 is strict: preconditions are atomic, parts but the last have 5 MiB, listings come in
//! pages, and a second completion of an upload finds no upload.

mod bucket; // objects, uploads, preconditions
mod faults; // what goes wrong, and when
mod server; // the listener and its thread

pub use faults::Fault;
pub use server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
