//! SQL over HTTP, in the few words that the story needs.

use reqwest::{Method, header};
use serde_json::{Value, json};

use crate::{
    client::Client,
    failure::{Failure, Problem},
};

impl Client {
    /// The rows of an answer, as objects.
    pub(super) async fn rows(&self, sql: &str) -> Result<Vec<Value>, Failure> {
        let mut answer = self.post(&["query", "sql"], &json!({ "sql": sql })).await?;
        if let Some(error) = answer.get("error") {
            return Err(Failure::Answer(error.to_string()));
        }
        match answer.get_mut("rows").map(Value::take) {
            Some(Value::Array(rows)) => Ok(rows),
            _ => Err(Failure::Answer("no `rows` in it".into())),
        }
    }

    /// The one number that a statement with the column `n` gives.
    pub(super) async fn number(&self, sql: &str) -> Result<u64, Failure> {
        let rows = self.rows(sql).await?;
        rows.first()
            .and_then(|row| row.get("n"))
            .and_then(Value::as_u64)
            .ok_or_else(|| Failure::Answer(format!("no number `n` for: {sql}")))
    }

    /// How many rows a relation has.
    pub(super) async fn count(&self, relation: &str) -> Result<u64, Failure> {
        self.number(&format!("SELECT count(*) AS n FROM {}", quoted(relation))).await
    }

    /// The answer as CSV, whole.
    pub(super) async fn csv(&self, sql: &str) -> Result<bytes::Bytes, Failure> {
        let request =
            self.request(Method::POST, &["query", "sql"]).header(header::ACCEPT, "text/csv").json(&json!({ "sql": sql }));
        self.send(request).await?.bytes().await.map_err(Failure::Broken)
    }

    /// The problem that a statement must meet; `None` when it was answered after all.
    pub(super) async fn refused(&self, sql: &str) -> Result<Option<Box<Problem>>, Failure> {
        match self.rows(sql).await {
            Ok(_) => Ok(None),
            Err(Failure::Problem(problem)) => Ok(Some(problem)),
            Err(other) => Err(other),
        }
    }

    /// Events so far, as the journal counts them.
    pub(super) async fn events(&self) -> Result<u64, Failure> {
        let stats = self.get(&["journal", "stats"]).await?;
        stats.get("total_events_created").and_then(Value::as_u64).ok_or_else(|| Failure::Answer("no event count".into()))
    }
}

/// A name in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::{literal, quoted};

    #[test]
    fn odd_names_stay_names() {
        assert_eq!(quoted("a \"b\"; --"), "\"a \"\"b\"\"; --\"");
        assert_eq!(literal("O'Brien"), "'O''Brien'");
    }
}
