use lakehouse_types::{Actor, Code, DatasetName, Fault, KeyId, ProfileId, ViewName};
use serde_json::{Value, json};

use super::Principal;
use crate::{Action, Grant, Role};

fn principal(role: Role, grants: &Value) -> Principal {
    Principal {
        key_id: KeyId::new("k1").unwrap(),
        name: Actor::new("ada").unwrap(),
        role,
        grants: serde_json::from_value::<Vec<Grant>>(grants.clone()).unwrap(),
        profiles: Vec::new(),
        default_profile: None,
        expires_at: None,
        narrowings: 0,
    }
}

fn profile(id: &str) -> ProfileId {
    ProfileId::new(id).unwrap()
}

#[test]
fn names_are_closed_until_granted() {
    let dataset = |name: &str| DatasetName::new(name).unwrap();
    let view = |name: &str| ViewName::new(name).unwrap();
    for role in Role::ALL {
        let bare = principal(role, &json!([]));
        let is_admin = role == Role::Admin;
        assert_eq!(bare.may_read_dataset(&dataset("a")), is_admin, "{role}");
        assert_eq!(bare.may_read_view(&view("a")), is_admin, "{role}");
        assert_eq!(bare.may_write_dataset(&dataset("a")), is_admin, "{role}");
    }
    let reader = principal(Role::Reader, &json!([{"dataset": "a", "verbs": ["read"]}, {"view": "v", "verbs": ["read"]}]));
    assert!(reader.may_read_dataset(&dataset("a")) && !reader.may_read_dataset(&dataset("b")));
    assert!(reader.may_read_view(&view("v")) && !reader.may_read_view(&view("a")), "a grant on the base is none on a view");
    assert!(!reader.may_read_dataset(&dataset("v")), "a grant on a view is none on a dataset");
    let all = principal(Role::Reader, &json!([{"view": "*", "verbs": ["read"]}]));
    assert!(all.may_read_view(&view("any")) && !all.may_read_dataset(&dataset("any")));
}

#[test]
fn writing_takes_both_the_role_and_the_grant() {
    let dataset = DatasetName::new("a").unwrap();
    let grant = json!([{"dataset": "a", "verbs": ["write"]}]);
    for role in Role::ALL {
        let may = matches!(role, Role::Admin | Role::Writer);
        assert_eq!(principal(role, &grant).may_write_dataset(&dataset), may, "{role}");
    }
    let writer = principal(Role::Writer, &grant);
    assert!(!writer.may_read_dataset(&dataset), "writing is not reading");
    assert!(!writer.may_write_dataset(&DatasetName::new("b").unwrap()));
}

#[test]
fn a_refusal_names_the_roles_that_may() {
    let refusal = principal(Role::Reader, &json!([])).require(Action::ManageViews).unwrap_err();
    assert_eq!(refusal.code(), Code::Forbidden);
    assert_eq!(refusal.public(), "role `reader` may not manage views; `admin` or `operator` may");
    assert!(principal(Role::Operator, &json!([])).require(Action::ManageViews).is_ok());
}

#[test]
fn a_request_runs_under_a_profile_that_the_key_may_name() {
    let bare = principal(Role::Reader, &json!([]));
    assert_eq!(bare.choose_profile(None).unwrap(), profile("default"));
    assert_eq!(bare.choose_profile(Some(&profile("default"))).unwrap(), profile("default"));
    assert_eq!(bare.choose_profile(Some(&profile("ada"))).unwrap_err().code(), Code::ProfileNotAllowed);

    let own = Principal { profiles: vec![profile("ada"), profile("bob")], default_profile: Some(profile("ada")), ..bare.clone() };
    assert_eq!(own.choose_profile(None).unwrap(), profile("ada"));
    assert_eq!(own.choose_profile(Some(&profile("bob"))).unwrap(), profile("bob"));
    let refusal = own.choose_profile(Some(&profile("default"))).unwrap_err();
    assert_eq!(refusal.members()["allowed_profiles"], json!(["ada", "bob"]), "a key bound to profiles cannot leave them");

    let granted = principal(Role::Reader, &json!([{"profile": "eve", "verbs": ["read"]}]));
    assert!(granted.choose_profile(Some(&profile("eve"))).is_ok() && granted.choose_profile(Some(&profile("ada"))).is_err());
    assert!(Principal::local_admin().choose_profile(Some(&profile("any"))).is_ok());
}
