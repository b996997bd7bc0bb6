//! Headers in any case, aliases as they are written, members of objects left alone.

use super::{Known, restore_case};
use crate::guard::{Command, admit};
use crate::names::SCHEMA;

fn restored(sql: &str, columns: &[&str]) -> String {
    let Ok(Command::Read(mut statement)) = admit(sql, 10_000) else { panic!("{sql}") };
    let columns = columns.iter().map(ToString::to_string).collect();
    restore_case(&mut statement, &Known::from([((SCHEMA.to_owned(), "c".to_owned()), columns)]));
    statement.to_string()
}

#[test]
fn a_header_is_found_in_any_case() {
    let known = ["Name", "Miles_per_Gallon", "year"];
    assert_eq!(restored("SELECT Name, c.miles_per_gallon FROM c", &known), r#"SELECT "Name", c."Miles_per_Gallon" FROM c"#);
    assert_eq!(restored("SELECT year, YEAR FROM c", &known), "SELECT year, YEAR FROM c");
    assert_eq!(restored(r#"SELECT "name" FROM c"#, &known), r#"SELECT "name" FROM c"#, "quoted names are left alone");
    assert_eq!(
        restored("SELECT 1 FROM c JOIN main.c AS d USING (name) WHERE EXISTS (SELECT 1 FROM x WHERE x.i = NAME)", &known),
        r#"SELECT 1 FROM c JOIN main.c AS d USING("Name") WHERE EXISTS (SELECT 1 FROM x WHERE x.i = "Name")"#
    );
    assert_eq!(
        restored("WITH w AS (SELECT * FROM c), v AS (SELECT name FROM w) SELECT NAME FROM v ORDER BY name", &known),
        r#"WITH w AS (SELECT * FROM c), v AS (SELECT "Name" FROM w) SELECT "Name" FROM v ORDER BY "Name""#
    );
}

#[test]
fn an_alias_is_what_it_is_written_as() {
    for sql in [
        "SELECT count(*) AS year FROM c ORDER BY year",
        "SELECT NAME FROM (SELECT 1 AS name FROM c)",
        "WITH w (year) AS (SELECT 1 FROM c) SELECT year FROM w",
        "SELECT t.year FROM c AS t (year, b)",
        "WITH c AS (SELECT 1 AS year) SELECT YEAR FROM c",
    ] {
        assert_eq!(restored(sql, &["Year", "Name"]), sql);
    }
    assert_eq!(
        restored("WITH c AS (SELECT year AS y FROM c) SELECT Y FROM c", &["Year"]),
        r#"WITH c AS (SELECT "Year" AS y FROM c) SELECT Y FROM c"#,
        "a query of WITH does not see itself"
    );
    assert_eq!(
        restored("SELECT year AS name FROM c WHERE name = 'x' ORDER BY name", &["Year", "Name"]),
        r#"SELECT "Year" AS name FROM c WHERE "Name" = 'x' ORDER BY name"#
    );
}

#[test]
fn what_could_mean_two_columns_is_left_alone() {
    assert_eq!(restored("SELECT id FROM c", &["Id", "ID"]), "SELECT id FROM c");
    assert_eq!(restored("SELECT ID, Id, id FROM c", &["Id", "id"]), r#"SELECT ID, "Id", id FROM c"#);
}

#[test]
fn of_an_object_only_the_column_is_a_header() {
    let known = ["Payload", "Kind", "year"];
    for (sql, expected) in [
        ("SELECT payload.kind FROM c", r#"SELECT "Payload".kind FROM c"#),
        ("SELECT c.payload.kind FROM c", r#"SELECT c."Payload".kind FROM c"#),
        ("SELECT main.c.payload.kind FROM c", r#"SELECT main.c."Payload".kind FROM c"#),
        ("SELECT x.kind, x.payload.kind.kind FROM c AS x", r#"SELECT x."Kind", x."Payload".kind.kind FROM c AS x"#),
        // A relation stands before a column of its name.
        ("SELECT payload.kind FROM c AS payload", r#"SELECT payload."Kind" FROM c AS payload"#),
        ("SELECT (payload).kind FROM c", r#"SELECT ("Payload")."kind" FROM c"#),
        ("SELECT payload[1].kind FROM c", r#"SELECT "Payload"[1]."kind" FROM c"#),
        ("SELECT payload['kind'] FROM c", r#"SELECT "Payload"['kind'] FROM c"#),
        (
            "SELECT 1 FROM c WHERE EXISTS (SELECT 1 FROM d WHERE d.kind = c.kind AND payload.year = 1)",
            r#"SELECT 1 FROM c WHERE EXISTS (SELECT 1 FROM d WHERE d.kind = c."Kind" AND "Payload".year = 1)"#,
        ),
        (r#"SELECT "payload".kind FROM c"#, r#"SELECT "payload".kind FROM c"#),
    ] {
        assert_eq!(restored(sql, &known), expected);
    }
}

#[test]
fn each_relation_has_names_of_its_own() {
    let (cased, plain) = (vec!["Year".to_owned()], vec!["year".to_owned()]);
    let known = Known::from([((SCHEMA.to_owned(), "c".to_owned()), cased), ((SCHEMA.to_owned(), "d".to_owned()), plain)]);
    let Ok(Command::Read(mut statement)) = admit("SELECT c.year, d.year FROM c JOIN d ON c.year = d.year", 10_000) else {
        panic!("refused")
    };
    restore_case(&mut statement, &known);
    assert_eq!(statement.to_string(), r#"SELECT c."Year", d.year FROM c JOIN d ON c."Year" = d.year"#);
}
