//! What may be a row filter.

use super::*;

#[test]
fn a_filter_is_one_plain_condition() {
    let schema = batch(&[]).schema();
    for good in ["grp = 'a'", "id > 3 AND (note LIKE 'x%' OR n IS NULL)", "lower(grp) IN ('a', 'b')", "true", "NULL"] {
        assert!(RowFilter::parse(good, &schema, template().bare()).is_ok(), "{good}");
    }
    for (bad, word) in [
        ("", "Expected"),
        ("grp", "condition"),
        ("id + 1", "condition"),
        ("nope = 1", "nope"),
        ("grp = 'a'; DROP TABLE x", "one expression"),
        ("grp = 'a') OR (1 = 1", "one expression"),
        ("grp = 'a' -- OR\n OR true UNION SELECT 1", "one expression"),
        ("id IN (SELECT 1)", "subquery"),
        ("EXISTS (SELECT 1)", "subquery"),
        ("id = (SELECT 1)", "subquery"),
        ("random() > 0.5", "random"),
        ("now() > '2020-01-01'", "now"),
        ("count(*) > 1", "aggregate"),
        ("row_number() OVER () > 1", "window"),
        ("id = $1", "parameter"),
        ("version() = 'x'", "version"),
        ("v.id = 1", "v.id"),
    ] {
        match RowFilter::parse(bad, &schema, template().bare()) {
            Ok(_) => panic!("{bad} passed"),
            Err(reason) => assert!(reason.0.to_lowercase().contains(&word.to_lowercase()), "{bad}: {}", reason.0),
        }
    }
}

/// Files from the wild have headers in any case, and SQL folds what is not quoted.
#[test]
fn a_filter_finds_its_columns_in_any_case() {
    let field = |name: &str| Field::new(name, DataType::Int64, true);
    let schema = Arc::new(Schema::new(vec![field("Year"), field("Miles_per_Gallon"), field("id")]));
    for filter in ["Year > 1970", "year > 1970 AND ID = 1", "\"Year\" > 1970 OR miles_per_gallon IS NULL"] {
        let parsed = RowFilter::parse(filter, &schema, template().bare());
        assert!(parsed.is_ok(), "{filter}: {parsed:?}");
    }
    assert!(RowFilter::parse("\"year\" > 1970", &schema, template().bare()).is_err(), "quoted names are left alone");
}
