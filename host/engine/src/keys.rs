//! Keys: create, list, revoke.

use lakehouse_access::{Action, Caller, CreateKey, KeyInfo, ListedKey, NewKey};
use lakehouse_types::KeyId;

use crate::{Engine, EngineError, Page};

impl Engine {
    /// Creates a key; its secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// When the caller may not, or the key's profiles do not exist.
    pub async fn create_key(&self, caller: &Caller, create: CreateKey) -> Result<NewKey, EngineError> {
        self.require(caller, Action::ManageKeys).await?;
        let present = self.catalog.snapshot();
        for profile in create.profiles.iter().chain(&create.default_profile) {
            present.profile(profile)?;
        }
        let (keys, by) = (self.keys.clone(), self.stamp(caller));
        self.changes.to_the_end(async move { Ok(keys.create(&by, create).await?) }).await
    }

    /// All keys, by id, without secrets, with all grants in force and the time of their last use.
    ///
    /// # Errors
    /// When the caller may not.
    pub async fn keys(&self, caller: &Caller, after: Option<&str>, limit: usize) -> Result<Page<ListedKey>, EngineError> {
        self.require(caller, Action::ManageKeys).await?;
        Ok(Page::of(self.keys.list(), after, limit, |key| key.info.id.as_str()))
    }

    /// Revokes a key: the next request with it is refused, and what still runs for it ends.
    ///
    /// # Errors
    /// When the caller may not, or the key does not exist.
    pub async fn revoke_key(&self, caller: &Caller, id: &KeyId) -> Result<KeyInfo, EngineError> {
        self.require(caller, Action::ManageKeys).await?;
        let (keys, by, id) = (self.keys.clone(), self.stamp(caller), id.clone());
        self.changes.to_the_end(async move { Ok(keys.revoke(&by, &id).await?) }).await
    }
}
