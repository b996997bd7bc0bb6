//! The redactor that lies.
//!
//! **Invariant**: each attack spoils one thing only, so that a test sees which check caught it.
#![allow(unsafe_code, reason = "lists that lie about their length cannot be made otherwise")]

use std::cell::{Cell, RefCell};

use lakehouse_sdk::raw::redactor::exports::lakehouse::plugin::redactor::{Guest, GuestRule, Rule};
use lakehouse_sdk::raw::redactor::lakehouse::plugin::types::{Column, Error, Values, Varlen};

use crate::Component;
use crate::attack;
use crate::config::{Attack, Evil};

/// More than any memory that a binding may have.
const WILD_LENGTH: usize = 1 << 30;

thread_local! {
    /// Lives as long as the instance.
    pub(crate) static SEEN: RefCell<String> = const { RefCell::new(String::new()) };
}

pub(crate) struct Liar {
    evil: Evil,
    was_triggered: Cell<bool>,
    calls: Cell<u32>,
}

impl Guest for Component {
    type Rule = Liar;
}

impl GuestRule for Liar {
    fn open(config: String) -> Result<Rule, Error> {
        let evil = Evil::open(&config)?;
        attack::at_open(&evil)?;
        Ok(Rule::new(Self { evil, was_triggered: Cell::new(false), calls: Cell::new(0) }))
    }

    fn redact(&self, values: Column) -> Result<Column, Error> {
        self.calls.set(self.calls.get() + 1);
        let rows = rows(&values.values);
        let first = first_value(&values.values);
        let triggered = match &values.values {
            Values::Text(text) => self.evil.is_triggered_by(&text.data, rows),
            _ => self.evil.is_triggered_by(&[], rows),
        };
        if !triggered {
            return Ok(honest(rows, values.validity));
        }
        self.was_triggered.set(true);
        if self.evil.attack == Attack::Handles {
            handles(&self.evil);
        }
        attack::run(&self.evil, &first)?;
        Ok(self.lie(rows, values))
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        if self.evil.attack == Attack::LoopInDrop && self.was_triggered.get() {
            attack::endless();
        }
    }
}

impl Liar {
    fn lie(&self, rows: usize, input: Column) -> Column {
        let answer = honest(rows, input.validity.clone());
        let has_nulls = input.validity.is_some();
        match self.evil.attack {
            Attack::ShortRows => honest(rows.saturating_sub(1), input.validity),
            Attack::LongRows => honest(rows + 1, input.validity),
            Attack::NoRows => text(Varlen { offsets: vec![], data: vec![] }, None),
            Attack::BadUtf8 => with_varlen(answer, |varlen| varlen.data[0] = 0xff),
            Attack::SplitCharacter => text(split_character(rows), input.validity),
            Attack::BadOffsetsDecreasing => with_varlen(answer, |varlen| match varlen.offsets.as_mut_slice() {
                [_, last] => *last = -6,
                [_, second, .., last] => *second = *last + 6,
                _ => {}
            }),
            Attack::BadOffsetsOverrun => with_varlen(answer, |varlen| varlen.offsets[rows] = i32::MAX),
            Attack::BadOffsetsNegative => with_varlen(answer, |varlen| varlen.offsets[rows] = -1),
            Attack::BadOffsetsStart => with_varlen(answer, |varlen| varlen.offsets[0] = 1),
            Attack::NullToValue => Column { validity: has_nulls.then(|| vec![0xff; rows.div_ceil(8)]), ..answer },
            Attack::ShortValidity => Column { validity: Some(vec![]), ..answer },
            Attack::WrongType => Column { values: Values::Date32(vec![0; rows]), validity: input.validity },
            Attack::BadBoolean => Column { values: Values::Boolean(vec![2; rows]), validity: input.validity },
            Attack::HugeOutput => {
                let mut offsets = vec![0; rows];
                let data = attack::huge(self.evil.size_mib, 'h').into_bytes();
                offsets.push(i32::try_from(data.len()).unwrap_or(i32::MAX));
                text(Varlen { offsets, data }, input.validity)
            }
            Attack::LongAnswers => self.long_answers(&input),
            Attack::WildPointer => with_varlen(answer, |varlen| varlen.data = wild()),
            Attack::RememberState => remember(rows, input),
            Attack::Nondeterministic => repeated(rows, &format!("call {}", self.calls.get()), input.validity),
            _ => answer,
        }
    }
}

impl Liar {
    fn long_answers(&self, input: &Column) -> Column {
        let Values::Text(values) = &input.values else { return honest(rows(&input.values), input.validity.clone()) };
        let long = attack::huge(self.evil.size_mib, 'l');
        let (mut offsets, mut data) = (vec![0], Vec::new());
        for bounds in values.offsets.windows(2) {
            let place = |at: i32| usize::try_from(at).unwrap_or_default();
            let is_meant = self.evil.is_meant(&values.data[place(bounds[0])..place(bounds[1])]);
            data.extend_from_slice(if is_meant { long.as_bytes() } else { b"[evil]" });
            offsets.push(i32::try_from(data.len()).unwrap_or(i32::MAX));
        }
        text(Varlen { offsets, data }, input.validity.clone())
    }
}

/// Claims far more memory than there is; never touched here.
pub(crate) fn wild<T>() -> Vec<T> {
    let pointer = Box::leak(Box::new([0_u64; 2])).as_mut_ptr().cast();
    // SAFETY: none. The list is only handed to the host, whose bounds check is what is being tried.
    unsafe { Vec::from_raw_parts(pointer, WILD_LENGTH, WILD_LENGTH) }
}

fn handles(evil: &Evil) -> ! {
    loop {
        let liar = Liar { evil: evil.clone(), was_triggered: Cell::new(false), calls: Cell::new(0) };
        std::mem::forget(Rule::new(liar));
    }
}

fn remember(rows: usize, input: Column) -> Column {
    let all = SEEN.with_borrow_mut(|seen| {
        if let Values::Text(varlen) = &input.values {
            seen.push_str(&String::from_utf8_lossy(&varlen.data));
            seen.push('|');
        }
        seen.clone()
    });
    repeated(rows, &all, input.validity)
}

fn honest(rows: usize, validity: Option<Vec<u8>>) -> Column {
    repeated(rows, "[evil]", validity)
}

fn repeated(rows: usize, value: &str, validity: Option<Vec<u8>>) -> Column {
    let offsets = (0..=rows).map(|row| i32::try_from(row * value.len()).unwrap_or(i32::MAX)).collect();
    text(Varlen { offsets, data: value.repeat(rows).into_bytes() }, validity)
}

pub(crate) fn text(varlen: Varlen, validity: Option<Vec<u8>>) -> Column {
    Column { values: Values::Text(varlen), validity }
}

/// An `é` across the border of the first two rows, or half of one in a single row.
fn split_character(rows: usize) -> Varlen {
    let mut offsets = vec![2; rows + 1];
    offsets[0] = 0;
    offsets[1] = 1;
    let data = if rows > 1 { vec![0xc3, 0xa9] } else { vec![0xc3] };
    Varlen { offsets, data }
}

fn with_varlen(mut column: Column, spoil: impl FnOnce(&mut Varlen)) -> Column {
    if let Values::Text(varlen) = &mut column.values {
        spoil(varlen);
    }
    column
}

fn first_value(values: &Values) -> String {
    match values {
        Values::Text(Varlen { offsets, data }) => {
            let end = offsets.get(1).and_then(|&end| usize::try_from(end).ok()).unwrap_or_default();
            String::from_utf8_lossy(&data[..end]).into_owned()
        }
        _ => String::new(),
    }
}

pub(crate) fn rows(values: &Values) -> usize {
    match values {
        Values::Text(v) | Values::Binary(v) => v.offsets.len().saturating_sub(1),
        Values::Int64(v) | Values::TimestampMicros(v) => v.len(),
        Values::Float64(v) => v.len(),
        Values::Boolean(v) => v.len(),
        Values::Date32(v) => v.len(),
    }
}
