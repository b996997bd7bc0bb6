//! Erasure: a subject's rows are taken out of everything that holds them, and the proof is kept.
//!
//! One after another the participants forget: tables (present rows, earlier versions, the log), indexes, caches, the metadata store
//! itself. Then every byte of every bucket and of the folders beside them is read, and searched for what only the erased rows said.
//!
//! **Invariants**: a certificate is written when all that is done, and names subjects by keyed hashes only. A table that does not bear
//! a certificate's number is a copy from before: the erasure is done again before such a one is served.

mod certificate;
mod needles;
mod participants;
mod scan;

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use lakehouse_access::{Action, Caller};
use lakehouse_journal::{Draft, EventKind, Stamp, SystemActor};
use lakehouse_tables::{GateKeeper, Subjects, Tombstones, key_text};
use lakehouse_types::{CertificateId, ColumnName, DatasetName, Progress, Unwatched};
use serde_json::{Value, json};

pub use self::{
    certificate::{Certificate, ErasedIndex},
    scan::{ScanReport, Trace},
};
use self::{
    needles::Needles,
    participants::{Order, Task},
};
use crate::{Engine, EngineError, Page};

/// Subjects of one erasure.
pub const MAX_SUBJECTS: usize = 10_000;
/// Shorter texts are found everywhere by chance.
const MIN_NEEDLE_BYTES: usize = 6;

/// Whose rows are to be forgotten.
#[derive(Debug, Clone)]
pub struct Erase {
    pub dataset: DatasetName,
    pub column: ColumnName,
    /// Texts or integers.
    pub values: Vec<Value>,
}

impl Engine {
    /// Erases the rows of these keys from everything that holds them, and proves it. What is not there is no error: a certificate for
    /// it is one, too. Runs to its end when the caller leaves.
    ///
    /// # Errors
    /// When the caller may not, a value is no key, the column is not the dataset's key column, or a part fails: then no certificate is
    /// written, the rows that are gone stay gone, and the same call finishes the rest.
    pub async fn erase(
        self: &Arc<Self>,
        caller: &Caller,
        what: Erase,
        progress: Arc<dyn Progress>,
    ) -> Result<Certificate, EngineError> {
        self.require(caller, Action::Erase).await?;
        self.catalog.snapshot().dataset(&what.dataset)?;
        let keys = keys_of(&what.values)?;
        let (engine, by) = (Arc::clone(self), self.stamp(caller));
        self.changes
            .to_the_end(async move {
                // One at a time: each reads all there is.
                let _turn = engine.erasing.lock().await;
                engine.erase_now(&by, what.dataset, what.column, keys, progress).await
            })
            .await
    }

    /// Certificates, the oldest first.
    ///
    /// # Errors
    /// When the caller may not, or the metadata cannot be read.
    pub async fn certificates(
        &self,
        caller: &Caller,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<Certificate>, EngineError> {
        self.require(caller, Action::Erase).await?;
        let mut found = self.meta.collection::<Certificate>().scan("", after, limit.saturating_add(1)).await?;
        let has_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| has_more).map(|(key, _)| key.clone());
        Ok(Page { items: found.into_iter().map(|(_, certificate)| certificate).collect(), next })
    }

    /// One certificate.
    ///
    /// # Errors
    /// When the caller may not, or there is none.
    pub async fn certificate(&self, caller: &Caller, id: &CertificateId) -> Result<Certificate, EngineError> {
        self.require(caller, Action::Erase).await?;
        let found = self.meta.collection::<Certificate>().get(id.as_str()).await?;
        found.ok_or_else(|| EngineError::UnknownCertificate { id: id.clone() })
    }

    async fn erase_now(
        self: &Arc<Self>,
        by: &Stamp,
        dataset: DatasetName,
        column: ColumnName,
        keys: HashSet<Box<str>>,
        progress: Arc<dyn Progress>,
    ) -> Result<Certificate, EngineError> {
        self.tables.check_key(&dataset, &column)?;
        let record = Arc::clone(self.catalog.snapshot().dataset(&dataset)?);
        let subjects: Vec<String> = keys.iter().map(|key| self.journal.pseudonym(key)).collect();
        let number = self.tables.erasures(&dataset).await? + 1;
        let keys = Arc::new(Tombstones::new(None, keys));
        let order = Order { number, by: Stamp { at: self.clock.now(), ..by.clone() }, dataset, column, keys, progress };
        self.forget(&order, Certificate::begin(&record, &order, subjects)).await
    }

    /// Has everyone forget, searches for what may be left, and keeps the certificate.
    async fn forget(self: &Arc<Self>, order: &Order, mut certificate: Certificate) -> Result<Certificate, EngineError> {
        let Order { dataset, column, keys, .. } = order;
        // The files are written anew meanwhile; the rows are there until what they say is known.
        let (keeper, gate) = GateKeeper::new();
        let look = async {
            let found = self.tables.subjects(dataset, column, Arc::clone(keys), MIN_NEEDLE_BYTES).await;
            if found.is_ok() {
                keeper.open();
            }
            found
        };
        let task = Task { engine: self, order, gate };
        let forget = async {
            for participant in participants::all() {
                participant.forget(&task, &mut certificate).await?;
            }
            Ok::<_, EngineError>(())
        };
        let (found, forgotten) = futures::join!(look, forget);
        let Subjects { rows, values } = found?;
        forgotten?;
        certificate.rows_erased = rows;
        // A key that is a word of its own is looked for, whether or not a row had it.
        let words = keys.keys().filter(|key| key.len() >= MIN_NEEDLE_BYTES && key.parse::<i128>().is_err());
        let texts: HashSet<String> = values.into_iter().chain(words.map(str::to_owned)).collect();
        let needles = Needles::new(texts.into_iter(), &self.names_of(dataset)?)?;
        certificate.scan = scan::scan(self, needles, order.progress.as_ref()).await?;
        certificate.ended_at = self.clock.now();
        self.seal(&order.by, &certificate).await?;
        Ok(certificate)
    }

    /// Names that stand beside the rows of a dataset and stay: its own, its columns'.
    fn names_of(&self, dataset: &DatasetName) -> Result<Vec<String>, EngineError> {
        let columns = self.tables.state(dataset)?.columns().into_iter();
        Ok(columns.flat_map(|column| [column.name, column.data_type]).chain([dataset.to_string()]).collect())
    }

    /// Keeps a certificate: in the metadata with its journal event, and beside the tables of every bucket that lasts.
    async fn seal(&self, by: &Stamp, certificate: &Certificate) -> Result<(), EngineError> {
        certificate.write_copies(&self.buckets).await?;
        let mut transaction = self.meta.begin().await?;
        transaction.put(certificate.id.as_str(), certificate)?;
        let details = json!({
            "certificate": certificate.id,
            "keys": certificate.subjects.iter().take(JOURNALED_SUBJECTS).collect::<Vec<_>>(),
            "key_count": certificate.subjects.len(),
            "rows": certificate.rows_erased,
            "version": certificate.version,
            "traces": certificate.scan.traces.len(),
        });
        let draft =
            Draft::new(EventKind::Erasure, certificate.dataset.as_str()).dataset(certificate.dataset.clone()).details(details);
        self.journal.commit(transaction, by, vec![draft]).await?;
        Ok(())
    }

    /// Does erasures again of which a table does not bear the number: it is an older copy. Called before anything is served.
    ///
    /// # Errors
    /// When an erasure cannot be done again: such a copy is not served.
    pub(crate) async fn repeat_erasures(self: &Arc<Self>) -> Result<(), EngineError> {
        let mut known: Vec<Certificate> =
            self.meta.collection::<Certificate>().all().await?.into_iter().map(|(_, certificate)| certificate).collect();
        let ids: HashSet<CertificateId> = known.iter().map(|certificate| certificate.id.clone()).collect();
        // A copy in a bucket outlives metadata that is older than it.
        known.extend(Certificate::read_copies(&self.buckets).await?.into_iter().filter(|copy| !ids.contains(&copy.id)));
        // In their order, so that a table's number tells all that it has been through.
        known.sort_by_key(|certificate| certificate.number);
        let mut been_through = HashMap::new();
        for certificate in known {
            let Some(state) = self.tables.dataset(&certificate.dataset) else { continue };
            if state.id != certificate.dataset_id.as_str() {
                continue;
            }
            drop(state);
            let last = match been_through.entry(certificate.dataset.clone()) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(unknown) => *unknown.insert(self.tables.erasures(&certificate.dataset).await?),
            };
            if last >= certificate.number {
                continue;
            }
            tracing::warn!(dataset = %certificate.dataset, certificate = %certificate.id, "an erasure is done again on an older copy");
            self.repeat(&certificate).await?;
        }
        Ok(())
    }

    async fn repeat(self: &Arc<Self>, certificate: &Certificate) -> Result<(), EngineError> {
        let by = SystemActor::Erasure.stamp(self.clock.now());
        let (journal, wanted) = (self.journal.clone(), certificate.subjects.iter().cloned().collect::<HashSet<String>>());
        let is_theirs = move |key: &str| wanted.contains(&journal.pseudonym(key));
        let keys = self.tables.keys_of(&certificate.dataset, &certificate.column, is_theirs).await?;
        let order = Order {
            number: certificate.number,
            by,
            dataset: certificate.dataset.clone(),
            column: certificate.column.clone(),
            keys: Arc::new(Tombstones::new(None, keys)),
            progress: Arc::new(Unwatched),
        };
        self.forget(&order, certificate.clone()).await?;
        Ok(())
    }
}

/// Pseudonyms that a journal event names; the others are counted, and all are in the certificate.
const JOURNALED_SUBJECTS: usize = 1000;

fn keys_of(values: &[Value]) -> Result<HashSet<Box<str>>, EngineError> {
    if values.is_empty() || values.len() > MAX_SUBJECTS {
        return Err(EngineError::OutOfRange { what: "the number of `row_key_values`", min: 1, max: MAX_SUBJECTS });
    }
    let key = |(place, value)| key_text(value).ok_or(EngineError::NotAKey { place });
    values.iter().enumerate().map(key).collect()
}
