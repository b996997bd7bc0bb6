//! `#[derive(Config)]`: a configuration read from JSON, described by a JSON Schema. Documented in `lakehouse-sdk`.
//!
//! **Invariant**: what is not understood is a compile error at its place; nothing is silently left out of the configuration.

mod attributes;
mod choices;
mod fields;

use proc_macro::TokenStream;
use syn::{Data, DeriveInput, Error, parse_macro_input};

/// Derives `lakehouse_sdk::Config`.
#[proc_macro_derive(Config, attributes(config))]
pub fn derive_config(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    if !input.generics.params.is_empty() {
        return Error::new_spanned(input.generics, "a configuration has no generic parameters").into_compile_error().into();
    }
    let expanded = match &input.data {
        Data::Struct(data) => fields::expand(&input, &data.fields),
        Data::Enum(data) => choices::expand(&input, data),
        Data::Union(_) => Err(Error::new_spanned(&input.ident, "a configuration is a struct or an enum")),
    };
    expanded.unwrap_or_else(Error::into_compile_error).into()
}
