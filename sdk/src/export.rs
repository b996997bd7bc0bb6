//! The export macros: from a type to a component.
//!
//! **Invariant**: a component's metadata is written once, into custom sections that the host reads without running anything:
//! `lakehouse:name`, `version`, `licenses` and `description` from the crate's manifest, `lakehouse:config-schema`,
//! `lakehouse:capabilities`. Natively the macros expand to nothing.

/// Exports a [`Redactor`](crate::Redactor) as a component: `export_redactor!(Mask);`
///
/// Capabilities that the component asks for go beside it: `export_redactor!(Mask, capabilities = ["prf"]);`. A component that
/// exports two kinds of rule uses [`export!`](crate::export) instead.
#[macro_export]
macro_rules! export_redactor {
    ($rule:ty $(, capabilities = [$($capability:literal),* $(,)?])? $(,)?) => {
        $crate::export!(redactor: $rule $(, capabilities = [$($capability),*])?);
    };
}

/// Exports a [`Condition`](crate::Condition) as a component: `export_condition!(RequiredFields);`
///
/// Capabilities go beside it as with [`export_redactor!`](crate::export_redactor).
#[macro_export]
macro_rules! export_condition {
    ($rule:ty $(, capabilities = [$($capability:literal),* $(,)?])? $(,)?) => {
        $crate::export!(condition: $rule $(, capabilities = [$($capability),*])?);
    };
}

/// Exports one component with one rule or two: `export!(redactor: Mask, condition: Masked);`
#[macro_export]
macro_rules! export {
    (redactor: $redactor:ty, condition: $condition:ty $(, capabilities = [$($capability:literal),* $(,)?])? $(,)?) => {
        $crate::__export_glue!(redactor: $redactor);
        $crate::__export_glue!(condition: $condition);
        $crate::__export_metadata!(
            $crate::schema::Schema::AnyOf {
                first: &<$redactor as $crate::Config>::SCHEMA,
                second: &<$condition as $crate::Config>::SCHEMA,
            },
            [$($($capability),*)?]
        );
    };
    ($kind:ident: $rule:ty $(, capabilities = [$($capability:literal),* $(,)?])? $(,)?) => {
        $crate::__export_glue!($kind: $rule);
        $crate::__export_metadata!(<$rule as $crate::Config>::SCHEMA, [$($($capability),*)?]);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_glue {
    (redactor: $rule:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            type Component = $crate::__private::ExportedRedactor<$rule>;
    $crate::raw::redactor::export!(Component with_types_in $crate::raw::redactor);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            const fn is_a_redactor<R: $crate::Redactor>() {}
            is_a_redactor::<$rule>();
        };
    };
    (condition: $rule:ty) => {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code)]
        const _: () = {
            type Component = $crate::__private::ExportedCondition<$rule>;
    $crate::raw::condition::export!(Component with_types_in $crate::raw::condition);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: () = {
            const fn is_a_condition<C: $crate::Condition>() {}
            is_a_condition::<$rule>();
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_metadata {
    ($schema:expr, [$($capability:literal),*]) => {
        /// Two rules in one component go through one `lakehouse_sdk::export!(redactor: …, condition: …)`.
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
