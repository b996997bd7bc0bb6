//! What configurations say when they do not fit, and how they describe themselves.

use std::collections::BTreeMap;

use lakehouse_sdk_macros::Config;

use crate::{Value, json, testing};

/// A rule's "configuration"
/// over two lines.
#[derive(Debug, PartialEq, Config)]
struct Sample {
    /// Characters\shown.
    #[config(example = 3)]
    count: u8,
    #[config(default, example = ["a", "b"])]
    any: Option<Value>,
    #[config(default = -5)]
    offset: i64,
    /// Shown instead.
    #[config(default = "a \"b\"".into())]
    text: String,
    kinds: Option<Vec<Kind>>,
    #[config(default)]
    nested: Nested,
    #[config(default)]
    map: BTreeMap<String, f64>,
    #[config(skip)]
    computed: u32,
}

#[derive(Debug, Default, PartialEq, Config)]
struct Nested {
    on: Option<bool>,
}

#[derive(Debug, PartialEq, Config)]
enum Kind {
    Email,
    SocialSecurity,
}

#[test]
fn everything_given() {
    let given = r#"{"count": 7, "offset": 1, "text": "t", "kinds": ["email", "social-security"], "nested": {"on": true}, "map": {"x": 1}}"#;
    let sample: Sample = super::parse(given).unwrap();
    assert_eq!(
        sample,
        Sample {
            count: 7,
            any: None,
            offset: 1,
            text: "t".into(),
            kinds: Some(vec![Kind::Email, Kind::SocialSecurity]),
            nested: Nested { on: Some(true) },
            map: BTreeMap::from([("x".into(), 1.0)]),
            computed: 0,
        }
    );
}

#[test]
fn only_what_is_required() {
    let sample: Sample = super::parse(r#"{"count": 7}"#).unwrap();
    assert_eq!((sample.offset, sample.text.as_str(), sample.kinds), (-5, "a \"b\"", None));
}

#[test]
fn each_mistake_is_named_with_its_place_and_without_the_value() {
    let check = |config: Value, expected: &str| assert_eq!(testing::config_error::<Sample>(&config.to_string()), expected);
    check(json!({}), "missing key \"count\"");
    check(json!([]), "must be a JSON object");
    check(json!({"count": "secret"}), "\"count\" must be a whole number from 0 to 255, not a string");
    check(json!({"count": 256}), "\"count\" must be a whole number from 0 to 255, not this number");
    check(json!({"count": 1.5}), "\"count\" must be a whole number from 0 to 255, not this number");
    check(json!({"count": 1, "text": null}), "\"text\" must be a string, not null");
    check(json!({"count": 1, "kinds": ["email", "secret"]}), "\"kinds[1]\" must be one of \"email\", \"social-security\"");
    check(json!({"count": 1, "nested": {"on": 1}}), "\"nested.on\" must be true or false, not this number");
    check(json!({"count": 1, "nested": {"of": 1}}), "\"nested\" unknown key \"of\"; known keys: \"on\"");
    check(json!({"count": 1, "map": {"a": []}}), "\"map.a\" must be a number, not a list");
    check(
        json!({"count": 1, "computed": 3}),
        "unknown key \"computed\"; known keys: \"count\", \"any\", \"offset\", \"text\", \"kinds\", \"nested\", \"map\"",
    );
    assert_eq!(testing::config_error::<Sample>("{"), "not JSON");
}

#[test]
fn the_schema_is_json_and_says_it_all() {
    assert_eq!(
        testing::config_schema::<Sample>(),
        json!({
            "title": "Sample",
            "description": "A rule's \"configuration\" over two lines.",
            "type": "object",
            "properties": {
                "count": {"description": "Characters\\shown.", "type": "integer", "minimum": 0, "maximum": 255, "examples": [3]},
                "any": {"examples": [["a", "b"]]},
                "offset": {"type": "integer", "minimum": i64::MIN, "maximum": i64::MAX, "default": -5},
                "text": {"description": "Shown instead.", "type": "string", "default": "a \"b\""},
                "kinds": {"type": "array", "items": {"type": "string", "enum": ["email", "social-security"]}},
                "nested": {"title": "Nested", "type": "object", "properties": {"on": {"type": "boolean"}}, "required": [], "additionalProperties": false},
                "map": {"type": "object", "additionalProperties": {"type": "number"}},
            },
            "required": ["count"],
            "additionalProperties": false,
        })
    );
}

#[test]
fn rendering_while_compiling_is_rendering_at_run_time() {
    use crate::schema::{render, rendered_len, to_json};
    const SCHEMA: crate::schema::Schema = <Sample as crate::Config>::SCHEMA;
    const RENDERED: [u8; rendered_len(&SCHEMA)] = render(&SCHEMA);
    assert_eq!(RENDERED.as_slice(), to_json(&SCHEMA).as_bytes());
}
