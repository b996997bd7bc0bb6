//! The HTTP API from outside: requests with key and profile, answers or problems.
//!
//! **Invariant**: whatever is not a 2xx leaves here as a [`Failure`]; no command looks at a status.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use url::Url;

use crate::{
    args::Connection,
    failure::{Failure, Problem},
};

/// Long enough for any answer that streams, short enough to notice a machine that is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of an answer that is no problem document is shown.
const SHOWN_BYTES: usize = 300;

/// One caller of one server. Clones share connections.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<String>,
    profile: Option<String>,
}

impl Client {
    /// # Errors
    /// When the URL is none that HTTP can reach.
    pub(crate) fn new(connection: &Connection) -> Result<Self, Failure> {
        Self::with(&connection.url, connection.key.clone(), connection.profile.clone())
    }

    pub(crate) fn with(url: &str, key: Option<String>, profile: Option<String>) -> Result<Self, Failure> {
        let base: Url = url.parse().map_err(|error| Failure::Usage(format!("{url:?} is not a URL: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(Failure::Usage(format!("{url:?} is not a URL of a server: write http://HOST:PORT")));
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("lakehouse-cli/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| Failure::Unreachable { url: url.to_owned(), source })?;
        Ok(Self { http, base, key: key.filter(|key| !key.is_empty()), profile })
    }

    /// The same server asked by another key.
    pub(crate) fn as_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }

    /// The same caller under another profile.
    pub(crate) fn under(&self, profile: &str) -> Self {
        Self { profile: Some(profile.to_owned()), ..self.clone() }
    }

    /// A request to the path of these segments, each escaped.
    pub(crate) fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        self.request_with(method, segments, &[])
    }

    /// A request with a query string.
    pub(crate) fn request_with(&self, method: Method, segments: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(method, url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(profile) = &self.profile {
            request = request.header("X-Lakehouse-Profile", profile);
        }
        request
    }

    /// Sends, and turns whatever is not a 2xx into a failure.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let answer = request.send().await.map_err(|source| self.broken(source))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }

    /// Sends and reads a JSON answer; an empty one is null.
    pub(crate) async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let body = self.send(request).await?.bytes().await.map_err(Failure::Broken)?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| Failure::Answer(format!("not JSON: {error}")))
    }

    pub(crate) async fn get(&self, segments: &[&str]) -> Result<Value, Failure> {
        self.json(self.request(Method::GET, segments)).await
    }

    pub(crate) async fn post(&self, segments: &[&str], body: &Value) -> Result<Value, Failure> {
        self.json(self.request(Method::POST, segments).json(body)).await
    }

    pub(crate) async fn delete(&self, segments: &[&str]) -> Result<Value, Failure> {
        self.json(self.request(Method::DELETE, segments)).await
    }

    /// All items of a paged list: `field` of each page, until there is no `next`.
    pub(crate) async fn list(&self, segments: &[&str], field: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let query: Vec<(&str, &str)> = after.iter().map(|after| ("after", after.as_str())).collect();
            let mut page = self.json(self.request_with(Method::GET, segments, &query)).await?;
            match page.get_mut(field).map(Value::take) {
                Some(Value::Array(list)) => items.extend(list),
                _ => return Err(Failure::Answer(format!("no `{field}` in it"))),
            }
            let next = match page.get("next") {
                Some(Value::String(next)) if !next.is_empty() => Some(next.clone()),
                Some(Value::Number(next)) => Some(next.to_string()),
                _ => None,
            };
            if next.is_none() || next == after {
                return Ok(items);
            }
            after = next;
        }
    }

    fn broken(&self, source: reqwest::Error) -> Failure {
        if source.is_connect() { Failure::Unreachable { url: self.base.to_string(), source } } else { Failure::Broken(source) }
    }
}

async fn refusal(answer: Response) -> Failure {
    let status = answer.status();
    let request_id = answer.headers().get("x-request-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = match answer.bytes().await {
        Ok(body) => body,
        Err(source) => return Failure::Broken(source),
    };
    let mut problem = serde_json::from_slice::<Problem>(&body).unwrap_or_else(|_| Problem {
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        status: 0,
        code: String::new(),
        detail: String::from_utf8_lossy(&body[..body.len().min(SHOWN_BYTES)]).into_owned(),
        action: None,
        request_id: None,
        members: serde_json::Map::new(),
    });
    problem.status = status.as_u16();
    problem.request_id = problem.request_id.or(request_id);
    Failure::Problem(Box::new(problem))
}

#[cfg(test)]
mod tests {
    use reqwest::Method;

    use super::Client;

    #[test]
    fn names_are_escaped_into_one_segment() {
        let client = Client::with("http://127.0.0.1:1/lake/", None, None).unwrap();
        let request = client.request_with(Method::GET, &["plugins", "a/../b?c"], &[("to", "1 0")]).build().unwrap();
        assert_eq!(request.url().as_str(), "http://127.0.0.1:1/lake/plugins/a%2F..%2Fb%3Fc?to=1+0");
    }

    #[test]
    fn a_url_that_http_cannot_reach_is_refused() {
        for bad in ["", "127.0.0.1:3100", "ftp://x", "mailto:a"] {
            assert!(Client::with(bad, None, None).is_err(), "{bad}");
        }
    }
}
