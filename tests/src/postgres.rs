//! Rows of a database come in whole, or not at all and with a reason; what protects the database stays hidden.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use lakehouse_ingest::testing::PostgresServer;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{
    answer::Answer,
    caller::Caller,
    lake::{ADMIN_KEY, Lake, Options},
};

/// The database that most trials share; each has tables of its own.
async fn database() -> &'static PostgresServer {
    static DATABASE: OnceCell<PostgresServer> = OnceCell::const_new();
    DATABASE.get_or_init(PostgresServer::start).await
}

fn source(name: &str, server: &PostgresServer, more: &str) -> String {
    format!(
        "[sources.{name}]\nkind = 'postgres'\nhost = '127.0.0.1'\nport = {}\ndatabase = '{}'\nuser = '{}'\ntls = 'disable'\n{more}\n",
        server.port(),
        PostgresServer::DATABASE,
        PostgresServer::USER,
    )
}

/// A lake with the source `shop`, whose password is in the environment.
async fn lake(server: &PostgresServer) -> Lake {
    lake_with(source("shop", server, "password_env = 'SHOP_PASSWORD'")).await
}

async fn lake_with(config: String) -> Lake {
    let env = vec![("SHOP_PASSWORD".to_owned(), PostgresServer::PASSWORD.to_owned())];
    Lake::start_with(Options { config: Some(config), env, ..Options::default() }).await
}

async fn pull(caller: &Caller, body: Value) -> Answer {
    caller.post("/ingest/db", body).await
}

fn table(dataset: &str, table: &str) -> Value {
    json!({ "dataset": dataset, "source": "shop", "table": table })
}

fn query(dataset: &str, query: &str) -> Value {
    json!({ "dataset": dataset, "source": "shop", "query": query })
}

/// Whether a text stands in any file below.
fn stands_in(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().map(Result::unwrap).any(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => stands_in(&entry.path(), text),
        kind if kind.is_file() => {
            fs::read(entry.path()).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        }
        _ => false,
    })
}

/// S-C2
#[tokio::test(flavor = "multi_thread")]
async fn a_table_answers_in_sql_with_its_own_types() {
    let server = database().await;
    server
        .run(
            "CREATE TYPE mood AS ENUM ('calm', 'sad');
             CREATE TABLE people (id bigint PRIMARY KEY, name text, active boolean, height real, salary numeric(10,2), born date,
                 seen timestamptz, local timestamp, tags text[], scores numeric(4,1)[], extra jsonb, mood mood, token uuid, raw bytea,
                 never int);
             INSERT INTO people VALUES
                 (1, 'Ana', true, 1.5, 1234.50, '1990-02-28', '2024-06-01 12:00:00+02', '2024-06-01 12:00', '{a,\"b c\"}', '{1.5,NULL}',
                  '{\"k\": [1, 2]}', 'calm', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\\x00ff', NULL),
                 (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
             GRANT SELECT ON people TO lake",
        )
        .await;
    let mut lake = lake(server).await;
    let mut body = table("people", "public.people");
    body["key"] = "id".into();
    let report = pull(&lake, body).await.expect_status(201);
    assert_eq!(
        (&report["rows"], &report["bucket"], &report["mode"], &report["rejected"], &report["version"]),
        (&json!(2), &json!("primary"), &json!("append"), &json!([]), &json!(0))
    );
    let columns = report["columns"].as_array().unwrap();
    let types: Vec<_> = columns.iter().map(|column| column["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "integer",
            "text",
            "boolean",
            "float",
            "decimal(10, 2)",
            "date",
            "timestamp",
            "timestamp without zone",
            "list of text",
            "list of decimal(4, 1)",
            "text",
            "text",
            "text",
            "binary",
            "integer",
        ]
    );
    assert_eq!(lake.events().await, 1, "one event");

    lake.sql("SELECT sum(salary) * 2 AS v FROM people").await.expect_ok();
    for (sql, expected) in [
        ("CAST(salary AS varchar)", json!("1234.50")),
        ("extract(year FROM born)", json!(1990)),
        ("to_char(seen, '%H:%M')", json!("10:00")),
        ("tags[2]", json!("b c")),
        ("CAST(scores[1] AS varchar)", json!("1.5")),
        ("extra", json!("{\"k\": [1, 2]}")),
        ("mood || ' ' || token", json!("calm a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")),
        ("encode(raw, 'hex')", json!("00ff")),
        ("height", json!(1.5)),
        ("never", Value::Null),
    ] {
        lake.sql(&format!("SELECT {sql} AS v FROM people WHERE id = 1")).await.expect_cell("v", expected);
    }
    assert_eq!(lake.sql("SELECT * FROM people WHERE id = 2").await.expect_ok()["rows"], json!([{ "id": 2 }]));
    lake.kill_and_restart().await;
    lake.sql("SELECT count(*) AS n FROM people").await.expect_cell("n", 2);

    // More of the same, then all anew.
    assert_eq!(pull(&lake, query("people", "SELECT 3::int8 AS id, 'Bo' AS name, 'x' AS new")).await.expect_ok()["rows"], 1);
    lake.sql("SELECT count(*) AS n FROM people WHERE new IS NULL").await.expect_cell("n", 2);
    let problem = pull(&lake, query("people", "SELECT 'four' AS id")).await.expect_problem("schema_conflict");
    assert!(problem["detail"].as_str().unwrap().contains("`id` is integer"), "{problem}");
    let mut body = query("people", "SELECT 'nine' AS id");
    body["mode"] = "replace".into();
    assert_eq!(pull(&lake, body).await.expect_ok()["mode"], "replace");
    assert_eq!(lake.sql("SELECT * FROM people").await.expect_ok()["rows"], json!([{ "id": "nine" }]));
    assert_eq!(lake.events().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_rows_stream_in_once() {
    let server = database().await;
    server
        .run(
            "CREATE TABLE many AS SELECT n AS id, 'name ' || n AS name, n / 100.0::numeric AS v FROM generate_series(1, 100000) n;
             ALTER TABLE many ALTER v TYPE numeric(12,2); GRANT SELECT ON many TO lake",
        )
        .await;
    let lake = lake(server).await;
    let send = || {
        let request = lake.request(Method::POST, "/ingest/db").header("Idempotency-Key", "once");
        lake.send(request.json(&table("many", "many")))
    };
    let first = send().await.expect_status(201);
    assert_eq!(first["rows"], 100_000);
    for again in futures::future::join_all((0..8).map(|_| send())).await {
        assert_eq!(again.expect_status(201), first);
    }
    let other = lake.request(Method::POST, "/ingest/db").header("Idempotency-Key", "once").json(&query("many", "SELECT 1 AS id"));
    lake.send(other).await.expect_problem("idempotency_mismatch");
    lake.sql("SELECT count(DISTINCT id) AS n FROM many").await.expect_cell("n", 100_000);
    lake.sql("SELECT CAST(sum(v) AS varchar) AS v FROM many").await.expect_cell("v", "50000500.00");
    assert_eq!(lake.events().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_rows_of_a_database_make_embeddings_stale() {
    let lake = lake(database().await).await;
    pull(&lake, query("notes", "SELECT n AS id, 'a note about lathe ' || n AS note FROM generate_series(1, 20) n"))
        .await
        .expect_ok();
    let index = json!({ "index_name": "notes", "id_column": "id", "text_column": "note" });
    lake.refresh("notes", index).await.expect_ok();
    let before = lake.get("/vectors/stale").await.expect_ok();
    assert_eq!(before["datasets"][0]["indexes"][0]["stale"], false, "{before}");
    pull(&lake, query("notes", "SELECT 21 AS id, 'a note about welding' AS note")).await.expect_ok();
    let after = lake.get("/vectors/stale").await.expect_ok();
    assert_eq!(after["datasets"][0]["indexes"][0]["stale_because"], json!(["rows"]), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_problem_and_nothing_is_half_done() {
    let server = database().await;
    server
        .run(
            "CREATE TABLE precious (id int, secret text); INSERT INTO precious VALUES (1, 'value-canary'), (2, 'value-canary');
             GRANT ALL ON precious TO lake",
        )
        .await;
    let wrong = "password_env = 'WRONG_PASSWORD'";
    let config = [
        source("shop", server, "password_env = 'SHOP_PASSWORD'"),
        source("hasty", server, "password_env = 'SHOP_PASSWORD'\nstatement_timeout_ms = 200"),
        source("wrong", server, wrong),
        source("unset", server, "password_env = 'NO_SUCH_VARIABLE'"),
    ];
    let env = vec![
        ("SHOP_PASSWORD".to_owned(), PostgresServer::PASSWORD.to_owned()),
        ("WRONG_PASSWORD".to_owned(), "wrong-pw-canary".to_owned()),
    ];
    let lake = Lake::start_with(Options { config: Some(config.concat()), env, ..Options::default() }).await;
    let from = |source: &str, text: &str| json!({ "dataset": "t", "source": source, "query": text });
    for (body, code, said) in [
        (from("wrong", "SELECT 1 AS a"), "source_unavailable", "28P01"),
        (from("unset", "SELECT 1 AS a"), "source_unavailable", "password"),
        (from("hasty", "SELECT pg_sleep(10)::text AS a"), "source_timeout", "57014"),
        (from("shop", "DELETE FROM precious RETURNING *"), "source_refused", "one SELECT"),
        (from("shop", "SELECT 1; DROP TABLE precious"), "source_refused", "42601"),
        (from("shop", "COPY precious TO PROGRAM 'cat'"), "source_refused", "no columns"),
        (from("shop", "SELECT * FROM precious FOR UPDATE"), "source_refused", "25006"),
        (from("shop", "SELECT secret::int AS a FROM precious"), "source_refused", "22P02"),
        (from("shop", "SELECT nope FROM precious"), "source_refused", "42703"),
        (table("t", "no_such_table"), "source_refused", "42P01"),
        (table("t", "precious; DROP TABLE precious"), "source_refused", "42P01"),
        (
            from("shop", "SELECT CASE WHEN n = 20000 THEN 'infinity'::date END AS d FROM generate_series(1, 20000) n"),
            "invalid_data",
            "row 20000",
        ),
        (from("nowhere", "SELECT 1 AS a"), "unknown_source", "hasty"),
        (json!({ "dataset": "t", "source": "shop" }), "invalid_body", "exactly one"),
        (json!({ "dataset": "t", "source": "shop", "table": "a", "query": "SELECT 1" }), "invalid_body", "exactly one"),
        (json!({ "dataset": "t", "source": "shop", "tabel": "a" }), "invalid_body", "tabel"),
        (json!({ "dataset": "t", "source": "shop", "table": "a", "host": "10.0.0.1" }), "invalid_body", "host"),
        (json!({ "dataset": "t", "source": "shop", "table": "a.b.c" }), "invalid_body", "schema.table"),
        (json!({ "dataset": "t", "source": "shop", "table": "precious", "key": "nope" }), "", "nope"),
        (json!({ "dataset": "t", "source": "shop", "table": "precious", "mode": "upsert" }), "", ""),
    ] {
        let answer = pull(&lake, body.clone()).await;
        let problem = answer.expect_any_problem();
        assert!(code.is_empty() || problem["code"] == code, "{body}: {problem}");
        assert!(problem.to_string().contains(said), "{body}: {problem}");
        assert!(!problem.to_string().contains("canary"), "{body}: {problem}");
    }
    let request = lake.request(Method::POST, "/ingest/db").header("X-Lakehouse-Bucket", "nowhere").json(&table("t", "precious"));
    lake.send(request).await.expect_problem("unknown_bucket");

    assert_eq!(lake.datasets().await, [""; 0]);
    assert_eq!(lake.events().await, 0);
    assert_eq!(server.ask("SELECT count(*) FROM precious").await, "2");
    assert_eq!(pull(&lake, table("t", "precious")).await.expect_status(201)["rows"], 2);

    let journal = lake.get("/journal/events").await.text();
    let log = lake.log();
    for secret in [PostgresServer::PASSWORD, "wrong-pw-canary"] {
        assert!(!journal.contains(secret) && !log.contains(secret), "a password is told");
        assert!(!stands_in(lake.folder(), secret), "a password is kept");
    }
    assert!(!journal.contains("canary") && !log.contains("canary"), "a value is told: {log}");
    assert!(!journal.contains("generate_series") && !log.contains("generate_series"), "a query is told: {log}");
    assert!(log.contains("NO_SUCH_VARIABLE"), "the operator learns why: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_dies_and_a_caller_that_leaves_leave_nothing() {
    let server = PostgresServer::start().await;
    let lake = lake(&server).await;
    let endless = "SELECT generate_series(1, 1000000000) AS n, repeat('x', 500) AS v";

    let leaving = pull(&lake, query("t", endless));
    tokio::select! {
        answer = leaving => panic!("{answer:?}"),
        () = server.await_running(1) => {}
    }
    server.await_running(0).await;
    assert_eq!(lake.datasets().await, [""; 0]);

    let sleeping = pull(&lake, query("t", "SELECT pg_sleep(300)::text AS v"));
    tokio::select! {
        answer = sleeping => panic!("{answer:?}"),
        () = server.await_running(1) => {}
    }
    server.await_running(0).await;

    let (answer, ()) = tokio::join!(pull(&lake, query("t", endless)), async {
        server.await_running(1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.crash();
    });
    answer.expect_problem("source_unavailable");
    pull(&lake, query("t", "SELECT 1 AS a")).await.expect_problem("source_unavailable");
    assert_eq!(lake.datasets().await, [""; 0]);
    assert_eq!(lake.events().await, 0);
    lake.ingest("t", "a\n1\n").await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_read_by_those_who_may_and_by_nobody_else() {
    let server = database().await;
    let lake = lake(server).await;
    let dataset = json!({ "dataset": "t", "verbs": ["write"] });
    let source = json!({ "source": "shop", "verbs": ["read"] });
    let all = json!([dataset.clone(), source.clone()]);
    let body = || query("t", "SELECT 1 AS a");

    pull(&lake.nobody(), body()).await.expect_problem("unauthenticated");
    for (name, role, grants) in [
        ("a-reader", "reader", all.clone()),
        ("an-operator", "operator", all.clone()),
        ("no-source", "writer", json!([dataset])),
        ("other-source", "writer", json!([dataset, { "source": "other", "verbs": ["read"] }])),
        ("no-dataset", "writer", json!([source])),
    ] {
        let key = lake.new_key(name, role, grants).await;
        pull(&key, body()).await.expect_problem("forbidden");
        let denied = lake.get(&format!("/journal/events?kind=denied&actor={name}")).await.expect_ok();
        assert_eq!(denied["events"].as_array().map(Vec::len), Some(1), "{name}: {denied}");
    }
    assert_eq!(lake.datasets().await, [""; 0]);

    let writer = lake.new_key("loader", "writer", all).await;
    pull(&writer, body()).await.expect_status(201);
    // Whether a source exists is nobody's business who may not read it.
    let mut unknown = body();
    unknown["source"] = "nowhere".into();
    let told = pull(&writer, unknown.clone()).await.expect_problem("forbidden");
    assert!(told.get("valid_sources").is_none(), "{told}");
    assert_eq!(pull(&lake, unknown).await.expect_problem("unknown_source")["valid_sources"], json!(["shop"]));
    let no_write = json!({ "name": "k", "role": "writer", "grants": [{ "source": "shop", "verbs": ["write"] }] });
    lake.post("/admin/keys", no_write).await.expect_problem("invalid_definition");

    // A key that ends while it reads commits nothing.
    let slow = query("t", "SELECT n AS a, pg_sleep(0.1)::text AS b FROM generate_series(1, 20) n");
    let (answer, ()) = tokio::join!(pull(&writer, slow), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let keys = lake.get("/admin/keys").await.expect_ok();
        let loader = keys["keys"].as_array().unwrap().iter().find(|key| key["name"] == "loader").unwrap();
        lake.delete(&format!("/admin/keys/{}", loader["id"].as_str().unwrap())).await.expect_ok();
    });
    answer.expect_problem("unauthenticated");
    lake.sql("SELECT count(*) AS n FROM t").await.expect_cell("n", 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_reads_a_database() {
    let server = database().await;
    server.run("CREATE TABLE cities AS SELECT 1 AS id, 'Graz' AS city; GRANT SELECT ON cities TO lake").await;
    let lake = lake_with(source("shop", server, &format!("password_file = '{}'", server.password_file().display()))).await;
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lakehouse-under-test"))
            .args(arguments)
            .env("LAKEHOUSE_URL", &lake.url)
            .env("LAKEHOUSE_KEY", ADMIN_KEY)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default(), output.stderr)
    };
    let (code, report, said) = run(&["ingest", "--from", "shop", "--table", "public.cities", "--row-key", "id"]);
    assert_eq!(
        (code, &report["dataset"], &report["rows"]),
        (Some(0), &json!("cities"), &json!(1)),
        "{}",
        String::from_utf8_lossy(&said)
    );
    let (code, report, _) =
        run(&["ingest", "--from", "shop", "--query", "SELECT 2 AS id", "--dataset", "cities", "--mode", "replace"]);
    assert_eq!((code, &report["mode"]), (Some(0), &json!("replace")));
    let (code, _, said) = run(&["ingest", "--from", "shop", "--table", "nothing"]);
    assert_eq!(code, Some(1));
    assert!(String::from_utf8_lossy(&said).contains("no such table"), "{}", String::from_utf8_lossy(&said));
    assert_eq!(run(&["ingest", "--from", "shop"]).0, Some(2));
}
