//! Definitions: which datasets, views, profiles and indexes exist, and what they say.
//!
//! **Invariant**: a [`CatalogSnapshot`] is consistent and immutable: names are unique across datasets and views, every view
//! stands on a dataset, if over other views, every profile's bindings and every index's relation exist. It changes only through [`Catalog::edit`], one edit at a time, each one metadata
//! transaction together with its journal events, published after it is durable.

mod catalog; // open, edit, publish
mod component; // NAME, NAME@1.2, NAME@sha256:…
mod dataset;
mod edit; // what an edit may do, and its checks
mod error;
mod index; // what makes a relation searchable
mod migration; // bucket names of earlier releases
mod profile;
mod redaction;
mod rule; // a rule name bound to a component
mod snapshot;
mod stack; // views upon views
mod tombstone;
mod view;
mod view_version; // what a view said before

pub use catalog::Catalog;
pub use component::{ComponentRef, ComponentRefError, Pin};
pub use dataset::{DatasetRecord, RefreshPolicy};
pub use edit::Edit;
pub use error::{CatalogError, DefinitionError, UsedBy};
pub use index::{
    FaissRecord, FileRecord, IdType, IndexLitter, IndexMetric, IndexRecord, IndexRules, IndexSource, PendingSegments, PinnedRule,
    Recipe, Seen, SegmentFiles, SegmentRecord,
};
pub use migration::BucketMigration;
pub use profile::{HnswConfig, Profile, ProfileInput, VectorBackend};
pub use redaction::Redaction;
pub use rule::{RuleBinding, RuleKind, RuleLimits};
pub use snapshot::{CatalogSnapshot, Relation};
pub use stack::{MAX_STACKED_VIEWS, ViewStack};
pub use tombstone::TombstoneRecord;
pub use view::{ViewInput, ViewRecord};
pub use view_version::{KEPT_VIEW_VERSIONS, ViewVersion};
