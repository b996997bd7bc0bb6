use std::cmp::Ordering;

use lakehouse_plugins::Verdict;
use lakehouse_types::RuleName;
use proptest::prelude::*;
use serde_json::{Number, Value, json};

use super::{Condition, Finding, compare, is_equal};

fn condition(wire: &Value) -> Condition {
    serde_json::from_value(wire.clone()).unwrap_or_else(|error| panic!("{wire}: {error}"))
}

fn finding(wire: &Value, context: &Value) -> Finding {
    condition(wire).test.find(context).unwrap()
}

#[test]
fn each_test_holds_where_it_should_and_nowhere_else() {
    let equals = |value: Value| json!({"field_equals": {"path": "a.b", "value": value}});
    let greater = |value: Value| json!({"field_greater": {"path": "a.b", "value": value}});
    let empty = json!({"field_empty": "a.b"});
    for (wire, field, expected) in [
        (equals(json!("x")), json!("x"), true),
        (equals(json!("x")), json!("X"), false),
        (equals(json!(1)), json!(1.0), true),
        (equals(json!(1)), json!("1"), false),
        (equals(json!(true)), json!(true), true),
        (equals(json!([1, {"k": 2}])), json!([1.0, {"k": 2}]), true),
        (equals(json!([1])), json!([1, 1]), false),
        (equals(json!({"k": 1})), json!({"k": 1, "l": 2}), false),
        (greater(json!(0)), json!(1), true),
        (greater(json!(0)), json!(0), false),
        (greater(json!(0)), json!(0.5), true),
        (greater(json!(-2)), json!(-1), true),
        (greater(json!(0)), json!("1"), false),
        (greater(json!(0)), json!(null), false),
        (greater(json!(9_007_199_254_740_992_u64)), json!(9_007_199_254_740_993_u64), true),
        (greater(json!(i64::MAX)), json!(u64::MAX), true),
        (empty.clone(), json!(""), true),
        (empty.clone(), json!(null), true),
        (empty.clone(), json!(" "), false),
        (empty.clone(), json!(0), false),
        (empty.clone(), json!([]), false),
        (json!({"always": true}), json!(null), true),
    ] {
        assert_eq!(finding(&wire, &json!({"a": {"b": field}})).holds, expected, "{wire} of {field}");
    }
}

#[test]
fn a_missing_field_is_empty_and_neither_equal_nor_greater() {
    for context in [json!({}), json!({"a": 1}), json!({"a": {"c": 1}}), json!({"a": [1]})] {
        assert!(finding(&json!({"field_empty": "a.b"}), &context).holds, "{context}");
        assert!(!finding(&json!({"field_equals": {"path": "a.b", "value": null}}), &context).holds, "{context}");
        assert!(!finding(&json!({"field_greater": {"path": "a.b", "value": -1e300}}), &context).holds, "{context}");
    }
    assert!(finding(&json!({"field_equals": {"path": "a", "value": null}}), &json!({"a": null})).holds, "null is there");
}

#[test]
fn a_condition_is_exactly_one_test() {
    for (wire, expected) in [
        (json!({}), "exactly one of"),
        (json!({"negate": true}), "exactly one of"),
        (json!({"always": true, "field_empty": "a"}), "exactly one of"),
        (json!({"always": false}), "`always` can only be true"),
        (json!({"field_empty": "a..b"}), "names separated by single dots"),
        (json!({"field_empty": {"path": "a"}}), ""),
        (json!({"field_equals": {"path": "a"}}), "missing field `value`"),
        (json!({"field_equals": {"path": "a", "value": 1, "or": 2}}), "unknown field `or`"),
        (json!({"field_greater": {"path": "a", "value": "1"}}), ""),
        (json!({"field_less": {"path": "a", "value": 1}}), "unknown field `field_less`"),
        (json!({"plugin": "Not A Slug"}), "a rule name must be"),
        (json!({"plugin": "p", "config": 1}), "`config` belongs to `plugin` and is a table"),
        (json!({"always": true, "config": {}}), "`config` belongs to `plugin` and is a table"),
    ] {
        let error = serde_json::from_value::<Condition>(wire.clone()).expect_err(&wire.to_string()).to_string();
        assert!(error.contains(expected), "{wire}: {error}");
    }
}

#[test]
fn a_condition_is_shown_as_it_was_written() {
    for wire in [
        json!({"field_equals": {"path": "a.b", "value": {"k": [1]}}}),
        json!({"field_empty": "a", "negate": true}),
        json!({"field_greater": {"path": "a", "value": 1.5}}),
        json!({"always": true}),
        json!({"plugin": "required-fields", "config": {"fields": ["a"]}, "negate": true}),
    ] {
        assert_eq!(serde_json::to_value(condition(&wire)).unwrap(), wire);
    }
}

#[test]
fn a_component_speaks_for_itself() {
    let rule = RuleName::new("required-fields").unwrap();
    assert_eq!(Finding::of_plugin(&rule, Verdict::Holds), Finding::new(true, "rule `required-fields` holds".into()));
    assert_eq!(Finding::of_plugin(&rule, Verdict::Fails("no city".into())).why, "no city");
    assert_eq!(Finding::of_plugin(&rule, Verdict::Fails(String::new())).why, "rule `required-fields` does not hold");
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        (-20i64..20).prop_map(Number::from),
        prop::num::f64::NORMAL.prop_filter_map("finite", Number::from_f64),
    ]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn comparison_has_a_mirror(a in number(), b in number()) {
        prop_assert_eq!(compare(&a, &b), compare(&b, &a).map(Ordering::reverse));
        prop_assert_eq!(compare(&a, &a), Some(Ordering::Equal));
    }

    #[test]
    fn equality_is_reflexive_and_mutual(a in json_value(), b in json_value()) {
        prop_assert!(is_equal(&a, &a));
        prop_assert_eq!(is_equal(&a, &b), is_equal(&b, &a));
        prop_assert!(a != b || is_equal(&a, &b), "what serde calls equal is equal");
    }

    #[test]
    fn what_is_equal_is_not_greater_and_what_is_empty_equals_nothing_filled(field in json_value(), limit in number()) {
        let context = json!({ "f": field });
        let holds = |wire: Value| finding(&wire, &context).holds;
        let is_equal = holds(json!({"field_equals": {"path": "f", "value": limit}}));
        let is_greater = holds(json!({"field_greater": {"path": "f", "value": limit}}));
        let is_empty = holds(json!({"field_empty": "f"}));
        prop_assert!(u8::from(is_equal) + u8::from(is_greater) + u8::from(is_empty) <= 1);
    }

    #[test]
    fn no_reason_repeats_a_value_of_the_context(secret in "[A-Z]{12}") {
        let context = json!({"f": secret, "deep": {"f": secret, secret.as_str(): secret}});
        for wire in [
            json!({"field_empty": "f"}),
            json!({"field_equals": {"path": "deep", "value": "x"}}),
            json!({"field_greater": {"path": "deep.f", "value": 0}}),
            json!({"always": true}),
        ] {
            prop_assert!(!finding(&wire, &context).why.contains(&secret));
        }
    }
}
