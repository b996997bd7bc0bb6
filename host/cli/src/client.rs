//! The HTTP API from outside: requests with key and profile, answers or problems.
//!
//! **Invariant**: whatever is not a 2xx leaves here as a [`Failure`]; no command looks at a status.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use url::{Host, Url};

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
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("lakehouse-cli/", env!("CARGO_PKG_VERSION")));
        // A proxy of the environment cannot reach this machine's own loopback, and would see the key.
        if is_loopback(&base) {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|source| Failure::Unreachable { url: url.to_owned(), source })?;
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
        self.list_with(segments, &[], field).await
    }

    /// The same, of a list that `query` narrows.
    pub(crate) async fn list_with(&self, segments: &[&str], query: &[(&str, &str)], field: &str) -> Result<Vec<Value>, Failure> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let query: Vec<(&str, &str)> =
                query.iter().copied().chain(after.iter().map(|after| ("after", after.as_str()))).collect();
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

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
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
    use std::{
        io::{Read, Write},
        net::TcpListener,
        process::{Command, Stdio},
    };

    use reqwest::Method;

    use super::{Client, is_loopback};

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

    #[test]
    fn loopback_is_known_by_any_of_its_names() {
        for (url, expected) in [
            ("http://127.0.0.1:3100", true),
            ("http://127.1.2.3", true),
            ("http://[::1]:3100", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://LocalHost", true),
            ("http://lake.localhost", true),
            ("http://localhost.example.org", false),
            ("http://10.0.0.1", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }

    /// The part of the test below that runs in a process with a proxy in its environment.
    #[tokio::test]
    #[ignore = "run by a_key_for_a_server_here_never_goes_to_a_proxy"]
    async fn ask_the_server_that_was_named() {
        let Ok(url) = std::env::var("LAKEHOUSE_TEST_URL") else { return };
        let client = Client::with(&url, Some("secret".to_owned()), None).unwrap();
        assert_eq!(client.get(&["health"]).await.unwrap(), 7);
    }

    #[test]
    fn a_key_for_a_server_here_never_goes_to_a_proxy() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["client::tests::ask_the_server_that_was_named", "--exact", "--ignored"])
            .env("LAKEHOUSE_TEST_URL", url)
            .envs(["http_proxy", "HTTP_PROXY", "all_proxy"].map(|name| (name, "http://127.0.0.1:9")))
            .env_remove("no_proxy")
            .env_remove("NO_PROXY")
            .env_remove("REQUEST_METHOD")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        server.set_nonblocking(true).unwrap();
        let status = loop {
            if let Ok((mut asked, _)) = server.accept() {
                let mut head = [0; 1024];
                asked.set_nonblocking(false).unwrap();
                let read = asked.read(&mut head).unwrap();
                assert!(String::from_utf8_lossy(&head[..read]).starts_with("GET /health "));
                asked.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n7").unwrap();
            }
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        assert!(status.success(), "the proxy was asked");
    }
}
