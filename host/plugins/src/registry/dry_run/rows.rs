//! Dry runs of the kinds that take rows.
//!
//! **Invariant**: an output for each row, in order; what would be too much to show is refused before it is written.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray},
    datatypes::{DataType, Field},
    json::writer::{EncoderOptions, make_encoder},
};
use serde_json::{Value, json};

use super::{Attempt, DryRunReport, MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_NUMBERS};
use crate::{
    PluginError, Vectors, Verdict,
    column::Column,
    condition::Contexts,
    id_mapper::Mapping,
    rule::Rule,
    wit::exports::lakehouse::plugin::{chunker, condition, embedder, id_mapper, redactor},
};

pub(super) async fn redaction(rule: &Rule, values: &[Value]) -> Result<DryRunReport, PluginError> {
    let values = Column::of(&array_of(values)?)?;
    let mut attempt = Attempt::<redactor::Guest>::begin(rule).await?;
    let answer = attempt.opened.redact(rule, &values).await;
    let answer = attempt.check(answer)?;
    Ok(attempt.report(json_values(&answer)?))
}

pub(super) async fn evaluation(rule: &Rule, contexts: &[Value]) -> Result<DryRunReport, PluginError> {
    let contexts = Contexts::of(contexts)?;
    let mut attempt = Attempt::<condition::Guest>::begin(rule).await?;
    let answer = attempt.opened.evaluate(rule, &contexts).await;
    let outputs = attempt.check(answer)?.into_iter().map(|verdict| match verdict {
        Verdict::Holds => json!({ "holds": true }),
        Verdict::Fails(why) => json!({ "holds": false, "why": why }),
    });
    Ok(attempt.report(outputs.collect()))
}

pub(super) async fn chunks(rule: &Rule, documents: Vec<Option<String>>) -> Result<DryRunReport, PluginError> {
    let documents = StringArray::from(documents);
    let mut attempt = Attempt::<chunker::Guest>::begin(rule).await?;
    let answer = attempt.opened.chunk(rule, &column(&documents)?).await;
    let spans = attempt.check(answer)?;
    let bytes: usize = spans.iter().map(|span| (span.end - span.start) as usize).sum();
    if bytes > MAX_CHUNK_BYTES || spans.len() > MAX_CHUNKS {
        let why = format!(
            "{} chunks with {bytes} bytes of text; at most {MAX_CHUNKS} with {MAX_CHUNK_BYTES} are shown: try fewer or shorter documents",
            spans.len()
        );
        return Err(PluginError::InvalidDryRun(why));
    }
    let mut outputs: Vec<Value> =
        (0..documents.len()).map(|row| if documents.is_null(row) { Value::Null } else { json!([]) }).collect();
    for (span, text) in spans.iter().zip(spans.texts(&documents).iter()) {
        if let Some(Value::Array(of_document)) = outputs.get_mut(span.row as usize) {
            of_document.push(json!({ "start": span.start, "end": span.end, "text": text }));
        }
    }
    Ok(attempt.report(outputs))
}

pub(super) async fn doc_ids(rule: &Rule, keys: &[Value]) -> Result<DryRunReport, PluginError> {
    let keys = array_of(keys)?;
    if !matches!(keys.data_type(), DataType::Utf8 | DataType::Int64) {
        return Err(PluginError::InvalidDryRun("`keys` must be texts or integers".to_owned()));
    }
    let keys = Column::of(&keys)?;
    let mut attempt = Attempt::<id_mapper::Guest>::begin(rule).await?;
    let answer = attempt.opened.doc_ids(rule, &keys).await;
    let outputs = attempt.check(answer)?.iter().map(Value::from).collect();
    Ok(attempt.report(outputs))
}

pub(super) async fn row_keys(rule: &Rule, doc_ids: Vec<Option<String>>) -> Result<DryRunReport, PluginError> {
    let doc_ids = column(&StringArray::from(doc_ids))?;
    let mut attempt = Attempt::<id_mapper::Guest>::begin(rule).await?;
    let answer = attempt.opened.map(rule, &doc_ids, Mapping::ToRowKeys).await;
    let outputs = attempt.check(answer)?.iter().map(Value::from).collect();
    Ok(attempt.report(outputs))
}

pub(super) async fn vectors(rule: &Rule, texts: Vec<String>) -> Result<DryRunReport, PluginError> {
    let texts = StringArray::from(texts);
    let mut attempt = Attempt::<embedder::Guest>::begin(rule).await?;
    let dimensions = attempt.opened.dimensions(rule).await;
    let dimensions = attempt.check(dimensions)?;
    if texts.len() * dimensions as usize > MAX_NUMBERS {
        let most = MAX_NUMBERS / dimensions as usize;
        return Err(PluginError::InvalidDryRun(format!(
            "at most {most} texts: vectors of {dimensions} numbers are shown in full"
        )));
    }
    let answer = attempt.opened.embed(rule, &column(&texts)?, dimensions).await;
    let outputs = json_vectors(&attempt.check(answer)?);
    Ok(attempt.report(outputs))
}

/// Each vector as a list of the shortest decimals that read back as its numbers.
pub(super) fn json_vectors(vectors: &Vectors) -> Vec<Value> {
    let number = |number: &f32| Value::from(number.to_string().parse::<f64>().unwrap_or_default());
    vectors.iter().map(|vector| Value::Array(vector.iter().map(number).collect())).collect()
}

fn column(texts: &StringArray) -> Result<Column, PluginError> {
    Column::of(&(Arc::new(texts.clone()) as ArrayRef))
}

/// A column of the narrowest type that holds every value; mixed values are JSON text.
fn array_of(values: &[Value]) -> Result<ArrayRef, PluginError> {
    let all = |is: fn(&Value) -> bool| values.iter().all(|value| value.is_null() || is(value));
    Ok(if all(Value::is_string) {
        Arc::new(values.iter().map(Value::as_str).collect::<StringArray>())
    } else if all(Value::is_i64) {
        Arc::new(values.iter().map(Value::as_i64).collect::<Int64Array>())
    } else if all(Value::is_number) {
        Arc::new(values.iter().map(Value::as_f64).collect::<Float64Array>())
    } else if all(Value::is_boolean) {
        Arc::new(values.iter().map(Value::as_bool).collect::<BooleanArray>())
    } else if all(|value| value.is_object() || value.is_array()) {
        let texts = values.iter().map(|value| (!value.is_null()).then(|| value.to_string()));
        Arc::new(texts.collect::<StringArray>())
    } else {
        return Err(PluginError::InvalidDryRun("the sample values must be of one type".to_owned()));
    })
}

fn json_values(array: &ArrayRef) -> Result<Vec<Value>, PluginError> {
    let failed = |error: arrow::error::ArrowError| PluginError::host("writing the outputs of a dry run", error);
    if let DataType::Binary = array.data_type() {
        return Err(PluginError::InvalidDryRun("the rule answers with binary values".to_owned()));
    }
    let field = Arc::new(Field::new("value", array.data_type().clone(), true));
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(&field, array.as_ref(), &options).map_err(failed)?;
    let mut text = Vec::new();
    (0..array.len())
        .map(|row| {
            if encoder.is_null(row) {
                return Ok(Value::Null);
            }
            text.clear();
            encoder.encode(row, &mut text);
            serde_json::from_slice(&text).map_err(|error| PluginError::host("writing the outputs of a dry run", error))
        })
        .collect()
}
