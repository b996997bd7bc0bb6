//! The keys as requests see them: what is stored of each, and what the access file adds.
//!
//! **Invariant**: a principal's grants are its key's own and the file's together. Whenever they come to permit less, or the id passes to
//! another key, the count of narrowings grows, and a principal that was let in before is known by its own.

use std::{collections::BTreeMap, sync::Arc};

use lakehouse_types::{KeyId, KeyName};

use super::uses::LastUsed;
use crate::{
    Grant, KeyGrant, KeyRecord, Origin, Principal,
    declared::{Declared, DeclaredGrant},
    owned::covers,
};

/// All keys at one moment.
#[derive(Default)]
pub(super) struct Present {
    pub(super) entries: BTreeMap<KeyId, Arc<Entry>>,
    pub(super) declared: Arc<Declared>,
}

/// One key.
pub(super) struct Entry {
    pub(super) record: KeyRecord,
    pub(super) principal: Arc<Principal>,
    given: Arc<[DeclaredGrant]>,
    pub(super) used: Arc<LastUsed>,
}

impl Entry {
    /// The key as it is now; `before` is how it was.
    fn follow(before: Option<&Arc<Self>>, record: KeyRecord, given: Arc<[DeclaredGrant]>) -> Arc<Self> {
        if let Some(before) = before
            && before.record == record
            && before.given == given
        {
            return Arc::clone(before);
        }
        let grants = together(&record.info.grants, &given);
        // A key of the environment takes the place of the spent one before it; nobody who came in by that one is this one's holder.
        let same = before.filter(|before| before.record.secret == record.secret);
        let used = same.map(|before| Arc::clone(&before.used)).unwrap_or_default();
        let narrowings = before.map_or(0, |before| {
            // An admin's grants permit nothing that the role does not.
            let is_narrower = !before.principal.is_admin() && !covers(&grants, &before.principal.grants);
            before.principal.narrowings + u64::from(is_narrower || same.is_none())
        });
        let principal = Arc::new(Principal::new(&record.info, grants, narrowings));
        Arc::new(Self { record, principal, given, used })
    }

    /// A key that nothing stands behind yet.
    pub(super) fn alone(record: KeyRecord) -> Arc<Self> {
        Self::follow(None, record, Arc::default())
    }

    /// Its grants, each once, by their ids.
    pub(super) fn grants(&self) -> Vec<KeyGrant> {
        let info = &self.record.info;
        let own = info.grants.iter().map(|grant| (grant.clone(), Origin::Key));
        let given = self.given.iter().map(|given| (given.grant.clone(), given.origin()));
        let mut grants: Vec<KeyGrant> =
            own.chain(given).map(|(grant, origin)| KeyGrant::new(&info.id, &info.name, grant, origin)).collect();
        grants.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        grants.dedup_by(|a, b| a.id == b.id);
        grants
    }
}

/// The key's own grants, then those of the file that it has not anyway.
fn together(own: &[Grant], given: &[DeclaredGrant]) -> Vec<Grant> {
    let mut grants = own.to_vec();
    for DeclaredGrant { grant, .. } in given {
        if !grants.contains(grant) {
            grants.push(grant.clone());
        }
    }
    grants
}

impl Present {
    /// The key of this id, else of this name.
    pub(super) fn find(&self, id_or_name: &KeyId) -> Option<&Arc<Entry>> {
        let by_name = || self.entries.values().find(|entry| entry.record.info.name.as_str() == id_or_name.as_str());
        self.entries.get(id_or_name).or_else(by_name)
    }

    /// With one key made or changed.
    pub(super) fn with(&self, record: KeyRecord) -> Self {
        let (id, given) = (record.info.id.clone(), self.declared.of(&record.info.name));
        let mut entries = self.entries.clone();
        entries.insert(id.clone(), Entry::follow(self.entries.get(&id), record, given));
        Self { entries, declared: Arc::clone(&self.declared) }
    }

    /// With these keys in the place of those before.
    pub(super) fn of_records(&self, records: Vec<KeyRecord>) -> Self {
        let entry = |record: KeyRecord| {
            let (id, given) = (record.info.id.clone(), self.declared.of(&record.info.name));
            let entry = Entry::follow(self.entries.get(&id), record, given);
            (id, entry)
        };
        Self { entries: records.into_iter().map(entry).collect(), declared: Arc::clone(&self.declared) }
    }

    /// With what the access file grants now; and whose grants became others.
    pub(super) fn granted(&self, declared: Arc<Declared>) -> (Self, Vec<KeyName>) {
        let mut changed = Vec::new();
        let follow = |(id, before): (&KeyId, &Arc<Entry>)| {
            let given = declared.of(&before.record.info.name);
            if given == before.given {
                return (id.clone(), Arc::clone(before));
            }
            let entry = Entry::follow(Some(before), before.record.clone(), given);
            if entry.principal.grants != before.principal.grants {
                changed.push(before.record.info.name.clone());
            }
            (id.clone(), entry)
        };
        let entries = self.entries.iter().map(follow).collect();
        (Self { entries, declared }, changed)
    }

    /// Names of the access file that no key has or had.
    pub(super) fn declared_but_unknown(&self) -> Vec<KeyName> {
        let known: std::collections::BTreeSet<&KeyName> = self.entries.values().map(|entry| &entry.record.info.name).collect();
        self.declared.keys().filter(|name| !known.contains(name)).cloned().collect()
    }
}
