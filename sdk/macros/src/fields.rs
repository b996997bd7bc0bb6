//! Structs: each field is a key.
//!
//! **Invariant**: the keys that are read, the keys that are known and the keys in the schema are one list.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, Field, Fields, LitStr, Result, Type};

use crate::attributes::{DefaultValue, description, literal_json, options};

pub(crate) fn expand(input: &DeriveInput, fields: &Fields) -> Result<TokenStream> {
    let (ident, text) = (&input.ident, description(&input.attrs));
    let title = ident.to_string();
    let named: Vec<&Field> = match fields {
        Fields::Named(named) => named.named.iter().collect(),
        Fields::Unit => Vec::new(),
        Fields::Unnamed(_) => return Err(Error::new_spanned(fields, "the fields of a configuration have names")),
    };
    let keys = named.into_iter().map(Key::read).collect::<Result<Vec<_>>>()?;
    let known: Vec<LitStr> = keys.iter().filter(|key| !key.skip).map(|key| key.name.clone()).collect();
    let schemas = keys.iter().filter(|key| !key.skip).map(|key| &key.schema);
    let reads = keys.iter().map(|key| &key.read);
    let fields_variable = if known.is_empty() { quote!(_fields) } else { quote!(mut fields) };
    let construct = if matches!(fields, Fields::Unit) { quote!(Self) } else { quote!(Self { #(#reads),* }) };
    Ok(quote! {
        #[automatically_derived]
        impl ::lakehouse_sdk::Config for #ident {
            const SCHEMA: ::lakehouse_sdk::schema::Schema = ::lakehouse_sdk::schema::Schema::Object {
                title: #title,
                description: #text,
                fields: &[#(#schemas),*],
            };

            fn from_value(value: ::lakehouse_sdk::Value) -> ::core::result::Result<Self, ::lakehouse_sdk::ConfigError> {
                let #fields_variable = ::lakehouse_sdk::__private::Fields::open(value, &[#(#known),*])?;
                ::core::result::Result::Ok(#construct)
            }
        }
    })
}

struct Key {
    name: LitStr,
    skip: bool,
    schema: TokenStream,
    read: TokenStream,
}

impl Key {
    fn read(field: &Field) -> Result<Self> {
        let ident = field.ident.as_ref().ok_or_else(|| Error::new_spanned(field, "the fields of a configuration have names"))?;
        let (ty, options) = (&field.ty, options(&field.attrs)?);
        let name = LitStr::new(ident.to_string().trim_start_matches("r#"), ident.span());
        let text = description(&field.attrs);
        let (default, read) = match &options.default {
            _ if options.skip => (String::new(), quote!(#ident: ::core::default::Default::default())),
            None => (String::new(), quote!(#ident: fields.take(#name)?)),
            Some(DefaultValue::OfType) => {
                (String::new(), quote!(#ident: fields.take_or(#name, ::core::default::Default::default)?))
            }
            Some(DefaultValue::Expr(expr)) => (literal_json(expr), quote!(#ident: fields.take_or(#name, || #expr)?)),
        };
        let example = match &options.example {
            None => String::new(),
            Some(expr) => match literal_json(expr) {
                unknown if unknown.is_empty() => {
                    return Err(Error::new_spanned(expr, "an example is a literal or a list of literals"));
                }
                json => json,
            },
        };
        let required = options.default.is_none() && !is_option(ty);
        let schema = quote! {
            ::lakehouse_sdk::schema::Field {
                name: #name,
                description: #text,
                required: #required,
                default: #default,
                example: #example,
                schema: &<#ty as ::lakehouse_sdk::Config>::SCHEMA,
            }
        };
        Ok(Self { name, skip: options.skip, schema, read })
    }
}

fn is_option(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|segment| segment.ident == "Option"))
}
