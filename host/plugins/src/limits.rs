//! What a rule may use: memory, time, output, log.
//!
//! **Invariant**: a limit that somebody asks for and that is above the server's ceiling is refused by name, never lowered in silence
//! (the defaults of a dry run that asks for none stop at the ceilings); all memories and tables of one instance draw from one
//! budget.

use std::{sync::Arc, time::Duration};

use lakehouse_catalog::{RuleBinding, RuleLimits};
use wasmtime::ResourceLimiter;

use crate::PluginError;

const MIB: u64 = 1 << 20;
const KIB: u64 = 1 << 10;

/// Core instances of one component instance. Components made of many modules (Python) have a dozen.
pub(crate) const MAX_CORE_INSTANCES: u32 = 40;
/// Memories of one component instance.
pub(crate) const MAX_MEMORIES: u32 = 2;
/// Tables of one component instance.
pub(crate) const MAX_TABLES: u32 = 20;
/// Entries of one table.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 65_536;
/// Resource handles alive in one instance.
pub(crate) const MAX_HANDLES: usize = 10_000;
/// What one entry of a table costs the host, bytes.
const TABLE_ELEMENT_BYTES: usize = 16;

/// Limits of one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All memories and tables of an instance together, bytes. Default 64 MiB.
    pub memory_bytes: u64,
    /// One call. Default 1 s.
    pub deadline: Duration,
    /// The answer for one column or list of contexts, bytes, as the host holds it. Default 64 MiB.
    pub output_bytes: u64,
    /// What is kept of an instance's log where it is kept at all, in dry runs; bytes. Default 64 KiB.
    pub log_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 64 * MIB, deadline: Duration::from_secs(1), output_bytes: 64 * MIB, log_bytes: 64 * KIB }
    }
}

/// The most that a binding may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceilings {
    pub memory_bytes: u64,
    pub deadline: Duration,
    pub output_bytes: u64,
    pub log_bytes: u64,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self { memory_bytes: 512 * MIB, deadline: Duration::from_secs(30), output_bytes: 256 * MIB, log_bytes: 1024 * KIB }
    }
}

impl Limits {
    /// The first limit that is above its ceiling.
    pub(crate) fn above(&self, ceilings: &Ceilings) -> Option<&'static str> {
        [
            ("memory_mib", self.memory_bytes > ceilings.memory_bytes),
            ("deadline_ms", self.deadline > ceilings.deadline),
            ("output_mib", self.output_bytes > ceilings.output_bytes),
            ("log_kib", self.log_bytes > ceilings.log_bytes),
        ]
        .into_iter()
        .find_map(|(limit, is_above)| is_above.then_some(limit))
    }

    /// Each limit, or its ceiling where that is lower: for limits that nobody asked for.
    pub(crate) fn capped(self, ceilings: &Ceilings) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(ceilings.memory_bytes),
            deadline: self.deadline.min(ceilings.deadline),
            output_bytes: self.output_bytes.min(ceilings.output_bytes),
            log_bytes: self.log_bytes.min(ceilings.log_bytes),
        }
    }

    /// The limits of `binding`.
    ///
    /// # Errors
    /// When one is above its ceiling.
    pub(crate) fn of(binding: &RuleBinding, ceilings: &Ceilings) -> Result<Self, PluginError> {
        let RuleLimits { memory_mib, deadline_ms, output_mib, log_kib } = binding.limits;
        let check = |limit: &'static str, asked: u64, ceiling: u64| {
            if asked > ceiling {
                return Err(PluginError::AboveCeiling { rule: binding.name.clone(), limit, asked, ceiling });
            }
            Ok(asked)
        };
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Ok(Self {
            memory_bytes: check("memory_mib", u64::from(memory_mib), ceilings.memory_bytes / MIB)? * MIB,
            deadline: Duration::from_millis(check("deadline_ms", u64::from(deadline_ms), millis(ceilings.deadline))?),
            output_bytes: check("output_mib", u64::from(output_mib), ceilings.output_bytes / MIB)? * MIB,
            log_bytes: check("log_kib", u64::from(log_kib), ceilings.log_bytes / KIB)? * KIB,
        })
    }
}

/// Where a query accounts for what its rules allocate.
pub trait MemoryMeter: Send + Sync + 'static {
    /// Takes `bytes` more, or refuses.
    fn try_grow(&self, bytes: usize) -> bool;
    /// Gives `bytes` back.
    fn shrink(&self, bytes: usize);
}

/// What stood against a growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The rule's own limit.
    Limit,
    /// The query has no memory left.
    Meter,
}

/// Counts and bounds what one instance holds.
pub(crate) struct MemoryGate {
    used: usize,
    limit: usize,
    /// A growth was refused: what traps afterwards, traps for want of memory.
    pub(crate) refused: Option<Refusal>,
    meter: Option<Arc<dyn MemoryMeter>>,
}

impl MemoryGate {
    pub(crate) fn new(limit_bytes: u64, meter: Option<Arc<dyn MemoryMeter>>) -> Self {
        Self { used: 0, limit: usize::try_from(limit_bytes).unwrap_or(usize::MAX), refused: None, meter }
    }

    /// Bytes held now. Memory never shrinks, so this is also the peak.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    fn fits(&self, more: usize) -> bool {
        self.used.checked_add(more).is_some_and(|total| total <= self.limit)
    }

    /// Charges for a growth from `current` to `desired`, each of them `unit_bytes`. What grows beyond its own `maximum` fails
    /// whatever is said here, and is not charged.
    fn growing(&mut self, current: usize, desired: usize, maximum: Option<usize>, unit_bytes: usize) -> bool {
        let more = desired.saturating_sub(current).saturating_mul(unit_bytes);
        if maximum.is_some_and(|maximum| desired > maximum) {
            if !self.fits(more) {
                self.refused = Some(Refusal::Limit);
            }
            return false;
        }
        self.grow(more)
    }

    fn grow(&mut self, more: usize) -> bool {
        if !self.fits(more) {
            self.refused = Some(Refusal::Limit);
            return false;
        }
        if self.meter.as_ref().is_some_and(|meter| !meter.try_grow(more)) {
            self.refused = Some(Refusal::Meter);
            return false;
        }
        self.used += more;
        true
    }
}

impl Drop for MemoryGate {
    fn drop(&mut self) {
        if let Some(meter) = &self.meter {
            meter.shrink(self.used);
        }
    }
}

impl ResourceLimiter for MemoryGate {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.growing(current, desired, maximum, 1))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > MAX_TABLE_ELEMENTS {
            self.refused = Some(Refusal::Limit);
            return Ok(false);
        }
        Ok(self.growing(current, desired, maximum, TABLE_ELEMENT_BYTES))
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter;

    use super::{MemoryGate, Refusal};

    #[test]
    fn only_what_can_grow_is_charged() {
        let mut gate = MemoryGate::new(1000, None);
        assert!(gate.memory_growing(0, 400, Some(500)).unwrap());
        for _ in 0..10 {
            assert!(!gate.memory_growing(400, 600, Some(500)).unwrap());
            assert!(!gate.table_growing(0, 11, Some(10)).unwrap());
        }
        assert_eq!((gate.used(), gate.refused), (400, None), "beyond its own maximum");
        assert!(!gate.memory_growing(400, 1 << 32, Some(500)).unwrap());
        assert_eq!((gate.used(), gate.refused), (400, Some(Refusal::Limit)), "and beyond the limit");
        gate.refused = None;
        assert!(gate.memory_growing(400, 1000, None).unwrap());
        assert!(!gate.memory_growing(1000, 1001, None).unwrap());
        assert_eq!((gate.used(), gate.refused), (1000, Some(Refusal::Limit)));
    }
}
