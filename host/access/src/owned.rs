//! A grant together with whose it is and where it is written down; and what it is for grants to be narrowed.
//!
//! **Invariant**: a grant has the same id for as long as it is there, and no two grants of a key share one.

use std::collections::HashSet;

use lakehouse_types::{GrantId, GroupName, KeyId, KeyName};
use sha2::{Digest, Sha256};

use crate::{Grant, GrantTarget, Verb};

/// Separates these digests from any other use of SHA-256 on the same text.
const DOMAIN: &[u8] = b"lakehouse grant 1\0";

/// Where a grant is written down.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// With the key, in the metadata: made with it or added to it since.
    Key,
    /// In the access file, for the key itself or for a group that it is in.
    File { group: Option<GroupName> },
}

/// A grant of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGrant {
    pub id: GrantId,
    pub key: KeyId,
    pub key_name: KeyName,
    pub grant: Grant,
    pub origin: Origin,
}

impl KeyGrant {
    pub(crate) fn new(key: &KeyId, key_name: &KeyName, grant: Grant, origin: Origin) -> Self {
        let id = GrantId::of(key, digest(&grant, &origin));
        Self { id, key: key.clone(), key_name: key_name.clone(), grant, origin }
    }
}

fn digest(grant: &Grant, origin: &Origin) -> [u8; 8] {
    let (place, group) = match origin {
        Origin::Key => ("key", ""),
        Origin::File { group } => ("file", group.as_ref().map_or("", GroupName::as_str)),
    };
    let name = grant.target.name();
    let mut sum = Sha256::new().chain_update(DOMAIN);
    // No part holds a zero byte.
    for part in [place, group, grant.target.kind(), &name].into_iter().chain(grant.verbs.iter().map(|verb| verb.as_str())) {
        sum = sum.chain_update(part).chain_update([0]);
    }
    let sum = sum.finalize();
    std::array::from_fn(|at| sum[at])
}

/// Whether `after` permits all that `before` does, whatever it is called.
pub(crate) fn covers(after: &[Grant], before: &[Grant]) -> bool {
    if after == before {
        return true;
    }
    let given: HashSet<(&GrantTarget, Verb)> =
        after.iter().flat_map(|grant| grant.verbs.iter().map(|verb| (&grant.target, *verb))).collect();
    let is_given = |target: &GrantTarget, verb| given.contains(&(target, verb)) || given.contains(&(&target.widest(), verb));
    before.iter().all(|grant| grant.verbs.iter().all(|verb| is_given(&grant.target, *verb)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lakehouse_types::{KeyId, KeyName};
    use serde_json::{Value, json};

    use super::{KeyGrant, Origin, covers};
    use crate::Grant;

    fn grants(wire: Value) -> Vec<Grant> {
        serde_json::from_value(wire).unwrap()
    }

    #[test]
    fn narrower_is_what_permits_less() {
        let check = |after: Value, before: Value, expected: bool| {
            assert_eq!(covers(&grants(after.clone()), &grants(before.clone())), expected, "{before} -> {after}");
        };
        let both = json!([{"dataset": "a", "verbs": ["read", "write"]}]);
        check(json!([]), json!([]), true);
        check(both.clone(), json!([]), true);
        check(json!([]), both.clone(), false);
        check(json!([{"dataset": "a", "verbs": ["read"]}]), both.clone(), false);
        check(json!([{"dataset": "a", "verbs": ["write"]}, {"dataset": "a", "verbs": ["read"]}]), both.clone(), true);
        check(json!([{"dataset": "*", "verbs": ["read", "write"]}]), both.clone(), true);
        check(json!([{"dataset": "*", "verbs": ["read"]}]), both.clone(), false);
        check(both, json!([{"dataset": "*", "verbs": ["read"]}]), false);
        check(json!([{"view": "*", "verbs": ["read"]}]), json!([{"dataset": "a", "verbs": ["read"]}]), false);
        check(json!([{"dataset": "b", "verbs": ["read"]}]), json!([{"dataset": "a", "verbs": ["read"]}]), false);
    }

    #[test]
    fn an_id_stays_and_tells_grants_apart() {
        let (key, name) = (KeyId::new("k1").unwrap(), KeyName::new("ada").unwrap());
        let file = |group: Option<&str>| Origin::File { group: group.map(|name| name.parse().unwrap()) };
        let id = |wire: &Value, origin| {
            let grant = serde_json::from_value(wire.clone()).unwrap();
            KeyGrant::new(&key, &name, grant, origin).id.to_string()
        };
        let read = json!({"dataset": "a", "verbs": ["read"]});
        assert_eq!(id(&read, Origin::Key), "k1.c85f2601013219a7", "ids are kept by whoever lists them");
        let ids: BTreeSet<String> = [
            id(&read, Origin::Key),
            id(&read, file(None)),
            id(&read, file(Some("a"))),
            id(&read, file(Some("b"))),
            id(&json!({"dataset": "a", "verbs": ["read", "write"]}), Origin::Key),
            id(&json!({"dataset": "*", "verbs": ["read"]}), Origin::Key),
            id(&json!({"view": "a", "verbs": ["read"]}), Origin::Key),
        ]
        .into_iter()
        .collect();
        assert_eq!(ids.len(), 7, "{ids:?}");
        let (one, other) =
            (json!({"dataset": "a", "verbs": ["write", "read"]}), json!({"dataset": "a", "verbs": ["read", "write", "read"]}));
        assert_eq!(id(&one, Origin::Key), id(&other, Origin::Key));
    }
}
