//! Enums without fields: one of several names.
//!
//! **Invariant**: a variant's name in JSON is its Rust name in kebab-case, nothing else.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DataEnum, DeriveInput, Error, Fields, Result};

pub(crate) fn expand(input: &DeriveInput, data: &DataEnum) -> Result<TokenStream> {
    let ident = &input.ident;
    if let Some(variant) = data.variants.iter().find(|variant| !matches!(variant.fields, Fields::Unit)) {
        return Err(Error::new_spanned(variant, "a choice in a configuration has no fields"));
    }
    let names: Vec<String> = data.variants.iter().map(|variant| kebab_case(&variant.ident.to_string())).collect();
    let variants = data.variants.iter().map(|variant| &variant.ident);
    Ok(quote! {
        #[automatically_derived]
        impl ::lakehouse_sdk::Config for #ident {
            const SCHEMA: ::lakehouse_sdk::schema::Schema = ::lakehouse_sdk::schema::Schema::Choice { names: &[#(#names),*] };

            fn from_value(value: ::lakehouse_sdk::Value) -> ::core::result::Result<Self, ::lakehouse_sdk::ConfigError> {
                let mut variants = [#(::core::option::Option::Some(Self::#variants)),*];
                let chosen = ::lakehouse_sdk::__private::choose(&value, &[#(#names),*])?;
                variants[chosen].take().ok_or_else(|| ::lakehouse_sdk::ConfigError::new("must be a known choice"))
            }
        }
    })
}

fn kebab_case(name: &str) -> String {
    let mut kebab = String::new();
    for (at, character) in name.char_indices() {
        if character.is_ascii_uppercase() && at > 0 {
            kebab.push('-');
        }
        kebab.push(character.to_ascii_lowercase());
    }
    kebab
}
