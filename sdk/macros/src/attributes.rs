//! `#[config(…)]` and doc comments.
//!
//! **Invariant**: an option that is not known is an error at its place.

use syn::{Attribute, Expr, ExprLit, ExprUnary, Lit, Meta, Result, UnOp};

/// What a field says about its key.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) skip: bool,
    pub(crate) default: Option<DefaultValue>,
    pub(crate) example: Option<Expr>,
}

pub(crate) enum DefaultValue {
    /// `Default::default()`.
    OfType,
    Expr(Expr),
}

pub(crate) fn options(attributes: &[Attribute]) -> Result<Options> {
    let mut options = Options::default();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("config")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                options.skip = true;
                Ok(())
            } else if meta.path.is_ident("default") {
                let given = meta.input.peek(syn::Token![=]);
                options.default = Some(if given { DefaultValue::Expr(meta.value()?.parse()?) } else { DefaultValue::OfType });
                Ok(())
            } else if meta.path.is_ident("example") {
                options.example = Some(meta.value()?.parse()?);
                Ok(())
            } else {
                Err(meta.error("expected `default`, `default = EXPR`, `example = LITERAL` or `skip`"))
            }
        })?;
    }
    Ok(options)
}

/// The doc comment as one line of text.
pub(crate) fn description(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        if let Meta::NameValue(doc) = &attribute.meta
            && let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &doc.value
        {
            lines.push(text.value().trim().to_owned());
        }
    }
    lines.join(" ").trim().to_owned()
}

/// A literal or a list of literals as JSON, for the schema; empty for anything that only the compiler can compute.
pub(crate) fn literal_json(expr: &Expr) -> String {
    match expr {
        Expr::Lit(ExprLit { lit, .. }) => match lit {
            Lit::Int(number) => number.base10_digits().to_owned(),
            Lit::Float(number) => number.base10_digits().to_owned(),
            Lit::Bool(value) => value.value.to_string(),
            Lit::Str(text) => quote_json(&text.value()),
            _ => String::new(),
        },
        Expr::Unary(ExprUnary { op: UnOp::Neg(_), expr, .. }) => match literal_json(expr) {
            positive if positive.is_empty() => positive,
            positive => format!("-{positive}"),
        },
        Expr::Array(list) => {
            let items: Vec<String> = list.elems.iter().map(literal_json).collect();
            if items.iter().any(String::is_empty) { String::new() } else { format!("[{}]", items.join(",")) }
        }
        // `"text".into()` and `"text".to_owned()` are how a String is written.
        Expr::MethodCall(call) if call.args.is_empty() && (call.method == "into" || call.method == "to_owned") => {
            literal_json(&call.receiver)
        }
        _ => String::new(),
    }
}

fn quote_json(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
