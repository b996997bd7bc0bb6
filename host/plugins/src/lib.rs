//! Runs rules that arrive as WebAssembly components.
//!
//! **Invariant**: nothing outside this crate sees a WIT type, a store or an instance; callers hold typed faces ([`Redactor`],
//! [`Condition`]) that come from one [`Snapshot`] and stay valid for as long as it is held. A rule that fails yields no data, only
//! a typed error, and costs its neighbours nothing.

mod answer; // what a redactor returned, checked, as Arrow
mod cache; // compiled code, authenticated
mod column; // Arrow as the arguments of a call
mod compile; // wasm → native, in a limited child
mod condition; // typed face
mod distinct; // repeated values once
mod error;
mod instance; // a store, its limits, its life
mod limits; // memory, time, output, logs
mod log; // what guests say on the side
mod mac; // HMAC-SHA256
mod machine; // engine, pool, epochs
mod manifest; // what a component says about itself
mod message; // bounded, escaped guest text
mod redactor; // typed face
mod registry; // names, versions, the active snapshot
mod resolve; // rule names of one request
mod rule; // component + config + limits
mod runtime; // what all components share
mod sandbox; // linker, inert WASI
mod selftest; // before a version may be active
mod shelf; // compiled code in memory
mod stats;
mod store; // components by content
mod version;
mod wit; // generated

#[cfg(test)]
mod testing; // a registry over scratch storage, hostile bytes
#[cfg(test)]
mod trials; // T-40 to T-47, as far as they concern this crate

pub use compile::{Compiler, compile_child};
pub use condition::{Condition, Verdict};
pub use error::{Check, Crash, Lie, PluginError, VersionedName};
pub use limits::{Ceilings, Limits, MemoryMeter};
pub use message::GuestMessage;
pub use redactor::{Redactor, RedactorRule};
pub use registry::{
    DryRun, DryRunInput, DryRunReport, FolderFailure, FolderWatch, Origin, PluginDetails, PluginList, PluginSummary, PushReport,
    PushState, Registry, RegistryOptions, Snapshot, VersionDetails, VersionRecord,
};
pub use resolve::Bindings;
pub use stats::PluginStats;
