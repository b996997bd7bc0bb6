//! Misbehaves on request, to prove that the host survives it: every kind of rule in one component.
//!
//! **Invariant**: without its trigger it is an honest rule (text out, `[evil]` for each value; every context holds; a document is one
//! chunk; a key is its own id; vectors of four ones; a model that says its response), so that it passes every check at load. With no
//! trigger configured it attacks in each call that has a row.
//!
//! It goes past the SDK's typed traits, straight to the generated bindings, because those traits cannot lie.
#![cfg(target_family = "wasm")]

mod attack;
mod chunker;
mod condition;
mod config;
mod embedder;
mod id_mapper;
mod model_adapter;
mod redactor;

use lakehouse_sdk::raw;

use config::Evil;

/// All interfaces are implemented on this one type.
struct Component;

#[allow(unsafe_code, reason = "generated")]
mod exports {
    use super::{Component, raw};

    raw::redactor::export!(Component with_types_in raw::redactor);
    raw::condition::export!(Component with_types_in raw::condition);
    raw::chunker::export!(Component with_types_in raw::chunker);
    raw::id_mapper::export!(Component with_types_in raw::id_mapper);
    raw::embedder::export!(Component with_types_in raw::embedder);
    raw::model_adapter::export!(Component with_types_in raw::model_adapter);
}

lakehouse_sdk::__export_metadata!(<Evil as lakehouse_sdk::Config>::SCHEMA, []);
