//! Who may do what: keys, roles, grants, and the principal that a request acts as.
//!
//! **Invariant**: nothing is permitted that a line of this crate does not permit; a secret is never stored, logged or shown
//! twice; a revoked or expired key opens nothing from that moment on, and a grant that was taken back permits nothing.

mod access_file; // grants of a file that is watched
mod caller;
mod credentials; // where a key may stand in a request
mod declared; // the file's text → grants by key
mod error;
mod grant;
mod key; // the stored record, and what may be shown of it
mod keys; // authenticate, create, revoke, grant
mod matrix; // the one table of actions and roles
mod naming; // names that keys cannot choose
mod owned; // a grant, whose it is, and where it stands
mod principal;
mod role;
mod secret; // key texts and their digests
mod wire; // how a grant is written

pub use access_file::{AccessFile, AccessFileError, AccessFileStatus, AccessReload, AccessWatch};
pub use caller::Caller;
pub use credentials::{Basic, Credential, CredentialError, presented};
pub use error::{AccessError, KeyIgnored};
pub use grant::{Grant, GrantTarget, NameOrAll, Verb};
pub use key::{CreateKey, KeyInfo, KeyRecord, ListedKey, NewKey};
pub use keys::Keys;
pub use matrix::Action;
pub use owned::{KeyGrant, Origin};
pub use principal::Principal;
pub use role::Role;
