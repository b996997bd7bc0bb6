//! T-24: nothing that a caller can ask tells of hidden rows or raw values; and the same questions do tell, once the barrier is out.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
use lakehouse_types::{Code, ErrorKind, Fault};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

mod bytes; // what answers are written from
mod chains; // the same through views upon views
mod deals; // the order of the rows that are to be seen
mod filters; // what may be one

use super::{Governed, Hidden, OutputColumn, RowFilter, RowRedactor, RowRule, Upper};
use crate::harness::{Lake, cpu, table, template};

/// What only hidden rows and raw values contain.
const MARK: &str = "HUSH";

#[derive(Debug, Clone)]
struct Row {
    id: i64,
    grp: &'static str,
    note: String,
    n: i64,
    secret: String,
}

fn row(id: i64, grp: &'static str, note: impl Into<String>, n: i64, secret: impl Into<String>) -> Row {
    Row { id, grp, note: note.into(), n, secret: secret.into() }
}

fn batch(rows: &[Row]) -> RecordBatch {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let schema = Schema::new(vec![
        field("id", DataType::Int64),
        field("grp", DataType::Utf8),
        field("note", DataType::Utf8),
        field("n", DataType::Int64),
        field("secret", DataType::Utf8),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.id))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.grp))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.note))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.n))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.secret))),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

#[derive(Debug)]
struct Buried(BTreeSet<i64>);

impl Hidden for Buried {
    fn keep(&self, keys: &ArrayRef) -> BooleanArray {
        keys.as_primitive::<Int64Type>().iter().map(|key| Some(key.is_none_or(|key| !self.0.contains(&key)))).collect()
    }
}

#[derive(Debug, Clone, Copy)]
enum Fake {
    Null,
    Stars,
    Broken,
    /// Stars what it is given, and breaks at [`MARK`].
    Picky,
}

#[derive(Debug, thiserror::Error)]
#[error("the rule broke")]
struct Broke;

impl Fault for Broke {
    fn code(&self) -> Code {
        Code::PluginFailed
    }

    fn public(&self) -> String {
        "plugin `fake@1` failed".into()
    }
}

impl RowRule for Fake {
    fn open(&self) -> Box<dyn RowRedactor> {
        Box::new(*self)
    }
}

#[async_trait]
impl RowRedactor for Fake {
    async fn redact(&mut self, values: &ArrayRef) -> Result<ArrayRef, Arc<dyn Fault>> {
        match self {
            Self::Null => Ok(new_null_array(values.data_type(), values.len())),
            Self::Stars => {
                Ok(Arc::new(values.as_string::<i32>().iter().map(|value| value.map(|_| "***")).collect::<StringArray>()))
            }
            Self::Broken => Err(Arc::new(Broke)),
            Self::Picky if values.as_string::<i32>().iter().flatten().any(|value| value.contains(MARK)) => Err(Arc::new(Broke)),
            Self::Picky => Self::Stars.redact(values).await,
        }
    }
}

/// `v`: hidden keys 900 and above, rows of group `x` filtered, `n` nulled, `secret` starred.
fn governed(base: Arc<dyn TableProvider>, filter: &str, secret: Fake) -> Arc<dyn TableProvider> {
    rules(base, filter, secret).into_provider()
}

fn rules(base: Arc<dyn TableProvider>, filter: &str, secret: Fake) -> Governed {
    let schema = base.schema();
    let columns = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| OutputColumn {
            base: at,
            field: Arc::clone(field),
            rule: match field.name().as_str() {
                "n" => Some(Arc::new(Fake::Null) as Arc<dyn RowRule>),
                "secret" => Some(Arc::new(secret) as Arc<dyn RowRule>),
                _ => None,
            },
        })
        .collect();
    let filter = RowFilter::parse(filter, &schema, template().bare()).unwrap();
    let hidden: Arc<dyn Hidden> = Arc::new(Buried((900..1_000).collect()));
    Governed { name: "v".into(), base, columns, filter: Some(filter), hidden: Some((0, hidden)) }
}

fn behind_the_barrier(rows: &[Vec<Row>]) -> Lake {
    let base = table(rows.iter().map(|rows| batch(rows)).collect());
    // What tests beside these take of a memory that is shared could tell the two apart.
    Lake::default().with("v", governed(base, "grp <> 'x'", Fake::Stars)).apart(256 << 20)
}

/// The same definition as a plain SQL view, which the optimizer opens.
async fn without_the_barrier(rows: &[Vec<Row>]) -> Lake {
    let context = SessionContext::new();
    context.register_table("base", table(rows.iter().map(|rows| batch(rows)).collect())).unwrap();
    let view = context
        .sql(
            "SELECT id, grp, note, CASE WHEN id IS NULL THEN n END AS n, CASE WHEN secret IS NULL THEN NULL ELSE '***' END AS secret \
             FROM base WHERE (id < 900 OR id >= 1000) AND grp <> 'x'",
        )
        .await
        .unwrap()
        .into_view();
    Lake::default().with("v", view).apart(256 << 20)
}

fn visible() -> [Vec<Row>; 2] {
    [
        (1..6).map(|id| row(id, "a", format!("{}", id * 11), 0, "")).collect(),
        (6..12).map(|id| row(id, "b", format!("{}", id * 7), 0, "")).collect(),
    ]
}

/// Two databases that look the same through the view: they differ in the raw values of redacted columns, and in what the filtered
/// and the tombstoned rows hold and how many they are.
fn twins() -> [Vec<Vec<Row>>; 2] {
    let [first, second] = visible();
    let secret = |rows: &[Row], n: i64, mark: &str| -> Vec<Row> {
        rows.iter().map(|one| Row { n: n + one.id, secret: format!("{mark}{}", one.id), ..one.clone() }).collect()
    };
    let mut one = vec![secret(&first, 0, MARK), secret(&second, 0, MARK)];
    one[0].extend([row(50, "x", MARK, 7, MARK), row(900, "a", format!("{MARK}-buried"), 7, MARK)]);
    one[1].extend([row(13, "x", "5", 7, "5"), row(7, "x", "77", 0, "0"), row(-1, "x", "", i64::MAX, "")]);
    let mut other = vec![secret(&first, 1_000, "1"), secret(&second, -7, "2")];
    other[0].extend([row(60, "x", "1", 1, "1"), row(901, "a", "2", 2, "2")]);
    [one, other]
}

/// What a caller learns: the rows in some order, or the code of an error.
async fn learnt(lake: &Lake, sql: &str) -> Result<Vec<String>, Code> {
    match lake.text(sql).await {
        Ok(text) => {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            Ok(lines)
        }
        Err(error) => {
            let told = format!("{} {error} {error:?}", error.public());
            assert!(!told.contains(MARK), "{sql}: {told}");
            Err(error.code())
        }
    }
}

const PROBES: &[&str] = &[
    "CAST(note AS INT) > 0",
    "CAST(secret AS INT) > 0",
    "TRY_CAST(note AS INT) IS NULL",
    "1 / (n - 7) > 0",
    "1 / (id - 50) < 5",
    "1 / (id - 900) < 5",
    "n * 9223372036854775807 > 0",
    "n = 7",
    "n IS NOT NULL",
    "secret LIKE 'HUSH%'",
    "secret ~ '^H'",
    "regexp_like(note, '^HUSH')",
    "note LIKE '%HUSH%'",
    "secret >= 'H'",
    "substr(secret, 1, 1) = 'H'",
    "length(secret) > 3",
    "grp = 'x'",
    "id >= 900",
    "id = 50",
    "id BETWEEN 40 AND 70",
    "id IN (50, 60, 900, 901)",
    "CASE WHEN grp = 'x' THEN 1 / (id - id) > 0 ELSE true END",
    "CASE WHEN n = 7 THEN 1 / 0 > 0 ELSE id > 3 END",
    "CAST(note AS DATE) IS NOT NULL",
    "to_timestamp(note) IS NOT NULL",
    "abs(id - 9223372036854775807) > 0",
    "repeat(note, id) <> ''",
    "id > (SELECT max(n) FROM v)",
    "id IN (SELECT n FROM v)",
    "EXISTS (SELECT 1 FROM v w WHERE w.n = 7 AND w.id = v.id)",
    "arrow_typeof(secret) = 'Utf8'",
    "md5(secret) = 'x'",
    "coalesce(n, 0) = 0",
];

const SHAPES: &[&str] = &[
    "SELECT count(*) FROM v WHERE {}",
    "SELECT id, grp, n, secret FROM v WHERE {} ORDER BY id LIMIT 4",
    "SELECT min(id), max(id), min(secret), max(secret), min(n), max(n), max(note) FROM v WHERE {}",
    "SELECT grp, count(*), count(n), count(DISTINCT secret) FROM v WHERE {} GROUP BY grp",
    "SELECT id FROM v WHERE {} ORDER BY secret, n, id",
    "SELECT a.id FROM v a JOIN v b ON a.id = b.id WHERE a.id IN (SELECT id FROM v WHERE {})",
    "SELECT id, CASE WHEN {} THEN 1 ELSE 0 END FROM v ORDER BY id",
    "SELECT sum(id) OVER (ORDER BY id) FROM v WHERE {}",
    "WITH w AS (SELECT * FROM v WHERE {}) SELECT count(*) FROM w",
    "SELECT id FROM v WHERE {} UNION SELECT id FROM v WHERE NOT ({})",
    "EXPLAIN SELECT count(*) FROM v WHERE {}",
    "SELECT approx_distinct(secret), bool_or({}) FROM v",
];

fn question() -> impl Strategy<Value = String> {
    let probe = proptest::sample::select(PROBES).prop_map(str::to_owned);
    let predicate = probe.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) AND ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) OR ({b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    });
    (proptest::sample::select(SHAPES), predicate).prop_map(|(shape, predicate)| shape.replace("{}", &predicate))
}

#[test]
fn two_databases_that_differ_only_in_what_is_hidden_cannot_be_told_apart() {
    let [one, other] = twins().map(|rows| behind_the_barrier(&rows));
    cpu().block_on(async {
        for probe in PROBES {
            for shape in SHAPES {
                let sql = shape.replace("{}", probe);
                assert_eq!(learnt(&one, &sql).await, learnt(&other, &sql).await, "{sql}");
            }
        }
    });
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&question(), |sql| {
        let (a, b) = cpu().block_on(async { (learnt(&one, &sql).await, learnt(&other, &sql).await) });
        prop_assert_eq!(a, b, "{}", sql);
        Ok(())
    });
    ran.unwrap();
}

/// The test above can fail: through a plain view the same questions tell the databases apart.
#[test]
fn with_the_barrier_out_the_same_questions_find_a_leak() {
    let [one, other] = twins();
    let (one, other) = cpu().block_on(async { (without_the_barrier(&one).await, without_the_barrier(&other).await) });
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let ran = runner.run(&question(), |sql| {
        let (a, b) = cpu().block_on(async { (learnt(&one, &sql).await, learnt(&other, &sql).await) });
        prop_assert_eq!(a, b, "{}", sql);
        Ok(())
    });
    assert!(ran.is_err(), "no leak was found through a plain view: the questions are too tame");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_visible_is_answered_in_full() {
    let [one, _] = twins().map(|rows| behind_the_barrier(&rows));
    for (sql, expected) in [
        ("SELECT count(*) FROM v", "11"),
        ("SELECT count(*), count(n), count(secret) FROM v", "11 | 0 | 11"),
        ("SELECT id, secret, n FROM v WHERE id = 7", "7 | *** | NULL"),
        ("SELECT id FROM v WHERE id > 9 ORDER BY id DESC", "11\n10"),
        ("SELECT secret, count(*) FROM v GROUP BY secret", "*** | 11"),
        ("SELECT min(id), max(id), sum(CAST(note AS INT)) FROM v", "1 | 11 | 522"),
        ("SELECT count(*) FROM v a JOIN v b ON a.grp = b.grp", "61"),
        ("SELECT id FROM v ORDER BY id LIMIT 2 OFFSET 3", "4\n5"),
        ("SELECT count(*) FROM (SELECT 1 FROM v LIMIT 3)", "3"),
    ] {
        assert_eq!(one.text(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")), expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_the_relation_and_nothing_of_its_inside() {
    let [one, _] = twins().map(|rows| behind_the_barrier(&rows));
    for admin in [false, true] {
        for sql in
            ["EXPLAIN SELECT id FROM v WHERE id = 50 AND secret = 'q'", "EXPLAIN ANALYZE SELECT count(*) FROM v WHERE id < 99"]
        {
            let answer = one.start_as(sql, &[], Duration::from_secs(5), 100, admin).await;
            if sql.contains("ANALYZE") && !admin {
                assert_eq!(answer.unwrap_err().code(), Code::StatementRefused);
                continue;
            }
            let batches: Vec<RecordBatch> = futures::TryStreamExt::try_collect(answer.unwrap().batches).await.unwrap();
            let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
            assert!(text.contains("GovernExec: relation=v"), "{text}");
            for inside in ["DataSource", "grp", "Buried", "'x'", "Memory", "Repartition: partitioning=Round"] {
                assert!(!text.contains(inside), "{inside}: {text}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_breaks_releases_nothing() {
    let rows = twins();
    let base = table(rows[0].iter().map(|rows| batch(rows)).collect());
    let lake = Lake::default().with("v", governed(base, "grp <> 'x'", Fake::Broken));
    let error = lake.text("SELECT id, secret FROM v").await.unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::PluginFailed, ErrorKind::PluginFault));
    assert!(!format!("{error:?} {}", error.public()).contains(MARK));
    // A column that nobody asks for is not redacted, and its rule does not run.
    assert_eq!(lake.text("SELECT count(*) FROM v").await.unwrap(), "11");
}

/// An error would tell where the bad row is: by a narrower question, or by a LIMIT that stops before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_on_which_the_filter_fails_is_not_kept_whatever_is_asked() {
    let rows = twins();
    let base = table(rows[0].iter().map(|rows| batch(rows)).collect());
    // Row 7 divides by zero; so does a filtered one, and a buried one.
    let lake = Lake::default().with("v", governed(base, "grp <> 'x' AND 10 / (n - 7) <> 99", Fake::Stars));
    for (narrow, count) in [("true", 10), ("id = 1", 1), ("id = 7", 0), ("id = 50", 0), ("id < 0", 0), ("grp = 'b'", 5)] {
        let sql = format!("SELECT count(*) FROM v WHERE {narrow}");
        assert_eq!(lake.text(&sql).await.unwrap(), count.to_string(), "{narrow}");
    }
    for limit in 0..12 {
        let sql = format!("SELECT count(*) FROM (SELECT id FROM v LIMIT {limit})");
        assert_eq!(lake.text(&sql).await.unwrap(), limit.min(10).to_string(), "{limit}");
    }
    assert_eq!(lake.text("SELECT id FROM v WHERE id BETWEEN 6 AND 8 ORDER BY id").await.unwrap(), "6\n8");
}
