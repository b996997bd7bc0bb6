//! A view's definition, tried on a few rows before anybody is given it.
//!
//! **Invariants**: rows go through the same layers, rules and bounds as those of a query; nothing is stored. Sample rows that the
//! caller brings stand for what the view's base gives out: they pass no tombstone, filter or rule of what lies below, and so tell
//! nothing of it. Rows of the base itself are read only where the caller of this module has seen that they may be.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use futures::TryStreamExt;
use lakehouse_access::Caller;
use lakehouse_catalog::{RuleKind, ViewStack};
use lakehouse_plugins::{PluginError, VersionedName};
use lakehouse_types::{Actor, ColumnName, Digest, Fault, RuleName};
use serde_json::{Map, Value};

use super::{QueryEngine, planning, reading::quoted, scope::Scope};
use crate::{
    error::QueryError,
    format::{self, Format},
    govern::Governed,
    names::{Relations, SCHEMA},
    params::Params,
    run::{self, Answer, Bounds},
    view::{self, Layer, Reader},
    watch::Watch,
};

/// Rows of one trial.
pub const MAX_SAMPLE_ROWS: usize = 100;
/// What the rows are called while they are tried.
const SAMPLE: &str = "sample";

/// What a definition is tried on.
#[derive(Debug, Clone)]
pub enum Sample {
    /// Objects with columns of the base; what is absent is NULL.
    Rows(Vec<Map<String, Value>>),
    /// As many rows of the base, any.
    First(usize),
}

/// A definition with all that it would stand on, and the rows to try it on.
#[derive(Debug, Clone)]
pub struct ViewTrial {
    pub stack: ViewStack,
    pub sample: Sample,
}

/// A rule of the definition: what stands behind it, or why nothing does, or how it failed.
#[derive(Debug, Clone)]
pub struct RuleTrial {
    pub column: ColumnName,
    pub rule: RuleName,
    pub resolved: Option<(VersionedName, Digest)>,
    pub problem: Option<Arc<dyn Fault>>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct TrialReport {
    pub rules: Vec<RuleTrial>,
    /// Rows that it was tried on.
    pub sampled: usize,
    /// What readers would be given of them: absent when a rule failed, since then they would be given nothing.
    pub shown: Option<Shown>,
}

/// Rows as readers would get them.
#[derive(Debug, Clone)]
pub struct Shown {
    pub schema: SchemaRef,
    /// Objects, NULLs left out, in the order of the sample.
    pub rows: Vec<Value>,
}

/// One relation by name.
#[derive(Debug)]
struct Only(Arc<dyn TableProvider>);

#[async_trait]
impl Relations for Only {
    async fn relation(&self, schema: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>, QueryError> {
        Ok((schema == SCHEMA && name == SAMPLE).then(|| Arc::clone(&self.0)))
    }

    fn listing(&self) -> Vec<(String, &'static str)> {
        vec![(SAMPLE.to_owned(), "view")]
    }
}

impl QueryEngine {
    /// Tries a definition under the caller's profile.
    ///
    /// # Errors
    /// When the definition does not fit its base, in the words for its author; when a sample row does not; when no turn comes, or the
    /// deadline does. A rule that does not resolve or fails is no error: the report says which.
    pub async fn try_view(&self, caller: &Caller, trial: ViewTrial) -> Result<TrialReport, QueryError> {
        let deadline = self.options.deadline;
        let asking = Asking { caller: caller.principal.name.clone(), ends: Instant::now() + deadline, deadline };
        let scope = self.scope(caller)?;
        let ViewTrial { stack, sample } = trial;
        let base = self.base_of(&scope, &stack).await?;
        let rows = match sample {
            Sample::Rows(rows) => sample_of(&base.schema(), &rows)?,
            Sample::First(rows) => {
                let answer = self.ask(&asking, base, format!("SELECT * FROM {SAMPLE} LIMIT {}", rows.min(MAX_SAMPLE_ROWS)));
                let Answer { schema, batches, .. } = answer.await?;
                arrow::compute::concat_batches(&schema, &batches.try_collect::<Vec<_>>().await?)
                    .map_err(|_| QueryError::Internal { detail: "sample rows did not fit together".into() })?
            }
        };
        let (mut rules, sampled) = (self.resolved(&scope, &stack), rows.num_rows());
        self.open(&scope, &stack, rows.schema(), &mut rules).await?;
        if rules.iter().any(|rule| rule.problem.is_some()) {
            return Ok(TrialReport { rules, sampled, shown: None });
        }
        let table = self.layer(&scope, &stack, rows).await?;
        // One partition, so that rows stay in their order.
        let answer = self.ask(&asking, Arc::clone(&table), format!("SELECT * FROM {SAMPLE}")).await;
        let shown = match answer {
            Ok(answer) => shown(answer).await,
            Err(error) => Err(error),
        };
        match shown {
            Ok(shown) => Ok(TrialReport { rules, sampled, shown: Some(shown) }),
            Err(QueryError::Rule { .. }) => {
                self.blame(&asking, &table, &mut rules).await?;
                Ok(TrialReport { rules, sampled, shown: None })
            }
            Err(error) => Err(error),
        }
    }

    /// What the definition would read.
    async fn base_of(&self, scope: &Arc<Scope>, stack: &ViewStack) -> Result<Arc<dyn TableProvider>, QueryError> {
        let state = self.state(&stack.dataset().name)?;
        let (scope, stack, template) = (Arc::clone(scope), stack.clone(), self.template.clone());
        let work = async move {
            view::below(&stack, &state, scope.bindings(), template.bare(), Reader::Author).await.map(Governed::into_provider)
        };
        self.cpu.spawn(work).await.map_err(|_| lost())?
    }

    fn resolved(&self, scope: &Scope, stack: &ViewStack) -> Vec<RuleTrial> {
        let of = |(column, redaction): (&ColumnName, &lakehouse_catalog::Redaction)| {
            let (rule, overlay) = redaction.rule();
            let (resolved, problem) = match scope.bindings().resolved(&rule, RuleKind::Redactor, overlay.as_ref()) {
                Ok(resolved) => (Some((resolved.plugin, resolved.digest)), None),
                Err(fault) => (None, Some(Arc::new(fault) as Arc<dyn Fault>)),
            };
            RuleTrial { column: column.clone(), rule, resolved, problem }
        };
        stack.top().column_redactions.iter().map(of).collect()
    }

    /// Opens each rule with its configuration, and asks it for the type that it makes of its column.
    async fn open(
        &self,
        scope: &Arc<Scope>,
        stack: &ViewStack,
        schema: SchemaRef,
        rules: &mut Vec<RuleTrial>,
    ) -> Result<(), QueryError> {
        let (scope, top, tried) = (Arc::clone(scope), Arc::clone(stack.top()), std::mem::take(rules));
        let work = async move {
            let mut opened = Vec::with_capacity(tried.len());
            for mut one in tried {
                let redaction = top.column_redactions.get(&one.column);
                let field = schema.field_with_name(one.column.as_str());
                if one.problem.is_none()
                    && let (Some(redaction), Ok(field)) = (redaction, field)
                {
                    let (name, overlay) = redaction.rule();
                    let typed = async {
                        let rule = scope.bindings().redactor(&name, overlay.as_ref()).await?;
                        rule.output_type(field.data_type()).await
                    };
                    let typed: Result<_, PluginError> = typed.await;
                    one.problem = typed.err().map(|fault| Arc::new(fault) as Arc<dyn Fault>);
                }
                opened.push(one);
            }
            opened
        };
        *rules = self.cpu.spawn(work).await.map_err(|_| lost())?;
        Ok(())
    }

    /// The definition over the rows.
    async fn layer(
        &self,
        scope: &Arc<Scope>,
        stack: &ViewStack,
        rows: RecordBatch,
    ) -> Result<Arc<dyn TableProvider>, QueryError> {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows]]).map_err(|error| QueryError::planning(&error))?;
        let (scope, top, template) = (Arc::clone(scope), Arc::clone(stack.top()), self.template.clone());
        let work = async move {
            let layer = Layer { record: &top, told: top.name.as_str(), reader: Reader::Author };
            let rows = Governed::whole(top.name.to_string(), Arc::new(table), None);
            layer.over(rows, scope.bindings(), template.bare()).await.map(Governed::into_provider)
        };
        self.cpu.spawn(work).await.map_err(|_| lost())?
    }

    /// Finds the rules that fail on the rows.
    async fn blame(&self, asking: &Asking, table: &Arc<dyn TableProvider>, rules: &mut [RuleTrial]) -> Result<(), QueryError> {
        for one in rules {
            let sql = format!("SELECT {} FROM {SAMPLE}", quoted(one.column.as_str()));
            let asked = match self.ask(asking, Arc::clone(table), sql).await {
                Ok(answer) => answer.batches.try_collect::<Vec<_>>().await.map(drop),
                Err(error) => Err(error),
            };
            match asked {
                Ok(()) => {}
                Err(QueryError::Rule { fault, .. }) => one.problem = Some(fault),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One statement over the rows, as a query of the server's.
    async fn ask(&self, asking: &Asking, table: Arc<dyn TableProvider>, sql: String) -> Result<Answer, QueryError> {
        let (ends, deadline) = (asking.ends, asking.deadline);
        let place = self.admission.enter(&asking.caller, ends).await?;
        let watch = Watch::until(ends, deadline);
        let max_rows = MAX_SAMPLE_ROWS as u64;
        let job = planning::Job {
            sql,
            params: Params::default(),
            max_sql_bytes: usize::MAX,
            max_rows,
            relations: Arc::new(Only(table)),
            admin: false,
            template: self.template.clone(),
            now: self.options.clock.now(),
            watch: Arc::clone(&watch),
            findings: Arc::default(),
        };
        run::start(&self.cpu, Bounds { ends, deadline, max_rows, place, watch }, job.stream()).await
    }
}

/// Who tries, and how long it may take.
struct Asking {
    caller: Actor,
    ends: Instant,
    deadline: Duration,
}

fn lost() -> QueryError {
    QueryError::Internal { detail: "a view's trial ended early".into() }
}

async fn shown(answer: Answer) -> Result<Shown, QueryError> {
    let Answer { schema, batches, outcome } = answer;
    let batches: Vec<RecordBatch> = batches.try_collect().await?;
    // All of it is there: what fails has failed before the first byte.
    let batches = futures::stream::iter(batches.into_iter().map(Ok));
    let answer = Answer { schema: Arc::clone(&schema), batches: Box::pin(batches), outcome };
    let lines = format::encode(answer, Format::NdJson, Arc::new(|_: &QueryError| String::new()))?;
    let lines = lines.try_fold(Vec::new(), |mut all, chunk| async move {
        all.extend_from_slice(&chunk);
        Ok(all)
    });
    let lines = lines.await?;
    let rows: Result<Vec<Value>, _> =
        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(serde_json::from_slice).collect();
    let rows = rows.map_err(|_| QueryError::Internal { detail: "encoded rows are no JSON".into() })?;
    Ok(Shown { schema, rows })
}

/// The rows in the types of the base.
fn sample_of(base: &SchemaRef, rows: &[Map<String, Value>]) -> Result<RecordBatch, QueryError> {
    let nullable = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
    let schema = Arc::new(Schema::new(base.fields().iter().map(nullable).collect::<Vec<_>>()));
    let mut batches = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().take(MAX_SAMPLE_ROWS).enumerate() {
        if let Some(column) = row.keys().find(|column| base.index_of(column).is_err()) {
            let known = base.fields().iter().map(|field| field.name().clone()).collect();
            return Err(QueryError::UnknownColumn { column: column.clone(), known });
        }
        let read = || {
            let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(1).build_decoder()?;
            decoder.serialize(std::slice::from_ref(row))?;
            decoder.flush()
        };
        // Its words quote the value.
        let misfit =
            || QueryError::Parameters { message: format!("sample_rows[{at}] does not fit the types of the base's columns") };
        batches.push(read().map_err(|_| misfit())?.ok_or_else(misfit)?);
    }
    arrow::compute::concat_batches(&schema, &batches)
        .map_err(|_| QueryError::Internal { detail: "sample rows did not fit together".into() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
    use lakehouse_types::{Code, Fault};
    use serde_json::{Value, json};

    use super::sample_of;

    #[test]
    fn sample_rows_take_the_types_of_the_base() {
        let item = Arc::new(Field::new("item", DataType::Utf8View, true));
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int32, false),
            Field::new("name", DataType::Utf8View, true),
            Field::new("rate", DataType::Decimal128(10, 2), true),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
            Field::new("on", DataType::Date32, true),
            Field::new("tags", DataType::List(item), true),
        ]));
        let of = |rows: Value| sample_of(&schema, &serde_json::from_value::<Vec<_>>(rows).unwrap());
        let whole =
            json!({"id": 1, "name": "Ana", "rate": "12.50", "at": "2026-01-31T12:00:00Z", "on": "2026-01-31", "tags": ["a"]});
        let rows = of(json!([whole, {}, {"name": null}])).unwrap();
        assert_eq!((rows.num_rows(), rows.column(0).null_count(), rows.column(1).null_count()), (3, 2, 2));
        assert_eq!(of(json!([])).unwrap().num_rows(), 0);
        let error = of(json!([{"id": 1}, {"id": "canary"}])).unwrap_err();
        assert_eq!(error.code(), Code::InvalidParameter);
        assert!(error.public().contains("sample_rows[1]") && !format!("{error:?}").contains("canary"), "{error:?}");
        assert_eq!(of(json!([{"nam": 1}])).unwrap_err().code(), Code::UnknownColumn);
    }
}
