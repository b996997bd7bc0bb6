//! Grants of keys that exist: listed, added, removed.
//!
//! **Invariant**: a change is durable with its event before it is answered, and published by then: it counts for every request that
//! begins later. What the access file grants is the file's to take back.

use std::ops::Bound;

use lakehouse_journal::{Draft, EventKind, Stamp};
use lakehouse_types::{GrantId, KeyId};
use serde_json::json;

use super::Keys;
use crate::{AccessError, Grant, KeyGrant, Origin, key::MAX_GRANTS};

impl Keys {
    /// The first `limit` grants after `after`, by key and id, and whether there are more: of one key, named by its id or its name, or
    /// of all that are neither revoked nor expired.
    ///
    /// # Errors
    /// [`AccessError::UnknownKey`].
    pub fn grants(
        &self,
        key: Option<&KeyId>,
        after: Option<&GrantId>,
        limit: usize,
    ) -> Result<(Vec<KeyGrant>, bool), AccessError> {
        let present = self.shared.present.load();
        let place = after.map(|after| (after.key(), after.as_str()));
        let is_after = |grant: &KeyGrant| place.is_none_or(|place| (grant.key.as_str(), grant.id.as_str()) > place);
        if let Some(key) = key {
            let entry = present.find(key).ok_or_else(|| AccessError::UnknownKey { id: key.clone() })?;
            let mut grants = entry.grants();
            grants.retain(is_after);
            return Ok(cut(grants, limit));
        }
        let now = self.shared.clock.now();
        let from = place.map_or(Bound::Unbounded, |(key, _)| Bound::Included(key));
        let entries = present.entries.range::<str, _>((from, Bound::Unbounded)).map(|(_, entry)| entry);
        let live = entries.filter(|entry| entry.record.info.is_live(now));
        let grants = live.flat_map(|entry| entry.grants()).filter(is_after).take(limit.saturating_add(1)).collect();
        Ok(cut(grants, limit))
    }

    /// Gives a key, named by its id or its name, one more grant, and journals it. A grant that it has changes nothing. Also says
    /// whether it is new.
    ///
    /// # Errors
    /// When there is no such key, or it opens nothing any more; when the grant permits nothing, or the key has as many as it may; when
    /// the store fails.
    pub async fn add_grant(&self, by: &Stamp, key: &KeyId, grant: Grant) -> Result<(KeyGrant, bool), AccessError> {
        let turn = self.turn().await?;
        grant.validate()?;
        let present = self.shared.present.load_full();
        let entry = present.find(key).ok_or_else(|| AccessError::UnknownKey { id: key.clone() })?;
        let mut record = entry.record.clone();
        let info = &mut record.info;
        let made = KeyGrant::new(&info.id, &info.name, grant.clone(), Origin::Key);
        if !info.is_live(self.shared.clock.now()) {
            return Err(AccessError::SpentKey { name: info.name.clone() });
        }
        if info.grants.contains(&grant) {
            return Ok((made, false));
        }
        if info.grants.len() >= MAX_GRANTS {
            return Err(AccessError::TooMany { field: "grants", limit: MAX_GRANTS });
        }
        info.grants.push(grant);
        self.commit(turn, Some((by, draft(EventKind::GrantAdd, &made))), record).await?;
        Ok((made, true))
    }

    /// Takes a grant back, and journals it. What still runs for the key ends, unless its other grants permit the same.
    ///
    /// # Errors
    /// [`AccessError::UnknownGrant`]; [`AccessError::GrantOfFile`] when it stands in the access file; when the store fails.
    pub async fn remove_grant(&self, by: &Stamp, id: &GrantId) -> Result<KeyGrant, AccessError> {
        let turn = self.turn().await?;
        let present = self.shared.present.load_full();
        let unknown = || AccessError::UnknownGrant { id: id.clone() };
        let entry = present.entries.get(id.key()).ok_or_else(unknown)?;
        let found = entry.grants().into_iter().find(|grant| grant.id == *id).ok_or_else(unknown)?;
        if let Origin::File { group } = found.origin {
            return Err(AccessError::GrantOfFile { file: present.declared.file.clone(), group });
        }
        let mut record = entry.record.clone();
        record.info.grants.retain(|grant| *grant != found.grant);
        self.commit(turn, Some((by, draft(EventKind::GrantRemove, &found))), record).await?;
        Ok(found)
    }
}

fn cut(mut grants: Vec<KeyGrant>, limit: usize) -> (Vec<KeyGrant>, bool) {
    let has_more = grants.len() > limit;
    grants.truncate(limit);
    (grants, has_more)
}

fn draft(kind: EventKind, grant: &KeyGrant) -> Draft {
    let details = json!({ "name": grant.key_name, "grant": grant.grant, "grant_id": grant.id });
    Draft::new(kind, grant.key.as_str()).details(details)
}

#[cfg(test)]
mod tests;
