//! Runs rules that arrive as WebAssembly components.
//!
//! **Invariant**: nothing outside this crate sees a WIT type, a store or an instance; callers hold typed faces ([`Redactor`],
//! [`Condition`], [`Chunker`], [`IdMapper`], [`Embedder`], [`ModelAdapter`]) that come from one [`Snapshot`] and stay valid for as
//! long as it is held. A rule that fails yields no data, only a typed error, and costs its neighbours nothing. No instance ever
//! serves two requests, so none serves two principals.

mod answer; // what a redactor returned, checked, as Arrow
mod cache; // compiled code, authenticated
mod chat; // what is said to a model and by it
mod chunker; // typed face
mod column; // Arrow as the arguments of a call
mod compile; // wasm → native, in a limited child
mod condition; // typed face
mod distinct; // repeated values once
mod embedder; // typed face
mod error;
mod id_mapper; // typed face
mod instance; // a store, its limits, its life
mod limits; // memory, time, output, logs
mod log; // what guests say on the side
mod mac; // HMAC-SHA256
mod machine; // engine, pool, epochs
mod manifest; // what a component says about itself
mod message; // bounded, escaped guest text
mod model_adapter; // typed face
mod opened; // an instance with its configuration
mod redactor; // typed face
mod registry; // names, versions, the active snapshot
mod resolve; // rule names of one request
mod rule; // component + config + limits
mod runtime; // what all components share
mod sandbox; // linker, inert WASI
mod selftest; // before a version may be active
mod shelf; // compiled code in memory
mod spans; // where chunks lie, checked
mod stats;
mod store; // components by content
mod version;
mod wit; // generated

#[cfg(test)]
mod testing; // a registry over scratch storage, hostile bytes
#[cfg(test)]
mod trials; // T-40 to T-47, as far as they concern this crate

pub use chat::{
    Capabilities, ChatAnswer, ChatEvent, ChatOutcome, ChatRequest, EmbedOutcome, EmbedRequest, Embeddings, FinishReason, Header,
    HttpRequest, HttpResponse, Message, Method, Refusal, RefusalKind, Role, Usage,
};
pub use chunker::Chunker;
pub use compile::{Compiler, compile_child};
pub use condition::{Condition, Verdict};
pub use embedder::{Embedder, Vectors};
pub use error::{Check, Crash, Lie, PluginError, VersionedName};
pub use id_mapper::IdMapper;
pub use limits::{Ceilings, Limits, MemoryMeter};
pub use message::GuestMessage;
pub use model_adapter::{ChatStream, ModelAdapter};
pub use redactor::{Redactor, RedactorRule};
pub use registry::{
    DryRun, DryRunInput, DryRunReport, FolderFailure, FolderWatch, Origin, PluginDetails, PluginList, PluginSummary, PushReport,
    PushState, Registry, RegistryOptions, Snapshot, VersionDetails, VersionRecord,
};
pub use resolve::{Bindings, ResolvedRule};
pub use spans::{Span, Spans};
pub use stats::PluginStats;
