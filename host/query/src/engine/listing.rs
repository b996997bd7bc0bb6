//! What a caller could ask for: names, columns, and what a statement would answer with. No row is read for it.
//!
//! **Invariant**: it is planned under the scope that a query of the same caller would have, so that it tells of nothing more.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::datatypes::{Schema, SchemaRef};
use lakehouse_access::Caller;
use lakehouse_types::Actor;

use super::{Described, QueryEngine, planning};
use crate::{
    error::QueryError,
    names::{Names, SCHEMA},
    params::Params,
    watch::Watch,
};

/// One relation that may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// `main` or `system`.
    pub schema: String,
    pub name: String,
    /// `dataset`, `view` or `system`.
    pub kind: &'static str,
    /// Its columns, when they were asked for. Without any where a rule of the view cannot be had now.
    pub columns: SchemaRef,
}

impl QueryEngine {
    /// The names of datasets and views that the caller may query, each with `dataset` or `view`.
    ///
    /// # Errors
    /// When the caller's profile is gone.
    pub fn visible(&self, caller: &Caller) -> Result<Vec<(String, &'static str)>, QueryError> {
        Ok(Names::of(self.scope(caller)?).listing())
    }

    /// Relations that the caller may query and `wanted` says yes to by schema, name and kind, in order.
    ///
    /// # Errors
    /// When the caller's profile is gone, or time runs out.
    pub async fn relations(
        &self,
        caller: &Caller,
        with_columns: bool,
        wanted: impl Fn(&str, &str, &str) -> bool,
    ) -> Result<Vec<Listed>, QueryError> {
        let names = Names::of(self.scope(caller)?);
        let mut listed: Vec<Listed> = names
            .all()
            .into_iter()
            .map(|(name, kind)| {
                let (schema, name) = name.split_once('.').map_or((SCHEMA, name.as_str()), |(schema, name)| (schema, name));
                Listed { schema: schema.to_owned(), name: name.to_owned(), kind, columns: Arc::new(Schema::empty()) }
            })
            .filter(|one| wanted(&one.schema, &one.name, one.kind))
            .collect();
        if !with_columns {
            return Ok(listed);
        }
        self.apart(&caller.principal.name, async move {
            for one in &mut listed {
                // One view with a broken rule hides no other.
                if let Ok(Some(relation)) = names.relation(&one.schema, &one.name).await {
                    one.columns = relation.schema();
                }
            }
            Ok(listed)
        })
        .await
    }

    /// Plans a statement and says what it would answer with; without its parameters, as far as that can be said.
    ///
    /// # Errors
    /// As [`QueryEngine::query`] before it reads anything.
    pub async fn describe(&self, caller: &Caller, sql: String, params: Params) -> Result<Described, QueryError> {
        let deadline = self.options.deadline;
        let ends = Instant::now() + deadline;
        let scope = self.scope(caller)?;
        let job = planning::Job {
            sql,
            params,
            max_sql_bytes: self.options.max_sql_bytes,
            max_rows: self.options.max_rows,
            admin: scope.is_admin(),
            relations: scope,
            template: self.template.clone(),
            now: self.options.clock.now(),
            watch: Watch::until(ends, deadline),
            findings: Arc::default(),
        };
        self.apart(&caller.principal.name, Box::pin(job.described())).await
    }

    /// Planning and rules run on the CPU runtime only, in a query's place and no longer than a query may.
    async fn apart<T: Send + 'static>(
        &self,
        caller: &Actor,
        work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Result<T, QueryError> {
        let deadline: Duration = self.options.deadline;
        let ends = Instant::now() + deadline;
        let place = self.admission.enter(caller, ends).await?;
        let task = self.cpu.spawn(async move {
            let _place = place;
            work.await
        });
        let aborted = AbortOnDrop(task.abort_handle());
        let done = tokio::time::timeout_at(ends.into(), task).await;
        drop(aborted);
        match done {
            Err(_) => Err(QueryError::Timeout { deadline }),
            Ok(Err(_)) => Err(QueryError::Internal { detail: "planning ended early".into() }),
            Ok(Ok(done)) => done,
        }
    }
}

/// Whoever leaves takes the work along.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
