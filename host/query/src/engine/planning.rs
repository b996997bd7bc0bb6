//! From a statement to a stream of batches.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SQLOptions;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{ObjectName, Statement};
use futures::StreamExt;
use lakehouse_tables::friendly;
use serde_json::Value;

use super::shape;
use crate::{
    error::QueryError,
    explain,
    functions::bounded_calls,
    guard::{self, Command},
    idents,
    names::{CATALOG, Catalogs, Names, Relations, SCHEMA},
    oversight::Oversight,
    session::Template,
    watch::Watch,
};

/// One statement with all that it may use.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) sql: String,
    pub(crate) params: Vec<Value>,
    pub(crate) max_sql_bytes: usize,
    pub(crate) relations: Arc<dyn Relations>,
    /// Whether plans may show files and measurements.
    pub(crate) admin: bool,
    pub(crate) template: Template,
    pub(crate) now: DateTime<Utc>,
    pub(crate) watch: Arc<Watch>,
}

impl Job {
    /// Plans the statement and starts it.
    pub(crate) async fn stream(self) -> Result<SendableRecordBatchStream, QueryError> {
        let command = guard::admit(&self.sql, self.max_sql_bytes)?;
        let names = Names::of(self.relations);
        let oversight = Oversight::of_query(self.watch);
        let planner = Planner {
            session: self.template.session(Arc::new(Catalogs(Arc::clone(&names))), self.now, oversight.clone()),
            names,
            params: params(&self.params)?,
            oversight,
        };
        let admin = self.admin;
        match command {
            Command::Read(statement) => {
                let (_, physical) = planner.plan(*statement).await?;
                planner.execute(physical)
            }
            Command::Explain { analyze: false, statement } => {
                let (logical, physical) = planner.plan(*statement).await?;
                text(&["plan_type", "plan"], &explain::plans(&logical, &physical, admin))
            }
            Command::Explain { analyze: true, .. } if !admin => {
                Err(QueryError::Refused { what: "EXPLAIN ANALYZE measures what is read, and is answered for admins only".into() })
            }
            Command::Explain { analyze: true, statement } => {
                let (_, physical) = planner.plan(*statement).await?;
                let mut rows = planner.execute(Arc::clone(&physical))?;
                while let Some(batch) = rows.next().await {
                    batch.map_err(|error| QueryError::execution(&error))?;
                }
                text(&["plan_type", "plan"], &explain::measured(&physical))
            }
            Command::ShowTables => {
                let rows: Vec<Vec<String>> =
                    planner.names.listing().into_iter().map(|(name, kind)| vec![name, kind.to_owned()]).collect();
                text(&["table_name", "table_type"], &rows)
            }
            Command::Describe(name) => planner.describe(&name).await,
        }
    }
}

fn text(columns: &[&str], rows: &[Vec<String>]) -> Result<SendableRecordBatchStream, QueryError> {
    explain::table(columns, rows).map_err(|error| QueryError::execution(&error))
}

struct Planner {
    session: SessionState,
    names: Arc<Names>,
    params: Vec<ScalarValue>,
    oversight: Oversight,
}

impl Planner {
    /// Every step may be long; between them, and between the rules of the longest, planning asks whether the query goes on.
    async fn plan(&self, statement: Statement) -> Result<(LogicalPlan, Arc<dyn ExecutionPlan>), QueryError> {
        let statement = self.in_their_own_case(statement).await?;
        let logical = match self.session.statement_to_plan(statement).await {
            Ok(logical) => logical,
            Err(error) => return Err(self.names.explain(&error)),
        };
        self.oversight.check()?;
        let reading = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reading.verify_plan(&logical).map_err(|_| QueryError::Refused { what: "only reading statements are answered".into() })?;
        shape::check(&logical)?;
        let logical = self.with_params(logical)?;
        self.oversight.check()?;
        let planning = |error| QueryError::planning(&error);
        let logical = self.session.optimize(&logical).map_err(planning)?;
        self.oversight.check()?;
        self.oversight.planned(bounded_calls(&logical).map_err(planning)?);
        let physical = self.session.query_planner().create_physical_plan(&logical, &self.session).await.map_err(planning)?;
        self.oversight.check()?;
        Ok((logical, physical))
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
        let numbers: Vec<usize> = used.iter().filter_map(|name| name.strip_prefix('$')?.parse().ok()).collect();
        if numbers.len() != used.len() || numbers.contains(&0) {
            return Err(QueryError::Parameters { message: "parameters are written $1, $2, …".into() });
        }
        let highest = numbers.iter().copied().max().unwrap_or(0);
        if highest != self.params.len() {
            let message = format!("the statement uses parameters up to ${highest}, {} are given", self.params.len());
            return Err(QueryError::Parameters { message });
        }
        if highest == 0 {
            return Ok(plan);
        }
        plan.with_param_values(ParamValues::from(self.params.clone())).map_err(|error| QueryError::planning(&error))
    }

    fn execute(&self, plan: Arc<dyn ExecutionPlan>) -> Result<SendableRecordBatchStream, QueryError> {
        execute_stream(plan, self.session.task_ctx()).map_err(|error| QueryError::execution(&error))
    }

    async fn describe(&self, name: &ObjectName) -> Result<SendableRecordBatchStream, QueryError> {
        let parts: Vec<String> = name.0.iter().filter_map(|part| part.as_ident().map(idents::normalized)).collect();
        let (schema, table) = match parts.as_slice() {
            [table] => (SCHEMA, table.as_str()),
            [schema, table] => (schema.as_str(), table.as_str()),
            _ => return Err(self.names.unknown(&name.to_string())),
        };
        let Some(relation) = self.names.relation(schema, table).await? else { return Err(self.names.unknown(table)) };
        let rows: Vec<Vec<String>> = relation
            .schema()
            .fields()
            .iter()
            .map(|field| {
                vec![field.name().clone(), friendly(field.data_type()), if field.is_nullable() { "YES" } else { "NO" }.to_owned()]
            })
            .collect();
        text(&["column_name", "data_type", "is_nullable"], &rows)
    }
}

/// JSON values as SQL literals.
fn params(values: &[Value]) -> Result<Vec<ScalarValue>, QueryError> {
    values
        .iter()
        .enumerate()
        .map(|(at, value)| match value {
            Value::Null => Ok(ScalarValue::Null),
            Value::Bool(value) => Ok(ScalarValue::Boolean(Some(*value))),
            Value::String(text) => Ok(ScalarValue::Utf8(Some(text.clone()))),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), _, _) => Ok(ScalarValue::Int64(Some(value))),
                (_, Some(value), _) => Ok(ScalarValue::UInt64(Some(value))),
                (_, _, Some(value)) => Ok(ScalarValue::Float64(Some(value))),
                _ => Err(QueryError::Parameters { message: format!("parameter ${} is no number that fits", at + 1) }),
            },
            Value::Array(_) | Value::Object(_) => {
                Err(QueryError::Parameters { message: format!("parameter ${} is a list or an object: pass its members", at + 1) })
            }
        })
        .collect()
}
