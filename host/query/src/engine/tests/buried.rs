//! Rows under tombstones are gone, however a statement reads.

use lakehouse_types::ColumnName;
use serde_json::json;

use super::{Host, admin, dataset, stamp};

#[tokio::test(flavor = "multi_thread")]
async fn buried_rows_are_gone_from_the_table_and_its_views_but_not_from_raw() {
    let host = Host::open().await;
    let id = ColumnName::new("id").unwrap();
    host.tables.bury(&stamp("ada"), &dataset("people"), &id, vec![json!(20), json!(3)], None, "asked".into()).await.unwrap();
    for (sql, expected) in [
        ("SELECT count(*), min(id), max(id) FROM people", "98 | 0 | 99"),
        ("SELECT count(*) FROM people WHERE id IN (3, 20, 21)", "1"),
        ("SELECT count(*) FROM adults", "81"),
        ("SELECT count(*) FROM named WHERE id = 3", "0"),
        ("SELECT name FROM named WHERE id = 4", "name 4"),
        ("SELECT count(*) FROM __raw__people", "100"),
        ("SELECT count(*) FROM people a JOIN named b ON a.id = b.id", "98"),
    ] {
        assert_eq!(host.text(&admin(), sql).await.unwrap(), expected, "{sql}");
    }
}

/// Each step of the recursion reads the relation anew, from its first row to its last.
#[tokio::test(flavor = "multi_thread")]
async fn a_recursive_query_reads_a_governed_relation_in_every_step() {
    let host = Host::open().await;
    let id = ColumnName::new("id").unwrap();
    host.tables.bury(&stamp("ada"), &dataset("people"), &id, vec![json!(20), json!(3)], None, "asked".into()).await.unwrap();
    let chain = |relation: &str, from: i64, steps: i64| {
        format!(
            "WITH RECURSIVE r AS (SELECT id, 0 AS depth FROM {relation} WHERE id = {from} \
             UNION ALL SELECT p.id, r.depth + 1 FROM {relation} p JOIN r ON p.id = r.id + 1 WHERE r.depth < {steps}) \
             SELECT count(*), max(id), max(depth) FROM r"
        )
    };
    for (relation, from, steps, expected) in [
        ("people", 4, 3, "4 | 7 | 3"),
        ("people", 0, 9, "3 | 2 | 2"),
        ("adults", 30, 3, "4 | 33 | 3"),
        ("adults", 18, 9, "2 | 19 | 1"),
        ("named", 40, 3, "4 | 43 | 3"),
        ("__raw__people", 18, 3, "4 | 21 | 3"),
    ] {
        let sql = chain(relation, from, steps);
        let answer = host.text(&admin(), &sql).await.unwrap_or_else(|error| panic!("{relation}: {error:?}"));
        assert_eq!(answer, expected, "{relation} from {from}");
    }
}
