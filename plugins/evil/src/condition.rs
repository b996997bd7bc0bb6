//! The condition that lies.
//!
//! **Invariant**: each attack spoils one thing only, so that a test sees which check caught it.
#![allow(unsafe_code, reason = "strings that lie cannot be made otherwise")]

use std::cell::Cell;

use lakehouse_sdk::raw::condition::exports::lakehouse::plugin::condition::{Guest, GuestRule, Rule, Verdict};
use lakehouse_sdk::raw::redactor::lakehouse::plugin::types::{Error, Varlen};

use crate::Component;
use crate::attack;
use crate::config::{Attack, Evil};
use crate::redactor::SEEN;

/// Verdicts that share one buffer.
const ALIASES: usize = 10_000;

pub(crate) struct Liar {
    evil: Evil,
    was_triggered: Cell<bool>,
}

impl Guest for Component {
    type Rule = Liar;
}

impl GuestRule for Liar {
    fn open(config: String) -> Result<Rule, Error> {
        let evil = Evil::open(&config)?;
        attack::at_open(&evil)?;
        Ok(Rule::new(Self { evil, was_triggered: Cell::new(false) }))
    }

    fn evaluate(&self, contexts: Varlen) -> Result<Vec<Verdict>, Error> {
        let rows = contexts.offsets.len().saturating_sub(1);
        if !self.evil.is_triggered_by(&contexts.data, rows) {
            return Ok(vec![Verdict::Holds; rows]);
        }
        self.was_triggered.set(true);
        let first = String::from_utf8_lossy(&contexts.data).into_owned();
        if self.evil.attack == Attack::Handles {
            handles(&self.evil);
        }
        attack::run(&self.evil, &first)?;
        Ok(self.lie(rows, &first))
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
    fn lie(&self, rows: usize, contexts: &str) -> Vec<Verdict> {
        match self.evil.attack {
            Attack::ShortRows => vec![Verdict::Holds; rows.saturating_sub(1)],
            Attack::LongRows => vec![Verdict::Holds; rows + 1],
            Attack::NoRows => vec![],
            // SAFETY: none. The strings are only handed to the host, whose check is what is being tried.
            Attack::BadUtf8 => vec![Verdict::Fails(unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe]) }); rows],
            Attack::HugeOutput => vec![Verdict::Fails(attack::huge(self.evil.size_mib, 'h')); rows.min(1)],
            Attack::WildPointer => wild(),
            Attack::AliasedOutput => aliased(self.evil.size_mib),
            Attack::RememberState => {
                let seen = SEEN.with_borrow_mut(|seen| {
                    seen.push_str(contexts);
                    seen.push('|');
                    seen.clone()
                });
                vec![Verdict::Fails(seen); rows]
            }
            _ => vec![Verdict::Holds; rows],
        }
    }
}

/// A reason that claims far more memory than there is; never touched here.
fn wild() -> Vec<Verdict> {
    let pointer = Box::leak(Box::new([0_u8; 16])).as_mut_ptr();
    // SAFETY: none. The string is only handed to the host, whose bounds check is what is being tried.
    vec![Verdict::Fails(unsafe { String::from_raw_parts(pointer, 1 << 30, 1 << 30) })]
}

/// Ten thousand reasons of `size_mib` each, all of them the same bytes.
fn aliased(size_mib: u32) -> Vec<Verdict> {
    let bytes = Box::leak(attack::huge(size_mib, 'a').into_bytes().into_boxed_slice());
    // SAFETY: none. Freeing any of them would be a double free, which is this guest's own trouble.
    (0..ALIASES)
        .map(|_| Verdict::Fails(unsafe { String::from_raw_parts(bytes.as_mut_ptr(), bytes.len(), bytes.len()) }))
        .collect()
}

fn handles(evil: &Evil) -> ! {
    loop {
        std::mem::forget(Rule::new(Liar { evil: evil.clone(), was_triggered: Cell::new(false) }));
    }
}
