//! T-23, the row limit, what happens to errors and to those who leave.

mod memory;

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use lakehouse_types::{Code, Fault};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

use super::{Bounds, start};
use crate::harness::{Lake, cpu, runtime, table};
use crate::watch::Watch;

fn numbers(rows: i64) -> Lake {
    let batch = |from: i64| {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + rows));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((from..from + rows).map(|n| format!("SECRET-{n}"))));
        RecordBatch::try_from_iter([("n", numbers), ("s", texts)]).unwrap()
    };
    Lake::default().with("t", table((0..4).map(|part| batch(part * rows)).collect()))
}

/// They take both threads of the runtime that they share.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// Others may use the cores too; how late exactly a query may be is a bench's to say.
const PATIENCE: Duration = Duration::from_secs(10);

/// A runtime of those whose threads are counted: nobody else holds them.
fn counted() -> &'static Runtime {
    static COUNTED: OnceLock<Runtime> = OnceLock::new();
    COUNTED.get_or_init(runtime)
}

const ENDLESS: &[&str] = &[
    "SELECT count(*) FROM t a, t b, t c WHERE a.n + b.n + c.n < -1",
    "SELECT max(a.n + b.n + c.n) FROM t a CROSS JOIN t b CROSS JOIN t c",
    "SELECT count(*) FROM t a JOIN t b ON a.n < b.n JOIN t c ON b.n < c.n",
    "SELECT count(*) FROM t a JOIN t b ON a.n + b.n < -1",
    "SELECT sum(a.n * b.n) FROM t a JOIN t b ON a.n % 3 = b.n % 3 JOIN t c ON b.n % 3 = c.n % 3",
    "SELECT a.n FROM t a LEFT JOIN t b ON a.n * b.n < -1 AND a.n <> b.n ORDER BY a.n",
    "SELECT max(a.value * b.value) FROM range(9000000) a, range(9000000) b",
    "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r",
    // One key for all rows: a hash join tries every pair, and gives none out.
    "SELECT count(*) FROM range(300000) a JOIN range(300000) b ON a.value % 1 = b.value % 1 AND a.value + b.value < 0",
    "SELECT count(*) FROM range(300000) a LEFT JOIN range(300000) b ON a.value % 1 = b.value % 1 AND a.value + b.value < 0",
    "SELECT count(*) FROM range(300000) a WHERE EXISTS (SELECT 1 FROM range(300000) b WHERE a.value % 1 = b.value % 1)",
    "SELECT count(*) FROM range(300000) a WHERE NOT EXISTS \
     (SELECT 1 FROM range(300000) b WHERE a.value % 1 = b.value % 1 AND a.value + b.value < 0)",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_query_ends_at_its_deadline_and_frees_its_thread() {
    let _alone = ALONE.lock().await;
    let lake = numbers(25_000);
    for sql in ENDLESS {
        let (started, deadline) = (Instant::now(), Duration::from_millis(400));
        let answer = lake.start_on(counted(), sql, deadline).await;
        let error = match answer {
            Err(error) => error,
            Ok(answer) => answer.batches.try_collect::<Vec<_>>().await.unwrap_err(),
        };
        let took = started.elapsed();
        assert_eq!(error.code(), Code::QueryTimeout, "{sql}: {error:?}");
        assert!(took < deadline + Duration::from_secs(2), "{sql} ended after {took:?}");
        threads_are_free(sql).await;
    }
}

/// Both threads of the runtime answer.
async fn threads_are_free(sql: &str) {
    let started = Instant::now();
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let busy = (0..2).map(|_| {
        let barrier = Arc::clone(&barrier);
        counted().spawn(async move { barrier.wait() })
    });
    let free = tokio::time::timeout(PATIENCE, futures::future::join_all(busy)).await;
    assert!(free.is_ok(), "{sql}: a thread was still busy after {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_frees_the_thread() {
    let _alone = ALONE.lock().await;
    let lake = numbers(25_000);
    for sql in ENDLESS {
        let waiting = lake.start_on(counted(), sql, Duration::from_secs(60));
        assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err(), "{sql} is not endless");
        threads_are_free(sql).await;
    }
    // An answer that has begun, too.
    let answer = lake.start_on(counted(), "SELECT a.n FROM t a, t b, t c", Duration::from_secs(60)).await.unwrap();
    let mut batches = answer.batches;
    assert!(batches.next().await.unwrap().is_ok());
    drop(batches);
    threads_are_free("a dropped answer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_of_an_endless_query_are_served() {
    let _alone = ALONE.lock().await;
    let lake = numbers(25_000);
    let endless = ENDLESS.iter().take(3).map(|sql| lake.start(sql, &[], PATIENCE, 100));
    let neighbours = async {
        for _ in 0..20 {
            lake.text("SELECT max(n) FROM t WHERE n < 50").await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Whoever ends first; the others are dropped.
    tokio::select! {
        () = neighbours => {}
        _ = futures::future::join_all(endless) => panic!("neighbours waited until the endless ones had ended"),
    }
}

/// The watch is in their filters, and where there is none, a filter that all pairs pass.
#[tokio::test(flavor = "multi_thread")]
async fn watched_joins_answer_as_ever() {
    let lake = numbers(100);
    for (sql, expected) in [
        ("SELECT count(*) FROM t a JOIN t b ON a.n = b.n AND a.n + b.n < 10", "5"),
        ("SELECT count(*), count(b.n) FROM t a LEFT JOIN t b ON a.n = b.n AND a.n + b.n < 10", "400 | 5"),
        ("SELECT count(*) FROM t a WHERE EXISTS (SELECT 1 FROM t b WHERE b.n = a.n + 1)", "399"),
        ("SELECT count(*) FROM t a WHERE NOT EXISTS (SELECT 1 FROM t b WHERE b.n = a.n + 1)", "1"),
        ("SELECT count(*) FROM t WHERE n NOT IN (SELECT n FROM t WHERE n < 10)", "390"),
        ("SELECT count(*) FROM t WHERE n NOT IN (SELECT NULLIF(n, 5) FROM t)", "0"),
        ("SELECT count(*) FROM t a WHERE EXISTS (SELECT 1 FROM t b WHERE a.n % 1 = b.n % 1)", "400"),
        ("SELECT count(*) FROM t a WHERE NOT EXISTS (SELECT 1 FROM t b WHERE a.n % 1 = b.n % 1)", "0"),
        ("SELECT count(*) FROM t a WHERE EXISTS (SELECT 1 FROM t b WHERE b.n < a.n)", "399"),
        ("SELECT count(*) FROM t a WHERE n = 3 OR EXISTS (SELECT 1 FROM t b WHERE b.n = a.n + 398)", "3"),
    ] {
        assert_eq!(lake.text(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")), expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_limit_cuts_and_says_so() {
    let lake = numbers(100);
    for (limit, rows, truncated) in [(0, 0, true), (1, 1, true), (399, 399, true), (400, 400, false), (401, 400, false)] {
        let answer = lake.start("SELECT n FROM t", &[], Duration::from_secs(5), limit).await.unwrap();
        let batches: Vec<RecordBatch> = answer.batches.try_collect().await.unwrap();
        let given: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!((given, answer.outcome.truncated()), (rows, truncated), "limit {limit}");
        assert_eq!(answer.outcome.rows(), rows as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_quotes_a_row() {
    let lake = numbers(100);
    for sql in [
        "SELECT CAST(s AS INT) FROM t",
        "SELECT CAST(s AS DATE) FROM t",
        "SELECT s::timestamp FROM t",
        "SELECT to_timestamp(s) FROM t",
        "SELECT to_date(s) FROM t",
        "SELECT decode(s, 'hex') FROM t",
        "SELECT 1 / (n - 7) FROM t",
        "SELECT n * 9223372036854775807 FROM t",
        "SELECT CAST(n * 1000 AS TINYINT) FROM t",
        "SELECT regexp_like('a', s || '(') FROM t",
        "SELECT date_trunc(s, now()) FROM t",
        "SELECT CAST(s AS DECIMAL(5, 2)) FROM t",
        "SELECT s::boolean FROM t",
        "SELECT chr(-n) FROM t",
        "SELECT factorial(n) FROM t",
        "SELECT substr(s, n, -1) FROM t",
        "SELECT to_char(now(), s || '%!') FROM t",
        "SELECT n FROM t WHERE CAST(s AS INT) = 1",
        "SELECT (SELECT n FROM t) FROM t",
        "SELECT sum(CAST(s AS DOUBLE)) FROM t GROUP BY n",
    ] {
        let Err(error) = lake.text(sql).await else { continue };
        let told = format!("{} {error} {error:?} {:?}", error.public(), error.members());
        assert!(!told.contains("SECRET"), "{sql}: {told}");
        assert!(matches!(error.code(), Code::QueryFailed | Code::InvalidSql), "{sql}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_is_explained() {
    let lake = numbers(1).with(
        "candidates",
        table(vec![RecordBatch::try_from_iter([("Miles_per_Gallon", Arc::new(Int64Array::from(vec![5])) as ArrayRef)]).unwrap()]),
    );
    for (sql, code, words) in [
        ("SELECT * FROM candidate", Code::UnknownTable, "did you mean `candidates`"),
        ("SELECT * FROM zzz", Code::UnknownTable, "table `zzz` does not exist, or your key may not read it"),
        ("SELECT * FROM other.candidates", Code::UnknownTable, "other.candidates"),
        ("SELECT * FROM '/etc/passwd'", Code::UnknownTable, "/etc/passwd"),
        ("SELECT * FROM 'file:///etc/passwd'", Code::UnknownTable, "file:///etc/passwd"),
        ("SELECT * FROM \"lakehouse-other://x/y.parquet\"", Code::UnknownTable, "lakehouse-other"),
        ("DESCRIBE candidatez", Code::UnknownTable, "did you mean `candidates`"),
        ("SELECT m FROM t", Code::UnknownColumn, "there are `n`, `s`"),
        ("SELECT nn FROM t", Code::UnknownColumn, "nn"),
        ("SELEC 1", Code::StatementRefused, "SELEC"),
        ("SELECT 1 FORM t x y", Code::InvalidSql, "Column: "),
        ("SELECT nope(1)", Code::InvalidSql, "nope"),
        ("SELECT n FROM t WHERE n = $2", Code::InvalidParameter, "$2"),
        ("SELECT n, n FROM t", Code::DuplicateColumn, "`n`"),
        ("", Code::InvalidSql, "empty"),
    ] {
        let error = lake.text(sql).await.expect_err(sql);
        assert_eq!(error.code(), code, "{sql}: {error:?}");
        assert!(error.public().contains(words), "{sql}: {}", error.public());
    }
    assert_eq!(lake.text("SELECT miles_per_gallon, Miles_per_Gallon + 1 FROM candidates c").await.unwrap(), "5 | 6");
    let answer =
        lake.start("SELECT count(*) AS MILES_PER_GALLON FROM candidates", &[], Duration::from_secs(5), 10).await.unwrap();
    assert_eq!(answer.schema.field(0).name(), "miles_per_gallon", "an alias is no column");
    assert_eq!(lake.text("SHOW TABLES").await.unwrap(), "candidates | dataset\nt | dataset");
    for name in ["t", "main.t", "lakehouse.main.t", "LAKEHOUSE.Main.T"] {
        assert_eq!(lake.text(&format!("DESCRIBE {name}")).await.unwrap(), "n | integer | NO\ns | text | NO", "{name}");
    }
    for name in ["other.main.t", "lakehouse.other.t", "a.lakehouse.main.t"] {
        let error = lake.text(&format!("DESCRIBE {name}")).await.unwrap_err();
        assert_eq!(error.code(), Code::UnknownTable, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_values_and_never_text() {
    let lake = numbers(100);
    let ask = async |sql: &str, params: serde_json::Value| {
        let answer = lake.start(sql, params.as_array().unwrap(), Duration::from_secs(5), 100).await?;
        let batches: Vec<RecordBatch> = answer.batches.try_collect().await?;
        Ok::<usize, crate::QueryError>(batches.iter().map(RecordBatch::num_rows).sum())
    };
    assert_eq!(ask("SELECT n FROM t WHERE n < $1", json!([7])).await.unwrap(), 7);
    assert_eq!(ask("SELECT n FROM t WHERE s = $1 AND n >= $2", json!(["SECRET-3", 1.5])).await.unwrap(), 1);
    assert_eq!(ask("SELECT n FROM t WHERE s = $1", json!(["x' OR '1'='1"])).await.unwrap(), 0);
    assert_eq!(ask("SELECT n FROM t WHERE s = $1", json!([null])).await.unwrap(), 0);
    assert_eq!(ask("SELECT n FROM t ORDER BY n LIMIT $1", json!([3])).await.unwrap(), 3);
    for (sql, params) in
        [("SELECT $1", json!([])), ("SELECT 1", json!([1])), ("SELECT $1", json!([[1]])), ("SELECT $name", json!([1]))]
    {
        assert_eq!(ask(sql, params).await.unwrap_err().code(), Code::InvalidParameter, "{sql}");
    }
    for number in ["18446744073709551616", "-9223372036854775809", "123456789012345678901234567890", "1e300"] {
        let error = ask("SELECT $1", serde_json::from_str(&format!("[{number}]")).unwrap()).await.unwrap_err();
        assert!(error.public().contains("$1 is a number beyond 64 bits"), "{number}: {}", error.public());
    }
    for number in ["18446744073709551615", "-9223372036854775808", "1.5e18", "-1e-300"] {
        assert_eq!(ask("SELECT $1", serde_json::from_str(&format!("[{number}]")).unwrap()).await.unwrap(), 1, "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_statements_below_the_limits_are_planned_on_an_ordinary_stack() {
    let _alone = ALONE.lock().await;
    let lake = numbers(10);
    let terms = |op: &str, n: usize| vec!["n"; n].join(op);
    for sql in [
        format!("SELECT {} FROM t", terms(" + ", 400)),
        format!("SELECT count(*) FROM t WHERE {}", vec!["n = 3"; 240].join(" OR ")),
        format!("SELECT {}", vec!["'a'"; 400].join(" || ")),
        format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(99)),
        format!("SELECT {}n{} FROM t", "abs(".repeat(40), ")".repeat(40)),
        format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(20), " x)".repeat(20)),
        format!("SELECT count(*) FROM t WHERE n IN ({})", (0..5_000).map(|n| n.to_string()).collect::<Vec<_>>().join(",")),
    ] {
        let started = Instant::now();
        let answer = lake.text(&sql).await;
        assert!(answer.is_ok(), "{}…: {:?}", &sql[..60], answer.err());
        // A few seconds on a quiet machine: DataFusion names each of the nested calls anew for each that is around it.
        assert!(started.elapsed() < Duration::from_secs(30), "{}…: {:?}", &sql[..60], started.elapsed());
    }
}

/// The client holds the connection and reads nothing: at the deadline its place is another's.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_keeps_no_place() {
    let _alone = ALONE.lock().await;
    let places = Arc::new(Semaphore::new(1));
    let deadline = Duration::from_secs(2);
    let ends = Instant::now() + deadline;
    let place = Arc::clone(&places).acquire_owned().await.unwrap();
    let bounds = Bounds { ends, deadline, max_rows: u64::MAX, place: place.into(), watch: Watch::until(ends, deadline) };
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let schema = batch.schema();
    let endless = futures::stream::repeat_with(move || Ok::<_, DataFusionError>(batch.clone()));
    let rows: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(schema, endless));
    let answer = start(cpu().handle(), bounds, async move { Ok(rows) }).await.unwrap();
    assert!(places.try_acquire().is_err(), "the query still runs");
    let freed = tokio::time::timeout(PATIENCE, places.acquire()).await;
    assert!(freed.is_ok(), "the place is still taken");
    let error = answer.batches.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.code(), Code::QueryTimeout, "{error:?}");
}
