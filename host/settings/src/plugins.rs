//! Where components come from and what they may use at most.

use std::{path::PathBuf, time::Duration};

use crate::section::Section;

/// `[plugins]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginSettings {
    /// Watched: a component dropped here is pushed. Default `plugins.d`.
    pub folder: PathBuf,
    /// The shipped components; those that were never installed are installed at each start. Default: unset, which the command
    /// line takes for `../distribution` beside the binary's folder, else `/usr/share/lakehouse/plugins`.
    pub distribution: Option<PathBuf>,
    /// Compiled code; may be deleted at any time. Default `cache/components`.
    pub cache_path: PathBuf,
    /// Ceiling of a binding's `memory_mib`, bytes. Default 512 MiB.
    pub memory_bytes: u64,
    /// Ceiling of a binding's `deadline_ms`. Default 30 s.
    pub deadline: Duration,
    /// Ceiling of a binding's `output_mib`, bytes. Default 256 MiB.
    pub output_bytes: u64,
    /// Ceiling of a binding's `log_kib`, bytes. Default 1 MiB.
    pub log_bytes: u64,
    /// Instances alive at once; more wait, and are refused when they waited too long. Default 256.
    pub pool: usize,
    /// Upper bound of an uploaded component, bytes. Default 64 MiB.
    pub max_component_bytes: usize,
    /// How long one compilation may take. Default 60 s.
    pub compile_deadline: Duration,
    /// What one compilation may allocate, bytes. Default 2 GiB.
    pub compile_memory_bytes: u64,
}

impl PluginSettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let settings = Self {
            folder: section.path("folder", "plugins.d"),
            distribution: section.optional_path("distribution"),
            cache_path: section.path("cache_path", "cache/components"),
            memory_bytes: section.mib("memory_mib", 512, 1..=4096),
            deadline: section.millis("deadline_ms", 30_000, 10..=600_000),
            output_bytes: section.mib("output_mib", 256, 1..=2048),
            log_bytes: section.kib("log_kib", 1024, 0..=65_536),
            pool: section.count("pool", 256, 1..=10_000),
            max_component_bytes: usize::try_from(section.mib("max_component_mib", 64, 1..=512)).unwrap_or(usize::MAX),
            compile_deadline: section.millis("compile_deadline_ms", 60_000, 1_000..=600_000),
            compile_memory_bytes: section.mib("compile_memory_mib", 2048, 256..=65_536),
        };
        section.finish();
        settings
    }
}
