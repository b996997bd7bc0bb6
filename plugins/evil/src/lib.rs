//! Misbehaves on request, to prove that the host survives it: a redactor and a condition in one component.
//!
//! **Invariant**: without its trigger it is an honest rule (text out, `[evil]` for each value; every context holds), so that it
//! passes every check at load. With no trigger configured it attacks in each call that has a row.
//!
//! It goes past the SDK's typed traits, straight to the generated bindings, because those traits cannot lie.
#![cfg(target_family = "wasm")]

mod attack;
mod condition;
mod config;
mod redactor;

use lakehouse_sdk::raw;

use config::Evil;

/// Both interfaces are implemented on this one type.
struct Component;

#[allow(unsafe_code, reason = "generated")]
mod exports {
    use super::{Component, raw};

    raw::redactor::export!(Component with_types_in raw::redactor);
    raw::condition::export!(Component with_types_in raw::condition);
}

lakehouse_sdk::__export_metadata!(<Evil as lakehouse_sdk::Config>::SCHEMA, []);
