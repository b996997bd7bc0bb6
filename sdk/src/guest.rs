//! The glue between the traits and the generated bindings; compiled for WebAssembly only.
//!
//! **Invariant**: buffers are moved, never copied: what the host lowered into this memory is what the rule edits and what the host
//! lifts again.

mod model;

#[allow(unsafe_code, missing_debug_implementations, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
pub mod bindings {
    //! One module for each world, over the same types.

    pub mod redactor {
        wit_bindgen::generate!({
            path: "../wit",
            world: "redactor-plugin",
            pub_export_macro: true,
            generate_all,
        });
    }

    macro_rules! worlds {
        ($($kind:ident = $world:literal),+ $(,)?) => {$(
            pub mod $kind {
                wit_bindgen::generate!({
                    path: "../wit",
                    world: $world,
                    pub_export_macro: true,
                    with: {
                        "lakehouse:plugin/types@0.1.0": super::redactor::lakehouse::plugin::types,
                        "lakehouse:plugin/log@0.1.0": super::redactor::lakehouse::plugin::log,
                    },
                });
            }
        )+};
    }

    worlds! {
        condition = "condition-plugin",
        chunker = "chunker-plugin",
        id_mapper = "id-mapper-plugin",
        embedder = "embedder-plugin",
        model_adapter = "model-adapter-plugin",
    }
}

pub use model::ExportedModelAdapter;

use bindings::chunker::exports::lakehouse::plugin::chunker as chunker_export;
use bindings::condition::exports::lakehouse::plugin::condition as condition_export;
use bindings::embedder::exports::lakehouse::plugin::embedder as embedder_export;
use bindings::id_mapper::exports::lakehouse::plugin::id_mapper as id_mapper_export;
use bindings::redactor::exports::lakehouse::plugin::redactor as redactor_export;
use bindings::redactor::lakehouse::plugin::{log as log_import, types};

use crate::log::Level;
use crate::{Bitmap, Chunker, Column, Condition, Embedder, Error, IdMapper, Redactor, Values, Varlen, Verdict};

/// A redactor behind the component boundary.
#[derive(Debug)]
pub struct ExportedRedactor<R>(R);

impl<R: Redactor + 'static> redactor_export::Guest for ExportedRedactor<R> {
    type Rule = Self;
}

impl<R: Redactor + 'static> redactor_export::GuestRule for ExportedRedactor<R> {
    fn open(config: String) -> Result<redactor_export::Rule, types::Error> {
        Ok(redactor_export::Rule::new(Self(R::open(&config)?)))
    }

    fn redact(&self, values: types::Column) -> Result<types::Column, types::Error> {
        Ok(self.0.redact_column(values.into())?.into())
    }
}

/// A condition behind the component boundary.
#[derive(Debug)]
pub struct ExportedCondition<C>(C);

impl<C: Condition + 'static> condition_export::Guest for ExportedCondition<C> {
    type Rule = Self;
}

impl<C: Condition + 'static> condition_export::GuestRule for ExportedCondition<C> {
    fn open(config: String) -> Result<condition_export::Rule, types::Error> {
        Ok(condition_export::Rule::new(Self(C::open(&config)?)))
    }

    fn evaluate(&self, contexts: types::Varlen) -> Result<Vec<condition_export::Verdict>, types::Error> {
        let verdicts = self.0.evaluate_all(&contexts.into())?;
        Ok(verdicts.into_iter().map(Into::into).collect())
    }
}

/// A chunker behind the component boundary.
#[derive(Debug)]
pub struct ExportedChunker<C>(C);

impl<C: Chunker + 'static> chunker_export::Guest for ExportedChunker<C> {
    type Rule = Self;
}

impl<C: Chunker + 'static> chunker_export::GuestRule for ExportedChunker<C> {
    fn open(config: String) -> Result<chunker_export::Rule, types::Error> {
        Ok(chunker_export::Rule::new(Self(C::open(&config)?)))
    }

    fn chunk(&self, documents: types::Column) -> Result<chunker_export::Spans, types::Error> {
        let crate::Spans { rows, starts, ends } = self.0.chunk_column(documents.into())?;
        Ok(chunker_export::Spans { rows, starts, ends })
    }
}

/// An id mapper behind the component boundary.
#[derive(Debug)]
pub struct ExportedIdMapper<M>(M);

impl<M: IdMapper + 'static> id_mapper_export::Guest for ExportedIdMapper<M> {
    type Rule = Self;
}

impl<M: IdMapper + 'static> id_mapper_export::GuestRule for ExportedIdMapper<M> {
    fn open(config: String) -> Result<id_mapper_export::Rule, types::Error> {
        Ok(id_mapper_export::Rule::new(Self(M::open(&config)?)))
    }

    fn to_doc_ids(&self, keys: types::Column) -> Result<types::Column, types::Error> {
        Ok(self.0.to_doc_ids(keys.into())?.into())
    }

    fn to_row_keys(&self, doc_ids: types::Column) -> Result<types::Column, types::Error> {
        Ok(self.0.to_row_keys(doc_ids.into())?.into())
    }
}

/// An embedder behind the component boundary.
#[derive(Debug)]
pub struct ExportedEmbedder<E>(E);

impl<E: Embedder + 'static> embedder_export::Guest for ExportedEmbedder<E> {
    type Model = Self;
}

impl<E: Embedder + 'static> embedder_export::GuestModel for ExportedEmbedder<E> {
    fn open(config: String) -> Result<embedder_export::Model, types::Error> {
        Ok(embedder_export::Model::new(Self(E::open(&config)?)))
    }

    fn dimensions(&self) -> u32 {
        self.0.dimensions()
    }

    fn embed(&self, texts: types::Column) -> Result<Vec<f32>, types::Error> {
        Ok(self.0.embed_column(texts.into())?)
    }
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Trace => log_import::Level::Trace,
        Level::Debug => log_import::Level::Debug,
        Level::Info => log_import::Level::Info,
        Level::Warn => log_import::Level::Warn,
        Level::Error => log_import::Level::Error,
    };
    log_import::write(level, message);
}

impl From<types::Varlen> for Varlen {
    fn from(varlen: types::Varlen) -> Self {
        Self { offsets: varlen.offsets, data: varlen.data }
    }
}

impl From<Varlen> for types::Varlen {
    fn from(varlen: Varlen) -> Self {
        Self { offsets: varlen.offsets, data: varlen.data }
    }
}

impl From<types::Column> for Column {
    fn from(column: types::Column) -> Self {
        let values = match column.values {
            types::Values::Text(v) => Values::Text(v.into()),
            types::Values::Binary(v) => Values::Binary(v.into()),
            types::Values::Int64(v) => Values::Int64(v),
            types::Values::Float64(v) => Values::Float64(v),
            types::Values::Boolean(v) => Values::Boolean(v),
            types::Values::Date32(v) => Values::Date32(v),
            types::Values::TimestampMicros(v) => Values::TimestampMicros(v),
        };
        Self { values, validity: column.validity.map(Bitmap::from_bytes) }
    }
}

impl From<Column> for types::Column {
    fn from(column: Column) -> Self {
        let values = match column.values {
            Values::Text(v) => types::Values::Text(v.into()),
            Values::Binary(v) => types::Values::Binary(v.into()),
            Values::Int64(v) => types::Values::Int64(v),
            Values::Float64(v) => types::Values::Float64(v),
            Values::Boolean(v) => types::Values::Boolean(v),
            Values::Date32(v) => types::Values::Date32(v),
            Values::TimestampMicros(v) => types::Values::TimestampMicros(v),
        };
        Self { values, validity: column.validity.map(Bitmap::into_bytes) }
    }
}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidConfig(message) => Self::InvalidConfig(message),
            Error::InvalidInput { row, message } => Self::InvalidInput(types::RowError { row, message }),
            Error::Unsupported(what) => Self::Unsupported(what),
            Error::Internal(message) => Self::Internal(message),
        }
    }
}

impl From<Verdict> for condition_export::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Holds => Self::Holds,
            Verdict::Fails(why) => Self::Fails(why),
        }
    }
}
