//! Who may do what: keys, roles, grants, and the principal that a request acts as.
//!
//! **Invariant**: nothing is permitted that a line of this crate does not permit; a secret is never stored, logged or shown
//! twice; a revoked or expired key opens nothing from that moment on.

mod caller;
mod credentials; // where a key may stand in a request
mod error;
mod grant;
mod key; // the stored record, and what may be shown of it
mod keys; // authenticate, create, revoke
mod matrix; // the one table of actions and roles
mod naming; // names that keys cannot choose
mod principal;
mod role;
mod secret; // key texts and their digests

pub use caller::Caller;
pub use credentials::{Basic, Credential, CredentialError, presented};
pub use error::{AccessError, KeyIgnored};
pub use grant::{Grant, GrantTarget, NameOrAll, Verb};
pub use key::{CreateKey, KeyInfo, KeyRecord, NewKey};
pub use keys::Keys;
pub use matrix::Action;
pub use principal::Principal;
pub use role::Role;
