//! Databases that an operator declared, and whose turn it is to read them.
//!
//! **Invariant**: a source has at most as many readers as its operator allows, so that one that is slow holds up nobody but those
//! who want it too; who has no grant on a source learns not even whether it exists.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use lakehouse_access::Caller;
use lakehouse_ingest::{IngestMode, PasswordFrom, PostgresSource, PullRequest, Selection, Tls};
use lakehouse_settings::{SourcePassword, SourceSettings, SourceTls};
use lakehouse_types::{BucketName, ColumnName, DatasetName, SourceName};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use crate::{Engine, EngineError, Ingested, imports::settle};

/// How long a read waits for its turn.
const WAIT: Duration = Duration::from_secs(30);

/// Rows of a database, and what is to become of them.
#[derive(Debug)]
pub struct IngestSource {
    pub dataset: DatasetName,
    /// Of a new dataset; `primary` when absent.
    pub bucket: Option<BucketName>,
    pub mode: IngestMode,
    pub source: SourceName,
    pub selection: Selection,
    /// The column whose values name the rows.
    pub key: Option<ColumnName>,
    pub idempotency_key: Option<String>,
}

/// Every source of the settings.
#[derive(Debug)]
pub(crate) struct Sources(BTreeMap<SourceName, Source>);

#[derive(Debug, Clone)]
struct Source {
    database: Arc<PostgresSource>,
    readers: Arc<Semaphore>,
}

impl Sources {
    pub(crate) fn new(settings: &BTreeMap<SourceName, SourceSettings>) -> Self {
        let source = |(name, settings): (&SourceName, &SourceSettings)| {
            let source =
                Source { database: Arc::new(database(name, settings)), readers: Arc::new(Semaphore::new(settings.connections)) };
            (name.clone(), source)
        };
        Self(settings.iter().map(source).collect())
    }
}

impl Source {
    async fn turn(&self) -> Result<OwnedSemaphorePermit, EngineError> {
        let permit = timeout(WAIT, Arc::clone(&self.readers).acquire_owned()).await.ok().and_then(Result::ok);
        permit.ok_or_else(|| EngineError::SourceBusy { source_name: self.database.name.clone(), waited: WAIT })
    }
}

fn database(name: &SourceName, settings: &SourceSettings) -> PostgresSource {
    PostgresSource {
        name: name.clone(),
        host: settings.host.clone(),
        port: settings.port,
        database: settings.database.clone(),
        user: settings.user.clone(),
        password: settings.password.as_ref().map(|password| match password {
            SourcePassword::Env(variable) => PasswordFrom::Env(variable.clone()),
            SourcePassword::File(path) => PasswordFrom::File(path.clone()),
        }),
        tls: match settings.tls {
            SourceTls::Disable => Tls::Disable,
            SourceTls::Require => Tls::Require,
            SourceTls::VerifyFull => Tls::VerifyFull { ca_file: settings.ca_file.clone() },
        },
        connect_timeout: settings.connect_timeout,
        statement_timeout: settings.statement_timeout,
    }
}

impl Engine {
    /// Ingests a table or the rows of a query; durable and visible to the next query when this returns. A caller who leaves before
    /// the last row has come ends the query with it, and nothing is left; what was read whole is committed even so.
    ///
    /// # Errors
    /// When the caller may not write the dataset or read the source, or its key ends before the read does; when the database cannot
    /// be read, its rows do not fit the dataset, or too many others read it.
    pub async fn ingest_source(&self, caller: &Caller, wanted: IngestSource) -> Result<Ingested, EngineError> {
        self.require_ingest(caller, &wanted.dataset).await?;
        let source = self.require_source(caller, &wanted.source).await?;
        let dataset = wanted.dataset.clone();
        let request = PullRequest {
            dataset: wanted.dataset,
            bucket: wanted.bucket,
            mode: wanted.mode,
            selection: wanted.selection,
            key: wanted.key,
            idempotency_key: wanted.idempotency_key,
            by: self.stamp(caller),
        };
        let (ingest, turns, lease) = (self.ingest.clone(), self.turns.clone(), self.lease(caller));
        // Dropped with the caller.
        let (stays, left) = oneshot::channel::<()>();
        let work = async move {
            let actor = request.by.actor.clone();
            let read = async {
                let place = turns.place(&actor).await?;
                let turn = source.turn().await?;
                Ok::<_, EngineError>((ingest.pull(&source.database, request).await?, place, turn))
            };
            let (pulled, _place, _turn) = tokio::select! {
                read = read => read?,
                _ = left => return Err(EngineError::Lost("a caller left while a source was read")),
                ended = lease.lost() => return Err(ended.into()),
            };
            settle(pulled, lease.check()).await
        };
        let outcome = self.changes.to_the_end(Box::pin(work)).await;
        drop(stays);
        self.ingest_outcome(caller, dataset, outcome).await
    }

    /// The source, for who may read it.
    async fn require_source(&self, caller: &Caller, name: &SourceName) -> Result<Source, EngineError> {
        if !caller.principal.may_read_source(name) {
            let refusal = EngineError::NoSourceGrant { source_name: name.clone() };
            return Err(self.denied(caller, &format!("read source {name}"), refusal).await);
        }
        self.sources.0.get(name).cloned().ok_or_else(|| EngineError::UnknownSource {
            source_name: name.clone(),
            valid: self.sources.0.keys().filter(|name| caller.principal.may_read_source(name)).cloned().collect(),
        })
    }
}
