//! What is refused, and what is left then: nothing, here and there.

use std::sync::Arc;
use std::time::Duration;

use super::{IngestError, Lake, PostgresServer, PostgresSource, name, pull, query, run, server, table, told};
use crate::{PasswordFrom, Tls};

#[tokio::test(flavor = "multi_thread")]
async fn only_one_select_is_run() {
    let (server, lake) = (server().await, Lake::open().await);
    server
        .run(
            "CREATE TABLE kept (id int); INSERT INTO kept VALUES (1), (2); CREATE SEQUENCE counted;
             GRANT ALL ON kept, counted TO lake; GRANT CREATE ON SCHEMA public TO lake;
             CREATE FUNCTION sneak() RETURNS int LANGUAGE plpgsql AS $$ BEGIN DELETE FROM kept; RETURN 1; END $$",
        )
        .await;
    for (text, code, said) in [
        ("DELETE FROM kept RETURNING *", "source_refused", "must be one SELECT"),
        ("INSERT INTO kept VALUES (3) RETURNING id", "source_refused", "must be one SELECT"),
        ("WITH gone AS (DELETE FROM kept RETURNING *) SELECT * FROM gone", "source_refused", "must be one SELECT"),
        ("DELETE FROM kept", "source_refused", "no columns"),
        ("CREATE TABLE more (a int)", "source_refused", "no columns"),
        ("SELECT 1 AS a INTO more", "source_refused", ""),
        ("COPY kept TO PROGRAM 'cat'", "source_refused", "no columns"),
        ("COPY kept TO STDOUT", "source_refused", "no columns"),
        ("DO $$ BEGIN DELETE FROM kept; END $$", "source_refused", "no columns"),
        ("EXPLAIN ANALYZE SELECT 1", "source_refused", "must be one SELECT"),
        ("SHOW server_version", "source_refused", "must be one SELECT"),
        ("SELECT 1; DROP TABLE kept", "source_refused", "more than one statement"),
        ("SELECT 1; COMMIT; DROP TABLE kept", "source_refused", "more than one statement"),
        ("SELECT 1) AS q; DROP TABLE kept; --", "source_refused", "not valid SQL"),
        ("SELECT 1 /*", "source_refused", "not valid SQL"),
        ("SELECT * FROM kept FOR UPDATE", "source_refused", "it writes"),
        ("SELECT sneak()", "source_refused", "it writes"),
        ("SELECT nextval('counted')", "source_refused", "it writes"),
        ("SELECT set_config('transaction_read_only', 'off', true), sneak()", "source_refused", "transaction that reads"),
        ("SELECT $1::int", "source_refused", "parameters"),
        ("SELECT", "source_refused", "no columns"),
        ("SELECT pg_sleep(0)", "source_refused", "column `pg_sleep` is void"),
        ("SELECT 1 AS a, 2 AS \"A\"", "invalid_data", ""),
        ("SELECT pg_read_file('/etc/passwd')", "source_refused", "no permission"),
    ] {
        let error = run(&lake, &server.shared_source(), pull(query(text))).await.expect_err(text);
        let (found, public, _) = told(&error);
        assert!(found == code || code == "invalid_data", "{text}: {found}: {public}");
        assert!(public.contains(said), "{text}: {public}");
    }
    assert_eq!(server.ask("SELECT count(*) FROM kept").await, "2");
    assert_eq!(server.ask("SELECT is_called FROM counted").await, "f");
    assert_eq!(server.ask("SELECT count(*) FROM pg_class WHERE relname = 'more'").await, "0");
    assert!(lake.tables.dataset(&name("t")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_its_sqlstate_and_its_place_and_no_value() {
    let (server, lake) = (server().await, Lake::open().await);
    server.run("CREATE TABLE closed (a int); CREATE TABLE words (w text); INSERT INTO words VALUES ('canary'); GRANT SELECT ON words TO lake").await;
    for (selection, state, said, place) in [
        (table("nowhere.nothing"), "42P01", "no such table", None),
        (table("closed"), "42501", "no permission", None),
        (query("SELECT a FROM nothing"), "42P01", "no such table", Some(15)),
        (query("SELECT nope FROM words"), "42703", "no such column", Some(8)),
        (query("SELECT nope(w) FROM words"), "42883", "no such function", Some(8)),
        (query("SELEC 1"), "42601", "not valid SQL", Some(1)),
        (query("SELECT w::int AS a FROM words"), "22P02", "cannot be cast", None),
        (query("SELECT 1 / (n - 3) AS a FROM generate_series(1, 5) n"), "22012", "division by zero", None),
    ] {
        let error = run(&lake, &server.shared_source(), pull(selection.clone())).await.unwrap_err();
        let (code, public, members) = told(&error);
        assert_eq!((code.as_str(), members["sqlstate"].as_str()), ("source_refused", Some(state)), "{selection:?}: {public}");
        assert!(public.contains(said), "{selection:?}: {public}");
        assert_eq!(members.get("position").and_then(serde_json::Value::as_u64), place, "{selection:?}");
        assert!(!format!("{public}{members:?}{error:?}").contains("canary"), "{error:?}");
    }
    assert!(lake.tables.dataset(&name("t")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_without_the_password() {
    let (server, lake) = (server().await, Lake::open().await);
    let folder = tempfile::tempdir().unwrap();
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "wrong-canary\n").unwrap();
    let good = || server.source();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    for (source, said, state) in [
        (PostgresSource { password: Some(PasswordFrom::File(wrong)), ..good() }, "password or the user", Some("28P01")),
        (PostgresSource { password: None, ..good() }, "cannot be reached", None),
        (PostgresSource { user: "nobody-here".into(), ..good() }, "password or the user", Some("28P01")),
        (PostgresSource { database: "nothing".into(), ..good() }, "no such database", Some("3D000")),
        (PostgresSource { port: 1, ..good() }, "cannot be reached", None),
        (PostgresSource { host: "/nowhere".into(), ..good() }, "cannot be reached", None),
        (
            PostgresSource { port: silent_port, connect_timeout: Duration::from_millis(300), ..good() },
            "did not let us in within 300 ms",
            None,
        ),
        (
            PostgresSource { password: Some(PasswordFrom::Env("LAKEHOUSE_TEST_NOT_SET".into())), ..good() },
            "password of source `shop` could not be looked up",
            None,
        ),
        (
            PostgresSource { tls: Tls::VerifyFull { ca_file: None }, host: "localhost".into(), ..good() },
            "cannot be reached",
            None,
        ),
    ] {
        let source = Arc::new(source);
        let error = run(&lake, &source, pull(query("SELECT 1 AS a"))).await.unwrap_err();
        let (code, public, members) = told(&error);
        assert_eq!(code, "source_unavailable", "{source:?}: {public}");
        assert!(public.contains(said), "{source:?}: {public}");
        assert_eq!(members.get("sqlstate").and_then(|state| state.as_str()), state, "{source:?}");
        let all = format!("{public}{members:?}{error:?}{source:?}");
        assert!(!all.contains("canary") && !all.contains(PostgresServer::PASSWORD), "{all}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superuser_is_refused() {
    let (server, lake) = (server().await, Lake::open().await);
    server.run("CREATE ROLE almighty SUPERUSER LOGIN PASSWORD 'pw-canary-of-the-shop'").await;
    let source = Arc::new(PostgresSource { user: "almighty".into(), ..server.source() });
    let (code, public, _) = told(&run(&lake, &source, pull(query("SELECT 1 AS a"))).await.unwrap_err());
    assert!(code == "source_unavailable" && public.contains("superuser"), "{public}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_as_safe_as_its_operator_says() {
    let (server, lake) = (server().await, Lake::open().await);
    let text = "SELECT ssl::text AS tls FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let ours = || Tls::VerifyFull { ca_file: Some(server.authority()) };
    for (host, tls, expected) in [
        ("localhost", ours(), Some("true")),
        ("127.0.0.1", Tls::Require, Some("true")),
        ("localhost", Tls::Disable, Some("false")),
        ("127.0.0.1", ours(), None),
        ("localhost", Tls::VerifyFull { ca_file: None }, None),
    ] {
        let source = Arc::new(PostgresSource { host: host.into(), tls: tls.clone(), ..server.source() });
        let read = run(&lake, &source, pull(query(text))).await;
        match expected {
            Some(expected) => {
                read.unwrap_or_else(|error| panic!("{host} {tls:?}: {error:?}"));
                assert!(super::column(&lake.rows().await, "tls").contains(&expected.to_owned()), "{host} {tls:?}");
            }
            None => assert_eq!(told(&read.unwrap_err()).0, "source_unavailable", "{host} {tls:?}"),
        }
    }
    let socket = PostgresSource { host: server.socket_folder().display().to_string(), ..server.source() };
    run(&lake, &Arc::new(socket), pull(query(text))).await.unwrap_or_else(|error| panic!("{error:?}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_with_its_time_and_with_whoever_asked() {
    let server = PostgresServer::start().await;
    let lake = Lake::open().await;
    let slow = || pull(query("SELECT n, pg_sleep(0.01)::text AS v FROM generate_series(1, 100000) n"));
    let source = Arc::new(PostgresSource { statement_timeout: Duration::from_millis(300), ..server.source() });
    let (code, public, members) = told(&run(&lake, &source, slow()).await.unwrap_err());
    assert_eq!((code.as_str(), &members["sqlstate"]), ("source_timeout", &"57014".into()), "{public}");

    for tls in [Tls::Disable, Tls::Require] {
        let source = Arc::new(PostgresSource { tls, ..server.source() });
        let asking = run(&lake, &source, slow());
        tokio::select! {
            done = asking => panic!("{done:?}"),
            () = server.await_running(1) => {}
        }
        server.await_running(0).await;
    }
    assert!(lake.tables.dataset(&name("t")).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_leaves_nothing() {
    let server = PostgresServer::start().await;
    let lake = Lake::open().await;
    let source = server.shared_source();
    run(&lake, &source, pull(query("SELECT 1 AS n, 'x' AS v"))).await.unwrap();
    let endless = pull(query("SELECT generate_series(1, 1000000000) AS n, repeat('x', 1000) AS v"));
    let (read, ()) = tokio::join!(run(&lake, &source, endless), async {
        server.await_running(1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.crash();
    });
    let error = read.unwrap_err();
    assert!(matches!(error, IngestError::Source(_)), "{error:?}");
    let (code, public, _) = told(&error);
    assert!(code == "source_unavailable" && public.contains("went away"), "{public}");
    assert_eq!(lake.rows().await.num_rows(), 1);
    assert_eq!(told(&run(&lake, &source, pull(query("SELECT 1 AS n"))).await.unwrap_err()).0, "source_unavailable");
}
