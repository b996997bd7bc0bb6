//! The whole server in one process, over memory.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Router, body::Body, extract::Request, routing::get};
use futures::StreamExt;
use http::{HeaderMap, Method, StatusCode};
use lakehouse_engine::{Engine, EngineOptions, Settings};
use lakehouse_settings::BucketSettings;
use lakehouse_types::{BucketName, RequestId};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt;

use crate::{
    app::App,
    envelope,
    route::{Access, Route},
    routes,
};

mod data;
mod grants;
mod heads;
mod hidden;
mod keys;
mod listener;
mod rights;
mod traffic;

const ADMIN: &str = "a-key-for-tests-only";

/// A server without a listener, its folders, and a key of each role.
struct Lake {
    app: App,
    router: Router,
    _folders: tempfile::TempDir,
}

/// An answer, read to its end.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text))
    }

    #[track_caller]
    fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    #[track_caller]
    fn expect_problem(self, status: u16, code: &str) -> Value {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text);
        assert_eq!(self.headers["x-request-id"], self.json()["request_id"].as_str().unwrap());
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status);
        body
    }
}

impl Lake {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let folders = tempfile::tempdir().unwrap();
        let mut settings = Settings::default().rooted(folders.path());
        settings.buckets.insert(BucketName::primary(), BucketSettings::Memory);
        settings.buckets.insert(BucketName::new("side").unwrap(), BucketSettings::Memory);
        settings.query.threads = 2;
        change(&mut settings);
        let compiler = Some(lakehouse_engine::Compiler::in_process());
        let options = EngineOptions { admin_key: Some(ADMIN.into()), compiler, ..EngineOptions::default() };
        let engine = Engine::open(settings, options).await.unwrap();
        let app = App::new(engine);
        Self { router: app.router(), app, _folders: folders }
    }

    fn engine(&self) -> Arc<Engine> {
        self.app.engine.clone()
    }

    async fn send(&self, request: Request) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        Reply { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    async fn call(&self, key: &str, method: Method, path: &str, body: Option<&Value>) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.call(ADMIN, Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Reply {
        self.call(ADMIN, Method::POST, path, Some(&body)).await
    }

    async fn ingest(&self, query: &str, csv: &str) -> Reply {
        let request = Request::post(format!("/ingest/file?{query}"))
            .header("x-api-key", ADMIN)
            .header("content-type", "text/csv")
            .body(Body::from(csv.to_owned()));
        self.send(request.unwrap()).await
    }

    async fn sql(&self, sql: &str) -> Value {
        self.post("/query/sql", json!({ "sql": sql })).await.expect(200)
    }

    async fn key(&self, body: Value) -> String {
        let made = self.post("/admin/keys", body).await.expect(201);
        made["key"].as_str().unwrap().to_owned()
    }
}

/// A path of the route that names nothing that exists, and a body that a caller with permission would be told more about.
fn sample(route: &Route) -> (String, Option<Value>) {
    let path =
        route.path.split('/').map(|part| if part.starts_with('{') { "nothing-here" } else { part }).collect::<Vec<_>>().join("/");
    let body = (route.method != Method::GET && !route.path.starts_with("/ingest")).then(|| json!({}));
    if route.path == "/ingest/file" { (format!("{path}?dataset=nothing-here"), None) } else { (path, body) }
}

#[tokio::test]
async fn every_route_but_health_wants_a_key() {
    let lake = Lake::start().await;
    for route in routes::all() {
        let (path, body) = sample(&route);
        for key in ["", "lk_nobody_0123456789abcdef"] {
            let reply = lake.call(key, route.method.clone(), &path, body.as_ref()).await;
            if route.rule.access == Access::Open {
                assert_eq!(reply.status, StatusCode::OK, "{route:?}");
            } else {
                assert!(reply.headers.contains_key("www-authenticate"), "{route:?}");
                reply.expect_problem(401, "unauthenticated");
            }
        }
    }
    lake.call("", Method::GET, "/no/such/route", None).await.expect_problem(401, "unauthenticated");
    lake.call("", Method::PATCH, "/query/sql", None).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn each_role_may_do_what_the_matrix_says_on_every_route() {
    let lake = Lake::start().await;
    for role in lakehouse_engine::Role::ALL {
        let grants = match role.as_str() {
            "writer" => json!([{"dataset": "*", "verbs": ["read", "write"]}]),
            _ => json!([]),
        };
        let key = lake.key(json!({"name": format!("a-{role}"), "role": role, "grants": grants})).await;
        for route in routes::all() {
            let (path, body) = sample(&route);
            let reply = lake.call(&key, route.method.clone(), &path, body.as_ref()).await;
            let may = match route.rule.access {
                Access::Open | Access::AnyKey => true,
                Access::May(action) => action.roles().contains(&role),
            };
            assert_eq!(reply.status != StatusCode::FORBIDDEN, may, "{role} {route:?}: {}", reply.text);
            assert_ne!(reply.status, StatusCode::UNAUTHORIZED, "{role} {route:?}");
            assert!(reply.status.as_u16() < 500, "{role} {route:?}: {}", reply.text);
        }
    }
    let denied = lake.get("/journal/events?kind=denied").await.expect(200);
    let actors: BTreeSet<&str> =
        denied["events"].as_array().unwrap().iter().filter_map(|event| event["actor"].as_str()).collect();
    assert!(actors.contains("a-reader") && actors.contains("a-writer"), "{actors:?}");
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let lake = Lake::start_with(|settings| {
        settings.server.max_json_bytes = 16 << 10;
        settings.server.max_body_bytes = 64 << 10;
    })
    .await;
    lake.get("/no/such/route").await.expect_problem(404, "unknown_route");
    lake.call(ADMIN, Method::PUT, "/query/sql", None).await.expect_problem(405, "method_not_allowed");
    let named = lake.post("/query/sql", json!({"sql": "SELECT 1", "sqll": 1})).await.expect_problem(400, "invalid_body");
    assert!(named["detail"].as_str().unwrap().contains("sqll"), "{named}");
    let named = lake.get("/catalog/datasets?page=2").await.expect_problem(400, "invalid_parameter");
    assert!(named["detail"].as_str().unwrap().contains("page"), "{named}");
    lake.get("/catalog/views/NO").await.expect_problem(400, "invalid_name");
    lake.post("/query/sql", json!({"sql": "x".repeat(20 << 10)})).await.expect_problem(413, "body_too_large");
    lake.ingest("dataset=big", &"x\n1\n".repeat(40 << 10)).await.expect_problem(413, "body_too_large");
    lake.ingest("dataset=big&mode=upsert", "x\n1\n").await.expect_problem(400, "invalid_parameter");
    lake.ingest("dataset=empty", "").await.expect_problem(400, "invalid_data");
    lake.post("/query/sql?rows=table", json!({"sql": "SELECT 1"})).await.expect_problem(400, "invalid_parameter");

    let send = async |name: &'static str, value: &'static str, body: &'static str| {
        let request = Request::post("/ingest/file?dataset=people")
            .header("x-api-key", ADMIN)
            .header("content-type", "text/csv")
            .header(name, value)
            .body(Body::from(body));
        lake.send(request.unwrap()).await
    };
    let unknown = send("x-lakehouse-bucket", "testin", "x\n1\n").await.expect_problem(404, "unknown_bucket");
    assert_eq!(unknown["valid_buckets"], json!(["primary", "side"]));
    let misshapen = send("x-lakehouse-bucket", "NO/NO", "x\n1\n").await.expect_problem(404, "unknown_bucket");
    assert_eq!(misshapen["valid_buckets"], json!(["primary", "side"]));
    send("x-lakehouse-profile", "no such", "x\n1\n").await.expect_problem(400, "invalid_parameter");
    send("x-lakehouse-profile", "nobody", "x\n1\n").await.expect_problem(404, "unknown_profile");
    assert_eq!(lake.get("/catalog/datasets").await.expect(200)["datasets"], json!([]), "nothing half done");
}

#[tokio::test]
async fn what_is_no_component_is_refused_and_what_is_not_bound_fails_closed() {
    let lake = Lake::start().await;
    let put = async |name: &str, body: &'static [u8], header: (&'static str, &'static str)| {
        let request = Request::put(format!("/plugins/{name}")).header("x-api-key", ADMIN).header(header.0, header.1);
        lake.send(request.body(Body::from(body)).unwrap()).await
    };
    let wasm = ("content-type", "application/wasm");
    for bytes in [&b"\x7fELF"[..], b"not wasm at all", b"\0asm\x01\0\0\0", b""] {
        let refused = put("mask", bytes, wasm).await.expect_problem(422, "plugin_refused");
        assert_eq!(refused["checks"][0]["ok"], false, "{refused}");
    }
    put("mask", b"x", ("x-plugin-signature", "c2ln")).await.expect_problem(400, "invalid_parameter");
    assert_eq!(lake.get("/plugins").await.expect(200)["plugins"], json!([]));
    for (method, path) in
        [(Method::GET, "/plugins/mask"), (Method::POST, "/plugins/mask/rollback"), (Method::DELETE, "/plugins/mask")]
    {
        lake.call(ADMIN, method, path, None).await.expect_problem(404, "unknown_plugin");
    }

    lake.ingest("dataset=people", "id\n1\n").await.expect(201);
    let masked = json!({"mask": {"keep_prefix": 3, "keep_suffix": 2}});
    let view = json!({"name": "safe", "base_dataset": "people", "columns": ["id"], "column_redactions": {"id": masked}});
    let told = lake.post("/catalog/views", view).await.expect_problem(422, "unresolved_rule");
    assert!(told["detail"].as_str().unwrap().contains("mask"), "{told}");
    let rule = json!({"name": "cut", "kind": "redactor", "component": "scissors"});
    lake.post("/catalog/profiles", json!({"id": "ada", "rules": [rule]})).await.expect_problem(422, "unresolved_rule");
    let greedy = json!({"name": "cut", "kind": "redactor", "component": "scissors", "limits": {"memory_mib": 100_000}});
    let told =
        lake.post("/catalog/profiles", json!({"id": "ada", "rules": [greedy]})).await.expect_problem(422, "invalid_definition");
    assert!(told["detail"].as_str().unwrap().contains("memory_mib"), "{told}");
    let bound = json!({"id": "ada", "bound_datasets": ["nothing"]});
    lake.post("/catalog/profiles", bound).await.expect_problem(422, "invalid_definition");
    lake.post("/catalog/profiles", json!({"id": "ada", "bound_datasets": ["people"]})).await.expect(201);
    lake.call(ADMIN, Method::DELETE, "/catalog/profiles/default", None).await.expect_problem(409, "in_use");
    lake.call(ADMIN, Method::DELETE, "/catalog/profiles/ada", None).await.expect(204);
}

#[tokio::test]
async fn truth_judges_by_the_rules_of_the_folder() {
    let lake = Lake::start_with(|settings| {
        std::fs::create_dir_all(&settings.truth.dir).unwrap();
        let rule = "[[rule]]\nid = \"has-client\"\ntask_class = \"fill\"\n\
                    condition = { field_empty = \"client.id\", negate = true }\nactions = [\"allow\"]\n";
        std::fs::write(settings.truth.dir.join("fill.toml"), rule).unwrap();
    })
    .await;
    let judge =
        async |context: Value| lake.post("/truth/evaluate", json!({"task_class": "fill", "context": context})).await.expect(200);
    let passed = judge(json!({"client": {"id": 7}})).await;
    assert_eq!((&passed["decision"], &passed["rules"][0]["holds"]), (&json!("allow"), &json!(true)));
    let failed = judge(json!({})).await;
    assert_eq!((&failed["decision"], &failed["rules"][0]["id"]), (&json!("deny"), &json!("has-client")));
    assert_eq!(lake.get("/truth/rules?task_class=fill").await.expect(200)["rules"][0]["actions"], json!(["allow"]));
    lake.post("/truth/evaluate", json!({"task_class": "fill", "context": [1]})).await.expect_problem(400, "invalid_body");
}

#[tokio::test]
async fn keys_are_shown_once_expire_and_are_revoked() {
    let lake = Lake::start().await;
    let made = lake.post("/admin/keys", json!({"name": "ada", "role": "reader"})).await.expect(201);
    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    lake.call(key, Method::GET, "/catalog/views", None).await.expect(200);
    let listed = lake.get("/admin/keys").await;
    // `lk_ID_SECRET`; the secret may have such a mark of its own.
    let secret = key.splitn(3, '_').nth(2).unwrap();
    assert!(secret.len() > 20 && !listed.text.contains(secret), "{}", listed.text);
    lake.call(ADMIN, Method::DELETE, &format!("/admin/keys/{id}"), None).await.expect(204);
    lake.call(key, Method::GET, "/catalog/views", None).await.expect_problem(401, "unauthenticated");
    let past = json!({"name": "eve", "role": "reader", "expires_at": "2001-01-01T00:00:00Z"});
    lake.post("/admin/keys", past).await.expect_problem(422, "invalid_definition");
    let stray = json!({"name": "eve", "role": "reader", "profiles": ["nobody"]});
    lake.post("/admin/keys", stray).await.expect_problem(404, "unknown_profile");
}

#[tokio::test]
async fn a_request_id_is_kept_when_it_is_well_formed_and_replaced_when_not() {
    let lake = Lake::start().await;
    for (given, kept) in [("trace-7", true), ("no spaces!", false), ("", false)] {
        let reply = lake.send(Request::get("/health").header("x-request-id", given).body(Body::empty()).unwrap()).await;
        let id = reply.headers["x-request-id"].to_str().unwrap();
        assert_eq!(id == given, kept);
        assert!(RequestId::new(id).is_ok());
    }
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_server_lives() {
    let lake = Lake::start().await;
    async fn boom() {
        panic!("on purpose");
    }
    let layer = axum::middleware::from_fn_with_state(lake.app.clone(), envelope::envelope);
    let router: Router = Router::new().route("/boom", get(boom)).layer(layer);
    let response = router.oneshot(Request::get("/boom").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    assert!(!String::from_utf8_lossy(&body).contains("on purpose"));
    lake.get("/health").await.expect(200);
}

#[tokio::test]
async fn pages_describe_the_server() {
    let lake = Lake::start_with(|settings| settings.server.cors_origins = vec!["https://app.example.com".into()]).await;
    let document = lake.get("/openapi.json").await.expect(200);
    assert_eq!(document["info"]["title"], "Lakehouse");
    assert!(lake.get("/docs").await.text.contains("/openapi.json"));
    let told = lake.get("/problems/unknown-bucket").await.expect(200);
    assert_eq!((&told["code"], &told["status"]), (&json!("unknown_bucket"), &json!(404)));
    let metrics = lake.get("/metrics").await.text;
    assert!(metrics.contains("lakehouse_http_requests_total{method=\"GET\",route=\"/docs\",status=\"200\"} 1"), "{metrics}");
    assert!(metrics.contains("lakehouse_storage_operations_total"));

    let basic =
        |path: &str| Request::get(path).header("authorization", "Basic eDphLWtleS1mb3ItdGVzdHMtb25seQ==").body(Body::empty());
    assert_eq!(lake.send(basic("/docs").unwrap()).await.status, StatusCode::OK);
    assert_eq!(lake.send(basic("/catalog/datasets").unwrap()).await.status, StatusCode::UNAUTHORIZED);
    let challenge = lake.call("", Method::GET, "/docs", None).await;
    assert!(challenge.headers["www-authenticate"].to_str().unwrap().starts_with("Basic"));

    let preflight = Request::options("/query/sql")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    let allowed = lake.send(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(allowed.headers["access-control-allow-origin"], "https://app.example.com");
    let stranger = Request::get("/health").header("origin", "https://evil.example").body(Body::empty()).unwrap();
    assert!(!lake.send(stranger).await.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn without_auth_everybody_is_a_local_admin() {
    let lake = Lake::start_with(|settings| settings.auth.enabled = false).await;
    lake.call("", Method::GET, "/admin/keys", None).await.expect(200);
    let foreign = Request::get("/admin/keys").header("authorization", "Negotiate x").body(Body::empty());
    lake.send(foreign.unwrap()).await.expect(200);
}

#[tokio::test]
async fn what_is_no_key_is_journaled_and_a_stranger_learns_nothing_else() {
    let lake = Lake::start().await;
    let unreadable = Request::get("/catalog/views").header("authorization", "Digest x").body(Body::empty());
    lake.send(unreadable.unwrap()).await.expect_problem(401, "unauthenticated");
    let denied = lake.get("/journal/events?kind=denied").await.expect(200);
    assert_eq!(denied["events"][0]["actor"], "anonymous", "{denied}");
    let misnamed = Request::get("/catalog/views").header("x-lakehouse-profile", "no such").body(Body::empty());
    lake.send(misnamed.unwrap()).await.expect_problem(401, "unauthenticated");
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(std::time::Duration::from_secs(10), stream.read_to_end(&mut text)).await;
    let _ = read.expect("the server ends the connection");
    String::from_utf8_lossy(&text).into_owned()
}
