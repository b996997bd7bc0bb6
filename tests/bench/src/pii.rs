//! `redact-pii` through the component boundary on the hand-written corpus: what it finds of what is there, and what it takes beside.

use std::{collections::HashSet, sync::Arc};

use arrow::array::{ArrayRef, AsArray, StringArray};
use serde_json::json;

use crate::{bar::Bars, host::Failure, plugins::Components};

const CORPUS: &str = include_str!("../../../plugins/redact-pii/corpus.txt");
const KINDS: [&str; 4] = ["email", "phone", "card", "ssn"];

/// A kind and where it stands.
type Span = (String, usize, usize);

pub(crate) async fn run(bars: &mut Bars, components: &Components) -> Result<(), Failure> {
    let lines: Vec<(String, Vec<Span>)> = CORPUS.lines().filter(|line| !line.starts_with("##")).map(unmarked).collect();
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(lines.iter().map(|(text, _)| text)));
    let mut instance = components.redactor("redact-pii", json!({})).await?;
    let redacted = instance.redact(&texts).await?;
    let redacted = redacted.as_string::<i32>();

    let (mut hits, mut expected_count, mut found_count) = (0_usize, 0_usize, 0_usize);
    for (row, (text, expected)) in lines.iter().enumerate() {
        let found: HashSet<Span> = spans(text, redacted.value(row)).into_iter().collect();
        hits += expected.iter().filter(|span| found.contains(*span)).count();
        expected_count += expected.len();
        found_count += found.len();
    }
    let share = |part: usize, of: usize| if of == 0 { 0.0 } else { part as f64 / of as f64 };
    let beside = format!("{} lines, {expected_count} spans; a span counts with its exact bounds and kind", lines.len());
    bars.at_least("pii.recall", share(hits, expected_count), 0.98, &beside);
    bars.at_least("pii.precision", share(hits, found_count), 0.95, &beside);
    bars.at_least("pii.lines", lines.len() as f64, 300.0, "hand-written lines that the generator never emits");
    Ok(())
}

/// A line without its marks, and what they say is to be found.
fn unmarked(line: &str) -> (String, Vec<Span>) {
    let mut parts = line.split('⟦');
    let mut text = parts.next().unwrap_or_default().to_owned();
    let mut expected = Vec::new();
    for part in parts {
        let (marked, after) = part.split_once('⟧').unwrap_or((part, ""));
        let (kind, marked) = marked.split_once(':').unwrap_or(("", marked));
        expected.push((kind.to_owned(), text.len(), text.len() + marked.len()));
        text.push_str(marked);
        text.push_str(after);
    }
    (text, expected)
}

/// Which spans of `text` became `[kind]` in `redacted`: the words between them are unchanged.
fn spans(text: &str, redacted: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let (mut at, mut rest) = (0, redacted);
    while let Some((before, kind, after)) = next_mark(rest) {
        let start = at + before.len();
        let literal = next_mark(after).map_or(after, |(literal, ..)| literal);
        let is_last = literal.len() == after.len();
        let end = match text.get(start..) {
            Some(tail) if is_last => start + tail.len().saturating_sub(literal.len()),
            Some(tail) if !literal.is_empty() => start + tail.find(literal).unwrap_or(tail.len()),
            _ => start,
        };
        spans.push((kind.to_owned(), start, end));
        (at, rest) = (end, after);
    }
    spans
}

/// The text before the first mark, its kind, the text after it.
fn next_mark(text: &str) -> Option<(&str, &'static str, &str)> {
    let marks = KINDS.iter().filter_map(|kind| Some((text.find(&format!("[{kind}]"))?, *kind)));
    let (at, kind) = marks.min()?;
    Some((&text[..at], kind, &text[at + kind.len() + 2..]))
}
