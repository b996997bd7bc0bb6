//! Columns of one relation, as some caller would see them, for those parts of the host that read on a caller's behalf.
//!
//! **Invariant**: what is read passes the same governance as a statement of that caller's; a predicate is one expression and nothing
//! more, whatever its text holds.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lakehouse_access::Caller;
use tokio::sync::OwnedSemaphorePermit;

use super::{Governance, QueryEngine, planning};
use crate::{
    error::QueryError,
    guard,
    names::Names,
    params::Params,
    run::{self, Answer, Bounds},
    watch::Watch,
};

/// What to read.
#[derive(Debug)]
pub struct ReadRequest<'a> {
    pub relation: &'a str,
    pub columns: &'a [&'a str],
    /// One SQL expression that the rows must satisfy.
    pub filter: Option<&'a str>,
    /// How long it may take; the server's deadline for queries when absent.
    pub deadline: Option<Duration>,
    /// A place that the reader has found itself, when it must not take one from the queries.
    pub place: Option<OwnedSemaphorePermit>,
}

/// Rows on their way, and what they were read from.
#[derive(Debug)]
pub struct Reading {
    pub answer: Answer,
    pub governance: Governance,
}

impl QueryEngine {
    /// What the caller would be given of a relation, without reading it.
    ///
    /// # Errors
    /// As [`QueryEngine::read`].
    pub fn governance(&self, caller: &Caller, relation: &str) -> Result<Governance, QueryError> {
        let scope = self.scope(caller)?;
        let found = scope.governance(relation)?;
        found.ok_or_else(|| Names::of(scope).unknown(relation))
    }

    /// Reads columns of one relation, every row that the caller may see and the filter lets pass.
    ///
    /// # Errors
    /// When the relation does not exist or may not be read, a column is not in it, the filter does not parse or fit, or a rule fails.
    pub async fn read(&self, caller: &Caller, request: ReadRequest<'_>) -> Result<Reading, QueryError> {
        let deadline = request.deadline.unwrap_or(self.options.deadline);
        let ends = Instant::now() + deadline;
        let sql = statement(&request)?;
        let place = match request.place {
            Some(place) => place.into(),
            None => self.admission.enter(&caller.principal.name, ends).await?,
        };
        let watch = Watch::until(ends, deadline);
        let scope = self.scope(caller)?;
        let Some(governance) = scope.governance(request.relation)? else {
            return Err(Names::of(scope).unknown(request.relation));
        };
        let job = planning::Job {
            sql,
            params: Params::default(),
            max_sql_bytes: usize::MAX,
            max_rows: u64::MAX,
            admin: scope.is_admin(),
            relations: scope,
            template: self.template.clone(),
            now: self.options.clock.now(),
            watch: Arc::clone(&watch),
            findings: Arc::default(),
        };
        let bounds = Bounds { ends, deadline, max_rows: u64::MAX, place, watch };
        let answer = run::start(&self.cpu, bounds, job.stream()).await?;
        Ok(Reading { answer, governance })
    }
}

fn statement(request: &ReadRequest<'_>) -> Result<String, QueryError> {
    // Renamed, so that one column may be read twice.
    let named = |(at, column): (usize, &&str)| format!("{} AS \"{at}\"", quoted(column));
    let columns: Vec<String> = request.columns.iter().enumerate().map(named).collect();
    let select = format!("SELECT {} FROM {}", columns.join(", "), quoted(request.relation));
    match request.filter {
        None => Ok(select),
        // Written anew from what was understood: brackets, quotes and comments of the text cannot reach beyond it.
        Some(filter) => Ok(format!("{select} WHERE ({})", rewritten(filter)?)),
    }
}

/// The filter as text that is understood as the filter was. A literal with a backslash before a quote is not written so that it is.
fn rewritten(filter: &str) -> Result<String, QueryError> {
    let understood = guard::admit_expression(filter)?.expr;
    let written = understood.to_string();
    match guard::admit_expression(&written) {
        Ok(again) if again.expr == understood => Ok(written),
        _ => Err(QueryError::Syntax { message: "a text with a backslash before a quote cannot be compared here".into() }),
    }
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::{ReadRequest, statement};

    fn read<'a>(columns: &'a [&'a str], filter: Option<&'a str>) -> ReadRequest<'a> {
        ReadRequest { relation: "people", columns, filter, deadline: None, place: None }
    }

    #[test]
    fn a_filter_is_one_expression_however_it_is_written() {
        let check = |filter: &str| statement(&read(&["id"], Some(filter)));
        assert_eq!(check("a = 1 OR b = 2").unwrap(), r#"SELECT "id" AS "0" FROM "people" WHERE (a = 1 OR b = 2)"#);
        // A literal ends where it ends, however it is written again.
        for other in ["a = '\\'' OR (SELECT 1) = 1 --'", "a = '\\'') UNION SELECT secret FROM t --'", "a = 'x\\''"] {
            let written = check(other);
            assert!(written.is_err(), "{other}: {written:?}");
        }
        assert!(check("a = 'x\\y' AND b = 'it''s'").is_ok());
        for other in ["1 = 1) UNION SELECT secret FROM t WHERE (1 = 1", "", "a = 1;", "a = 1; DROP TABLE t", "a = 'x", "a = 1)"] {
            assert!(check(other).is_err(), "{other}");
        }
        assert_eq!(check("a = 1 -- and no more").unwrap(), r#"SELECT "id" AS "0" FROM "people" WHERE (a = 1)"#);
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(statement(&read(&["a b", "c\"d"], None)).unwrap(), r#"SELECT "a b" AS "0", "c""d" AS "1" FROM "people""#);
    }
}
