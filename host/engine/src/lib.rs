//! The composition root: opens every part in order, wires them, and offers the use cases that a gateway serves.
//!
//! **Invariant**: each use case asks for permission first, and a refusal is journaled; nothing here knows HTTP. Work that changes
//! something runs to its end even when its caller goes away.

mod access; // who comes in, and what they may do
mod buckets;
mod compaction;
mod datasets;
mod engine; // open, run, shut down
mod erasure; // with proof
mod error;
mod follow; // beside the host that writes, and in its place
mod grants;
mod health;
mod imports; // files of buckets
mod ingest;
mod insight; // what a rule's changer could come to see
mod jobs;
mod journal;
mod keys;
mod lease; // how long a key holds
mod pace; // how fast a key may ask
mod page;
mod plugins;
mod profiles;
mod query;
mod runtime; // the CPU runtime
mod sources; // databases to ingest from
mod tasks; // what runs in the background
mod tombstones;
mod truth;
mod turns; // to ingest
mod vectors; // indexes and search
mod views;

#[cfg(test)]
mod tests;

pub use buckets::{BucketInside, ShownBucket};
pub use compaction::Compaction;
pub use datasets::Dataset;
pub use engine::{Engine, EngineOptions};
pub use erasure::{Certificate, Erase, ErasedIndex, MAX_SUBJECTS, ScanReport, Trace};
pub use error::EngineError;
pub use follow::Turn;
pub use grants::Grants;
pub use health::Health;
pub use imports::IngestBucket;
pub use ingest::{IngestFile, Ingested};
pub use jobs::ERASURE;
pub use journal::{JournalStats, OWN_EVENTS_BACK};
pub use page::Page;
pub use plugins::{PluginCounts, PluginDetail, PluginPage};
pub use query::{Form, RowCount};
pub use sources::IngestSource;
pub use tombstones::{Bury, Restore};
pub use truth::{TruthRule, TruthRules};
pub use vectors::{
    ActivatedIndex, ActivatedRule, Activation, Hits, PurgedIndex, RefreshIndex, RefreshReport, SearchIndex, Seek, ShownIndex,
    StaleDataset,
};
pub use views::{TryView, View};

pub use lakehouse_access::{
    AccessFileStatus, Action, Basic, Caller, CreateKey, Credential, CredentialError, Grant, KeyGrant, KeyInfo, ListedKey, NewKey,
    Origin as GrantOrigin, Principal, Role, presented,
};
pub use lakehouse_catalog::{
    BucketMigration, ComponentRef, DatasetRecord, HnswConfig, IndexMetric, IndexRecord, IndexSource, PinnedRule, Profile,
    ProfileInput, Redaction, RefreshPolicy, RuleBinding, RuleKind, RuleLimits, SegmentRecord, TombstoneRecord, VectorBackend,
    ViewInput, ViewRecord,
};
pub use lakehouse_ingest::{Format, IngestMode, IngestReport, OnError, PathPattern, Selection, TableName};
pub use lakehouse_jobs::{Advance, Job, JobFailure, JobState, Watch};
pub use lakehouse_journal::{Event, EventKind, Filter as EventFilter, Outcome as EventOutcome, Page as EventPage};
pub use lakehouse_plugins::{
    ChatRequest, Check as PluginCheck, Compiler, DryRun, DryRunInput, DryRunReport, EmbedRequest, FolderFailure, Header,
    HttpResponse, Message, Origin as PluginOrigin, PluginStats, PluginSummary, PushReport, PushState, Role as ChatRole,
    VersionDetails,
};
pub use lakehouse_query::{
    Answer, CATALOG, Described, Listed, MAX_SAMPLE_ROWS, Params, QueryCounts, QueryError, QueryRecord, QueryRequest, RuleTrial,
    SCHEMA, Sample, Shown, Started, TrialReport, format,
};
pub use lakehouse_settings::Settings;
pub use lakehouse_storage::{BucketCounts, Claim};
pub use lakehouse_tables::{
    Burial, BurialFailure, Column, CommitReport, CompactionReport, DatasetState, FailureReason, Restoration, Shape, WriteMode,
};
pub use lakehouse_truth::Evaluation;
pub use lakehouse_vector::{Counts as RefreshCounts, Found, Method};
