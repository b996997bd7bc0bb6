//! Replaces each value by null; the type of the column stays.
//!
//! **Invariant**: nothing of a value is left in the buffers.

use lakehouse_sdk::{Column, Config, Error, Redactor, export_redactor};

/// Replaces each value by null.
#[derive(Clone, Copy, Debug, Config)]
pub struct Null {}

impl Redactor for Null {
    fn redact_column(&self, values: Column) -> Result<Column, Error> {
        Ok(values.into_nulls())
    }
}

export_redactor!(Null);

#[cfg(test)]
mod tests {
    use lakehouse_sdk::{Values, testing};

    use super::*;

    #[test]
    fn every_type_stays_and_every_value_goes() {
        let null = Null::open("{}").unwrap();
        let columns = [
            Column::text([Some("a"), None]).unwrap(),
            Column::of(Values::Int64(vec![1, 2])),
            Column::of(Values::Float64(vec![1.0, 2.0])),
            Column::of(Values::Boolean(vec![0, 1])),
            Column::of(Values::Date32(vec![1, 2])),
            Column::of(Values::TimestampMicros(vec![1, 2])),
        ];
        for column in columns {
            let kind = column.values.type_name();
            let nulls = testing::redact_column(&null, &column).unwrap();
            assert_eq!((nulls.values.type_name(), nulls.rows()), (kind, 2));
            assert!(nulls.is_null(0) && nulls.is_null(1));
        }
    }

    #[test]
    fn there_is_nothing_to_configure() {
        let message = testing::config_error::<Null>(r#"{"value": 1}"#);
        assert_eq!(message, r#"unknown key "value"; there are no keys here"#);
    }
}
