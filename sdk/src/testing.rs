//! Runs a rule natively, for its tests, and holds it to what the host will demand.
//!
//! **Invariant**: a rule that passes here answers as the host demands of its kind, for these inputs: the right number of rows, nulls
//! that stay null, sound spans, ids that map back, finite vectors, well-formed requests, and equal answers for equal inputs whatever
//! their neighbours.

mod chunker;
mod embedder;
mod id_mapper;
mod model_adapter;
mod redactor;

use crate::{Column, Condition, Config, Context, Error, Value, Values, Verdict, config};

pub use chunker::chunk;
pub use embedder::embed;
pub use id_mapper::{doc_ids, row_keys};
pub use model_adapter::{chat, embed_request, question, response, stream};
pub use redactor::{redact, redact_column};

/// Judges one context.
///
/// # Errors
/// The rule's own, or [`Error::InvalidInput`] when the context is no JSON object.
pub fn evaluate<C: Condition>(rule: &C, context: &Value) -> Result<Verdict, Error> {
    let Value::Object(members) = context else {
        return Err(Error::input("a context must be a JSON object"));
    };
    rule.evaluate(&Context::from(members.clone()))
}

/// What is said to whoever writes this configuration; empty when it fits.
pub fn config_error<C: Config>(config: &str) -> String {
    match config::parse::<C>(config) {
        Ok(_) => String::new(),
        Err(Error::InvalidConfig(message)) => message,
        Err(other) => other.to_string(),
    }
}

/// The JSON Schema of a configuration, as the component carries it.
///
/// # Panics
/// When it is not JSON, which would be a bug of this crate.
pub fn config_schema<C: Config>() -> Value {
    serde_json::from_str(&crate::schema::to_json(&C::SCHEMA)).expect("schemas render as JSON")
}

fn broken(promise: &str) -> Error {
    Error::Internal(format!("the rule broke a promise: {promise}"))
}

fn slice(column: &Column, from: usize, to: usize) -> Column {
    let varlen = |v: &crate::Varlen| {
        let (mut offsets, mut data) = (vec![0], Vec::new());
        for row in from..to {
            data.extend_from_slice(v.get(row).unwrap_or_default());
            offsets.push(i32::try_from(data.len()).unwrap_or_default());
        }
        crate::Varlen { offsets, data }
    };
    let values = match &column.values {
        Values::Text(v) => Values::Text(varlen(v)),
        Values::Binary(v) => Values::Binary(varlen(v)),
        Values::Int64(v) => Values::Int64(v[from..to].to_vec()),
        Values::Float64(v) => Values::Float64(v[from..to].to_vec()),
        Values::Boolean(v) => Values::Boolean(v[from..to].to_vec()),
        Values::Date32(v) => Values::Date32(v[from..to].to_vec()),
        Values::TimestampMicros(v) => Values::TimestampMicros(v[from..to].to_vec()),
    };
    let validity = column.validity.as_ref().map(|bits| (from..to).map(|row| bits.get(row)).collect());
    Column { values, validity }
}

fn same_value(left: &Column, row: usize, right: &Column, other: usize) -> bool {
    match (&left.values, &right.values) {
        (Values::Text(a), Values::Text(b)) | (Values::Binary(a), Values::Binary(b)) => a.get(row) == b.get(other),
        (Values::Float64(a), Values::Float64(b)) => a[row].to_bits() == b[other].to_bits(),
        (Values::Int64(a), Values::Int64(b)) | (Values::TimestampMicros(a), Values::TimestampMicros(b)) => a[row] == b[other],
        (Values::Boolean(a), Values::Boolean(b)) => a[row] == b[other],
        (Values::Date32(a), Values::Date32(b)) => a[row] == b[other],
        _ => false,
    }
}
