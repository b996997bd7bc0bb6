//! Integers are added, subtracted, multiplied, negated and summed right, or the query fails.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use proptest::prelude::*;

use crate::{
    QueryError,
    harness::{Lake, cpu, table},
};

/// `t` in two parts, so that sums are made of partial ones.
fn lake(rows: &[(i64, i64)]) -> Lake {
    let part = |rows: &[(i64, i64)]| {
        let (a, b): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
        let columns = [("a", a), ("b", b)].map(|(name, values)| (name, Arc::new(Int64Array::from(values)) as _));
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let (one, other) = rows.split_at(rows.len() / 2);
    Lake::default().with("t", table(vec![part(one), part(other)]))
}

async fn overflows(lake: &Lake, sql: &str) {
    let error = lake.text(sql).await.unwrap_err();
    let told = lakehouse_types::Fault::public(&error);
    assert!(told.contains("a number left the range of its type"), "{sql}: {told}");
    assert!(!told.contains("9223372036854775807"), "{sql}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_its_type_is_an_error_wherever_it_stands() {
    let lake = lake(&[(i64::MAX, 1), (i64::MIN, -1), (5, 7), (3, 4)]);
    for sql in [
        "SELECT a + b FROM t",
        "SELECT a - 1 FROM t",
        "SELECT a * 2 FROM t",
        "SELECT -a FROM t",
        "SELECT 9223372036854775807 + 1",
        "SELECT 4611686018427387904 * 2",
        "SELECT a FROM t WHERE a + 1 > 0",
        "SELECT count(*) FROM t GROUP BY a + 1",
        "SELECT a FROM t ORDER BY a * 3",
        "SELECT x.a FROM t x JOIN t y ON x.a + 1 = y.b",
        "SELECT sum(a) FROM t WHERE a > 0",
        "SELECT b % 1, sum(a) FROM t WHERE a > 0 GROUP BY b % 1",
        "SELECT sum(a) OVER (ORDER BY b) FROM t WHERE a > 0",
        "SELECT sum(a) OVER (ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t WHERE a > 0",
        "SELECT sum(DISTINCT a) FROM t WHERE a > 0",
        "SELECT sum(a + 1) FROM t",
        "SELECT CAST(100 AS TINYINT) + CAST(100 AS TINYINT)",
    ] {
        overflows(&lake, sql).await;
    }
}

/// Which are names that SQL has other uses for.
#[test]
fn the_place_is_told() {
    let error = QueryError::Failed { operation: "a number left the range of its type" };
    let told = lakehouse_types::Fault::public(&error.placed("SELECT id * 9223372036854775807 FROM t"));
    assert!(told.ends_with("line 1, column 11"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_is_right_and_named_as_before() {
    let lake = lake(&[(i64::MAX, 1), (i64::MIN, -1), (5, 7), (3, 4)]);
    for (sql, expected) in [
        // Parts of a sum may leave the type as long as the sum does not.
        ("SELECT sum(a), sum(b) FROM t", "7 | 11"),
        ("SELECT b > 0 AS x, sum(b) FROM t GROUP BY 1 ORDER BY 1", "false | -1\ntrue | 12"),
        ("SELECT sum(a) FROM t WHERE a > 100", "9223372036854775807"),
        ("SELECT sum(a) FROM t WHERE false", "NULL"),
        ("SELECT sum(DISTINCT b % 2) FROM t", "0"),
        ("SELECT avg(b), sum(CAST(b AS DOUBLE)) FROM t", "2.75 | 11.0"),
        ("SELECT sum(b) OVER (ORDER BY b) FROM t ORDER BY b", "-1\n0\n4\n11"),
        ("SELECT sum(b) OVER (ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS s FROM t ORDER BY b", "-1\n0\n5\n11"),
        ("SELECT a + b * 2 - 1 FROM t WHERE a = 5", "18"),
        ("SELECT -b, - -b, -5, 2 - -3 FROM t WHERE b = 7", "-7 | 7 | -5 | 5"),
        ("SELECT -9223372036854775808, 9223372036854775806 + 1", "-9223372036854775808 | 9223372036854775807"),
        ("SELECT CASE WHEN a < 100 THEN a * 1000 ELSE 0 END FROM t WHERE b = 7", "5000"),
        ("SELECT count(*) FROM t x JOIN t y ON x.b + 3 = y.b", "2"),
        ("SELECT CAST(200 AS TINYINT UNSIGNED) + CAST(100 AS BIGINT)", "300"),
        ("SELECT date '2024-01-31' + interval '1 month', 1.5 + 2, NULL + 1", "2024-02-29 | 3.5 | NULL"),
        ("WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT sum(n) FROM r", "15"),
    ] {
        match lake.text(sql).await {
            Ok(answer) => assert_eq!(answer.replace("2024-02-29T00:00:00", "2024-02-29"), expected, "{sql}"),
            Err(error) => panic!("{sql}: {error:?}"),
        }
    }
    let rows = lake.rows("SELECT a + b, -a, (a * 2) - 1, sum(a + 1) FROM t WHERE a = 5 GROUP BY a, b").await.unwrap();
    let schema = rows[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["t.a + t.b", "(- t.a)", "t.a * Int64(2) - Int64(1)", "sum(t.a + Int64(1))"]);
}

fn extreme() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), -10_i64..10, Just(i64::MAX), Just(i64::MIN), (i64::MAX - 10)..i64::MAX]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// As with numbers that have no end.
    #[test]
    fn every_operation_is_right_or_an_error(rows in prop::collection::vec((extreme(), extreme()), 1..12)) {
        let lake = lake(&rows);
        let wide: Vec<(i128, i128)> = rows.iter().map(|(a, b)| (i128::from(*a), i128::from(*b))).collect();
        let each = |of: fn(&(i128, i128)) -> i128| wide.iter().map(of).collect::<Vec<i128>>();
        let sum: i128 = wide.iter().map(|(a, _)| a).sum();
        for (sql, expected) in [
            ("SELECT a + b AS x FROM t", each(|(a, b)| a + b)),
            ("SELECT a - b AS x FROM t", each(|(a, b)| a - b)),
            ("SELECT a * b AS x FROM t", each(|(a, b)| a * b)),
            ("SELECT -a AS x FROM t", each(|(a, _)| -a)),
            ("SELECT sum(a) AS x FROM t", vec![sum]),
        ] {
            let mut expected: Vec<String> =
                if expected.iter().all(|x| i64::try_from(*x).is_ok()) { expected.iter().map(ToString::to_string).collect() } else { Vec::new() };
            expected.sort();
            match cpu().block_on(lake.text(sql)) {
                Ok(answer) => {
                    let mut answer: Vec<String> = answer.lines().map(str::to_owned).collect();
                    answer.sort();
                    prop_assert_eq!(answer, expected, "{}", sql);
                }
                Err(error) => {
                    prop_assert!(matches!(error, QueryError::Failed { .. } | QueryError::FailedAt { .. }), "{}: {:?}", sql, error);
                    prop_assert!(expected.is_empty(), "{}", sql);
                }
            }
        }
    }
}
