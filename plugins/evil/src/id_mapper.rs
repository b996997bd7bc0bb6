//! The id mapper that lies.
//!
//! **Invariant**: each attack spoils one thing only, so that a test sees which check caught it.

use lakehouse_sdk::raw::id_mapper::exports::lakehouse::plugin::id_mapper::{Guest, GuestRule, Rule};
use lakehouse_sdk::raw::redactor::lakehouse::plugin::types::{Column, Error, RowError, Values, Varlen};

use crate::Component;
use crate::attack;
use crate::config::{Attack, Evil};
use crate::redactor::{rows, text};

pub(crate) struct Liar(Evil);

impl Guest for Component {
    type Rule = Liar;
}

impl GuestRule for Liar {
    fn open(config: String) -> Result<Rule, Error> {
        let evil = Evil::open(&config)?;
        attack::at_open(&evil)?;
        Ok(Rule::new(Self(evil)))
    }

    fn to_doc_ids(&self, keys: Column) -> Result<Column, Error> {
        let keys = as_text(keys);
        let (data, rows) = (data(&keys), rows(&keys.values));
        if attack::begin(&self.0, &data, rows)? { Ok(self.lie(keys, rows)) } else { Ok(keys) }
    }

    fn to_row_keys(&self, doc_ids: Column) -> Result<Column, Error> {
        if self.0.is_triggered_by(&data(&doc_ids), rows(&doc_ids.values)) {
            match self.0.attack {
                Attack::LoopInRowKeys => attack::endless(),
                Attack::DisownIds => {
                    return Err(Error::InvalidInput(RowError { row: Some(0), message: "whose id is this?".into() }));
                }
                _ => {}
            }
        }
        Ok(doc_ids)
    }
}

impl Liar {
    fn lie(&self, keys: Column, rows: usize) -> Column {
        let Values::Text(Varlen { offsets, data }) = keys.values else { return keys };
        match self.0.attack {
            Attack::ShortRows => text(one_row_less(offsets, data), keys.validity),
            Attack::LongRows => {
                let last = offsets.last().copied().unwrap_or_default();
                text(Varlen { offsets: [offsets, vec![last]].concat(), data }, keys.validity)
            }
            Attack::NullToValue => text(Varlen { offsets, data }, keys.validity.map(|bits| vec![0xff; bits.len()])),
            Attack::ValueToNull => text(Varlen { offsets: vec![0; rows + 1], data: vec![] }, Some(vec![0; rows.div_ceil(8)])),
            Attack::BadUtf8 => text(Varlen { offsets, data: vec![0xff; data.len()] }, keys.validity),
            Attack::WrongType => Column { values: Values::Int64(vec![0; rows]), validity: keys.validity },
            Attack::NotInvertible => {
                let offsets = (0..=rows).map(|row| i32::try_from(row).unwrap_or_default()).collect();
                text(Varlen { offsets, data: vec![b'x'; rows] }, keys.validity)
            }
            _ => text(Varlen { offsets, data }, keys.validity),
        }
    }
}

fn one_row_less(mut offsets: Vec<i32>, mut data: Vec<u8>) -> Varlen {
    offsets.pop();
    data.truncate(offsets.last().and_then(|&end| usize::try_from(end).ok()).unwrap_or_default());
    Varlen { offsets, data }
}

fn data(column: &Column) -> Vec<u8> {
    if let Values::Text(varlen) = &column.values { varlen.data.clone() } else { Vec::new() }
}

/// Integers in decimal, as honest mappers have them.
fn as_text(column: Column) -> Column {
    let Values::Int64(numbers) = &column.values else { return column };
    let mut varlen = Varlen { offsets: vec![0], data: Vec::new() };
    for number in numbers {
        varlen.data.extend_from_slice(number.to_string().as_bytes());
        varlen.offsets.push(i32::try_from(varlen.data.len()).unwrap_or_default());
    }
    text(varlen, column.validity)
}
