//! Grants of keys that exist: those that are kept with the keys, and those of the access file.

use lakehouse_access::{AccessFileStatus, Action, Caller, Grant, KeyGrant};
use lakehouse_types::{GrantId, KeyId, KeyName};

use crate::{Engine, EngineError, Page};

/// Names of keys that a list tells at most.
const MAX_UNKNOWN: usize = 100;

/// A page of grants, and how the access file stands.
#[derive(Debug)]
pub struct Grants {
    pub page: Page<KeyGrant>,
    pub file: AccessFileStatus,
    /// Keys that the file names and that nobody has made yet; the first of them.
    pub unknown_keys: Vec<KeyName>,
}

impl Engine {
    /// Grants by key and id: of one key, named by its id or its name, or of all that open something.
    ///
    /// # Errors
    /// When the caller may not, or there is no such key.
    pub async fn grants(
        &self,
        caller: &Caller,
        key: Option<&KeyId>,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<Grants, EngineError> {
        self.require(caller, Action::ManageKeys).await?;
        let (items, has_more) = self.keys.grants(key, after, limit)?;
        let next = items.last().filter(|_| has_more).map(|last| last.id.to_string());
        let mut unknown_keys = self.access_file.unknown_keys();
        unknown_keys.truncate(MAX_UNKNOWN);
        Ok(Grants { page: Page { items, next }, file: self.access_file.status(), unknown_keys })
    }

    /// Gives a key, named by its id or its name, one more grant: it counts for requests that begin from now on. Also says whether the
    /// key had it not yet.
    ///
    /// # Errors
    /// When the caller may not, there is no such key or it opens nothing any more, or the grant permits nothing.
    pub async fn add_grant(&self, caller: &Caller, key: &KeyId, grant: Grant) -> Result<(KeyGrant, bool), EngineError> {
        self.require(caller, Action::ManageKeys).await?;
        let (keys, by, key) = (self.keys.clone(), self.stamp(caller), key.clone());
        self.changes.to_the_end(async move { Ok(keys.add_grant(&by, &key, grant).await?) }).await
    }

    /// Takes a grant back: the next request is judged without it, and what runs for the key ends, unless its other grants permit the
    /// same.
    ///
    /// # Errors
    /// When the caller may not, there is no such grant, or it stands in the access file.
    pub async fn remove_grant(&self, caller: &Caller, id: &GrantId) -> Result<KeyGrant, EngineError> {
        self.require(caller, Action::ManageKeys).await?;
        let (keys, by, id) = (self.keys.clone(), self.stamp(caller), id.clone());
        self.changes.to_the_end(async move { Ok(keys.remove_grant(&by, &id).await?) }).await
    }

    /// Whether the access file as it stands is not in force.
    pub fn is_access_file_refused(&self) -> bool {
        self.access_file.status().error.is_some()
    }
}
