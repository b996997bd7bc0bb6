//! What is remembered of queries, and how one is ended.

use lakehouse_types::QueryId;

use super::*;
use crate::{QueryState, Started};

/// Takes long before its first row.
const LONG: &str =
    "SELECT count(*) FROM people a, people b, people c, people d, people e WHERE a.name || b.name = c.name || d.name || e.name";

async fn states(host: &Host, caller: &Caller) -> String {
    host.text(caller, "SELECT state, code, statement, rows FROM system.queries WHERE state <> 'running'").await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_is_remembered_without_what_it_says_of_anybody() {
    let host = Host::open().await;
    let rita = reader(json!([{"view": "named", "verbs": ["read"]}]));
    host.text(&rita, "SELECT id FROM named WHERE name = 'name 3' -- Ana").await.unwrap();
    host.text(&rita, "SELECT id FROM named WHERE nome = 'Ana'").await.unwrap_err();
    host.text(&rita, "SELECT id FROM Ana").await.unwrap_err();
    host.text(&rita, "SELECT CAST(name AS INT) FROM named").await.unwrap_err();
    // It fails for another reason before its words are looked at.
    let broken = reader(json!([{"view": "masked", "verbs": ["read"]}]));
    host.text(&broken, "SELECT id FROM masked WHERE name = Ana").await.unwrap_err();
    host.text(&admin(), "SELECT 1").await.unwrap();
    let own = "done |  | SELECT id FROM named WHERE name = ? | 1\n\
               failed | unknown_column |  | 0\n\
               failed | unknown_table |  | 0\n\
               failed | query_failed | SELECT CAST(name AS INT) FROM named | 0\n\
               failed | unresolved_rule |  | 0";
    assert_eq!(states(&host, &rita).await, own);
    let all = states(&host, &admin()).await;
    assert!(all.starts_with(own) && all.contains("done |  | SELECT ? | 1"), "{all}");
    let count = "SELECT count(*) FROM system.queries WHERE state = 'running' AND actor = 'rita'";
    assert_eq!(host.text(&rita, count).await.unwrap(), "1", "itself");
    assert!(host.engine.running().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_cancelled_ends_at_once_and_says_so() {
    let host = Arc::new(Host::open().await);
    let working = tokio::spawn({
        let host = Arc::clone(&host);
        async move { host.text(&admin(), LONG).await }
    });
    let running = loop {
        if let [running] = host.engine.running().as_slice() {
            break running.clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    assert_eq!((running.state, running.rows), (QueryState::Running, 0));
    host.engine.cancel(&running.id);
    let error = working.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Cancelled, "{error:?}");
    let ended = host.engine.record(&running.id).unwrap();
    assert_eq!((ended.state, ended.code), (QueryState::Cancelled, Some(Code::Cancelled)));
    host.engine.cancel(&running.id);
    assert!(host.engine.record(&QueryId::fresh()).is_none());

    // One whose rows are on their way.
    let request = |sql: &str| QueryRequest { sql: sql.to_owned(), ..QueryRequest::default() };
    let Started { id, mut answer } =
        host.engine.query(&admin(), request("SELECT a.id FROM people a, people b, people c")).await.unwrap();
    answer.batches.try_next().await.unwrap().expect("rows");
    host.engine.cancel(&id);
    let rest = answer.batches.try_collect::<Vec<_>>().await;
    assert_eq!(rest.unwrap_err().code(), Code::Cancelled);
    let ended = host.engine.record(&id).unwrap();
    assert!(ended.state == QueryState::Cancelled && ended.rows > 0, "{ended:?}");

    // One that its client leaves.
    let Started { id, answer } =
        host.engine.query(&admin(), request("SELECT a.id FROM people a, people b, people c")).await.unwrap();
    drop(answer);
    assert_eq!(host.engine.record(&id).unwrap().state, QueryState::Abandoned);
}
