use std::sync::Arc;

use chrono::Duration;
use lakehouse_journal::{EventKind, Filter};
use lakehouse_types::{Code, DatasetName, Fault, GrantId, KeyId};
use serde_json::{Value, json};

use crate::{
    AccessError, Grant, KeyGrant, Principal,
    declared::Declared,
    key::MAX_GRANTS,
    keys::tests::{Door, by},
};

fn grant(wire: Value) -> Grant {
    serde_json::from_value(wire).unwrap()
}

fn read(dataset: &str) -> Grant {
    grant(json!({"dataset": dataset, "verbs": ["read"]}))
}

fn may_read(principal: &Principal, dataset: &str) -> bool {
    principal.may_read_dataset(&DatasetName::new(dataset).unwrap())
}

impl Door {
    async fn reader(&self, name: &str, grants: &[Grant]) -> (KeyId, String) {
        let made = self.create(json!({"name": name, "role": "reader", "grants": grants})).await.unwrap();
        (made.id, made.key)
    }

    fn principal(&self, text: &str) -> Arc<Principal> {
        self.keys.authenticate(text).unwrap()
    }

    fn declare(&self, text: &str) -> Vec<String> {
        let declared = Declared::parse("access.toml", text).unwrap();
        self.keys.declare(Arc::new(declared)).iter().map(ToString::to_string).collect()
    }

    fn grants_of(&self, key: &KeyId) -> Vec<KeyGrant> {
        self.keys.grants(Some(key), None, 10_000).unwrap().0
    }
}

fn line(key: &str, dataset: &str) -> String {
    format!("[[grant]]\nkey = \"{key}\"\ndataset = \"{dataset}\"\nverbs = [\"read\"]\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_counts_from_the_next_request_until_it_is_taken_back_also_after_a_restart() {
    let mut door = Door::new().await;
    let (id, key) = door.reader("ada", &[]).await;
    let before = door.principal(&key);
    let (made, is_new) = door.keys.add_grant(&by(), &id, read("a")).await.unwrap();
    assert!(is_new && made.key == id && made.key_name.as_str() == "ada");
    assert!(!may_read(&before, "a") && may_read(&door.principal(&key), "a"));
    door.keys.readmit(&before).expect("more is no reason to be put out");
    let by_name = KeyId::new("ada").unwrap();
    let (again, is_new) = door.keys.add_grant(&by(), &by_name, read("a")).await.unwrap();
    assert!(!is_new && again == made);
    assert_eq!(door.grants_of(&by_name), std::slice::from_ref(&made));

    door.reopen().await;
    let after = door.principal(&key);
    assert!(may_read(&after, "a"));
    assert_eq!(door.keys.remove_grant(&by(), &made.id).await.unwrap(), made);
    assert!(!may_read(&door.principal(&key), "a"));
    assert!(matches!(door.keys.readmit(&after), Err(AccessError::Narrowed)));
    door.keys.readmit(&door.principal(&key)).expect("it has what it has now");
    let gone = door.keys.remove_grant(&by(), &made.id).await.unwrap_err();
    assert_eq!(gone.code(), Code::UnknownGrant);
    door.reopen().await;
    assert!(!may_read(&door.principal(&key), "a"));

    let events = door.journal.events(&Filter::default(), None, 10).await.unwrap().events;
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::KeyCreate, EventKind::GrantAdd, EventKind::GrantRemove], "what changes nothing is no event");
    let told = json!({"name": "ada", "grant": {"dataset": "a", "verbs": ["read"]}, "grant_id": made.id});
    assert!(events[1..].iter().all(|event| event.subject == id.as_str() && event.details == told));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_were_granted_more_are_put_out() {
    let door = Door::new().await;
    let write = grant(json!({"dataset": "a", "verbs": ["read", "write"]}));
    let (ada, ada_key) = door.reader("ada", &[read("a"), write]).await;
    let (_, bob_key) = door.reader("bob", &[read("a")]).await;
    let (is_ada, is_bob) = (door.principal(&ada_key), door.principal(&bob_key));
    let grants = door.grants_of(&ada);
    let of = |verbs: usize| grants.iter().find(|grant| grant.grant.verbs.len() == verbs).unwrap().id.clone();
    door.keys.remove_grant(&by(), &of(1)).await.unwrap();
    door.keys.readmit(&is_ada).expect("the other grant permits the same");
    door.keys.add_grant(&by(), &ada, read("*")).await.unwrap();
    door.keys.remove_grant(&by(), &of(2)).await.unwrap();
    let refusal = door.keys.readmit(&is_ada).unwrap_err();
    assert_eq!(refusal.code(), Code::Forbidden, "it may write no longer");
    door.keys.readmit(&is_bob).expect("another key");

    let admin = door.create(json!({"name": "root", "role": "admin", "grants": [read("a")]})).await.unwrap();
    let is_admin = door.principal(&admin.key);
    let id = door.grants_of(&admin.id)[0].id.clone();
    door.keys.remove_grant(&by(), &id).await.unwrap();
    door.keys.readmit(&is_admin).expect("an admin needs none");
    door.keys.revoke(&by(), &admin.id).await.unwrap();
    assert!(matches!(door.keys.readmit(&is_admin), Err(AccessError::Ended)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_granted_is_refused() {
    let door = Door::new().await;
    let (id, _) = door.reader("ada", &[]).await;
    let refused = async |key: &KeyId, grant: Grant| door.keys.add_grant(&by(), key, grant).await.unwrap_err().code();
    assert_eq!(refused(&KeyId::new("nobody").unwrap(), read("a")).await, Code::UnknownKey, "the stranger is no key");
    assert_eq!(refused(&id, grant(json!({"view": "v", "verbs": ["write"]}))).await, Code::InvalidDefinition);
    assert_eq!(refused(&id, grant(json!({"view": "v", "verbs": []}))).await, Code::InvalidDefinition);
    let brief = door.create(json!({"name": "brief", "role": "reader", "expires_at": "2026-01-02T04:04:05Z"})).await.unwrap();
    door.clock.advance(Duration::hours(1));
    assert_eq!(refused(&brief.id, read("a")).await, Code::InvalidDefinition);
    door.keys.revoke(&by(), &id).await.unwrap();
    assert_eq!(refused(&id, read("a")).await, Code::InvalidDefinition);

    let most: Vec<Grant> = (0..MAX_GRANTS).map(|n| read(&format!("d{n}"))).collect();
    let (full, _) = door.reader("full", &most).await;
    let error = door.keys.add_grant(&by(), &full, read("one-more")).await.unwrap_err();
    assert!(matches!(error, AccessError::TooMany { field: "grants", limit: MAX_GRANTS }), "{error}");
    let (_, is_new) = door.keys.add_grant(&by(), &full, read("d7")).await.unwrap();
    assert!(!is_new);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_grants_are_the_list() {
    let door = Door::new().await;
    for name in ["ada", "bob", "eve"] {
        let grants: Vec<Grant> = (0..5).map(|n| read(&format!("d{n}"))).collect();
        door.reader(name, &grants).await;
    }
    let (gone, _) = door.reader("gone", &[read("a")]).await;
    door.keys.revoke(&by(), &gone).await.unwrap();
    assert_eq!(door.grants_of(&gone).len(), 1, "asked for by name it is shown");
    let (all, more) = door.keys.grants(None, None, 100).unwrap();
    assert!(all.len() == 15 && !more);
    for limit in 1..17 {
        let (mut seen, mut after): (Vec<KeyGrant>, Option<GrantId>) = (Vec::new(), None);
        loop {
            let (page, more) = door.keys.grants(None, after.as_ref(), limit).unwrap();
            assert!(page.len() <= limit);
            seen.extend(page);
            after = seen.last().map(|grant| grant.id.clone());
            if !more {
                break;
            }
        }
        assert_eq!(seen, all, "{limit} at a time");
    }
    let (rest, more) = door.keys.grants(Some(&all[7].key), Some(&all[7].id), 1).unwrap();
    assert_eq!((rest, more), (vec![all[8].clone()], true));
    assert!(door.keys.grants(Some(&KeyId::new("nobody").unwrap()), None, 1).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_adds_to_keys_and_takes_back_only_what_it_gave() {
    let mut door = Door::new().await;
    let (ada, ada_key) = door.reader("ada", &[read("own")]).await;
    let text = line("ada", "own") + &line("ada", "more") + &line("later", "more");
    assert_eq!(door.declare(&text), ["ada"]);
    assert_eq!(door.keys.declared_but_unknown(), ["later".parse().unwrap()]);
    let is_ada = door.principal(&ada_key);
    assert!(may_read(&is_ada, "own") && may_read(&is_ada, "more"));
    let listed = door.keys.list();
    assert_eq!(listed[0].info.grants, [read("own"), read("more")], "a key is listed with all that it has");
    assert_eq!(door.grants_of(&ada).len(), 3, "one stands in both places");

    let (_, later_key) = door.reader("later", &[]).await;
    assert!(may_read(&door.principal(&later_key), "more"), "it is granted as soon as it exists");
    assert!(door.keys.declared_but_unknown().is_empty());

    let theirs = door.grants_of(&ada).into_iter().find(|grant| grant.grant == read("more")).unwrap();
    let refusal = door.keys.remove_grant(&by(), &theirs.id).await.unwrap_err();
    assert_eq!((refusal.code(), &refusal.members()["file"]), (Code::OwnedByFile, &json!("access.toml")));
    let own = door.grants_of(&ada).into_iter().find(|grant| grant.origin == crate::Origin::Key).unwrap();
    door.keys.remove_grant(&by(), &own.id).await.unwrap();
    door.keys.readmit(&is_ada).expect("the file permits the same");

    assert!(door.declare(&text).is_empty(), "nothing became other");
    let mut changed = door.declare(&line("ada", "own"));
    changed.sort();
    assert_eq!(changed, ["ada", "later"], "in the order of their ids, that one millisecond does not tell apart");
    assert!(matches!(door.keys.readmit(&is_ada), Err(AccessError::Narrowed)));
    let now = door.principal(&ada_key);
    assert!(may_read(&now, "own") && !may_read(&now, "more"));
    let (again, is_new) = door.keys.add_grant(&by(), &ada, read("own")).await.unwrap();
    assert!(is_new && again == own, "the key may have of its own what the file gives");
    door.keys.reload().await.unwrap();
    door.keys.readmit(&now).expect("reading the keys anew changes nothing");

    door.reopen().await;
    assert!(may_read(&door.principal(&ada_key), "own"), "its own is stored, the file's is read anew");
    assert_eq!(door.grants_of(&ada).len(), 1);
}
