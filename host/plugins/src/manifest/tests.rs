use super::{Manifest, RuleKind, read};
use crate::testing::{HONEST, REALLOC, REDACT, component, redactor_wat, wat};

fn refusal(bytes: &[u8]) -> String {
    let check = read(bytes).expect_err("it is accepted");
    assert!(!check.ok);
    format!("{}: {}", check.check, check.detail)
}

#[test]
fn the_shipped_components_say_what_they_are() {
    let mask = read(&component("redact-mask")).unwrap();
    let Manifest { name, version, licenses, description, config_schema, kinds, imports } = mask;
    assert_eq!(name.unwrap().as_str(), "redact-mask");
    assert!(version.is_some() && licenses.is_some() && description.is_some());
    assert!(config_schema.unwrap()["properties"]["keep_prefix"].is_object());
    assert_eq!(kinds, [RuleKind::Redactor]);
    assert!(imports.iter().all(|import| import.contains('/') && import.contains('@')), "{imports:?}");

    assert_eq!(read(&component("evil")).unwrap().kinds, RuleKind::ALL);
    for (shipped, kind) in [
        ("condition-required-fields", RuleKind::Condition),
        ("chunk-text", RuleKind::Chunker),
        ("id-prefix", RuleKind::IdMapper),
        ("embed-hash", RuleKind::Embedder),
        ("model-openai", RuleKind::ModelAdapter),
    ] {
        assert_eq!(read(&component(shipped)).unwrap().kinds, [kind], "{shipped}");
    }
}

#[test]
fn what_is_no_component_is_refused_and_named() {
    let engine = wasmtime::Engine::default();
    let honest = redactor_wat(&[HONEST, REALLOC, REDACT].concat());
    assert!(read(&honest).is_ok());
    let native = engine.precompile_component(&wat("(component)")).unwrap();
    for (bytes, why) in [
        (&b""[..], "magic number"),
        (b"PK\x03\x04 not wasm at all, but long enough to look", "magic number"),
        (&wat("(module)"), "core module"),
        (&native, "precompiled"),
        (b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0", "ELF"),
        (&honest[..honest.len() / 2], "truncated"),
        (&honest[..honest.len() - 1], "truncated"),
        (&wat("(component)"), "exports no lakehouse:plugin interface"),
    ] {
        let refusal = refusal(bytes);
        assert!(refusal.contains(why), "{why}: {refusal}");
    }
}

#[test]
fn truncation_and_noise_are_refused_without_a_crash() {
    let honest = redactor_wat(&[HONEST, REALLOC, REDACT].concat());
    // What follows the exports is names for debuggers: without them it is still a component.
    let exported = honest.windows(24).rposition(|window| window == b"lakehouse:plugin/redacto").unwrap();
    for length in 0..exported {
        assert!(read(&honest[..length]).is_err(), "{length} bytes");
    }
    // A flipped byte may leave a readable component; it must never crash the reader.
    for at in 8..honest.len() {
        let mut bent = honest.to_vec();
        bent[at] ^= 0x55;
        let _ = read(&bent);
    }
}

#[test]
fn imports_that_nobody_grants_are_refused_by_name() {
    for import in
        ["wasi:sockets/tcp@0.2.0", "wasi:http/outgoing-handler@0.2.3", "lakehouse:plugin/prf@0.1.0", "acme:vault/keys@1.0.0"]
    {
        let text = format!(
            r#"(component (import "{import}" (instance)) (instance $e) (export "lakehouse:plugin/redactor@0.1.0" (instance $e)))"#
        );
        let refusal = refusal(&wat(&text));
        assert!(refusal.starts_with("imports") && refusal.contains(import), "{refusal}");
    }
}

#[test]
fn exports_that_nobody_calls_are_refused_by_name() {
    for (export, why) in [
        ("lakehouse:plugin/chunkers@0.1.0", "no interface of this server"),
        ("lakehouse:plugin/embedder@0.2.0", "speaks lakehouse:plugin@0.1"),
        ("lakehouse:plugin/oracle@0.1.0", "no interface of this server"),
        ("lakehouse:plugin/redactor@2.0.0", "speaks lakehouse:plugin@0.1"),
    ] {
        let refusal = refusal(&wat(&format!(r#"(component (instance $e) (export "{export}" (instance $e)))"#)));
        assert!(refusal.contains(export) && refusal.contains(why), "{refusal}");
    }
}

#[test]
fn a_component_may_be_of_several_kinds() {
    let exports: String =
        RuleKind::ALL.iter().rev().map(|kind| format!(r#"(export "lakehouse:plugin/{kind}@0.1.0" (instance $e))"#)).collect();
    assert_eq!(read(&wat(&format!("(component (instance $e) {exports})"))).unwrap().kinds, RuleKind::ALL);
}

#[test]
fn a_component_has_few_memories_tables_and_modules() {
    let export = r#"(instance $e) (export "lakehouse:plugin/redactor@0.1.0" (instance $e))"#;
    let with = |before: &str, core: &str, after: &str, many: usize| {
        wat(&format!("(component {before}{}{after} {export})", core.repeat(many)))
    };
    for (before, core, after, what) in [
        ("(core module ", "(memory 1)", ")", "memories"),
        ("(core module ", "(table 1 funcref)", ")", "tables"),
        ("", "(core module)", "", "core modules"),
    ] {
        assert!(read(&with(before, core, after, 1)).is_ok(), "{what}");
        let refusal = refusal(&with(before, core, after, 10_000));
        assert!(refusal.starts_with("limits") && refusal.contains(what), "{refusal}");
    }
    let instances = format!("(component (core module $m) {} {export})", "(core instance (instantiate $m))".repeat(10_000));
    assert!(refusal(&wat(&instances)).contains("core instances"));
}

#[test]
fn metadata_is_read_from_the_outermost_section_and_bounded() {
    let export = r#"(instance $e) (export "lakehouse:plugin/condition@0.1.0" (instance $e))"#;
    let outer =
        r#"(@custom "lakehouse:name" "outer") (core module (@custom "lakehouse:name" "inner") (@custom "version" " 1.2.3 "))"#;
    let manifest = read(&wat(&format!("(component {outer} {export})"))).unwrap();
    assert_eq!(manifest.name.unwrap().as_str(), "outer");
    assert_eq!(manifest.version.as_deref(), Some("1.2.3"));

    for (section, why) in [
        (r#"(@custom "lakehouse:name" "Not A Slug")"#, "plugin name"),
        (r#"(@custom "version" "1.0 beta")"#, "version"),
        (r#"(@custom "lakehouse:capabilities" "[\"prf\"]")"#, "`prf`"),
        (r#"(@custom "lakehouse:capabilities" "7")"#, "not a JSON array"),
        (r#"(@custom "lakehouse:config-schema" "{")"#, "not JSON"),
    ] {
        let refusal = refusal(&wat(&format!("(component {section} {export})")));
        assert!(refusal.contains(why), "{refusal}");
    }
    let huge = format!(r#"(@custom "description" "{}")"#, "d".repeat(1_000_000));
    assert_eq!(read(&wat(&format!("(component {huge} {export})"))).unwrap().description, None);
}
