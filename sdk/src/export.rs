//! The export macros: from a type to a component.
//!
//! **Invariant**: a component's metadata is written once, into custom sections that the host reads without running anything:
//! `lakehouse:name`, `version`, `licenses` and `description` from the crate's manifest, `lakehouse:config-schema`,
//! `lakehouse:capabilities`. Natively the macros expand to nothing.

/// The macros that export one rule.
macro_rules! one_rule {
    ($($dollar:tt $name:ident, $kind:ident, $what:literal;)+) => {$(
        #[doc = concat!("Exports ", $what, " as a component: `", stringify!($name), "!(Rule);`")]
        ///
        /// Capabilities that the component asks for go beside it: `(Rule, capabilities = ["prf"])`. A component that exports
        /// several kinds of rule uses [`export!`](crate::export) instead.
        #[macro_export]
        macro_rules! $name {
            ($dollar($dollar given:tt)*) => { $dollar crate::export!($kind: $dollar($dollar given)*); };
        }
    )+};
}

one_rule! {
    $ export_redactor, redactor, "a [`Redactor`](crate::Redactor)";
    $ export_condition, condition, "a [`Condition`](crate::Condition)";
    $ export_chunker, chunker, "a [`Chunker`](crate::Chunker)";
    $ export_id_mapper, id_mapper, "an [`IdMapper`](crate::IdMapper)";
    $ export_embedder, embedder, "an [`Embedder`](crate::Embedder)";
    $ export_model_adapter, model_adapter, "a [`ModelAdapter`](crate::ModelAdapter)";
}

/// Exports one component with a rule of each kind that it names: `export!(redactor: Mask, condition: Masked);`
///
/// Kinds are `redactor`, `condition`, `chunker`, `id_mapper`, `embedder` and `model_adapter`. Capabilities that the component asks
/// for come last.
///
/// ```
/// use lakehouse_sdk::{Condition, Config, Context, Error, Redactor, Verdict, export};
///
/// #[derive(Config)]
/// struct Hidden {}
///
/// impl Redactor for Hidden {}
///
/// #[derive(Config)]
/// struct Never {}
///
/// impl Condition for Never {
///     fn evaluate(&self, _: &Context) -> Result<Verdict, Error> {
///         Ok(Verdict::Fails("never".into()))
///     }
/// }
///
/// export!(redactor: Hidden, condition: Never, capabilities = []);
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// # #[derive(lakehouse_sdk::Config)]
/// # struct Rule {}
/// lakehouse_sdk::export!(oracle: Rule);
/// ```
#[macro_export]
macro_rules! export {
    ($($given:tt)+) => { $crate::__export!([] $($given)+); };
}

/// Takes the rules one by one: `[(kind: Rule) …]` are those that were read.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ([$($read:tt)+] capabilities = [$($capability:literal),* $(,)?] $(,)?) => {
        $crate::__export_component!([$($read)+] [$($capability),*]);
    };
    ([$($read:tt)*] $kind:ident: $rule:ty $(, $($rest:tt)*)?) => {
        $crate::__export!([$($read)* ($kind: $rule)] $($($rest)*)?);
    };
    ([$($read:tt)+]) => { $crate::__export_component!([$($read)+] []); };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_component {
    ([$(($kind:ident: $rule:ty))+] [$($capability:literal),*]) => {
        $($crate::__export_glue!($kind: $rule);)+
        $crate::__export_metadata!($crate::schema::of_rules(&[$(&<$rule as $crate::Config>::SCHEMA),+]), [$($capability),*]);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_glue {
    (redactor: $rule:ty) => {
        $crate::__export_glue!(redactor, Redactor, ExportedRedactor, $rule);
    };
    (condition: $rule:ty) => {
        $crate::__export_glue!(condition, Condition, ExportedCondition, $rule);
    };
    (chunker: $rule:ty) => {
        $crate::__export_glue!(chunker, Chunker, ExportedChunker, $rule);
    };
    (id_mapper: $rule:ty) => {
        $crate::__export_glue!(id_mapper, IdMapper, ExportedIdMapper, $rule);
    };
    (embedder: $rule:ty) => {
        $crate::__export_glue!(embedder, Embedder, ExportedEmbedder, $rule);
    };
    (model_adapter: $rule:ty) => {
        $crate::__export_glue!(model_adapter, ModelAdapter, ExportedModelAdapter, $rule);
    };
    ($kind:ident: $rule:ty) => {
        ::core::compile_error!(::core::concat!("there is no kind of rule called `", ::core::stringify!($kind), "`"));
    };
    ($kind:ident, $trait:ident, $exported:ident, $rule:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            type Component = $crate::__private::$exported<$rule>;
    $crate::raw::$kind::export!(Component with_types_in $crate::raw::$kind);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            const fn is_of_its_kind<R: $crate::$trait>() {}
            is_of_its_kind::<$rule>();
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_metadata {
    ($schema:expr, [$($capability:literal),*]) => {
        /// Several rules in one component go through one `lakehouse_sdk::export!(redactor: …, condition: …)`.
        #[doc(hidden)]
        mod __one_export_macro_for_each_component {}

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            const SCHEMA: $crate::schema::Schema = $schema;

            #[used]
            #[unsafe(link_section = "lakehouse:name")]
            static NAME: [u8; env!("CARGO_PKG_NAME").len()] = $crate::schema::bytes(env!("CARGO_PKG_NAME"));
            #[used]
            #[unsafe(link_section = "version")]
            static VERSION: [u8; env!("CARGO_PKG_VERSION").len()] = $crate::schema::bytes(env!("CARGO_PKG_VERSION"));
            #[used]
            #[unsafe(link_section = "licenses")]
            static LICENSES: [u8; env!("CARGO_PKG_LICENSE").len()] = $crate::schema::bytes(env!("CARGO_PKG_LICENSE"));
            #[used]
            #[unsafe(link_section = "description")]
            static DESCRIPTION: [u8; env!("CARGO_PKG_DESCRIPTION").len()] = $crate::schema::bytes(env!("CARGO_PKG_DESCRIPTION"));
            #[used]
            #[unsafe(link_section = "lakehouse:config-schema")]
            static CONFIG: [u8; $crate::schema::rendered_len(&SCHEMA)] = $crate::schema::render(&SCHEMA);
            #[used]
            #[unsafe(link_section = "lakehouse:capabilities")]
            static ASKED: [u8; $crate::schema::names_len(&[$($capability),*])] = $crate::schema::names(&[$($capability),*]);
        };
    };
}
