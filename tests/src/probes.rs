//! T-24: whatever is asked through a view, nothing hidden is learnt, by result or by error.
//!
//! **Invariant**: two lakes that differ only in what the view hides give the same answer to every probe. The same probes without
//! the barrier, as an admin over a plain subquery, must tell the two apart: else they would prove nothing.

use serde_json::{Value, json};

use crate::{
    answer::Answer,
    caller::Caller,
    lake::{Lake, Options},
};

const ROWS: u64 = 400;

/// Visible rows are the same in both worlds; hidden rows and redacted values are not.
fn rows(world: u64) -> String {
    let mut rows = String::new();
    for row in 0..ROWS {
        let hidden = row % 4 == 3;
        // A number in one world, a text in the other: a cast tells them apart, if it is ever applied.
        let secret = if world == 0 { format!("{}", 90_000 + row) } else { format!("s-{}-x", 50_000 + row * 3) };
        let pay = if world == 0 { row * 7 % 100 } else { 500 + row % 13 };
        if hidden && world == 1 && row % 8 == 3 {
            continue;
        }
        let n = if hidden && world == 1 { 10_000 + row } else { row };
        let grp = if hidden { "hidden" } else { "shown" };
        // As JSON, so that `secret` is text in both worlds.
        rows +=
            &format!("{}\n", json!({ "n": n, "visible": format!("v{}", row % 10), "secret": secret, "pay": pay, "grp": grp }));
    }
    rows
}

/// Through the view, `{v}` its name. `secret` and `pay` are nulled, rows of the group `hidden` are filtered.
const PROBES: [&str; 46] = [
    "SELECT count(*) AS n FROM {v}",
    "SELECT n, visible FROM {v} ORDER BY n",
    "SELECT min(n) AS a, max(n) AS b, sum(n) AS c FROM {v}",
    "SELECT CAST(secret AS INT) AS x FROM {v}",
    "SELECT n FROM {v} WHERE CAST(secret AS INT) > 0",
    "SELECT n FROM {v} WHERE CAST(secret AS BIGINT) > 90010",
    "SELECT count(*) AS n FROM {v} WHERE TRY_CAST(secret AS INT) IS NOT NULL",
    "SELECT n FROM {v} WHERE 1 / (n - 7) > 0",
    "SELECT n FROM {v} WHERE 1 / (n - 3) > 0",
    "SELECT n FROM {v} WHERE 1 / (n - 10003) > 0",
    "SELECT 1 / (n - 3) AS x FROM {v}",
    "SELECT n FROM {v} WHERE secret LIKE '9%'",
    "SELECT n FROM {v} WHERE secret LIKE 's-%'",
    "SELECT count(*) AS n FROM {v} WHERE secret ~ '^[0-9]+$'",
    "SELECT n FROM {v} WHERE regexp_like(secret, '9.*')",
    "SELECT n FROM {v} WHERE secret = '90000'",
    "SELECT n FROM {v} WHERE secret IN ('90000', '90001', 's-50000-x')",
    "SELECT n FROM {v} WHERE secret > 'a' ORDER BY n",
    "SELECT n FROM {v} ORDER BY secret, n",
    "SELECT n FROM {v} ORDER BY secret DESC, n LIMIT 3",
    "SELECT min(secret) AS a, max(secret) AS b FROM {v}",
    "SELECT min(pay) AS a, max(pay) AS b, sum(pay) AS c FROM {v}",
    "SELECT n FROM {v} WHERE pay > 400",
    "SELECT n FROM {v} WHERE pay IS NOT NULL",
    "SELECT count(pay) AS n FROM {v}",
    "SELECT 100 / pay AS x FROM {v}",
    "SELECT count(DISTINCT secret) AS n FROM {v}",
    "SELECT secret, count(*) AS n FROM {v} GROUP BY secret ORDER BY secret",
    "SELECT length(secret) AS x, count(*) AS n FROM {v} GROUP BY 1 ORDER BY 1",
    "SELECT substr(secret, 1, 1) AS x, count(*) AS n FROM {v} GROUP BY 1 ORDER BY 1",
    "SELECT approx_distinct(n) AS n FROM {v}",
    "SELECT count(*) AS n FROM {v} a JOIN {v} b ON a.secret = b.secret",
    "SELECT count(*) AS n FROM {v} WHERE grp = 'hidden'",
    "SELECT n FROM {v} WHERE n = 3",
    "SELECT n FROM {v} WHERE n >= 10000",
    "SELECT n FROM {v} WHERE n % 4 = 3",
    "SELECT CASE WHEN count(*) > 300 THEN 1 / 0 ELSE 0 END AS x FROM {v}",
    "SELECT row_number() OVER (ORDER BY secret) AS r, n FROM {v} ORDER BY n LIMIT 5",
    "SELECT lag(n) OVER (ORDER BY n) AS p, n FROM {v} ORDER BY n",
    "SELECT sum(n) FILTER (WHERE secret LIKE '9%') AS x FROM {v}",
    "SELECT n FROM {v} LIMIT 3 OFFSET 290",
    "SELECT arrow_cast(secret, 'Int32') AS x FROM {v}",
    "SELECT n FROM {v} WHERE secret::INT > 0 AND grp = 'hidden'",
    "SELECT n FROM {v} WHERE (grp = 'hidden' AND CAST(secret AS INT) / 0 > 1) OR n = 1",
    "SELECT to_timestamp(secret) AS x FROM {v}",
    "SELECT sqrt(CAST(secret AS DOUBLE)) AS x FROM {v} WHERE n % 4 = 3",
];

/// What says how rows are made rather than what they are; must not differ either.
const PLANS: [&str; 7] = [
    "EXPLAIN SELECT n FROM {v} WHERE n > 3",
    "EXPLAIN VERBOSE SELECT n FROM {v} WHERE secret = '90000'",
    "EXPLAIN SELECT count(*) AS n FROM {v}",
    "EXPLAIN SELECT min(n), max(n) FROM {v}",
    "DESCRIBE {v}",
    "SHOW COLUMNS FROM {v}",
    "EXPLAIN FORMAT INDENT SELECT secret FROM {v} ORDER BY secret",
];

async fn worlds() -> [(Lake, Caller); 2] {
    let left = Lake::start().await;
    let right = left.start_beside(Options::default());
    [populated(left, 0).await, populated(right, 1).await]
}

async fn populated(lake: Lake, number: u64) -> (Lake, Caller) {
    lake.ingest_with("dataset=base&format=ndjson", rows(number)).await.expect_ok();
    let view = json!({
        "name": "v",
        "base_dataset": "base",
        "columns": ["n", "visible", "secret", "pay", "grp"],
        "row_filter": "grp <> 'hidden'",
        // A mask would show how long a value is, which differs here.
        "column_redactions": { "secret": "null", "pay": "null" },
    });
    lake.post("/catalog/views", view).await.expect_status(201);
    let reader = lake.reader("v").await;
    (lake, reader)
}

/// What an answer tells, without what is new in every answer.
fn told(answer: &Answer) -> Value {
    let mut json = answer.json();
    if let Some(members) = json.as_object_mut() {
        members.remove("request_id");
        members.remove("duration_ms");
    }
    json!({ "status": answer.status, "body": json })
}

#[tokio::test]
async fn two_worlds_that_differ_in_what_is_hidden_look_alike_through_the_view() {
    let [(left, left_reader), (right, right_reader)] = worlds().await;
    let mut told_apart = 0;
    for probe in PROBES.iter().chain(&PLANS) {
        let sql = probe.replace("{v}", "v");
        let (a, b) = tokio::join!(left_reader.sql(&sql), right_reader.sql(&sql));
        assert_eq!(told(&a), told(&b), "{sql}");
        for hidden in ["90003", "s-50009-x", "10003"] {
            assert!(!a.text().contains(hidden) && !b.text().contains(hidden) || sql.contains(hidden), "{sql}: {}", a.text());
        }
        // The same without the barrier: a subquery that shows what the view shows, open to the optimizer.
        let open = "(SELECT n, visible, secret, pay, grp FROM base WHERE grp <> 'hidden')";
        let bare = probe.replace("{v} a", &format!("{open} a")).replace("{v} b", &format!("{open} b")).replace("{v}", open);
        let (a, b) = tokio::join!(left.sql(&bare), right.sql(&bare));
        told_apart += usize::from(told(&a) != told(&b));
    }
    assert!(told_apart >= 15, "the probes would find a leak: {told_apart} told the worlds apart without the barrier");
    assert!(!left.log().contains("90003") && !right.log().contains("s-50009-x"), "nothing of a row in the log");
}

/// A reader sees neither the filter nor files nor row counts in a plan.
#[tokio::test]
async fn a_plan_shows_nothing_of_the_inside() {
    let (lake, reader) = populated(Lake::start().await, 0).await;
    for sql in ["EXPLAIN SELECT n FROM v", "EXPLAIN VERBOSE SELECT n FROM v", "EXPLAIN ANALYZE SELECT n FROM v"] {
        let answer = reader.sql(sql).await;
        let shown = answer.text();
        for inside in ["hidden", ".parquet", "num_rows", "file_groups", "datasets/"] {
            assert!(!shown.contains(inside), "{sql} shows {inside}: {shown}");
        }
    }
    drop(lake);
}

/// Probes made up by a seeded generator: predicates over every column, in every order.
#[tokio::test]
async fn random_predicates_learn_nothing_either() {
    let [(_left, left), (_right, right)] = worlds().await;
    let mut seed: u64 = 0x5eed;
    let mut dice = |sides: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % sides
    };
    let atoms = [
        "CAST(secret AS INT) > 0",
        "secret LIKE '9%'",
        "1 / (n - 3) >= 0",
        "1 / (n - 7) >= 0",
        "pay > 50",
        "grp = 'hidden'",
        "grp <> 'hidden'",
        "length(secret) = 5",
        "n BETWEEN 2 AND 40",
        "CAST(visible AS INT) = 1",
        "n IN (3, 7, 10003)",
        "secret IS NULL",
        "coalesce(pay, 1 / (n - 11)) > 0",
    ];
    let outputs = ["count(*) AS n", "min(n) AS a, max(n) AS b", "sum(n) AS s", "max(secret) AS m", "avg(pay) AS p"];
    for _ in 0..120 {
        let (a, b, c) = (atoms[dice(atoms.len())], atoms[dice(atoms.len())], atoms[dice(atoms.len())]);
        let predicate = match dice(4) {
            0 => format!("{a} AND {b}"),
            1 => format!("{a} OR ({b} AND {c})"),
            2 => format!("NOT ({a}) AND ({b} OR {c})"),
            _ => format!("CASE WHEN {a} THEN {b} ELSE {c} END"),
        };
        let sql = format!("SELECT {} FROM v WHERE {predicate}", outputs[dice(outputs.len())]);
        let (a, b) = tokio::join!(left.sql(&sql), right.sql(&sql));
        assert_eq!(told(&a), told(&b), "{sql}");
    }
}
