//! Which type of PostgreSQL becomes which type here.

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, TimeUnit};
use tokio_postgres::types::{Kind as Family, Type};

/// Stands before a type's modifier.
const MODIFIER_HEADER: i32 = 4;

/// What a column's values are, in the binary form in which they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Int16,
    Int32,
    Int64,
    Oid,
    Float32,
    Float64,
    Decimal { precision: u8, scale: u8 },
    Text,
    Binary,
    Date,
    Timestamp,
    Instant,
    List(Box<Kind>),
}

/// What the database is asked to make of a value before it sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cast {
    Nothing,
    Text,
    Texts,
}

impl Cast {
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Text => "::pg_catalog.text",
            Self::Texts => "::pg_catalog.text[]",
        }
    }
}

impl Kind {
    /// `None` for types without values.
    pub(super) fn of(data_type: &Type, modifier: i32) -> Option<(Self, Cast)> {
        match data_type.kind() {
            // Values of a domain come as those of its base, whose modifier nobody tells.
            Family::Domain(base) => Self::of(base, -1),
            Family::Array(item) => match Self::of(item, modifier)? {
                (Self::List(_), _) => Some((Self::Text, Cast::Text)),
                (item, Cast::Nothing) => Some((Self::List(Box::new(item)), Cast::Nothing)),
                (_, _) => Some((Self::List(Box::new(Self::Text)), Cast::Texts)),
            },
            Family::Enum(_) => Some((Self::Text, Cast::Nothing)),
            Family::Pseudo if !matches!(*data_type, Type::RECORD | Type::ANYARRAY) => None,
            _ => Some(Self::scalar(data_type, modifier)),
        }
    }

    fn scalar(data_type: &Type, modifier: i32) -> (Self, Cast) {
        let kind = match *data_type {
            Type::BOOL => Self::Boolean,
            Type::INT2 => Self::Int16,
            Type::INT4 => Self::Int32,
            Type::INT8 => Self::Int64,
            Type::OID => Self::Oid,
            Type::FLOAT4 => Self::Float32,
            Type::FLOAT8 => Self::Float64,
            Type::NUMERIC => match decimal(modifier) {
                Some(decimal) => decimal,
                None => return (Self::Text, Cast::Text),
            },
            Type::TEXT | Type::VARCHAR | Type::NAME | Type::JSON | Type::XML => Self::Text,
            Type::BYTEA => Self::Binary,
            Type::DATE => Self::Date,
            Type::TIMESTAMP => Self::Timestamp,
            Type::TIMESTAMPTZ => Self::Instant,
            _ if data_type.name() == "citext" => Self::Text,
            _ => return (Self::Text, Cast::Text),
        };
        (kind, Cast::Nothing)
    }

    pub(super) fn data_type(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 | Self::Oid => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(i8::MAX)),
            Self::Text => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Instant => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::List(item) => DataType::List(Arc::new(Field::new_list_field(item.data_type(), true))),
        }
    }
}

/// `numeric(p, s)` from its modifier, where it fits. A scale beyond the precision and one below zero are legal since PostgreSQL 15:
/// the first has zeros after its point, the second before it.
fn decimal(modifier: i32) -> Option<Kind> {
    let packed = modifier.checked_sub(MODIFIER_HEADER).filter(|packed| *packed >= 0)?;
    let precision = packed >> 16;
    // Eleven bits with a sign.
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let (digits, scale) = if scale < 0 { (precision - scale, 0) } else { (precision.max(scale), scale) };
    let precision = u8::try_from(digits).ok().filter(|digits| (1..=DECIMAL128_MAX_PRECISION).contains(digits))?;
    Some(Kind::Decimal { precision, scale: u8::try_from(scale).ok()? })
}

#[cfg(test)]
mod tests {
    use tokio_postgres::types::Type;

    use super::{Cast, Kind};

    #[test]
    fn numerics_are_decimals_as_far_as_they_fit() {
        let modifier = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        for (given, expected) in [
            (modifier(10, 2), Some((10, 2))),
            (modifier(38, 38), Some((38, 38))),
            (modifier(39, 2), None),
            (modifier(1000, 0), None),
            (modifier(3, 5), Some((5, 5))),
            (modifier(3, -2), Some((5, 0))),
            (modifier(38, -1), None),
            (-1, None),
        ] {
            let decimal = expected.map(|(precision, scale)| (Kind::Decimal { precision, scale }, Cast::Nothing));
            assert_eq!(Kind::of(&Type::NUMERIC, given), Some(decimal.unwrap_or((Kind::Text, Cast::Text))), "{given}");
        }
        let list = Kind::List(Box::new(Kind::Decimal { precision: 10, scale: 2 }));
        assert_eq!(Kind::of(&Type::NUMERIC_ARRAY, modifier(10, 2)), Some((list, Cast::Nothing)));
        assert_eq!(Kind::of(&Type::UUID_ARRAY, -1), Some((Kind::List(Box::new(Kind::Text)), Cast::Texts)));
        assert_eq!(Kind::of(&Type::VOID, -1), None);
    }
}
