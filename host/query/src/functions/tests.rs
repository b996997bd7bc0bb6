//! T-22: huge results are refused before they are built, and what may be called is a list that somebody has read.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use lakehouse_types::{Code, ErrorKind, Fault};

mod integers; // right, or an error

use super::{Functions, allowed};
use crate::harness::{Lake, table};

fn lake() -> Lake {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, true)]));
    let batch = |from: i64| {
        let numbers = Int64Array::from_iter_values(from..from + 5_000);
        let texts = StringArray::from_iter_values((from..from + 5_000).map(|n| format!("text {n}")));
        RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(numbers), Arc::new(texts)]).unwrap()
    };
    Lake::default().with("t", table(vec![batch(0), batch(5_000)]))
}

/// What the lists name and DataFusion does not have, nobody can call; what DataFusion has and the lists do not name, neither.
#[test]
fn the_functions_are_those_that_were_read() {
    fn check<'a>(listed: &[&str], offered: impl Iterator<Item = &'a str>) {
        let mut offered: Vec<&str> = offered.collect();
        offered.sort_unstable();
        assert_eq!(offered, listed, "the list is in order, and each of its names exists");
    }
    let functions = Functions::allowed();
    check(allowed::SCALAR, functions.scalar.iter().map(|function| function.name()));
    check(allowed::AGGREGATE, functions.aggregate.iter().map(|function| function.name()));
    check(allowed::WINDOW, functions.window.iter().map(|function| function.name()));
    check(allowed::TABLE, functions.table.iter().map(|function| function.name()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_result_is_refused_and_the_process_lives() {
    let lake = lake();
    for expression in [
        "repeat('x', 4611686018427387904)",
        "repeat(s, 4611686018427387904)",
        "length(repeat('x', 200000000))",
        "lpad('x', 2000000000)",
        "rpad('x', 2000000000, 'ab')",
        "replace(repeat('a', 10000000), 'a', repeat('b', 1000000))",
        "replace(repeat('a', 10000000), '', repeat('b', 1000))",
        "regexp_replace(repeat('a', 10000000), 'a', repeat('b', 1000), 'g')",
        "range(1000000000000)",
        "range(0, 1000000000000, 1)",
        "generate_series(0, n * 1000000000000)",
        "range(timestamp '1700-01-01', timestamp '2200-01-01', interval '1 second')",
        "array_repeat(1, 1000000000000)",
        "array_repeat(range(1000000), 1000000)",
        "range(date '2023-02-01', date '2020-01-01', interval '1 month -28 days')",
        "array_repeat(CAST(NULL AS BIGINT), 2000000000)",
        "array_resize([1], 1000000000000)",
        "array_resize([1], 2000000000, NULL)",
        "array_to_string(range(1000000), repeat(',', 10000), 'none')",
        "concat_ws(repeat('x', 10000000), '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '')",
        "array_has_all(range(1000000), range(1000000))",
        "repeat('x', 100000000) || repeat('y', 100000000)",
        "[repeat('x', 100000000), repeat('y', 100000000)]",
        "{a: repeat('x', 100000000), b: repeat('y', 100000000)}",
        "concat(repeat('x', 100000000), repeat('y', 100000000))",
        "concat_ws(repeat('x', 60000000), 'a', 'b', 'c')",
        "encode(repeat('x', 120000000), 'hex')",
        "overlay(repeat('x', 100000000) placing repeat('y', 100000000) from 2)",
        "array_to_string(range(1000000), repeat(',', 10000))",
        "levenshtein(repeat('x', 1000000), repeat('y', 1000000))",
        "string_to_array(repeat('x,', 60000000), ',')",
        "regexp_count(repeat('A', 1000000), '.*[^A-Z]|[A-Z]')",
        "regexp_instr(repeat('A', 1000000), '[A-Z](.*[^A-Z])?')",
        "regexp_replace(repeat('A', 1000000), '.*[^A-Z]|[A-Z]', '', 'g')",
        "regexp_like(repeat('A', 1000000), '((A|B){100}){100}')",
        "(repeat('A', 1000000) ~ '((A|B){100}){100}')",
        "(repeat('A', 1000000) NOT SIMILAR TO '((A|B){100}){100}')",
        "regexp_match(repeat('A', 3000000), '((((((((((A*))))))))))')",
        "repeat('x', 20000000)",
        "reverse(repeat('x', 120000000))",
        "range(3000000)",
    ] {
        for sql in [
            format!("SELECT {expression}"),
            format!("SELECT {expression} FROM t"),
            format!("EXPLAIN SELECT {expression}"),
            format!("SELECT count(*) FROM t WHERE {expression} IS NOT NULL"),
        ] {
            // EXPLAIN of an expression that was not folded, and a count that was folded away, build nothing.
            match lake.text(&sql).await {
                Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{sql}: {error:?}"),
                Ok(_) => assert!(sql.starts_with("EXPLAIN") || sql.starts_with("SELECT count"), "{sql}"),
            }
        }
        let error = lake.text(&format!("SELECT {expression} FROM t")).await.unwrap_err();
        assert_eq!(error.code(), Code::QueryFailed, "{expression}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doubling_does_not_sneak_past() {
    let lake = lake();
    let doubled = |call: &str| {
        let mut sql = "SELECT repeat('x', 1000000) AS a".to_owned();
        for _ in 0..15 {
            sql = format!("SELECT {call} AS a FROM ({sql})");
        }
        format!("SELECT length(a::text) FROM ({sql})")
    };
    for call in ["a || a", "concat(a, a)", "[a, a]", "{x: a, y: a}", "named_struct('x', a, 'y', a)", "MAP {'x': a, 'y': a}"] {
        let error = lake.text(&doubled(call)).await.expect_err(call);
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{call}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modest_calls_work_as_ever() {
    let lake = lake();
    for (sql, expected) in [
        ("SELECT repeat('ab', 3)", "ababab"),
        ("SELECT lpad('7', 3, '0') || rpad('x', 2, '-')", "007x-"),
        ("SELECT NULL || 'a'", "NULL"),
        ("SELECT 1 || 'a' || true", "1atrue"),
        ("SELECT [1, 2] || [3]", "[1, 2, 3]"),
        ("SELECT [1] || 2", "[1, 2]"),
        ("SELECT replace('banana', 'a', 'o')", "bonono"),
        ("SELECT sum(value) FROM range(1, 10)", "45"),
        ("SELECT count(*) FROM generate_series(1, 1000000)", "1000000"),
        ("SELECT array_length(range(5))", "5"),
        ("SELECT array_length(range(date '2024-01-01', date '2025-01-01', interval '1 month'))", "12"),
        ("SELECT max(length(replace(s, 'text', repeat('long ', 400)))) FROM t", "2005"),
        ("SELECT max(length(repeat(s, 500))) FROM t", "4500"),
        ("SELECT concat(s, NULL, '!') FROM t WHERE n = 3", "text 3!"),
        ("SELECT overlay('Txxxxas' placing 'hom' from 2 for 4)", "Thomas"),
        ("SELECT levenshtein('kitten', 'sitting')", "3"),
        ("SELECT now()::text", "2023-11-14T22:13:20Z"),
        ("SELECT encode(X'0102' || X'03', 'hex')", "010203"),
        ("SELECT max(length(repeat(s, 800) || repeat(s, 800))) FROM t", "14400"),
        ("SELECT count(*) FROM t WHERE s ~ '^text [0-9]$'", "10"),
        ("SELECT count(*) FROM t WHERE s !~* 'TEXT'", "0"),
        ("SELECT count(*) FROM t WHERE s SIMILAR TO 'text 1[0-9]'", "1110"),
        ("SELECT NULL ~ 'a'", "NULL"),
        ("SELECT regexp_count(s, '[0-9]|x') FROM t WHERE n = 123", "4"),
        ("SELECT regexp_replace('a1b22', '[0-9]+', '#', 'g')", "a#b#"),
    ] {
        assert_eq!(lake.text(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")), expected, "{sql}");
    }
}

/// A list that is written out stays a constant: a vector to compare with, values to look for.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_the_statement_is_for_all_rows() {
    let list = (0..2_000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT count(*) FROM t WHERE array_has([{list}], n)");
    assert_eq!(lake().text(&sql).await.unwrap(), "2000");
}

/// Each call alone is within its limit; planning would keep all of them, or each row would get a copy.
#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_what_a_query_may_build() {
    let lake = lake();
    let many = |call: fn(usize) -> String, count: usize| {
        (0..count).map(|n| format!("{} AS a{n}", call(n))).collect::<Vec<_>>().join(", ")
    };
    for sql in [
        format!("SELECT {}", many(|n| format!("repeat('a', 128000000 - {n})"), 2_000)),
        format!("SELECT {} FROM t", many(|n| format!("repeat(s, 10000 + n % {})", n + 2), 200)),
        "SELECT repeat('x', 100000000) FROM t".to_owned(),
        "SELECT unnest(range(1000000)) FROM t".to_owned(),
    ] {
        let started = Instant::now();
        let error = lake.text(&sql).await.unwrap_err();
        assert_eq!(error.code(), Code::QueryFailed, "{}…: {error:?}", &sql[..40]);
        assert!(started.elapsed() < Duration::from_secs(10), "{}…: {:?}", &sql[..40], started.elapsed());
    }
    let modest = format!("SELECT {} FROM t LIMIT 1", many(|n| format!("repeat(s, 2 + {n} % 5)"), 300));
    assert!(lake.text(&modest).await.unwrap().starts_with("text"));
    // Two of these become constants, the others are called for the rows.
    let plan = lake.text(&format!("EXPLAIN SELECT {} FROM t", many(|n| format!("repeat('a', 60000 + {n})"), 10))).await.unwrap();
    let logical = plan.split("physical_plan").next().unwrap();
    assert_eq!(logical.matches("repeat(").count(), 8);
}

/// Groups of a match are copies of the text.
#[tokio::test(flavor = "multi_thread")]
async fn the_groups_of_a_match_count() {
    let lake = lake().apart(1 << 30);
    let error = lake.text("SELECT regexp_match(repeat(s, 400), '((((((((((((.*))))))))))))') FROM t").await.unwrap_err();
    assert_eq!(error.code(), Code::QueryFailed, "{error:?}");
    let modest = lake.text("SELECT regexp_match(s, '(text) ([0-9]+)') FROM t WHERE n = 42").await;
    assert_eq!(modest.unwrap(), "[text, 42]");
}

/// Copies are no larger than what they copy, but a hundred of them are.
#[tokio::test(flavor = "multi_thread")]
async fn copies_are_paid_for() {
    let lake = lake().apart(256 << 20);
    let columns = |call: fn(usize) -> String| (0..100).map(|n| format!("{} AS a{n}", call(n))).collect::<Vec<_>>().join(", ");
    let one = |bytes: usize| format!("(SELECT max(repeat('x', {bytes} + value)) AS s FROM range(1))");
    let reversed = columns(|n| format!("reverse(left(s, -{n}))"));
    let error = lake.text(&format!("SELECT {reversed} FROM {}", one(120_000_000))).await.unwrap_err();
    assert_eq!(error.code(), Code::QueryFailed, "{error:?}");
    for columns in [
        reversed.clone(),
        columns(|n| format!("CAST(left(s, -{n}) AS BYTEA)")),
        columns(|n| format!("CASE WHEN length(s) > {n} THEN upper(left(s, -{n})) ELSE s END")),
        (0..100).map(|n| format!("max(CAST(left(s, -{n}) AS BYTEA))")).collect::<Vec<_>>().join(", "),
    ] {
        let error = lake.text(&format!("SELECT {columns} FROM {}", one(10_000_000))).await.unwrap_err();
        assert_eq!(error.code(), Code::MemoryExceeded, "{}…: {error:?}", &columns[..60]);
    }
    let error = lake.text(&format!("SELECT {reversed} FROM (SELECT repeat(s, 400) AS s FROM t)")).await.unwrap_err();
    assert_eq!(error.code(), Code::MemoryExceeded, "{error:?}");
    // A value that is looked up once and given to each row.
    let error = lake.text("SELECT (SELECT max(repeat('x', 1000000 + value)) FROM range(1)), n FROM t").await.unwrap_err();
    assert_eq!(error.code(), Code::QueryFailed, "{error:?}");
    // Small ones are free, however many they are, and work on a large one goes on as long as it is one.
    let modest = lake.text(&format!("SELECT {reversed} FROM t WHERE n = 7")).await.unwrap();
    assert!(modest.starts_with(" |  txet | txet | xet | "), "{modest}");
    for (sql, expected) in [
        (format!("SELECT length(upper(reverse(left(s, -1)))) FROM {}", one(10_000_000)), "9999999"),
        ("SELECT max(length(upper(reverse(repeat(s, 1000))))) FROM t".to_owned(), "9000"),
        ("SELECT (SELECT max(s) FROM t) || (SELECT CAST(max(n) AS VARCHAR) FROM t)".to_owned(), "text 99999999"),
        (
            "SELECT CASE WHEN n < 3 THEN 'few' ELSE CAST(n AS VARCHAR) END AS c, count(*) FROM t GROUP BY c ORDER BY c LIMIT 1"
                .to_owned(),
            "10 | 1",
        ),
    ] {
        assert_eq!(lake.text(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")), expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_texts_are_counted_before_they_are_joined() {
    let lake = lake().apart(256 << 20);
    let (digits, wide) = ("CAST(value AS VARCHAR)", "repeat('x', 1000)");
    for (sql, codes) in [
        (format!("SELECT string_agg({digits}, repeat('x', 60000) ORDER BY value) FROM range(9000000)"), [Code::InvalidSql; 2]),
        (format!("SELECT string_agg(DISTINCT {digits}, repeat('x', 60000)) FROM range(9000000)"), [Code::InvalidSql; 2]),
        (format!("SELECT string_agg({digits}, '{}') FROM range(9000000)", "x".repeat(60_000)), [Code::InvalidSql; 2]),
        (format!("SELECT string_agg({digits}, '{}') FROM range(10) GROUP BY value", "x".repeat(2_000)), [Code::InvalidSql; 2]),
        (
            format!("SELECT string_agg({digits}, {wide} ORDER BY value) FROM range(9000000)"),
            [Code::QueryFailed, Code::MemoryExceeded],
        ),
        (format!("SELECT string_agg(DISTINCT {digits}, {wide}) FROM range(9000000)"), [Code::QueryFailed, Code::MemoryExceeded]),
        (format!("SELECT string_agg({digits}, {wide}) FROM range(9000000)"), [Code::QueryFailed, Code::MemoryExceeded]),
        (
            format!("SELECT value % 1000, string_agg({digits}, {wide} ORDER BY value) FROM range(2000000) GROUP BY value % 1000"),
            [Code::QueryFailed, Code::MemoryExceeded],
        ),
        (format!("SELECT string_agg({digits}, ',') OVER (ORDER BY value) FROM range(100000)"), [Code::QueryFailed; 2]),
    ] {
        let error = lake.text(&sql).await.expect_err(&sql[..60]);
        assert!(codes.contains(&error.code()), "{}…: {error:?}", &sql[..60]);
    }
    for (sql, expected) in [
        ("SELECT string_agg(s, '; ' ORDER BY n DESC) FROM t WHERE n < 3", "text 2; text 1; text 0"),
        ("SELECT string_agg(DISTINCT left(s, 4), ', ') FROM t", "text"),
        ("SELECT string_agg(s, ', ') FROM t WHERE n < 0", "NULL"),
        ("SELECT string_agg(s, NULL ORDER BY n) FROM t WHERE n < 2", "text 0text 1"),
        ("SELECT max(length(j)) FROM (SELECT string_agg(s, ',' ORDER BY n) AS j FROM t GROUP BY n % 10)", "9888"),
        ("SELECT length(string_agg(s, ',' ORDER BY n)) FROM t", "98889"),
        ("SELECT length(string_agg(s, ',')) FROM t", "98889"),
        ("SELECT length(string_agg(DISTINCT s, ',' ORDER BY s)) FROM t", "98889"),
        ("SELECT max(j) FROM (SELECT string_agg(s, ',') OVER (ORDER BY n) AS j FROM t WHERE n < 2)", "text 0,text 1"),
    ] {
        assert_eq!(lake.text(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")), expected, "{sql}");
    }
}

/// A constant is folded while the statement is planned, and a NULL of these would be four terabytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_type_of_great_length_is_refused_before_anything_is_folded() {
    let lake = lake();
    for data_type in ["STRUCT<a INT[1000000][1000000]>", "STRUCT<a INT[2000000000]>", "INT[2000000000]"] {
        for sql in [
            format!("SELECT CAST(NULL AS {data_type})"),
            format!("EXPLAIN SELECT CAST(NULL AS {data_type})"),
            format!("SELECT {data_type} 'x'"),
            format!("SELECT * FROM range(CAST(NULL AS {data_type}))"),
        ] {
            let error = lake.text(&sql).await.unwrap_err();
            assert!(matches!(error.code(), Code::StatementRefused | Code::InvalidSql), "{sql}: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tells_of_the_server_is_absent() {
    let lake = lake();
    for sql in [
        "SELECT version()",
        "SELECT input_file_name() FROM t",
        "SELECT arrow_cast(NULL, 'FixedSizeBinary(2000000000)')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM parquet_metadata('x')",
        "SELECT * FROM list_files_cache()",
        "SELECT @@version",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM information_schema.df_settings",
        "SELECT * FROM range(0, 1000000000000)",
        "SELECT * FROM generate_series(timestamp '1700-01-01', timestamp '2200-01-01', interval '1 nanosecond')",
    ] {
        let answer = lake.start(sql, &[], Duration::from_secs(5), 10).await;
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::InvalidRequest, "{sql}");
    }
}
