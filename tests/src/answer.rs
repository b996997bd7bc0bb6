//! What came back from the server, and what it must be.
//!
//! **Invariant**: a failed expectation shows the whole answer and the line of the test.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::Value;

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// Any 2xx without a member that says it broke off.
    #[track_caller]
    pub(crate) fn expect_ok(&self) -> Value {
        let json = self.json();
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text());
        assert!(json.get("error").is_none(), "{}", self.text());
        json
    }

    #[track_caller]
    pub(crate) fn expect_status(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// A problem document with this code, complete, and free of what no caller should see.
    #[track_caller]
    pub(crate) fn expect_problem(&self, code: &str) -> Value {
        let problem = self.expect_any_problem();
        assert_eq!(problem["code"], code, "{}", self.text());
        problem
    }

    #[track_caller]
    pub(crate) fn expect_any_problem(&self) -> Value {
        assert!(self.status >= 400, "{} {}", self.status, self.text());
        let kind = self.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        assert!(kind.starts_with("application/problem+json"), "{kind}: {}", self.text());
        let problem = self.json();
        for member in ["type", "title", "code", "detail", "action", "request_id"] {
            assert!(problem[member].is_string(), "no {member} in {}", self.text());
        }
        assert_eq!(problem["status"], self.status, "{}", self.text());
        assert_eq!(self.headers.get("x-request-id").and_then(|id| id.to_str().ok()), problem["request_id"].as_str());
        problem
    }

    /// The cell of this column in the only row.
    #[track_caller]
    pub(crate) fn expect_cell(&self, column: &str, value: impl Into<Value>) {
        let json = self.expect_ok();
        let value = value.into();
        assert_eq!(json["rows"].as_array().map(Vec::len), Some(1), "{}", self.text());
        assert_eq!(json["rows"][0].get(column).cloned().unwrap_or(Value::Null), value, "{}", self.text());
    }

    /// All cells of this column, in order; an absent one is null.
    #[track_caller]
    pub(crate) fn column(&self, column: &str) -> Vec<Value> {
        let json = self.expect_ok();
        let rows = json["rows"].as_array().unwrap_or_else(|| panic!("no rows in {}", self.text()));
        rows.iter().map(|row| row.get(column).cloned().unwrap_or(Value::Null)).collect()
    }

    /// The number in the column `n` of the only row.
    #[track_caller]
    pub(crate) fn n(&self) -> u64 {
        let cells = self.column("n");
        cells.first().and_then(Value::as_u64).unwrap_or_else(|| panic!("no n in {}", self.text()))
    }
}
