//! Who asks: a key and a profile at a server's address.

use std::{
    io::Write,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::answer::Answer;

/// Nothing that a test asks takes longer; a hang is a failure with a name.
const LIMIT: Duration = Duration::from_secs(90);

#[derive(Debug, Clone)]
pub(crate) struct Caller {
    http: reqwest::Client,
    pub(crate) url: String,
    pub(crate) key: Option<String>,
    profile: Option<String>,
}

impl Caller {
    pub(crate) fn new(url: &str, key: Option<&str>) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().expect("a client");
        Self { http, url: url.to_owned(), key: key.map(str::to_owned), profile: None }
    }

    pub(crate) fn as_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    pub(crate) fn nobody(&self) -> Self {
        Self { key: None, ..self.clone() }
    }

    pub(crate) fn under(&self, profile: &str) -> Self {
        Self { profile: Some(profile.to_owned()), ..self.clone() }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(profile) = &self.profile {
            request = request.header("X-Lakehouse-Profile", profile);
        }
        request
    }

    /// The answer, or `None` when the connection broke.
    pub(crate) async fn try_send(&self, request: RequestBuilder) -> Option<Answer> {
        let answer = request.send().await.ok()?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Some(Answer { status, headers, body: answer.bytes().await.ok()? })
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        let answer = request.send().await.expect("the server answers");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, body: answer.bytes().await.expect("the answer is whole") }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub(crate) async fn sql(&self, sql: &str) -> Answer {
        self.post("/query/sql", json!({ "sql": sql })).await
    }

    /// The answer in another format.
    pub(crate) async fn sql_as(&self, accept: &str, sql: &str) -> Answer {
        self.send(self.request(Method::POST, "/query/sql").header("Accept", accept).json(&json!({ "sql": sql }))).await
    }

    /// Appends CSV to a dataset.
    pub(crate) async fn ingest(&self, dataset: &str, csv: impl Into<Vec<u8>>) -> Answer {
        self.ingest_with(&format!("dataset={dataset}&format=csv"), csv).await
    }

    /// Ingests under the query string given.
    pub(crate) async fn ingest_with(&self, query: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(self.request(Method::POST, &format!("/ingest/file?{query}")).body(body.into())).await
    }

    pub(crate) async fn bury<const N: usize>(&self, dataset: &str, column: &str, keys: [&str; N]) -> Answer {
        let body =
            json!({ "row_key_column": column, "row_key_values": keys.as_slice(), "actor": "privacy desk", "reason": "asked" });
        self.post(&format!("/catalog/datasets/by-name/{dataset}/tombstone"), body).await
    }

    pub(crate) async fn put_view(&self, name: &str, base: &str, columns: &[&str], redactions: Value) -> Answer {
        let body = json!({ "name": name, "base_dataset": base, "columns": columns, "column_redactions": redactions });
        self.post("/catalog/views", body).await
    }

    pub(crate) async fn put_rules(&self, profile: &str, rules: Value) -> Answer {
        self.post("/catalog/profiles", json!({ "id": profile, "rules": rules })).await
    }

    pub(crate) async fn push(&self, name: &str, wasm: impl Into<Vec<u8>>) -> Answer {
        self.send(self.request(Method::PUT, &format!("/plugins/{name}")).body(wasm.into())).await
    }

    /// A new key of this role with these grants.
    pub(crate) async fn new_key(&self, name: &str, role: &str, grants: Value) -> Self {
        let made = self.post("/admin/keys", json!({ "name": name, "role": role, "grants": grants })).await.expect_status(201);
        self.as_key(made["key"].as_str().expect("a key"))
    }

    pub(crate) async fn reader(&self, view: &str) -> Self {
        // A name is used once.
        static READERS: AtomicU32 = AtomicU32::new(1);
        let name = format!("a-reader-{}", READERS.fetch_add(1, Ordering::Relaxed));
        self.new_key(&name, "reader", json!([{ "view": view, "verbs": ["read"] }])).await
    }

    /// Events so far.
    pub(crate) async fn events(&self) -> u64 {
        self.get("/journal/stats").await.expect_ok()["total_events_created"].as_u64().expect("a count")
    }

    /// The names in a list of the catalog.
    pub(crate) async fn names(&self, path: &str, list: &str, name: &str) -> Vec<String> {
        let page = self.get(path).await.expect_ok();
        let items = page[list].as_array().unwrap_or_else(|| panic!("no {list} in {page}")).clone();
        items.iter().map(|item| item[name].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub(crate) async fn datasets(&self) -> Vec<String> {
        self.names("/catalog/datasets", "datasets", "name").await
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
