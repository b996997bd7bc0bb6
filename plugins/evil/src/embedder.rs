//! The embedder that lies.
//!
//! **Invariant**: each attack spoils one thing only, so that a test sees which check caught it.

use std::cell::Cell;

use lakehouse_sdk::raw::embedder::exports::lakehouse::plugin::embedder::{Guest, GuestModel, Model};
use lakehouse_sdk::raw::redactor::lakehouse::plugin::types::{Column, Error, Values};

use crate::Component;
use crate::attack;
use crate::config::{Attack, Evil};
use crate::redactor::{SEEN, rows, wild};

/// Numbers in an honest vector.
pub(crate) const DIMENSIONS: usize = 4;

pub(crate) struct Liar {
    evil: Evil,
    asked: Cell<u32>,
}

impl Guest for Component {
    type Model = Liar;
}

impl GuestModel for Liar {
    fn open(config: String) -> Result<Model, Error> {
        let evil = Evil::open(&config)?;
        attack::at_open(&evil)?;
        Ok(Model::new(Self { evil, asked: Cell::new(0) }))
    }

    fn dimensions(&self) -> u32 {
        self.asked.set(self.asked.get() + 1);
        match self.evil.attack {
            Attack::LoopInDimensions => attack::endless(),
            Attack::ZeroDimensions => 0,
            Attack::HugeDimensions => u32::MAX,
            Attack::ChangingDimensions => self.asked.get(),
            _ => DIMENSIONS as u32,
        }
    }

    fn embed(&self, texts: Column) -> Result<Vec<f32>, Error> {
        let Values::Text(varlen) = &texts.values else { return Err(Error::Unsupported("only text".into())) };
        let rows = rows(&texts.values);
        if !attack::begin(&self.evil, &varlen.data, rows)? {
            return Ok(vec![1.0; rows * DIMENSIONS]);
        }
        if self.evil.attack == Attack::RememberState {
            let seen = SEEN.with_borrow_mut(|seen| {
                seen.push_str(&String::from_utf8_lossy(&varlen.data));
                seen.len()
            });
            return Ok(vec![seen as f32; rows * DIMENSIONS]);
        }
        Ok(lying(&self.evil, rows))
    }
}

/// Vectors for so many texts, spoiled as the attack says.
pub(crate) fn lying(evil: &Evil, rows: usize) -> Vec<f32> {
    let mut numbers = vec![1.0; rows * DIMENSIONS];
    match evil.attack {
        Attack::ShortRows => numbers.truncate(rows.saturating_sub(1) * DIMENSIONS),
        Attack::LongRows => numbers.extend([1.0; DIMENSIONS]),
        Attack::NoRows => numbers.clear(),
        Attack::WrongDimension => numbers.truncate(rows * (DIMENSIONS - 1)),
        Attack::NanVectors => numbers.fill(f32::NAN),
        Attack::InfiniteVectors => numbers[0] = f32::INFINITY,
        Attack::WildPointer => return wild(),
        _ => {}
    }
    numbers
}
