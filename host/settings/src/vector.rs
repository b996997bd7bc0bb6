//! Bounds of indexes and searches.

use std::time::Duration;

use crate::section::Section;

/// `[vector]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorSettings {
    /// Parts of indexes that are kept in memory, bytes. Default 1 GiB.
    pub memory_bytes: u64,
    /// What a refresh gathers in memory before it writes a segment, bytes. Default 256 MiB.
    pub segment_bytes: u64,
    /// A segment of fewer vectors has no structure over them: comparing all is as fast. Default 10,000.
    pub flat_below: usize,
    /// Rows that a search may ask for. Default 1,000.
    pub max_k: usize,
    /// How long a refresh may take. Default one hour.
    pub refresh_deadline: Duration,
    /// Refreshes at once; more are told to come again. Default 2.
    pub refreshes: usize,
}

impl VectorSettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let settings = Self {
            memory_bytes: section.mib("memory_mib", 1024, 1..=16_777_216),
            segment_bytes: section.mib("segment_mib", 256, 1..=16_384),
            flat_below: section.count("flat_below", 10_000, 1..=1_000_000),
            max_k: section.count("max_k", 1_000, 1..=65_536),
            refresh_deadline: section.millis("refresh_deadline_ms", 3_600_000, 1_000..=86_400_000),
            refreshes: section.count("refreshes", 2, 1..=64),
        };
        section.finish();
        settings
    }
}
