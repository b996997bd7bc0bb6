//! The keys in force.
//!
//! **Invariant**: [`Keys::authenticate`] answers from what was last published, and a revocation is published as soon as it is
//! durable: a request that begins after `revoke` returned is refused. No two keys ever have one name, since the journal knows
//! keys by their names.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use lakehouse_journal::{Draft, EventKind, Journal, Stamp, SystemActor};
use lakehouse_storage::Meta;
use lakehouse_types::{Clock, KeyId, KeyName};
use serde_json::json;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{
    AccessError, CreateKey, KeyIgnored, KeyInfo, KeyRecord, NewKey, Principal, Role, naming,
    secret::{self, MAX_KEY_BYTES, MIN_ADMIN_BYTES, SecretDigest},
};

/// All keys. Cheap to clone: clones share one state.
#[derive(Clone)]
pub struct Keys {
    shared: Arc<Shared>,
}

struct Shared {
    meta: Meta,
    journal: Journal,
    clock: Arc<dyn Clock>,
    present: ArcSwap<BTreeMap<KeyId, Arc<Entry>>>,
    /// Compared with when the id is unknown.
    stranger: Entry,
    changing: Arc<Mutex<()>>,
    /// A commit failed and its outcome may differ from what is published.
    is_doubtful: AtomicBool,
}

struct Entry {
    record: KeyRecord,
    principal: Arc<Principal>,
}

impl Entry {
    fn new(record: KeyRecord) -> Self {
        let principal = Arc::new(Principal::from(&record.info));
        Self { record, principal }
    }
}

/// Holds the turn of changing keys.
type Turn = OwnedMutexGuard<()>;

impl Keys {
    /// # Errors
    /// When the metadata store fails, or holds a record that this version cannot read.
    pub async fn open(meta: Meta, journal: Journal, clock: Arc<dyn Clock>) -> Result<Self, AccessError> {
        let entries = load(&meta).await?;
        let stranger = Entry::new(KeyRecord { info: stranger(clock.as_ref()), secret: SecretDigest::of_nothing() });
        let shared = Shared {
            meta,
            journal,
            clock,
            present: ArcSwap::from_pointee(entries),
            stranger,
            changing: Arc::default(),
            is_doubtful: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes sure that somebody can come in: when no admin key is in force, creates one from `given` (the environment's
    /// `LAKEHOUSE_ADMIN_KEY`) or from randomness. Writes no journal event. `None` when there is nothing to do.
    ///
    /// # Errors
    /// When `given` is too short, or is a key that was revoked or has expired; when the store fails.
    pub async fn bootstrap(&self, given: Option<String>) -> Result<Option<NewKey>, AccessError> {
        let turn = self.turn().await?;
        let now = self.shared.clock.now();
        let present = self.shared.present.load_full();
        let is_open = present.values().any(|entry| entry.record.info.role == Role::Admin && entry.record.info.is_live(now));
        if is_open {
            return Ok(None);
        }
        let (id, text) = match given {
            Some(text) => {
                let is_fit = (MIN_ADMIN_BYTES..=MAX_KEY_BYTES).contains(&text.len())
                    && !text.chars().any(|c| c.is_control() || c.is_whitespace());
                if !is_fit {
                    return Err(AccessError::BootstrapShape);
                }
                (secret::id_of(&text), text)
            }
            None => secret::generate(),
        };
        if present.get(&id).is_some_and(|entry| bool::from(entry.record.secret.matches(&text))) {
            return Err(AccessError::BootstrapSpent);
        }
        let admin = CreateKey {
            name: naming::next_admin(present.values().map(|entry| &entry.record.info.name)),
            role: Role::Admin,
            grants: Vec::new(),
            profiles: Vec::new(),
            default_profile: None,
            expires_at: None,
        };
        let info = admin.into_info(id.clone(), SystemActor::Host.actor(), now);
        let record = KeyRecord { info: info.clone(), secret: SecretDigest::of(&text) };
        self.commit(turn, None, record).await?;
        Ok(Some(NewKey { id, key: text, record: info }))
    }

    /// Reads the keys anew, where another host makes and revokes them.
    ///
    /// # Errors
    /// When the metadata store fails.
    pub async fn reload(&self) -> Result<(), AccessError> {
        self.shared.reload().await
    }

    /// The principal of a key text. Unknown ids and wrong secrets cost the same work and get the same answer.
    ///
    /// # Errors
    /// [`AccessError::Unauthenticated`].
    pub fn authenticate(&self, presented: &str) -> Result<Arc<Principal>, AccessError> {
        if presented.len() > MAX_KEY_BYTES {
            return Err(AccessError::Unauthenticated);
        }
        let present = self.shared.present.load();
        let entry = present.get(&secret::id_of(presented)).map_or(&self.shared.stranger, Arc::as_ref);
        let is_secret = bool::from(entry.record.secret.matches(presented));
        if is_secret && entry.record.info.is_live(self.shared.clock.now()) {
            Ok(entry.principal.clone())
        } else {
            Err(AccessError::Unauthenticated)
        }
    }

    /// Whether whoever was let in earlier still is: long work asks again and again. Where keys are switched off nobody is put out.
    pub fn still_admits(&self, principal: &Principal) -> bool {
        principal.is_local() || self.is_live(&principal.key_id)
    }

    /// Why a start with this admin key left it aside; `None` when it opens as an admin's.
    pub fn why_ignored(&self, given: &str) -> Option<KeyIgnored> {
        if let Ok(principal) = self.authenticate(given) {
            return (!principal.is_admin()).then_some(KeyIgnored::NoAdmin(principal.role));
        }
        let present = self.shared.present.load();
        let entry = present.get(&secret::id_of(given)).filter(|entry| bool::from(entry.record.secret.matches(given)));
        Some(entry.map_or(KeyIgnored::Unknown, |_| KeyIgnored::Spent))
    }

    /// Whether a key that was authenticated earlier still opens anything.
    pub fn is_live(&self, id: &KeyId) -> bool {
        let now = self.shared.clock.now();
        self.shared.present.load().get(id).is_some_and(|entry| entry.record.info.is_live(now))
    }

    /// Creates a key and journals it.
    ///
    /// # Errors
    /// When a key has or had the name, the server uses it itself, a grant permits nothing, or the key would be born expired; when
    /// the store fails.
    pub async fn create(&self, by: &Stamp, input: CreateKey) -> Result<NewKey, AccessError> {
        let turn = self.turn().await?;
        let now = self.shared.clock.now();
        input.validate(now)?;
        let present = self.shared.present.load_full();
        if present.values().any(|entry| entry.record.info.name == input.name) {
            return Err(AccessError::NameTaken { name: input.name });
        }
        let (id, text) = secret::generate();
        let info = input.into_info(id.clone(), by.actor.clone(), now);
        let details = json!({
            "name": info.name, "role": info.role, "grants": info.grants, "profiles": info.profiles,
            "default_profile": info.default_profile, "expires_at": info.expires_at,
        });
        let draft = Draft::new(EventKind::KeyCreate, id.as_str()).details(details);
        let record = KeyRecord { info: info.clone(), secret: SecretDigest::of(&text) };
        self.commit(turn, Some((by, draft)), record).await?;
        Ok(NewKey { id, key: text, record: info })
    }

    /// Every key, revoked and expired ones included, by id.
    pub fn list(&self) -> Vec<KeyInfo> {
        self.shared.present.load().values().map(|entry| entry.record.info.clone()).collect()
    }

    /// Revokes a key for good and journals it. Revoking a revoked key changes nothing.
    ///
    /// # Errors
    /// [`AccessError::UnknownKey`]; when the store fails.
    pub async fn revoke(&self, by: &Stamp, id: &KeyId) -> Result<KeyInfo, AccessError> {
        let turn = self.turn().await?;
        let present = self.shared.present.load_full();
        let entry = present.get(id).ok_or_else(|| AccessError::UnknownKey { id: id.clone() })?;
        if entry.record.info.revoked_at.is_some() {
            return Ok(entry.record.info.clone());
        }
        let mut record = entry.record.clone();
        record.info.revoked_at = Some(self.shared.clock.now());
        record.info.revoked_by = Some(by.actor.clone());
        let info = record.info.clone();
        let draft = Draft::new(EventKind::KeyRevoke, id.as_str()).details(json!({ "name": info.name }));
        self.commit(turn, Some((by, draft)), record).await?;
        Ok(info)
    }

    async fn turn(&self) -> Result<Turn, AccessError> {
        let turn = self.shared.changing.clone().lock_owned().await;
        if self.shared.is_doubtful.load(Ordering::Acquire) {
            self.shared.reload().await?;
        }
        Ok(turn)
    }

    /// Makes the record durable with its event, then publishes it; runs to its end even if the caller goes away.
    async fn commit(&self, turn: Turn, event: Option<(&Stamp, Draft)>, record: KeyRecord) -> Result<(), AccessError> {
        let shared = self.shared.clone();
        let event = event.map(|(by, draft)| (by.clone(), draft));
        let commit = tokio::spawn(async move {
            let outcome = shared.commit(event, record).await;
            drop(turn);
            outcome
        });
        match commit.await {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Shared {
    async fn commit(&self, event: Option<(Stamp, Draft)>, record: KeyRecord) -> Result<(), AccessError> {
        let mut txn = self.meta.begin().await?;
        txn.put(record.info.id.as_str(), &record)?;
        let outcome = match event {
            Some((by, draft)) => self.journal.commit(txn, &by, vec![draft]).await.map(drop).map_err(AccessError::from),
            None => txn.commit().await.map_err(AccessError::from),
        };
        if let Err(error) = outcome {
            self.is_doubtful.store(true, Ordering::Release);
            // The store says what became of it; when it cannot, the next change asks again.
            let _ = self.reload().await;
            return Err(error);
        }
        let mut next = BTreeMap::clone(&self.present.load());
        next.insert(record.info.id.clone(), Arc::new(Entry::new(record)));
        self.present.store(Arc::new(next));
        Ok(())
    }

    async fn reload(&self) -> Result<(), AccessError> {
        self.present.store(Arc::new(load(&self.meta).await?));
        self.is_doubtful.store(false, Ordering::Release);
        Ok(())
    }
}

async fn load(meta: &Meta) -> Result<BTreeMap<KeyId, Arc<Entry>>, AccessError> {
    let records = meta.collection::<KeyRecord>().all().await?;
    Ok(records.into_iter().map(|(_, record)| (record.info.id.clone(), Arc::new(Entry::new(record)))).collect())
}

/// Stands in for a key that does not exist; permits nothing even if it could be matched.
fn stranger(clock: &dyn Clock) -> KeyInfo {
    let now = clock.now();
    KeyInfo {
        id: KeyId::new("nobody").expect("a plain word is a slug"),
        name: KeyName::new("nobody").expect("a plain word is a slug"),
        role: Role::Reader,
        grants: Vec::new(),
        profiles: Vec::new(),
        default_profile: None,
        created_at: now,
        created_by: SystemActor::Host.actor(),
        expires_at: Some(now),
        revoked_at: Some(now),
        revoked_by: None,
    }
}

#[cfg(test)]
mod tests;
