//! The host's side of `wit/`, generated. Nothing of it leaves this crate, and none of it is ever printed: its `Debug` shows values.
#![allow(
    missing_debug_implementations,
    unreachable_pub,
    unsafe_code,
    unused,
    rust_2018_idioms,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]

wasmtime::component::bindgen!({
    inline: "
        package lakehouse:host;
        world plugin {
            import lakehouse:plugin/log@0.1.0;
            export lakehouse:plugin/redactor@0.1.0;
            export lakehouse:plugin/condition@0.1.0;
            export lakehouse:plugin/chunker@0.1.0;
            export lakehouse:plugin/id-mapper@0.1.0;
            export lakehouse:plugin/embedder@0.1.0;
            export lakehouse:plugin/model-adapter@0.1.0;
        }
    ",
    path: "../../wit",
    world: "lakehouse:host/plugin",
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
