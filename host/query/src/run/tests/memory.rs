//! What a query pays for: rows that are kept, repeated and built.

use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use lakehouse_types::{Code, Fault};
use serde_json::json;

use super::numbers;

#[tokio::test(flavor = "multi_thread")]
async fn what_buffers_pays_for_its_memory() {
    let lake = numbers(100).apart(256 << 20);
    for sql in [
        "SELECT sum(a.value) OVER () FROM range(9000000) a, range(9000000) b",
        "SELECT t, sum(value) OVER (ROWS BETWEEN 1000000000 PRECEDING AND CURRENT ROW) \
         FROM (SELECT value, repeat('x', 5000 + value % 2) AS t FROM range(9000000))",
        "SELECT unnest(range(1000000)), range(1000)",
        "SELECT unnest(range(1000000)), s FROM (SELECT repeat('x', 10000 + n) AS s FROM t LIMIT 1)",
    ] {
        let error = lake.text(sql).await.unwrap_err();
        assert_eq!(error.code(), Code::MemoryExceeded, "{sql}: {error:?}");
    }
    for (sql, expected) in [
        ("SELECT max(s) FROM (SELECT sum(value) OVER () AS s FROM range(100000))", "4999950000"),
        (
            "SELECT max(s) FROM (SELECT sum(value) OVER (ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM range(100000))",
            "299994",
        ),
        ("SELECT max(s) FROM (SELECT sum(n) OVER (PARTITION BY n / 50 ORDER BY n) AS s FROM t)", "18725"),
        ("SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY n) AS r FROM t)", "400"),
        ("SELECT count(*) FROM (SELECT unnest(range(n % 5)), s FROM t)", "800"),
    ] {
        assert_eq!(lake.text(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")), expected, "{sql}");
    }
}

/// As plain text they would be 41 GB, and 300 KB for a batch of rows more than Arrow can count.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_is_there_once_however_many_rows_get_it() {
    let lake = numbers(100).apart(256 << 20);
    let ask = async |sql: &str, params: &[serde_json::Value]| {
        let answer = lake.start(sql, params, Duration::from_secs(20), u64::MAX).await?;
        answer.batches.try_collect::<Vec<RecordBatch>>().await
    };
    let columns = (1..=20).map(|n| format!("$1 AS a{n}")).collect::<Vec<_>>().join(", ");
    for bytes in [250_000, 300_000] {
        let text = "x".repeat(bytes);
        for sql in [
            format!("SELECT {columns} FROM range(8192)"),
            "SELECT CASE WHEN value % 2 = 0 THEN $1 ELSE upper($1) END FROM range(8192)".to_owned(),
            "SELECT coalesce(NULLIF(value::text, '7'), $1) FROM range(8192)".to_owned(),
            "SELECT a.s, value FROM (SELECT $1 AS s) a CROSS JOIN range(8192)".to_owned(),
            "SELECT $1 FROM range(4096) UNION ALL SELECT s FROM t, range(4096) LIMIT 8192".to_owned(),
        ] {
            let batches = ask(&sql, &[json!(text)]).await.unwrap_or_else(|error| panic!("{}: {error:?}", &sql[..40]));
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(rows, 8192, "{}", &sql[..40]);
            let held: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
            assert!(held < 64 << 20, "{}: {held}", &sql[..40]);
        }
        let equal = "SELECT count(*) AS n FROM t WHERE s = $1 OR s LIKE $1 OR s IN ($1, 'SECRET-7')";
        let counted = ask(equal, &[json!(text)]).await.unwrap();
        assert_eq!(counted[0].column(0).as_primitive::<Int64Type>().value(0), 1);
    }
    let written = format!("SELECT '{}' AS a, s FROM t", "y".repeat(200_000));
    let batches = ask(&written, &[]).await.unwrap();
    assert!(batches.iter().map(RecordBatch::get_array_memory_size).sum::<usize>() < 4 << 20);
}

/// A join copies lists and plain text into each row that it gives out.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_row_is_not_repeated_for_free() {
    let lake = numbers(100).apart(256 << 20);
    let long = "(SELECT max(repeat('x', 1000000 + value)) AS v, 0 AS k FROM range(1)) a";
    let list = "(SELECT array_agg(value) AS v, 0 AS k FROM range(200000)) a";
    for row in [long, list] {
        for join in [
            format!("{row} CROSS JOIN range(100000) b"),
            format!("{row} JOIN range(100000) b ON a.k = b.value % 1"),
            format!("range(100000) b LEFT JOIN {row} ON a.k = b.value % 1"),
            format!("{row} JOIN range(100000) b ON a.k <= b.value"),
        ] {
            let error = lake.text(&format!("SELECT v, b.value FROM {join}")).await.unwrap_err();
            assert_eq!(error.code(), Code::MemoryExceeded, "{join}: {error:?}");
        }
    }
    for (sql, expected) in [
        ("SELECT count(*), max(length(v)) FROM (SELECT repeat('x', 10000) AS v) a CROSS JOIN range(1000)", "1000 | 10000"),
        ("SELECT count(*), max(cardinality(v)) FROM (SELECT array_agg(n) AS v FROM t) a CROSS JOIN range(1000)", "1000 | 400"),
        ("SELECT count(v) FROM (SELECT n, array_agg(s) AS v FROM t GROUP BY n) a JOIN t USING (n)", "400"),
    ] {
        assert_eq!(lake.text(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")), expected, "{sql}");
    }
}

/// Its left side is spilled, which is to execute it a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_nested_loop_join_beyond_memory_misses_no_row() {
    let lake = numbers(1_000).apart(8 << 20);
    let sql = "SELECT count(*), count(DISTINCT a.n), max(length(r)) FROM \
               (SELECT n, repeat(s, 300) AS r FROM t) a JOIN (SELECT value AS m FROM range(4000)) b ON a.n < b.m AND b.m < a.n + 3";
    assert_eq!(lake.text(sql).await.unwrap(), "7997 | 3999 | 3300");
}
