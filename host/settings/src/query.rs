//! Bounds of queries and of ingest.

use std::{path::PathBuf, time::Duration};

use crate::{ImportFolder, section::Section};

/// `[query]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuerySettings {
    /// How long a query may run; a request may ask for less. Default 30 s.
    pub deadline: Duration,
    /// Shared by all queries, bytes; beyond it they spill. Default 2 GiB.
    pub memory_bytes: u64,
    /// Where queries spill. Default `spill`.
    pub spill_path: PathBuf,
    /// Upper bound of all spilled files, bytes. Default 10 GiB.
    pub spill_bytes: u64,
    /// Rows in one answer, then it ends with a marker; a request may ask for fewer. Default 1,000,000.
    pub max_rows: u64,
    /// Queries at once; more wait, and are refused when they waited too long. Default 64.
    pub concurrency: usize,
    /// Queries of one key at once; more wait like those. Default 32.
    pub concurrency_per_key: usize,
    /// Threads for queries and components; 0 stands for the number of cores. Default 0.
    pub threads: usize,
    /// Upper bound of a statement, bytes. Default 256 KiB.
    pub max_sql_bytes: usize,
    /// Upper bound of small answers that are kept to be given again, bytes; 0 keeps none. Default 32 MiB.
    pub result_cache_bytes: usize,
}

impl QuerySettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let settings = Self {
            deadline: section.millis("deadline_ms", 30_000, 10..=3_600_000),
            memory_bytes: section.mib("memory_mib", 2048, 64..=16_777_216),
            spill_path: section.path("spill_path", "spill"),
            spill_bytes: section.mib("spill_mib", 10_240, 0..=16_777_216),
            max_rows: section.integer("max_rows", 1_000_000, 1..=1_000_000_000),
            concurrency: section.count("concurrency", 64, 1..=4096),
            concurrency_per_key: section.count("concurrency_per_key", 32, 1..=4096),
            threads: section.count("threads", 0, 0..=1024),
            max_sql_bytes: usize::try_from(section.kib("max_sql_kib", 256, 1..=4096)).unwrap_or(usize::MAX),
            result_cache_bytes: usize::try_from(section.mib("result_cache_mib", 32, 0..=1024)).unwrap_or(usize::MAX),
        };
        section.finish();
        settings
    }
}

/// `[ingest]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestSettings {
    /// Rows that are read, checked and written at once. Default 8192.
    pub batch_rows: usize,
    /// Upper bound of one line of CSV or NDJSON, bytes. Default 1 MiB.
    pub max_line_bytes: usize,
    /// Where bodies wait until their types are known. Default `spool`.
    pub spool_path: PathBuf,
    /// Upper bound of one body after decompression, bytes. Default 20 GiB.
    pub spool_bytes: u64,
    /// Ingests at once, counted from when their bodies are here; more wait up to 30 s, then are refused. Sixteen times as many
    /// files may be on their way, waiting or worked on. Default 4.
    pub concurrency: usize,
    /// Folders of buckets that files may be imported from. Default none.
    pub import: Vec<ImportFolder>,
}

impl IngestSettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let settings = Self {
            batch_rows: section.count("batch_rows", 8192, 128..=1_048_576),
            max_line_bytes: usize::try_from(section.kib("max_line_kib", 1024, 1..=262_144)).unwrap_or(usize::MAX),
            spool_path: section.path("spool_path", "spool"),
            spool_bytes: section.mib("spool_mib", 20_480, 1..=16_777_216),
            concurrency: section.count("concurrency", 4, 1..=256),
            import: section.list("import", ImportFolder::EXPECTED, ImportFolder::parse),
        };
        section.finish();
        settings
    }
}
