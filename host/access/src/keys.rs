//! The keys in force.
//!
//! **Invariant**: [`Keys::authenticate`] answers from what was last published, and a revocation is published as soon as it is
//! durable: a request that begins after `revoke` returned is refused. No two keys ever have one name, since the journal and the
//! access file know keys by their names.

mod grants; // of keys that exist
mod present; // what is published
mod uses; // when keys were last used

use std::{
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use lakehouse_journal::{Draft, EventKind, Journal, Stamp, SystemActor};
use lakehouse_storage::Meta;
use lakehouse_types::{Clock, KeyId, KeyName};
use serde_json::json;
use tokio::sync::{Mutex, OwnedMutexGuard};

use self::present::{Entry, Present};
use crate::{
    AccessError, CreateKey, KeyIgnored, KeyInfo, KeyRecord, ListedKey, NewKey, Principal, Role,
    declared::Declared,
    naming,
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
    present: ArcSwap<Present>,
    /// Compared with when the id is unknown.
    stranger: Arc<Entry>,
    changing: Arc<Mutex<()>>,
    /// Held while what is published follows from what was.
    publishing: std::sync::Mutex<()>,
    /// A commit failed and its outcome may differ from what is published.
    is_doubtful: AtomicBool,
}

/// Holds the turn of changing keys.
type Turn = OwnedMutexGuard<()>;

impl Keys {
    /// # Errors
    /// When the metadata store fails, or holds a record that this version cannot read.
    pub async fn open(meta: Meta, journal: Journal, clock: Arc<dyn Clock>) -> Result<Self, AccessError> {
        let stranger = Entry::alone(KeyRecord { info: stranger(clock.as_ref()), secret: SecretDigest::of_nothing() });
        let shared = Shared {
            meta,
            journal,
            clock,
            present: ArcSwap::default(),
            stranger,
            changing: Arc::default(),
            publishing: std::sync::Mutex::default(),
            is_doubtful: AtomicBool::new(false),
        };
        shared.reload().await?;
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
        let mut entries = present.entries.values();
        let is_open = entries.any(|entry| entry.record.info.role == Role::Admin && entry.record.info.is_live(now));
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
        if present.entries.get(&id).is_some_and(|entry| bool::from(entry.record.secret.matches(&text))) {
            return Err(AccessError::BootstrapSpent);
        }
        let admin = CreateKey {
            name: naming::next_admin(present.entries.values().map(|entry| &entry.record.info.name)),
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
        let present = self.shared.present.load();
        let entry = self.opened(&present, presented)?;
        entry.used.touch(self.shared.clock.now());
        Ok(entry.principal.clone())
    }

    /// The key that a text opens.
    fn opened<'k>(&'k self, present: &'k Present, presented: &str) -> Result<&'k Entry, AccessError> {
        if presented.len() > MAX_KEY_BYTES {
            return Err(AccessError::Unauthenticated);
        }
        let entry = present.entries.get(&secret::id_of(presented)).unwrap_or(&self.shared.stranger);
        let is_secret = bool::from(entry.record.secret.matches(presented));
        if is_secret && entry.record.info.is_live(self.shared.clock.now()) {
            Ok(entry)
        } else {
            Err(AccessError::Unauthenticated)
        }
    }

    /// Whether whoever was let in earlier still is, as what it was: long work asks again and again. Where keys are switched off
    /// nobody is put out.
    ///
    /// # Errors
    /// [`AccessError::Ended`] when the key is revoked or expired, [`AccessError::Narrowed`] when it was granted more then.
    pub fn readmit(&self, principal: &Principal) -> Result<(), AccessError> {
        if principal.is_local() {
            return Ok(());
        }
        let present = self.shared.present.load();
        let entry = present.entries.get(&principal.key_id).filter(|entry| entry.record.info.is_live(self.shared.clock.now()));
        match entry {
            None => Err(AccessError::Ended),
            Some(entry) if entry.principal.narrowings != principal.narrowings => Err(AccessError::Narrowed),
            Some(_) => Ok(()),
        }
    }

    /// Whether [`Keys::readmit`] does.
    pub fn still_admits(&self, principal: &Principal) -> bool {
        self.readmit(principal).is_ok()
    }

    /// Why a start with this admin key left it aside; `None` when it opens as an admin's. No use of the key.
    pub fn why_ignored(&self, given: &str) -> Option<KeyIgnored> {
        let present = self.shared.present.load();
        if let Ok(Entry { principal, .. }) = self.opened(&present, given) {
            return (!principal.is_admin()).then_some(KeyIgnored::NoAdmin(principal.role));
        }
        let entry = present.entries.get(&secret::id_of(given)).filter(|entry| bool::from(entry.record.secret.matches(given)));
        Some(entry.map_or(KeyIgnored::Unknown, |_| KeyIgnored::Spent))
    }

    /// Whether a key that was authenticated earlier still opens anything.
    pub fn is_live(&self, id: &KeyId) -> bool {
        let now = self.shared.clock.now();
        self.shared.present.load().entries.get(id).is_some_and(|entry| entry.record.info.is_live(now))
    }

    /// Puts what the access file grants into force, in the place of what it did; tells whose grants became others.
    pub(crate) fn declare(&self, declared: Arc<Declared>) -> Vec<KeyName> {
        self.shared.publish(|present| present.granted(declared))
    }

    /// Names of the access file that no key has or had.
    pub(crate) fn declared_but_unknown(&self) -> Vec<KeyName> {
        self.shared.present.load().declared_but_unknown()
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
        if present.entries.values().any(|entry| entry.record.info.name == input.name) {
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
    pub fn list(&self) -> Vec<ListedKey> {
        let listed = |entry: &Arc<Entry>| {
            let info = KeyInfo { grants: entry.principal.grants.clone(), ..entry.record.info.clone() };
            ListedKey { info, last_used_at: entry.used.at() }
        };
        self.shared.present.load().entries.values().map(listed).collect()
    }

    /// Revokes a key for good and journals it. Revoking a revoked key changes nothing.
    ///
    /// # Errors
    /// [`AccessError::UnknownKey`]; when the store fails.
    pub async fn revoke(&self, by: &Stamp, id: &KeyId) -> Result<KeyInfo, AccessError> {
        let turn = self.turn().await?;
        let present = self.shared.present.load_full();
        let entry = present.entries.get(id).ok_or_else(|| AccessError::UnknownKey { id: id.clone() })?;
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
        self.publish(|present| (present.with(record), ()));
        Ok(())
    }

    async fn reload(&self) -> Result<(), AccessError> {
        let records = self.meta.collection::<KeyRecord>().all().await?.into_iter().map(|(_, record)| record).collect();
        let uses = uses::load(&self.meta).await?;
        self.publish(|present| (present.of_records(records), ()));
        uses::tell(&self.present.load(), uses);
        self.is_doubtful.store(false, Ordering::Release);
        Ok(())
    }

    fn publish<T>(&self, change: impl FnOnce(&Present) -> (Present, T)) -> T {
        let _alone = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, told) = change(&self.present.load());
        self.present.store(Arc::new(next));
        told
    }
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
pub(crate) mod tests;
