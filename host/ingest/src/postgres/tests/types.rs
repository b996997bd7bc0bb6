//! What becomes of each type.

use super::{Lake, column, pull, query, run, server, table, told};

/// A type, a value of it, what the column is here, and how the value shows.
const TYPES: &[(&str, &str, &str, &str)] = &[
    ("boolean", "true", "boolean", "true"),
    ("smallint", "-32768", "integer", "-32768"),
    ("integer", "2147483647", "integer", "2147483647"),
    ("bigint", "-9223372036854775808", "integer", "-9223372036854775808"),
    ("oid", "4294967295", "integer", "4294967295"),
    ("real", "'1.5'", "float", "1.5"),
    ("real", "'NaN'", "float", "NaN"),
    ("double precision", "0.1", "float", "0.1"),
    ("double precision", "'-Infinity'", "float", "-inf"),
    ("numeric(10,2)", "-12345678.91", "decimal(10, 2)", "-12345678.91"),
    ("numeric(10,2)", "7", "decimal(10, 2)", "7.00"),
    ("numeric(38,0)", "99999999999999999999999999999999999999", "decimal(38, 0)", "99999999999999999999999999999999999999"),
    ("numeric(38,38)", "0.00000000000000000000000000000000000001", "decimal(38, 38)", "0.00000000000000000000000000000000000001"),
    ("numeric(5)", "10000", "decimal(5, 0)", "10000"),
    ("numeric", "123456789012345678901234567890.1234567890123", "text", "123456789012345678901234567890.1234567890123"),
    ("numeric", "'NaN'", "text", "NaN"),
    ("numeric(50,2)", "1.50", "text", "1.50"),
    ("text", "'✓ žluť'", "text", "✓ žluť"),
    ("text", "''", "text", ""),
    ("varchar(9)", "'abc'", "text", "abc"),
    ("char(5)", "'ab'", "text", "ab"),
    ("\"char\"", "'x'", "text", "x"),
    ("name", "'some_name'", "text", "some_name"),
    ("bytea", r"'\x00ff'", "binary", "00ff"),
    ("date", "'2024-02-29'", "date", "2024-02-29"),
    ("date", "'0001-01-01'", "date", "0001-01-01"),
    ("timestamp", "'1999-12-31 23:59:59.999999'", "timestamp without zone", "1999-12-31T23:59:59.999999"),
    ("timestamptz", "'2024-06-01 12:00:00+02'", "timestamp", "2024-06-01T10:00:00Z"),
    ("timestamptz", "'1969-12-31 23:59:59.5+00'", "timestamp", "1969-12-31T23:59:59.500Z"),
    ("time", "'04:05:06.789'", "text", "04:05:06.789"),
    ("timetz", "'04:05:06+02'", "text", "04:05:06+02"),
    ("interval", "'1 year 2 days 3:04:05'", "text", "P1Y2DT3H4M5S"),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "text", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("json", r#"'{"b": 1,  "a": [2]}'"#, "text", r#"{"b": 1,  "a": [2]}"#),
    ("jsonb", r#"'{"b": 1,  "a": [2]}'"#, "text", r#"{"a": [2], "b": 1}"#),
    ("inet", "'10.0.0.1/8'", "text", "10.0.0.1/8"),
    ("cidr", "'10.0.0.0/8'", "text", "10.0.0.0/8"),
    ("macaddr", "'08:00:2b:01:02:03'", "text", "08:00:2b:01:02:03"),
    ("bit(4)", "B'1010'", "text", "1010"),
    ("money", "12.5", "text", "$12.50"),
    ("int4range", "'[1,5)'", "text", "[1,5)"),
    ("tstzrange", "'[2024-01-01 01:00+01,)'", "text", "[\"2024-01-01 00:00:00+00\",)"),
    ("point", "'(1,2)'", "text", "(1,2)"),
    ("tsvector", "'a b'", "text", "'a' 'b'"),
    ("types_mood", "'sad'", "text", "sad"),
    ("types_positive", "7", "integer", "7"),
    ("types_price", "1.25", "decimal(12, 4)", "1.2500"),
    ("types_pair", "ROW(1, 'a b')", "text", "(1,\"a b\")"),
    ("integer[]", "'{1,NULL,3}'", "list of integer", "[1, , 3]"),
    ("integer[]", "'{}'", "list of integer", "[]"),
    ("boolean[]", "'{t,f}'", "list of boolean", "[true, false]"),
    ("text[]", r#"'{a,"b c"}'"#, "list of text", "[a, b c]"),
    ("numeric(10,2)[]", "'{1.5,2}'", "list of decimal(10, 2)", "[1.50, 2.00]"),
    ("numeric[]", "'{1.5,2}'", "list of text", "[1.5, 2]"),
    ("date[]", "'{2024-02-29}'", "list of date", "[2024-02-29]"),
    ("timestamptz[]", "'{2024-06-01 12:00:00+02}'", "list of timestamp", "[2024-06-01T10:00:00Z]"),
    ("bytea[]", r#"'{"\\x00ff"}'"#, "list of binary", "[00ff]"),
    ("uuid[]", "'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'", "list of text", "[a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11]"),
    ("interval[]", "'{1 day}'", "list of text", "[P1D]"),
    ("jsonb[]", r#"ARRAY['{"a":1}'::jsonb]"#, "list of text", "[{\"a\": 1}]"),
    ("types_mood[]", "'{sad,happy}'", "list of text", "[sad, happy]"),
    ("types_positive[]", "'{7}'", "list of integer", "[7]"),
    ("types_pair[]", "ARRAY[ROW(1,'a')::types_pair]", "list of text", "[(1,a)]"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_type_keeps_its_values_and_its_nulls() {
    let (server, lake) = (server().await, Lake::open().await);
    let declared: Vec<_> = TYPES.iter().enumerate().map(|(n, (given, ..))| format!("c{n} {given}")).collect();
    let values: Vec<_> = TYPES.iter().map(|(_, value, ..)| *value).collect();
    server
        .run(&format!(
            "CREATE TYPE types_mood AS ENUM ('sad', 'happy');
             CREATE DOMAIN types_positive AS integer CHECK (VALUE > 0);
             CREATE DOMAIN types_price AS numeric(12,4);
             CREATE TYPE types_pair AS (a int, b text);
             CREATE TABLE types (n int, {});
             INSERT INTO types VALUES (1, {});
             INSERT INTO types (n) VALUES (2);
             GRANT SELECT ON types TO lake",
            declared.join(", "),
            values.join(", ")
        ))
        .await;
    run(&lake, &server.shared_source(), pull(table("types"))).await.unwrap();
    let (types, rows) = (lake.types(), lake.rows().await);
    for (n, (given, _, expected, shown)) in TYPES.iter().enumerate() {
        assert_eq!(types[n + 1], *expected, "{given}");
        assert_eq!(column(&rows, &format!("c{n}")), [*shown, "-"], "{given}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_and_nothing_but_nulls_keep_the_declared_types() {
    let server = server().await;
    for text in ["SELECT 1::int8 AS a, now() AS b WHERE false", "SELECT NULL::int8 AS a, NULL::timestamptz AS b"] {
        let lake = Lake::open().await;
        run(&lake, &server.shared_source(), pull(query(text))).await.unwrap();
        assert_eq!(lake.types(), ["integer", "timestamp"], "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_has_no_place_is_refused_with_its_row() {
    let (server, lake) = (server().await, Lake::open().await);
    for (value, given, expected, found) in [
        ("infinity", "date", "date", "an infinite date"),
        ("-infinity", "date", "date", "an infinite date"),
        ("0044-03-15 BC", "date", "date", "a date beyond the years 1 to 9999"),
        ("10000-01-01", "date", "date", "a date beyond the years 1 to 9999"),
        ("infinity", "timestamp", "timestamp without zone", "an infinite timestamp"),
        ("-infinity", "timestamptz", "timestamp", "an infinite timestamp"),
        ("10000-01-01", "timestamptz", "timestamp", "a timestamp beyond the years 1 to 9999"),
        ("NaN", "numeric(5,2)", "decimal(5, 2)", "a number that is not finite"),
        ("{{1,2},{3,4}}", "int[]", "list of integer", "an array of more than one dimension"),
        ("{infinity}", "date[]", "list of date", "an infinite date"),
    ] {
        let text = format!(
            "SELECT (CASE WHEN n = 10000 THEN '{value}' END)::{given} AS \"the column\" FROM generate_series(1, 10001) n"
        );
        let error = run(&lake, &server.shared_source(), pull(query(&text))).await.unwrap_err();
        let (code, public, members) = told(&error);
        assert_eq!(code, "invalid_data", "{public}");
        assert_eq!(
            public,
            format!("row 10000, column `the column`: the value does not fit type {expected}: it is {found}"),
            "{value}"
        );
        assert_eq!((&members["row"], &members["column"]), (&10_000.into(), &"the column".into()));
    }
    assert!(lake.tables.dataset(&super::name("t")).is_none(), "nothing came to be");
}
