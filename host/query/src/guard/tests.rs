//! T-20, and the shape limits of T-22.

use std::time::{Duration, Instant};

use lakehouse_types::{Code, Fault};

use super::{Command, admit};

const LIMIT: usize = 256 * 1024;
/// Far from what any of these takes, and from what exponentially many ways through a parser would: others use the cores too.
const IN_TIME: Duration = Duration::from_secs(10);

fn code(sql: &str) -> Option<Code> {
    admit(sql, LIMIT).err().map(|error| error.code())
}

#[test]
fn reading_statements_pass() {
    for sql in [
        "SELECT 1",
        " select * from t;",
        "(SELECT 1) UNION ALL (SELECT 2)",
        "WITH a AS (SELECT 1 AS x) SELECT x FROM a",
        "VALUES (1), (2)",
        "EXPLAIN SELECT 1",
        "explain analyze select 1",
        "SHOW TABLES",
        "DESCRIBE t",
        "DESC t",
        "SHOW COLUMNS FROM t",
        "DESCRIBE \"my-view\"",
        "/* a comment */ SELECT 1 -- and another",
    ] {
        assert!(admit(sql, LIMIT).is_ok(), "{sql}: {:?}", admit(sql, LIMIT).err());
    }
}

#[test]
fn every_other_statement_is_refused_under_explain_too() {
    for sql in [
        "COPY t TO 'x.csv'",
        "COPY (SELECT 1) TO 'x.parquet' STORED AS PARQUET",
        "CREATE TABLE x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE VIEW v AS SELECT 1",
        "CREATE FUNCTION f() RETURNS INT RETURN 1",
        "CREATE DATABASE d",
        "CREATE SCHEMA s",
        "INSERT INTO t VALUES (1)",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE",
        "TRUNCATE TABLE t",
        "DROP TABLE t",
        "ALTER TABLE t ADD COLUMN a INT",
        "SET datafusion.execution.batch_size = 1",
        "RESET datafusion.execution.batch_size",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "BEGIN",
        "COMMIT",
        "USE d",
        "VACUUM",
        "CALL f()",
        "GRANT SELECT ON t TO u",
        "KILL 1",
        "LOAD 'x'",
    ] {
        assert_eq!(code(sql), Some(Code::StatementRefused), "{sql}");
        assert_eq!(code(&format!("EXPLAIN {sql}")), Some(Code::StatementRefused), "EXPLAIN {sql}");
        assert_eq!(code(&format!("EXPLAIN ANALYZE {sql}")), Some(Code::StatementRefused), "EXPLAIN ANALYZE {sql}");
        assert!(code(&format!("SELECT 1; {sql}")).is_some(), "SELECT 1; {sql}");
    }
}

#[test]
fn writing_inside_a_query_is_refused() {
    for sql in [
        "SELECT * INTO x FROM t",
        "WITH a AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM a",
        "WITH a AS (DELETE FROM t RETURNING a) SELECT * FROM a",
        "WITH a AS (SELECT 1) INSERT INTO t SELECT * FROM a",
        "SELECT * FROM t FOR UPDATE",
        "SELECT 1; SELECT 2",
        "EXPLAIN EXPLAIN SELECT 1",
        "EXPLAIN VERBOSE SELECT 1",
        "SHOW ALL",
        "SHOW FUNCTIONS",
        "SHOW datafusion.execution.batch_size",
        "SELECT CAST(NULL AS INT[2000000000])",
    ] {
        assert!(matches!(code(sql), Some(Code::StatementRefused | Code::InvalidSql)), "{sql}: {:?}", code(sql));
    }
}

/// However deep it is, and however the type is named: constants are folded while the statement is planned.
#[test]
fn a_type_of_a_fixed_length_is_refused_wherever_it_is_named() {
    for data_type in [
        "INT[2000000000]",
        "INT[][5]",
        "INT[5][]",
        "ARRAY<INT[5]>",
        "STRUCT<a INT[1000000][1000000]>",
        "STRUCT<a INT, b STRUCT<c ARRAY<INT[5]>>>",
        "STRUCT<a INT[5]>[]",
    ] {
        for sql in [
            format!("SELECT CAST(NULL AS {data_type})"),
            format!("SELECT TRY_CAST(NULL AS {data_type})"),
            format!("SELECT NULL::{data_type}"),
            format!("SELECT {data_type} 'x'"),
            format!("SELECT 1 FROM t WHERE abs(CAST(NULL AS {data_type})) IS NULL"),
            format!("SELECT * FROM range(CAST(NULL AS {data_type}))"),
            format!("SELECT 1 FROM t ORDER BY NULL::{data_type}"),
            format!("EXPLAIN SELECT CAST(NULL AS {data_type})"),
        ] {
            // A few of these do not parse, which is as good.
            assert!(matches!(code(&sql), Some(Code::StatementRefused | Code::InvalidSql)), "{sql}: {:?}", code(&sql));
        }
        assert_eq!(code(&format!("SELECT CAST(NULL AS {data_type})")), Some(Code::StatementRefused), "{data_type}");
    }
    for data_type in ["INT", "INT[]", "ARRAY<INT>", "STRUCT<a INT[], b VARCHAR>", "DECIMAL(10, 2)"] {
        assert_eq!(code(&format!("SELECT CAST(NULL AS {data_type})")), None, "{data_type}");
    }
}

#[test]
fn a_statement_of_any_shape_answers_in_time() {
    let deep = |open: &str, close: &str, n: usize| format!("SELECT {}1{}", open.repeat(n), close.repeat(n));
    for sql in [
        deep("(", ")", 5_000),
        deep("[", "]", 5_000),
        format!("SELECT * FROM {}t{}", "(".repeat(5_000), ")".repeat(5_000)),
        format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(200), ")".repeat(200)),
        format!("SELECT {}1", "- ".repeat(50_000)),
        format!("SELECT {}TRUE", "NOT ".repeat(50_000)),
        format!("SELECT 1{}", "+1".repeat(100_000)),
        format!("SELECT 1{}", "::int".repeat(40_000)),
        format!("SELECT a{}", "[1]".repeat(60_000)),
        format!("SELECT a{}", ".a".repeat(100_000)),
        format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(5_000)),
        format!("SELECT 1 FROM t{}", ", t".repeat(5_000)),
        format!("SELECT 1 FROM t{}", " CROSS JOIN t".repeat(5_000)),
        format!("SELECT 1 FROM t{}", " NATURAL JOIN t".repeat(600)),
        format!("SELECT {}1{}", "CASE WHEN TRUE THEN ".repeat(3_000), " END".repeat(3_000)),
        "x".repeat(10 * 1024 * 1024),
    ] {
        let started = Instant::now();
        let code = code(&sql);
        assert!(
            matches!(code, Some(Code::InvalidSql | Code::BodyTooLarge | Code::StatementRefused)),
            "{}…: {code:?}",
            &sql[..60]
        );
        assert!(started.elapsed() < IN_TIME, "{}…: {:?}", &sql[..60], started.elapsed());
    }
}

/// What stays below the limits must parse in time as well: nested parentheses have made parsers try exponentially many ways.
#[test]
fn a_statement_just_below_the_limits_parses_in_time() {
    for sql in [
        format!("SELECT {}1{}", "(".repeat(40), ")".repeat(40)),
        format!("SELECT * FROM {}t{}", "(".repeat(40), ")".repeat(40)),
        format!("SELECT * FROM {}t", "(".repeat(40)),
        format!("SELECT {}1", "(".repeat(40)),
        format!("SELECT {}1{}", "(SELECT ".repeat(20), ")".repeat(20)),
        format!("SELECT {}1{}", "f(".repeat(40), ")".repeat(40)),
        format!("SELECT {}1", "f(".repeat(40)),
        format!("SELECT x IN {}1{}", "(".repeat(40), ")".repeat(40)),
        format!("SELECT 1{}", " OR a = 1".repeat(240)),
    ] {
        let started = Instant::now();
        let answer = admit(&sql, LIMIT);
        assert!(started.elapsed() < IN_TIME, "{}…: {:?} {:?}", &sql[..50], started.elapsed(), answer.err());
    }
}

#[test]
fn long_lists_are_no_deep_trees() {
    let list = (0..20_000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    assert!(matches!(admit(&format!("SELECT 1 WHERE 1 IN ({list})"), LIMIT), Ok(Command::Read(_))));
}

/// A name of WITH is planned anew at each use: thirty of them, each reading the one before twice, are a billion relations.
#[test]
fn names_of_with_are_counted_as_what_they_stand_for() {
    let doubled = |from: &str, levels: usize| {
        let names: Vec<String> =
            (1..=levels).map(|n| format!("a{n} AS (SELECT 1 FROM a{m} x {from} a{m} y)", m = n - 1)).collect();
        format!("WITH a0 AS (SELECT 1 AS x FROM t), {} SELECT count(*) FROM a{levels}", names.join(", "))
    };
    assert_eq!(code(&doubled(",", 5)), None);
    assert_eq!(code(&doubled(",", 30)), Some(Code::InvalidSql));
    assert_eq!(code(&doubled("CROSS JOIN", 30)), Some(Code::InvalidSql));
    assert_eq!(code(&format!("SELECT * FROM ({}) z", doubled(",", 30))), Some(Code::InvalidSql));
    assert_eq!(code("WITH t AS (SELECT * FROM t) SELECT * FROM t a, t b"), None);
    assert_eq!(code("WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r) SELECT count(*) FROM r"), None);
}
