//! What can go wrong in a use case: mostly what went wrong in the part that did the work.

use std::time::Duration;

use lakehouse_access::{AccessError, Caller};
use lakehouse_catalog::{CatalogError, Profile, UsedBy};
use lakehouse_ingest::IngestError;
use lakehouse_jobs::JobError;
use lakehouse_journal::JournalError;
use lakehouse_plugins::PluginError;
use lakehouse_query::QueryError;
use lakehouse_storage::StorageError;
use lakehouse_tables::TableError;
use lakehouse_truth::TruthError;
use lakehouse_types::{
    BucketName, CertificateId, Code, DatasetName, ErrorKind, Fault, IndexName, Members, PluginName, ProfileId, RuleName,
    SourceName, ViewName,
};
use lakehouse_vector::VectorError;
use serde_json::json;

use crate::profiles::known_bindings;

/// A failed use case, or a start that failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Truth(#[from] TruthError),
    #[error(transparent)]
    Vector(#[from] VectorError),
    #[error(transparent)]
    Job(#[from] JobError),
    /// More requests in a second than `[auth]` allows one key.
    #[error("the key sends more requests than it may; the next one passes in {} ms", wait.as_millis())]
    TooFast { wait: Duration },
    /// A role that may write, without a grant on this dataset.
    #[error("the key has no write grant on dataset `{dataset}`")]
    NoWriteGrant { dataset: DatasetName },
    /// Whether or not there is such a source.
    #[error("the key has no read grant on source `{source_name}`")]
    NoSourceGrant { source_name: SourceName },
    #[error("the path stands in no folder of bucket `{bucket}` that may be imported from ([ingest] import)")]
    NoImport { bucket: BucketName },
    #[error("source `{source_name}` is not in the server's config")]
    UnknownSource { source_name: SourceName, valid: Vec<SourceName> },
    /// As many read it as its operator allows.
    #[error("no turn to read source `{source_name}` came within {} s", waited.as_secs())]
    SourceBusy { source_name: SourceName, waited: Duration },
    /// A view that its definer could then read more through than its grants give.
    #[error(
        "the key reads view `{view}`, so it may define it, and what it stands on, only over what it reads too: it has no read grant on \
         {kind} `{base}`"
    )]
    NoReadGrant { view: ViewName, kind: &'static str, base: DatasetName },
    #[error(
        "rows of `{base}` are shown to those who read it, and the key has no read grant on it: send rows of your own as `sample_rows`"
    )]
    NoSample { base: DatasetName },
    /// Views that stand on it and need what it no longer gives out.
    #[error("view `{view}` would no longer give out what these need, which stand on it: {}", listed(used_by))]
    BreaksViews { view: ViewName, used_by: Vec<UsedBy> },
    /// A rule that its changer could then see more through than its grants give.
    #[error(
        "the key reads view `{view}`, which is redacted with rule `{rule}`, so it may change what stands behind that rule only if it \
         reads the view's base too: it has no read grant on {kind} `{base}`"
    )]
    RuleOfReadView { rule: RuleName, view: ViewName, kind: &'static str, base: DatasetName },
    /// A filter that whoever redefines the view does not see.
    #[error("the kept row filter of view `{view}` does not fit its base")]
    KeptFilter {
        view: ViewName,
        #[source]
        reason: QueryError,
    },
    /// By something that the caller may not know of.
    #[error("the name `{name}` is taken")]
    NameTaken { name: DatasetName },
    /// Also by what the caller may not know of.
    #[error("dataset `{dataset}` is in use by {} views and profiles", used_by.len() + hidden)]
    DatasetInUse { dataset: DatasetName, used_by: Vec<UsedBy>, hidden: usize },
    /// Too many ingests at once.
    #[error("no turn to ingest came within {} s: too many files come in at once", waited.as_secs())]
    IngestBusy { waited: Duration },
    /// A plugin that profiles bind.
    #[error("plugin `{plugin}` is bound by {} rules", used_by.len())]
    PluginInUse { plugin: PluginName, used_by: Vec<(ProfileId, RuleName)> },
    /// The definition changed between the check and the write.
    #[error("{what} was changed by someone else meanwhile")]
    Raced { what: String },
    /// Another refresh of it, or its deletion, runs.
    #[error("index `{index}` is being refreshed or dropped")]
    IndexBusy { index: IndexName },
    #[error("as many indexes are being refreshed as the server allows ([vector] refreshes)")]
    RefreshesBusy,
    #[error("index `{index}` was made {what} `{was}`; name that, or drop the index first")]
    IndexMismatch { index: IndexName, what: &'static str, was: String },
    #[error("index `{index}` does not exist yet, so `{member}` must be said")]
    IndexNeeds { index: IndexName, member: &'static str },
    #[error("`chunk_size` and `overlap` are for text; vectors are indexed as they are")]
    VectorsAreWhole,
    #[error("the path names neither a dataset nor a view")]
    NoRelation,
    #[error("the first refresh of index `{index}` has not ended yet")]
    IndexNotReady { index: IndexName },
    #[error(
        "the view or the rules behind index `{index}` have changed, or differ under this profile: it is searched again after a refresh"
    )]
    IndexOutdated { index: IndexName },
    #[error("the key has no read grant on index `{index}`, nor on the relation that it belongs to")]
    NoIndexGrant { index: IndexName },
    #[error(
        "the key searches index `{index}` by a grant on its name, so it may not choose what it is made of: it has no read grant on \
         `{relation}`"
    )]
    NoInsight { index: IndexName, relation: String },
    #[error("as many long searches run as there are query threads")]
    SearchesBusy,
    #[error("a filter reads the relation of index `{index}`, and the key has a grant on the index alone")]
    FilterNeedsGrant { index: IndexName },
    #[error("index `{index}` holds vectors of a column, and no embedder made them: search it with `vector`")]
    NeedsVector { index: IndexName },
    #[error("index `{index}` was embedded with `{made_with}`, and profile `{profile}` embeds with `{embeds_with}`")]
    OtherEmbedder { index: IndexName, made_with: PluginName, profile: ProfileId, embeds_with: PluginName },
    #[error("profile '{profile}' is not bound to '{relation}' — allowed bindings: [{}]", allowed.join(", "))]
    NotBound { profile: ProfileId, relation: String, allowed: Vec<String> },
    #[error("{what} must be from {min} to {max}")]
    OutOfRange { what: &'static str, min: usize, max: usize },
    #[error("{what} was cancelled")]
    Cancelled { what: String },
    #[error("there is no certificate `{id}`")]
    UnknownCertificate { id: CertificateId },
    #[error("`row_key_values[{place}]` is no key: a key is text or an integer")]
    NotAKey { place: usize },
    /// At a start: it may ask for an erasure to be done again.
    #[error("the erasure certificate {object} in bucket `{bucket}` cannot be read: restore it or remove it")]
    DamagedCertificate { bucket: BucketName, object: String },
    #[error("the thread pool could not be started")]
    Runtime(#[source] std::io::Error),
    #[error("this program's own path is unknown")]
    Program(#[source] std::io::Error),
    /// A task was cancelled or panicked.
    #[error("work was lost: {0}")]
    Lost(&'static str),
}

impl EngineError {
    /// Whether an engine could not be opened to write because another host holds the storage.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_fenced())
    }

    pub(crate) fn not_bound(caller: &Caller, profile: &Profile, relation: &str) -> Self {
        Self::NotBound { profile: profile.id.clone(), relation: relation.to_owned(), allowed: known_bindings(caller, profile) }
    }
}

fn listed(used_by: &[UsedBy]) -> String {
    used_by.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Delegates to the part's own fault, or answers for this crate's variants.
macro_rules! delegate {
    ($self:ident, $fault:ident => $told:expr, $($own:tt)*) => {
        match $self {
            Self::Access($fault) => $told,
            Self::Catalog($fault) => $told,
            Self::Ingest($fault) => $told,
            Self::Journal($fault) => $told,
            Self::Plugin($fault) => $told,
            Self::Query($fault) => $told,
            Self::Storage($fault) => $told,
            Self::Table($fault) => $told,
            Self::Truth($fault) => $told,
            Self::Vector($fault) => $told,
            Self::Job($fault) => $told,
            $($own)*
        }
    };
}

impl Fault for EngineError {
    fn code(&self) -> Code {
        delegate!(self, fault => fault.code(),
            Self::NoWriteGrant { .. } | Self::NoReadGrant { .. } | Self::NoSample { .. } | Self::NoSourceGrant { .. } | Self::NoImport { .. } | Self::RuleOfReadView { .. } => {
                Code::Forbidden
            }
            Self::UnknownSource { .. } => Code::UnknownSource,
            Self::SourceBusy { .. } => Code::Busy,
            Self::KeptFilter { .. } => Code::InvalidDefinition,
            Self::NameTaken { .. } => Code::AlreadyExists,
            Self::IngestBusy { .. } => Code::Busy,
            Self::PluginInUse { .. } | Self::DatasetInUse { .. } | Self::BreaksViews { .. } => Code::InUse,
            Self::Raced { .. } => Code::WriteConflict,
            Self::IndexBusy { .. } | Self::RefreshesBusy | Self::SearchesBusy => Code::Busy,
            Self::IndexMismatch { .. } | Self::OtherEmbedder { .. } => Code::IndexMismatch,
            Self::IndexNeeds { .. } | Self::VectorsAreWhole | Self::NeedsVector { .. } => Code::InvalidBody,
            Self::NoRelation => Code::InvalidName,
            Self::OutOfRange { .. } => Code::InvalidParameter,
            Self::IndexNotReady { .. } | Self::IndexOutdated { .. } => Code::IndexOutdated,
            Self::NoIndexGrant { .. } | Self::FilterNeedsGrant { .. } | Self::NoInsight { .. } => Code::Forbidden,
            Self::NotBound { .. } => Code::NotBound,
            Self::Cancelled { .. } => Code::Cancelled,
            Self::UnknownCertificate { .. } => Code::UnknownCertificate,
            Self::NotAKey { .. } => Code::InvalidBody,
            Self::DamagedCertificate { .. } => Code::Corrupt,
            Self::TooFast { .. } => Code::TooManyRequests,
            Self::Runtime(_) | Self::Program(_) | Self::Lost(_) => Code::Internal,
        )
    }

    fn kind(&self) -> ErrorKind {
        delegate!(self, fault => fault.kind(), _ => self.code().kind())
    }

    fn public(&self) -> String {
        delegate!(self, fault => fault.public(),
            Self::PluginInUse { plugin, used_by } => {
                let names: Vec<String> = used_by.iter().map(|(profile, rule)| format!("`{rule}` of profile `{profile}`")).collect();
                format!("plugin `{plugin}` stands behind {}", names.join(", "))
            }
            Self::DatasetInUse { dataset, used_by, hidden } => {
                let mut users: Vec<String> = used_by.iter().map(ToString::to_string).collect();
                users.push(format!("{hidden} that the key may not see"));
                format!("dataset `{dataset}` is in use by {}", users.join(", "))
            }
            Self::TooFast { .. }
            | Self::NoWriteGrant { .. }
            | Self::NoSourceGrant { .. }
            | Self::NoImport { .. }
            | Self::UnknownSource { .. }
            | Self::SourceBusy { .. }
            | Self::NoReadGrant { .. }
            | Self::NoSample { .. }
            | Self::BreaksViews { .. }
            | Self::RuleOfReadView { .. }
            | Self::KeptFilter { .. }
            | Self::NameTaken { .. }
            | Self::IngestBusy { .. }
            | Self::Raced { .. }
            | Self::IndexBusy { .. }
            | Self::RefreshesBusy
            | Self::IndexMismatch { .. }
            | Self::IndexNeeds { .. }
            | Self::VectorsAreWhole
            | Self::NoRelation
            | Self::IndexNotReady { .. }
            | Self::IndexOutdated { .. }
            | Self::NoIndexGrant { .. }
            | Self::FilterNeedsGrant { .. }
            | Self::NoInsight { .. }
            | Self::SearchesBusy
            | Self::NeedsVector { .. }
            | Self::OtherEmbedder { .. }
            | Self::NotBound { .. }
            | Self::Cancelled { .. }
            | Self::UnknownCertificate { .. }
            | Self::NotAKey { .. }
            | Self::DamagedCertificate { .. }
            | Self::OutOfRange { .. } => self.to_string(),
            Self::Runtime(_) | Self::Program(_) | Self::Lost(_) => "the server could not do the work".into(),
        )
    }

    fn members(&self) -> Members {
        delegate!(self, fault => fault.members(),
            Self::PluginInUse { used_by, .. } => {
                let listed: Vec<_> = used_by.iter().map(|(profile, rule)| json!({"profile": profile, "rule": rule})).collect();
                Members::from_iter([("used_by".to_owned(), listed.into())])
            }
            Self::DatasetInUse { used_by, hidden, .. } => {
                Members::from_iter([("used_by".to_owned(), json!(used_by)), ("used_by_hidden".to_owned(), json!(hidden))])
            }
            Self::BreaksViews { used_by, .. } => Members::from_iter([("used_by".to_owned(), json!(used_by))]),
            Self::UnknownSource { valid, .. } => Members::from_iter([("valid_sources".to_owned(), json!(valid))]),
            Self::NotBound { allowed, .. } => Members::from_iter([("allowed_bindings".to_owned(), json!(allowed))]),
            Self::TooFast { wait } => {
                Members::from_iter([("retry_after_ms".to_owned(), json!(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1)))])
            }
            _ => Members::new(),
        )
    }
}
