//! T-40, T-42 for chunkers.

use arrow::array::StringArray;
use lakehouse_catalog::RuleKind;
use serde_json::{Value, json};

use super::{DEADLINE, MARGIN, attack, is_timeout, lie_of, quick};
use crate::{
    Chunker, Lie, PluginError, Spans,
    testing::{Fixture, rule, within},
};

async fn chunker(fixture: &Fixture, plugin: &str, config: Value) -> Chunker {
    let bindings = fixture.bindings(RuleKind::Chunker, plugin, config, quick);
    bindings.chunker(&rule("r"), None).await.unwrap()
}

fn documents(texts: &[Option<&str>]) -> StringArray {
    StringArray::from(texts.to_vec())
}

fn texts(spans: &Spans, of: &StringArray) -> Vec<String> {
    spans.texts(of).iter().flatten().map(str::to_owned).collect()
}

/// Calls with the trigger, expects an error, and that the next call works.
async fn strike(chunker: &mut Chunker) -> PluginError {
    let boom = documents(&[Some("BOOM é secret-4711"), None, Some("second")]);
    let error = chunker.chunk(&boom).await.expect_err("it got away with it");
    let calm = documents(&[None, Some("calm")]);
    let spans = chunker.chunk(&calm).await.expect("the next call works");
    assert_eq!(texts(&spans, &calm), ["calm"]);
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_of_a_chunker_is_named() {
    let fixture = Fixture::with(&["evil"]).await;
    for (name, lie) in [
        ("span-outside", Lie::SpanOutside),
        ("span-overlong", Lie::SpanOutside),
        ("span-inside-character", Lie::SpanInsideCharacter),
        ("span-backwards", Lie::SpanBackwards),
        ("span-disorder", Lie::SpanOrder),
        ("span-twice", Lie::SpanOrder),
        ("span-of-nobody", Lie::SpanRow { documents: 3 }),
        ("span-of-null", Lie::SpanOfNull),
        ("span-lists", Lie::SpanLists { rows: 2, starts: 3, ends: 2 }),
    ] {
        assert_eq!(lie_of(strike(&mut chunker(&fixture, "evil", attack(name)).await).await), lie, "{name}");
    }
    for name in ["wild-pointer", "unreachable", "panic", "recursion", "exit"] {
        let error = strike(&mut chunker(&fixture, "evil", attack(name)).await).await;
        assert!(matches!(error, PluginError::Crashed { .. }), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_without_end_are_cut_off() {
    let fixture = Fixture::with(&["evil"]).await;
    let long = format!("BOOM{}", "x".repeat(2_500));
    let flood = documents(&[Some(&long)]);
    let bindings = fixture.bindings(RuleKind::Chunker, "evil", attack("span-flood"), |binding| {
        binding.limits.memory_mib = 256;
        binding.limits.deadline_ms = 10_000;
    });
    let mut chunker = bindings.chunker(&rule("r"), None).await.unwrap();
    assert_eq!(lie_of(chunker.chunk(&flood).await.unwrap_err()), Lie::SpanCount { limit: 1_000_000 });
    let bindings = fixture.bindings(RuleKind::Chunker, "evil", attack("span-flood"), |binding| {
        binding.limits.memory_mib = 256;
        binding.limits.output_mib = 1;
        binding.limits.deadline_ms = 10_000;
    });
    let error = bindings.chunker(&rule("r"), None).await.unwrap().chunk(&flood).await.unwrap_err();
    assert!(matches!(error, PluginError::OutputExceeded { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_in_a_chunker_ends_at_its_deadline() {
    let fixture = Fixture::with(&["evil"]).await;
    for name in ["loop", "sleep"] {
        let mut chunker = chunker(&fixture, "evil", attack(name)).await;
        let boom = documents(&[Some("BOOM")]);
        let error = within(DEADLINE + MARGIN, chunker.chunk(&boom)).await.unwrap_err();
        assert!(is_timeout(&error), "{name}: {error}");
        assert!(is_timeout(&strike(&mut chunker).await), "{name}");
    }
    let bindings = fixture.bindings(RuleKind::Chunker, "evil", attack("loop-in-open"), quick);
    let error = within(DEADLINE + MARGIN, bindings.chunker(&rule("r"), None)).await.unwrap_err();
    assert!(is_timeout(&error), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_cut_on_sentences_and_words_and_rows_stay_theirs() {
    let fixture = Fixture::with(&["chunk-text"]).await;
    let mut chunker = chunker(&fixture, "chunk-text", json!({ "chunk_size": 24, "overlap": 0 })).await;
    let given = documents(&[Some("He came late. She did not come at all."), None, Some(""), Some("Schöne Grüße")]);
    let spans = chunker.chunk(&given).await.unwrap();
    assert_eq!(texts(&spans, &given), ["He came late.", "She did not come at all.", "Schöne Grüße"]);
    assert_eq!(spans.iter().map(|span| span.row).collect::<Vec<_>>(), [0, 0, 3]);
    assert!(chunker.chunk(&documents(&[])).await.unwrap().is_empty());
    assert_eq!(chunker.plugin().name.as_str(), "chunk-text");

    // Beyond one call: a slice of a larger array, and its rows counted from the slice's own first.
    let many: Vec<String> = (0..3_000).map(|n| format!("{n} {}", "word ".repeat(200))).collect();
    let many = StringArray::from_iter_values(&many).slice(10, 2_900);
    let spans = chunker.chunk(&many).await.unwrap();
    let first_of = |row: u32| spans.iter().find(|span| span.row == row).map(|span| (span.start, span.end));
    for row in [0, 1_500, 2_899] {
        let (start, end) = first_of(row).unwrap();
        assert!(many.value(row as usize)[start as usize..end as usize].starts_with(&format!("{} word", row + 10)), "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_binds_a_chunker_and_a_view_may_say_its_size() {
    let fixture = Fixture::with(&["chunk-text", "redact-mask"]).await;
    let bindings = fixture.bindings(RuleKind::Chunker, "chunk-text", json!({ "overlap": 0 }), |_| {});
    let (name, overlay) = (rule("r"), json!({ "chunk_size": 4 }));
    let given = documents(&[Some("abcdefgh")]);
    let mut chunker = bindings.chunker(&name, Some(&overlay)).await.unwrap();
    assert_eq!(texts(&chunker.chunk(&given).await.unwrap(), &given), ["abcd", "efgh"]);
    let resolved = bindings.resolved(&name, RuleKind::Chunker, Some(&overlay)).unwrap();
    assert_eq!(resolved.plugin, *chunker.plugin());
    assert_eq!(serde_json::from_str::<Value>(&resolved.config).unwrap(), json!({ "overlap": 0, "chunk_size": 4 }));

    let error = bindings.chunker(&name, Some(&json!({ "overlap": 900 }))).await.unwrap_err();
    assert!(matches!(&error, PluginError::Config { said, .. } if said.as_str().contains("smaller than")), "{error}");
    let other = bindings.resolved(&name, RuleKind::Redactor, None).unwrap_err();
    assert!(matches!(other, PluginError::Unresolved { .. }), "{other}");
    let wrong = fixture.bindings(RuleKind::Chunker, "redact-mask", json!({}), |_| {});
    assert!(matches!(wrong.chunker(&name, None).await, Err(PluginError::Unresolved { .. })));
}
