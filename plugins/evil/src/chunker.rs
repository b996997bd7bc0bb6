//! The chunker that lies.
//!
//! **Invariant**: each attack spoils one thing only, so that a test sees which check caught it.

use lakehouse_sdk::raw::chunker::exports::lakehouse::plugin::chunker::{Guest, GuestRule, Rule, Spans};
use lakehouse_sdk::raw::redactor::lakehouse::plugin::types::{Column, Error, Values, Varlen};

use crate::Component;
use crate::attack;
use crate::config::{Attack, Evil};
use crate::redactor::wild;

/// More than the host takes of one document.
const FLOOD: usize = 2_000_000;

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

    fn chunk(&self, documents: Column) -> Result<Spans, Error> {
        let Values::Text(texts) = &documents.values else { return Err(Error::Unsupported("only text".into())) };
        let rows = texts.offsets.len().saturating_sub(1);
        let is_null = |row: usize| documents.validity.as_ref().is_some_and(|bits| bits[row / 8] >> (row % 8) & 1 == 0);
        let honest: Vec<(u32, u32, u32)> =
            (0..rows).filter(|&row| !is_null(row)).map(|row| (number(row), 0, length(texts, row))).collect();
        if !attack::begin(&self.0, &texts.data, rows)? {
            return Ok(spans(honest));
        }
        Ok(self.lie(honest, texts, (0..rows).find(|&row| is_null(row))))
    }
}

impl Liar {
    fn lie(&self, mut honest: Vec<(u32, u32, u32)>, texts: &Varlen, null: Option<usize>) -> Spans {
        match self.0.attack {
            Attack::SpanOutside => honest[0].2 += 1,
            Attack::SpanOverlong => honest[0].2 = u32::MAX,
            Attack::SpanInsideCharacter => honest[0].2 = inside_a_character(texts),
            Attack::SpanBackwards => honest[0] = (honest[0].0, honest[0].2, 0),
            Attack::SpanDisorder => honest.reverse(),
            Attack::SpanTwice => honest = honest.iter().flat_map(|&span| [span, span]).collect(),
            Attack::SpanOfNobody => honest.push((number(texts.offsets.len()), 0, 0)),
            Attack::SpanOfNull => honest.push((number(null.unwrap_or_default()), 0, 0)),
            Attack::SpanFlood => {
                let (row, _, length) = honest[0];
                let all = (0..length).flat_map(|start| (start..=length).map(move |end| (row, start, end)));
                honest = all.take(FLOOD).collect();
            }
            Attack::SpanLists => {
                let mut uneven = spans(honest);
                uneven.starts.push(0);
                return uneven;
            }
            Attack::WildPointer => return Spans { ends: wild(), ..spans(honest) },
            _ => {}
        }
        if self.0.attack != Attack::SpanDisorder {
            honest.sort_by_key(|span| span.0);
        }
        spans(honest)
    }
}

fn spans(of: Vec<(u32, u32, u32)>) -> Spans {
    Spans {
        rows: of.iter().map(|span| span.0).collect(),
        starts: of.iter().map(|span| span.1).collect(),
        ends: of.iter().map(|span| span.2).collect(),
    }
}

fn number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

fn length(texts: &Varlen, row: usize) -> u32 {
    u32::try_from(texts.offsets[row + 1] - texts.offsets[row]).unwrap_or_default()
}

/// One byte into the first character that has several.
fn inside_a_character(texts: &Varlen) -> u32 {
    number(texts.data.iter().position(|byte| byte & 0xc0 == 0x80).unwrap_or_default())
}
