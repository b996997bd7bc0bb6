use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use lakehouse_journal::{EventKind, Filter, Journal, Stamp};
use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions};
use lakehouse_types::{Actor, BucketName, Code, Fault, KeyId, ManualClock, RequestId};
use serde_json::{Value, json};

use super::Keys;
use crate::{AccessError, CreateKey, KeyIgnored, KeyRecord, NewKey, Principal, Role, secret::tests::DIGESTS};

fn start() -> DateTime<Utc> {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

pub(crate) fn by() -> Stamp {
    let actor = Actor::new("ada").unwrap();
    Stamp { actor, role: "admin".into(), profile: None, request_id: RequestId::new("req-1").unwrap(), at: start() }
}

/// Keys over memory.
pub(crate) struct Door {
    pub(crate) meta: Meta,
    pub(crate) journal: Journal,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) keys: Keys,
}

impl Door {
    pub(crate) async fn new() -> Self {
        let specs = vec![BucketSpec { name: BucketName::primary(), kind: BucketKind::Memory }];
        let buckets = Buckets::open(specs, BucketOptions::new(tokio::runtime::Handle::current())).await.unwrap();
        let meta = Meta::open(&buckets.primary(), MetaOptions::default()).await.unwrap();
        let clock = Arc::new(ManualClock::at(start()));
        let journal = Journal::open(meta.clone(), clock.clone()).await.unwrap();
        let keys = Keys::open(meta.clone(), journal.clone(), clock.clone()).await.unwrap();
        Self { meta, journal, clock, keys }
    }

    pub(crate) async fn reopen(&mut self) {
        self.keys = Keys::open(self.meta.clone(), self.journal.clone(), self.clock.clone()).await.unwrap();
    }

    pub(crate) async fn create(&self, body: Value) -> Result<NewKey, AccessError> {
        self.keys.create(&by(), serde_json::from_value::<CreateKey>(body).unwrap()).await
    }

    fn is_open_to(&self, text: &str) -> bool {
        match self.keys.authenticate(text) {
            Ok(_) => true,
            Err(error) => {
                assert_eq!((error.code(), error.public().as_str()), (Code::Unauthenticated, "no valid key was sent"));
                false
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_until_it_is_revoked_also_after_a_restart() {
    let mut door = Door::new().await;
    let grants = json!([{"dataset": "candidates", "verbs": ["write"]}]);
    let new = door.create(json!({"name": "loader", "role": "writer", "grants": grants, "profiles": ["ada"]})).await.unwrap();
    assert!(new.key.starts_with(&format!("lk_{}_", new.id)));

    door.reopen().await;
    let principal = door.keys.authenticate(&new.key).unwrap();
    assert_eq!((principal.name.as_str(), principal.role), ("loader", Role::Writer));
    assert_eq!(principal.default_profile.as_ref().unwrap().as_str(), "ada", "the first listed one");
    assert_eq!(serde_json::to_value(&principal.grants).unwrap(), grants);

    let revoked = door.keys.revoke(&by(), &new.id).await.unwrap();
    assert!(!door.is_open_to(&new.key) && !door.keys.is_live(&new.id));
    assert_eq!(revoked.revoked_by.unwrap().as_str(), "ada");
    door.keys.revoke(&by(), &new.id).await.expect("revoking twice changes nothing");
    door.reopen().await;
    assert!(!door.is_open_to(&new.key));

    let events = door.journal.events(&Filter::default(), None, 10).await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::KeyCreate, EventKind::KeyRevoke]);
    assert!(events.iter().all(|event| event.subject == new.id.as_str()));
    let unknown = door.keys.revoke(&by(), &KeyId::new("knobody").unwrap()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::UnknownKey);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_at_its_hour() {
    let door = Door::new().await;
    let new = door.create(json!({"name": "brief", "role": "reader", "expires_at": "2026-01-02T04:04:05Z"})).await.unwrap();
    door.clock.advance(Duration::seconds(3599));
    assert!(door.is_open_to(&new.key));
    door.clock.advance(Duration::seconds(1));
    assert!(!door.is_open_to(&new.key) && !door.keys.is_live(&new.id));
    let late = door.create(json!({"name": "late", "role": "reader", "expires_at": "2026-01-02T03:04:05Z"})).await.unwrap_err();
    assert!(matches!(late, AccessError::ExpiresInPast));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_let_in_stays_until_the_key_ends_and_for_ever_without_keys() {
    let door = Door::new().await;
    let gone = door.create(json!({"name": "gone", "role": "reader"})).await.unwrap();
    let brief = door.create(json!({"name": "brief", "role": "reader", "expires_at": "2026-01-02T04:04:05Z"})).await.unwrap();
    let (gone, brief) = (door.keys.authenticate(&gone.key).unwrap(), door.keys.authenticate(&brief.key).unwrap());
    assert!(door.keys.still_admits(&gone) && door.keys.still_admits(&brief));
    door.keys.revoke(&by(), &gone.key_id).await.unwrap();
    assert!(!door.keys.still_admits(&gone) && door.keys.still_admits(&brief));
    door.clock.advance(Duration::hours(1));
    assert!(!door.keys.still_admits(&brief) && door.keys.still_admits(&Principal::local_admin()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_key_that_a_start_leaves_aside_is_told_why() {
    let door = Door::new().await;
    let (first, other) = ("correct-horse-battery-staple", "another-text-of-some-length");
    let admin = door.keys.bootstrap(Some(first.into())).await.unwrap().unwrap();
    assert_eq!((door.keys.why_ignored(first), door.keys.why_ignored(other)), (None, Some(KeyIgnored::Unknown)));
    let reader = door.create(json!({"name": "rita", "role": "reader"})).await.unwrap();
    assert_eq!(door.keys.why_ignored(&reader.key), Some(KeyIgnored::NoAdmin(Role::Reader)));
    let second = door.create(json!({"name": "second", "role": "admin"})).await.unwrap();
    door.keys.revoke(&by(), &admin.id).await.unwrap();
    assert_eq!((door.keys.why_ignored(first), door.keys.why_ignored(&second.key)), (Some(KeyIgnored::Spent), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_whole_text_opens() {
    let door = Door::new().await;
    let one = door.create(json!({"name": "one", "role": "reader"})).await.unwrap();
    let two = door.create(json!({"name": "two", "role": "reader"})).await.unwrap();
    let secret = |new: &NewKey| new.key.rsplit_once(&format!("{}_", new.id)).unwrap().1.to_owned();
    for text in [
        String::new(),
        one.id.to_string(),
        format!("lk_{}_", one.id),
        secret(&one),
        format!("lk_{}_{}", one.id, secret(&two)),
        format!("lk_knobody_{}", secret(&one)),
        one.key[..one.key.len() - 1].to_owned(),
        format!("{}A", one.key),
        one.key.to_uppercase(),
        format!(" {}", one.key),
        "x".repeat(100_000),
    ] {
        assert!(!door.is_open_to(&text), "{} bytes", text.len());
    }
    assert!(door.is_open_to(&one.key) && door.is_open_to(&two.key));
}

#[tokio::test]
async fn a_stranger_costs_the_same_work_as_a_wrong_secret() {
    let door = Door::new().await;
    let one = door.create(json!({"name": "one", "role": "reader"})).await.unwrap();
    let gone = door.create(json!({"name": "gone", "role": "reader"})).await.unwrap();
    door.keys.revoke(&by(), &gone.id).await.unwrap();
    let work = |text: &str| {
        let before = DIGESTS.get();
        let _ = door.keys.authenticate(text);
        DIGESTS.get() - before
    };
    for text in [one.key.as_str(), &format!("lk_{}_wrong", one.id), "lk_knobody_wrong", "no form at all", &gone.key] {
        assert_eq!(work(text), 1, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_stored_journaled_or_shown() {
    let door = Door::new().await;
    let given = "correct-horse-battery-staple".to_owned();
    door.keys.bootstrap(Some(given.clone())).await.unwrap().expect("the first admin");
    let new = door.create(json!({"name": "one", "role": "reader"})).await.unwrap();

    let records = door.meta.collection::<KeyRecord>().all().await.unwrap();
    assert_eq!(records.len(), 2);
    let mut seen: Vec<String> =
        records.iter().map(|(key, record)| key.clone() + &serde_json::to_string(record).unwrap()).collect();
    seen.push(serde_json::to_string(&door.journal.events(&Filter::default(), None, 10).await.unwrap().events).unwrap());
    seen.push(serde_json::to_string(&door.keys.list()).unwrap());
    seen.push(format!("{new:?} {:?} {records:?} {:?}", door.keys, door.keys.authenticate(&new.key)));
    let secret = new.key.rsplit_once(&format!("{}_", new.id)).unwrap().1;
    for text in &seen {
        assert!(!text.contains(secret) && !text.contains(&given), "{text}");
    }
    let listed = serde_json::to_string(&door.keys.list()).unwrap();
    assert!(!listed.contains("salt") && !listed.contains("digest"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_comes_from_the_environment_or_is_made_up_once() {
    let mut door = Door::new().await;
    let made = door.keys.bootstrap(None).await.unwrap().expect("nobody could come in");
    assert_eq!(door.keys.authenticate(&made.key).unwrap().role, Role::Admin);
    door.reopen().await;
    assert!(door.keys.bootstrap(None).await.unwrap().is_none());
    assert!(door.keys.bootstrap(Some("another-long-enough-text".into())).await.unwrap().is_none());
    assert!(!door.is_open_to("another-long-enough-text"), "an admin is there already");
    assert_eq!(door.journal.stats().total_events_created, 0);

    for short in ["", "fifteen-letters", "sixteen letters!", "tab\there-and-more-text", &"x".repeat(513)] {
        let door = Door::new().await;
        let error = door.keys.bootstrap(Some(short.into())).await.unwrap_err();
        assert!(matches!(error, AccessError::BootstrapShape), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_key_of_the_environment_may_have_any_form() {
    for (given, id) in
        [("correct-horse-battery-staple", "admin"), ("lk_root_0123456789abcdef", "root"), ("lk_UPPER_0123456789", "admin")]
    {
        let mut door = Door::new().await;
        assert_eq!(door.keys.bootstrap(Some(given.into())).await.unwrap().unwrap().id.as_str(), id);
        door.reopen().await;
        assert_eq!(door.keys.authenticate(given).unwrap().role, Role::Admin, "{given}");
        assert!(!door.is_open_to("some-other-text-of-no-form"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_admin_key_does_not_come_back_with_the_environment() {
    let mut door = Door::new().await;
    let given = "correct-horse-battery-staple";
    let admin = door.keys.bootstrap(Some(given.into())).await.unwrap().unwrap();
    let let_in = door.keys.authenticate(given).unwrap();
    door.keys.keep_uses().await.unwrap();
    door.keys.revoke(&by(), &admin.id).await.unwrap();
    door.clock.advance(Duration::seconds(30));
    let error = door.keys.bootstrap(Some(given.into())).await.unwrap_err();
    assert!(matches!(error, AccessError::BootstrapSpent), "{error}");
    assert!(!door.is_open_to(given) && !door.keys.still_admits(&let_in));
    door.keys.bootstrap(Some("a-new-text-of-enough-length".into())).await.unwrap().expect("nobody could come in");
    assert!(!door.keys.still_admits(&let_in), "it has the same id, and is another key");
    assert_eq!(door.keys.list()[0].last_used_at, None);
    door.reopen().await;
    assert_eq!(door.keys.list()[0].last_used_at, None);
    assert!(door.is_open_to("a-new-text-of-enough-length") && !door.is_open_to(given));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_keys_ever_share_a_name() {
    let door = Door::new().await;
    let body = json!({"name": "loader", "role": "reader"});
    let (one, two) = tokio::join!(door.create(body.clone()), door.create(body.clone()));
    assert!(one.is_ok() != two.is_ok(), "one of two at once");
    let error = door.create(body.clone()).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    door.keys.revoke(&by(), &one.or(two).unwrap().id).await.unwrap();
    let revoked = door.create(body).await.unwrap_err();
    assert_eq!(revoked.code(), Code::AlreadyExists, "the journal knows keys by their names");
    let brief = json!({"name": "brief", "role": "reader", "expires_at": "2026-01-02T04:04:05Z"});
    door.create(brief).await.unwrap();
    door.clock.advance(Duration::hours(2));
    assert!(matches!(door.create(json!({"name": "brief", "role": "reader"})).await, Err(AccessError::NameTaken { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_server_acts_under_is_refused() {
    let door = Door::new().await;
    let own = lakehouse_journal::SystemActor::ALL.map(lakehouse_journal::SystemActor::as_str);
    for name in own.into_iter().chain(["anonymous", "local", "admin", "admin-7"]) {
        let error = door.create(json!({"name": name, "role": "reader"})).await.unwrap_err();
        assert!(matches!(error, AccessError::NameReserved { .. }), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_admin_key_that_the_server_makes_has_a_name_of_its_own() {
    let mut door = Door::new().await;
    for (given, name) in
        [(Some("the-first-text-of-some-length"), "admin"), (None, "admin-2"), (Some("another-text-of-some-length"), "admin-3")]
    {
        let admin = door.keys.bootstrap(given.map(str::to_owned)).await.unwrap().expect("nobody could come in");
        assert_eq!(admin.record.name.as_str(), name);
        door.keys.revoke(&by(), &admin.id).await.unwrap();
        door.reopen().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_asks_for_nonsense_is_refused() {
    let door = Door::new().await;
    for body in [
        json!({"name": "a", "role": "reader", "grants": [{"view": "v", "verbs": ["write"]}]}),
        json!({"name": "a", "role": "reader", "grants": [{"dataset": "d", "verbs": []}]}),
        json!({"name": "a", "role": "reader", "profiles": vec!["p"; 101]}),
    ] {
        assert_eq!(door.create(body.clone()).await.unwrap_err().code(), Code::InvalidDefinition, "{body}");
    }
    for body in [
        json!({"name": "A", "role": "reader"}),
        json!({"name": "a", "role": "root"}),
        json!({"name": "a"}),
        json!({"name": "a", "role": "reader", "key": "mine"}),
        json!({"name": "a", "role": "reader", "expires_at": "tomorrow"}),
    ] {
        assert!(serde_json::from_value::<CreateKey>(body.clone()).is_err(), "{body}");
    }
}

/// Collections of stored keys read by a later release must find what this one wrote.
#[tokio::test(flavor = "multi_thread")]
async fn the_stored_form_stays_as_it_is() {
    let golden = include_str!("../../golden/key-1.json").trim_end();
    let record: KeyRecord = serde_json::from_str(golden).unwrap();
    assert_eq!(serde_json::to_string(&record).unwrap(), golden);
    assert!(bool::from(record.secret.matches("lk_kabcdefghij_secret")), "the digest too is part of the format");
    assert_eq!(record.info.role, Role::Operator);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_key_is_known_and_survives_once_it_was_kept() {
    let mut door = Door::new().await;
    let one = door.create(json!({"name": "one", "role": "reader"})).await.unwrap();
    let other = door.create(json!({"name": "other", "role": "reader"})).await.unwrap();
    let last = |door: &Door, id: &KeyId| door.keys.list().into_iter().find(|key| key.info.id == *id).unwrap().last_used_at;
    for text in [format!("{}x", one.key), format!("lk_{}_wrong", one.id), "lk_knobody_wrong".to_owned()] {
        assert!(!door.is_open_to(&text));
    }
    door.keys.why_ignored(&one.key);
    assert_eq!(last(&door, &one.id), None, "whoever is turned away used nothing");
    assert_eq!(door.keys.keep_uses().await.unwrap(), 0);

    assert!(door.is_open_to(&one.key));
    assert_eq!(last(&door, &one.id), Some(start()));
    door.clock.advance(Duration::seconds(59));
    assert!(door.is_open_to(&one.key));
    assert_eq!(last(&door, &one.id), Some(start()), "to a minute");
    assert_eq!(door.keys.keep_uses().await.unwrap(), 1);
    assert_eq!(door.keys.keep_uses().await.unwrap(), 0, "once");
    door.clock.advance(Duration::seconds(1));
    assert!(door.is_open_to(&one.key));
    let kept = start() + Duration::seconds(60);
    assert_eq!(last(&door, &one.id), Some(kept));
    assert_eq!(door.keys.keep_uses().await.unwrap(), 1);
    door.clock.advance(Duration::hours(1));
    door.keys.revoke(&by(), &one.id).await.unwrap();
    assert!(!door.is_open_to(&one.key));
    assert_eq!(last(&door, &one.id), Some(kept), "a revoked key keeps its last use, and is used no more");
    door.reopen().await;
    assert_eq!((last(&door, &one.id), last(&door, &other.id)), (Some(kept), None));
    assert_eq!(door.journal.stats().total_events_created, 3, "no use is journaled");
}
