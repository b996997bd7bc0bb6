//! From a statement to a stream of batches.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::{DateTime, Utc};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SQLOptions;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{ObjectName, Statement};
use futures::StreamExt;
use lakehouse_tables::friendly;

use super::{shape, texts, width};
use crate::{
    error::QueryError,
    explain,
    functions::{Calls, measured},
    guard::{self, Command},
    idents,
    names::{CATALOG, Catalogs, Names, Relations, SCHEMA},
    oversight::Oversight,
    params::Params,
    result_cache::is_repeatable,
    session::Template,
    watch::Watch,
};

/// Rows that are worth a limit of the plan itself: DataFusion then keeps the first of a sorted answer instead of sorting all rows,
/// which it does row by row and without spilling.
const MAX_TOP_ROWS: u64 = 100_000;

/// More would be a statement that nobody wrote.
const MAX_PARAMETERS: usize = 10_000;

/// One statement with all that it may use.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) sql: String,
    pub(crate) params: Params,
    pub(crate) max_sql_bytes: usize,
    /// Rows that anybody will see of it.
    pub(crate) max_rows: u64,
    pub(crate) relations: Arc<dyn Relations>,
    /// Whether plans may show files and measurements.
    pub(crate) admin: bool,
    pub(crate) template: Template,
    pub(crate) now: DateTime<Utc>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) findings: Arc<Findings>,
}

/// What planning finds out about a statement.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    planned: AtomicBool,
    repeatable: OnceLock<Vec<String>>,
}

impl Findings {
    /// Whether all that the statement names was found.
    pub(crate) fn is_planned(&self) -> bool {
        self.planned.load(Ordering::Acquire)
    }

    /// The datasets and views that it reads, when its answer stays the same as long as they do.
    pub(crate) fn repeatable(&self) -> Option<&[String]> {
        self.repeatable.get().map(Vec::as_slice)
    }
}

impl Job {
    /// Plans the statement and starts it.
    pub(crate) async fn stream(self) -> Result<SendableRecordBatchStream, QueryError> {
        let command = guard::admit(&self.sql, self.max_sql_bytes)?;
        let (admin, max_rows) = (self.admin, self.max_rows);
        let planner = self.planner()?;
        match command {
            Command::Read(statement) => {
                let (_, physical) = planner.plan(*statement, Some(max_rows)).await?;
                planner.execute(physical)
            }
            Command::Explain { analyze: false, statement } => {
                let (logical, physical) = planner.plan(*statement, None).await?;
                text(PLAN, &explain::plans(&logical, &physical, admin))
            }
            Command::Explain { analyze: true, .. } if !admin => {
                Err(QueryError::Refused { what: "EXPLAIN ANALYZE measures what is read, and is answered for admins only".into() })
            }
            Command::Explain { analyze: true, statement } => {
                let (_, physical) = planner.plan(*statement, None).await?;
                let mut rows = planner.execute(Arc::clone(&physical))?;
                while let Some(batch) = rows.next().await {
                    batch.map_err(|error| QueryError::execution(&error))?;
                }
                text(PLAN, &explain::measured(&physical))
            }
            Command::ShowTables => {
                planner.findings.planned.store(true, Ordering::Release);
                let rows: Vec<Vec<String>> =
                    planner.names.all().into_iter().map(|(name, kind)| vec![name, kind.to_owned()]).collect();
                text(TABLES, &rows)
            }
            Command::Describe(name) => planner.describe(&name).await,
        }
    }

    /// What the statement would answer with, and what it is to be given. Nothing of it is executed.
    pub(crate) async fn described(self) -> Result<Described, QueryError> {
        let command = guard::admit(&self.sql, self.max_sql_bytes)?;
        let planner = self.planner()?;
        let fixed = |names: &[&str]| {
            let fields = names.iter().map(|name| Field::new(*name, DataType::Utf8, false));
            Ok(Described { schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())), params: Vec::new() })
        };
        match command {
            Command::Read(statement) => {
                let logical = planner.logical(*statement).await?;
                let types = logical.get_parameter_types().map_err(|error| QueryError::planning(&error))?;
                let highest = highest_parameter(types.keys())?;
                let params = (1..=highest).map(|number| types.get(&format!("${number}")).cloned().flatten()).collect();
                let logical = if planner.params.is_empty() { logical } else { planner.with_params(logical)? };
                Ok(Described { schema: Arc::clone(logical.schema().inner()), params })
            }
            Command::Explain { .. } => fixed(PLAN),
            Command::ShowTables => fixed(TABLES),
            Command::Describe(_) => fixed(COLUMNS),
        }
    }

    fn planner(self) -> Result<Planner, QueryError> {
        let names = Names::of(self.relations);
        let oversight = Oversight::of_query(self.watch, self.template.memory());
        let params = self.params.literals()?;
        let texts = params.iter().filter_map(|param| param.try_as_str().flatten()).map(str::len);
        Ok(Planner {
            session: self.template.session(Arc::new(Catalogs(Arc::clone(&names))), self.now, oversight.clone()),
            names,
            longest_text: texts.fold(self.sql.len(), usize::max),
            params,
            oversight,
            findings: self.findings,
        })
    }
}

/// What is known of a statement before it runs.
#[derive(Debug, Clone)]
pub struct Described {
    /// Of the rows. A guess where it depends on the parameters.
    pub schema: SchemaRef,
    /// The types of `$1`, `$2`, …, where the statement tells them.
    pub params: Vec<Option<DataType>>,
}

/// Columns of the answers that are no rows of a relation.
const PLAN: &[&str] = &["plan_type", "plan"];
const TABLES: &[&str] = &["table_name", "table_type"];
const COLUMNS: &[&str] = &["column_name", "data_type", "is_nullable"];

/// How many parameters the statement uses: they are numbered from one.
fn highest_parameter<'a>(names: impl ExactSizeIterator<Item = &'a String>) -> Result<usize, QueryError> {
    let count = names.len();
    let numbers: Vec<usize> = names.filter_map(|name| name.strip_prefix('$')?.parse().ok()).collect();
    if numbers.len() != count || numbers.contains(&0) || numbers.iter().any(|number| *number > MAX_PARAMETERS) {
        return Err(QueryError::Parameters { message: "parameters are written $1, $2, …".into() });
    }
    Ok(numbers.into_iter().max().unwrap_or(0))
}

fn text(columns: &[&str], rows: &[Vec<String>]) -> Result<SendableRecordBatchStream, QueryError> {
    explain::table(columns, rows).map_err(|error| QueryError::execution(&error))
}

struct Planner {
    session: SessionState,
    names: Arc<Names>,
    params: Vec<ScalarValue>,
    /// Bytes that no text of the statement or its parameters exceeds.
    longest_text: usize,
    oversight: Oversight,
    findings: Arc<Findings>,
}

impl Planner {
    /// `max_rows` will be seen; none, when the answer is about the statement. Every step may be long; between them, and between the rules
    /// of the longest, planning asks whether the query goes on.
    async fn plan(
        &self,
        statement: Statement,
        max_rows: Option<u64>,
    ) -> Result<(LogicalPlan, Arc<dyn ExecutionPlan>), QueryError> {
        let logical = self.logical(statement).await?;
        let logical = self.with_params(logical)?;
        // Before the optimizer makes a constant of the time.
        if max_rows.is_some()
            && is_repeatable(&logical)
            && let Some(names) = self.names.stored().await
        {
            let _ = self.findings.repeatable.set(names);
        }
        width::check_types(&logical)?;
        let planning = |error| QueryError::planning(&error);
        let logical = first_rows(logical, max_rows).map_err(planning)?;
        self.oversight.check()?;
        let logical = self.session.optimize(&logical).map_err(planning)?;
        self.oversight.check()?;
        width::check_literals(&logical)?;
        let counted = measured(logical.clone()).map_err(planning)?;
        self.oversight.planned(Calls::of(&counted).map_err(planning)?);
        let physical = self.session.query_planner().create_physical_plan(&counted, &self.session).await.map_err(planning)?;
        self.oversight.check()?;
        Ok((logical, physical))
    }

    /// The statement as a plan of allowed operators over allowed relations.
    async fn logical(&self, statement: Statement) -> Result<LogicalPlan, QueryError> {
        let statement = self.in_their_own_case(statement).await?;
        let logical = match self.session.statement_to_plan(statement).await {
            Ok(logical) => logical,
            Err(error) => return Err(self.names.explain(&error)),
        };
        self.oversight.check()?;
        let reading = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reading.verify_plan(&logical).map_err(|_| QueryError::Refused { what: "only reading statements are answered".into() })?;
        shape::check(&logical)?;
        self.findings.planned.store(true, Ordering::Release);
        Ok(logical)
    }

    /// Names of columns may be written in any case where that is not ambiguous. Names of WITH are no relations.
    async fn in_their_own_case(&self, statement: Statement) -> Result<DFStatement, QueryError> {
        let mut statement = DFStatement::Statement(Box::new(statement));
        let mut known = idents::Known::new();
        for reference in self.session.resolve_table_references(&statement).map_err(|error| QueryError::planning(&error))? {
            let (schema, table) = (reference.schema().unwrap_or(SCHEMA), reference.table());
            if reference.catalog().is_none_or(|catalog| catalog == CATALOG)
                && let Some(relation) = self.names.relation(schema, table).await?
            {
                let columns = relation.schema().fields().iter().map(|field| field.name().clone()).collect();
                known.insert((schema.to_owned(), table.to_owned()), columns);
            }
        }
        if let DFStatement::Statement(statement) = &mut statement {
            idents::restore_case(statement, &known);
        }
        Ok(statement)
    }

    fn with_params(&self, plan: LogicalPlan) -> Result<LogicalPlan, QueryError> {
        let used = plan.get_parameter_names().map_err(|error| QueryError::planning(&error))?;
        let highest = highest_parameter(used.iter())?;
        if highest != self.params.len() {
            let message = format!("the statement uses parameters up to ${highest}, {} are given", self.params.len());
            return Err(QueryError::Parameters { message });
        }
        let planning = |error| QueryError::planning(&error);
        let plan = match highest {
            0 => plan,
            _ => plan.with_param_values(ParamValues::from(self.params.clone())).map_err(planning)?,
        };
        if self.longest_text <= texts::SHORT_BYTES { Ok(plan) } else { texts::as_views(plan).map_err(planning) }
    }

    fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream, QueryError> {
        execute_stream(plan, self.session.task_ctx()).map_err(|error| QueryError::execution(&error))
    }

    async fn describe(&self, name: &ObjectName) -> Result<SendableRecordBatchStream, QueryError> {
        let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident().map(idents::normalized)).collect();
        let (schema, table) = match parts.as_slice() {
            [table] => (SCHEMA, table.as_str()),
            [schema, table] => (schema.as_str(), table.as_str()),
            [catalog, schema, table] if catalog == CATALOG => (schema.as_str(), table.as_str()),
            _ => return Err(self.names.unknown(&name.to_string())),
        };
        let Some(relation) = self.names.relation(schema, table).await? else { return Err(self.names.unknown(table)) };
        self.findings.planned.store(true, Ordering::Release);
        let rows: Vec<Vec<String>> = relation
            .schema()
            .fields()
            .iter()
            .map(|field| {
                vec![field.name().clone(), friendly(field.data_type()), if field.is_nullable() { "YES" } else { "NO" }.to_owned()]
            })
            .collect();
        text(COLUMNS, &rows)
    }
}

/// The plan, ended one row after those that will be seen: the last of them says that there are more.
fn first_rows(plan: LogicalPlan, max_rows: Option<u64>) -> datafusion::common::Result<LogicalPlan> {
    match max_rows.filter(|rows| *rows <= MAX_TOP_ROWS).and_then(|rows| usize::try_from(rows).ok()) {
        Some(rows) => LogicalPlanBuilder::from(plan).limit(0, Some(rows + 1))?.build(),
        None => Ok(plan),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use chrono::{DateTime, Utc};
    use datafusion::physical_plan::displayable;

    use super::first_rows;
    use crate::{harness::template, names::NoNames, oversight::Oversight, watch::Watch};

    #[tokio::test]
    async fn of_a_sorted_answer_the_first_rows_are_kept_and_no_others() {
        let deadline = Duration::from_secs(60);
        let oversight = Oversight::of_query(Watch::until(Instant::now() + deadline, deadline), template().memory());
        let session = template().session(Arc::new(NoNames), DateTime::<Utc>::from_timestamp(0, 0).unwrap(), oversight);
        let sorted = session.create_logical_plan("SELECT value % 7 AS v FROM range(1000) ORDER BY v").await.unwrap();
        for (max_rows, expected) in [(Some(5), "TopK(fetch=6)"), (Some(0), "TopK(fetch=1)"), (Some(10_000_000), "SortExec: expr")]
        {
            let plan = session.optimize(&first_rows(sorted.clone(), max_rows).unwrap()).unwrap();
            let plan = session.query_planner().create_physical_plan(&plan, &session).await.unwrap();
            let text = displayable(plan.as_ref()).indent(false).to_string();
            assert!(text.contains(expected), "{max_rows:?}: {text}");
        }
    }
}
