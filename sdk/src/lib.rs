//! Write rules for the lakehouse: a rule is a type with a configuration and one function; an export macro makes it a
//! WebAssembly component.
//!
//! **Invariant**: what a rule does natively it does in the sandbox: the traits, the columns and the kernels are the same code on
//! both sides, only the glue behind the export macros is compiled for WebAssembly alone.
//!
//! ```
//! use lakehouse_sdk::{Config, Error, Redactor, TextMut, export_redactor, testing};
//!
//! /// Keeps the ends of each value.
//! #[derive(Config)]
//! struct Mask {
//!     /// Characters shown at the start.
//!     #[config(default = 0)]
//!     keep_prefix: u32,
//!     /// Characters shown at the end.
//!     #[config(default = 0)]
//!     keep_suffix: u32,
//! }
//!
//! impl Redactor for Mask {
//!     fn redact_text(&self, values: &mut TextMut) -> Result<(), Error> {
//!         values.star_between(self.keep_prefix, self.keep_suffix);
//!         Ok(())
//!     }
//! }
//!
//! export_redactor!(Mask);
//!
//! # fn main() -> Result<(), Error> {
//! let mask = Mask::open(r#"{"keep_prefix": 3, "keep_suffix": 2}"#)?;
//! assert_eq!(testing::redact(&mask, ["CAND-000001"])?, [Some("CAN******01".into())]);
//!
//! let typo = testing::config_error::<Mask>(r#"{"keep_prefx": 3}"#);
//! assert_eq!(typo, r#"unknown key "keep_prefx"; known keys: "keep_prefix", "keep_suffix""#);
//! # Ok(())
//! # }
//! ```

/// The derive names this crate as its users do.
#[cfg(test)]
extern crate self as lakehouse_sdk;

mod chunker;
mod column;
mod condition;
mod config;
mod embedder;
mod error;
mod export;
mod format;
#[cfg(target_family = "wasm")]
mod guest;
mod id_mapper;
mod model_adapter;
mod redactor;
mod text;

pub mod chat;
pub mod log;
pub mod schema;
pub mod sse;
pub mod testing;

pub use chunker::{Chunker, Chunks, Spans};
pub use column::{Bitmap, Column, Values, Varlen};
pub use condition::{Condition, Context, Verdict};
pub use config::{Config, ConfigError};
pub use embedder::Embedder;
pub use error::Error;
pub use id_mapper::IdMapper;
/// Reads a configuration from a JSON object and describes it as a JSON Schema.
///
/// On a struct: each field is a key, its doc comment the description. A key is required unless the field is an `Option` or says
/// `#[config(default = EXPR)]` (or `#[config(default)]` for `Default::default()`); unknown keys are refused by name.
/// `#[config(skip)]` leaves a field out of the configuration and fills it with `Default::default()`, for what
/// `prepare` of a rule computes; `#[config(example = LITERAL)]` shows in the schema, where the host takes it to try a rule out.
/// On an enum without fields: one of the variants' names in kebab-case.
pub use lakehouse_sdk_macros::Config;
pub use model_adapter::{ChatStream, ModelAdapter};
pub use redactor::Redactor;
pub use text::{TextMut, TextOut};

/// The JSON values that configurations and contexts are made of.
pub use serde_json::{Map, Value, json};

/// The generated bindings, for components that need what the typed traits do not let through. Only on WebAssembly.
#[cfg(target_family = "wasm")]
pub use guest::bindings as raw;

/// The examples of the guide, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Guide;

#[doc(hidden)]
pub mod __private {
    //! What the macros expand to; no part of the interface.
    pub use crate::config::{Fields, choose};
    #[cfg(target_family = "wasm")]
    pub use crate::guest::{
        ExportedChunker, ExportedCondition, ExportedEmbedder, ExportedIdMapper, ExportedModelAdapter, ExportedRedactor,
    };
}
