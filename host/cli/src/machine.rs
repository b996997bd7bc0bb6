//! What the processor and the operating system must give before a server starts.

use std::fs;

use crate::failure::Failure;

/// The flags of x86-64-v3 as Linux names them; the release is built for them.
const NEEDED: [&str; 9] = ["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"];
/// Sockets, Parquet files and SlateDB segments open at once; many systems give 1,024.
const OPEN_FILES: u64 = 65_536;

/// Milliseconds after which the allocator gives memory back that nobody has taken again. With its own second, the kernel clears the pages once more
/// for the next query. Measured: docs/BENCHMARKS.md.
const GIVE_BACK_MS: std::ffi::c_long = 10_000;
/// `mi_option_purge_delay` of mimalloc 3, which the bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Refuses a processor that would die of an illegal instruction halfway through a query.
///
/// # Errors
/// When a needed instruction set is missing, with its name.
pub(crate) fn check_processor() -> Result<(), Failure> {
    // A system that does not say is given the benefit of the doubt.
    let Ok(cpuinfo) = fs::read_to_string("/proc/cpuinfo") else { return Ok(()) };
    match missing(&cpuinfo).as_slice() {
        [] => Ok(()),
        missing => Err(Failure::Start(format!(
            "this processor lacks {}, which this build needs (x86-64-v3: Intel since 2013, AMD since 2015, not every virtual \
             machine); build from source with `-C target-cpu=x86-64-v2` in .cargo/config.toml, or give the virtual machine the \
             host's processor model",
            missing.join(", ")
        ))),
    }
}

fn missing(cpuinfo: &str) -> Vec<&'static str> {
    let Some(flags) = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")) else { return Vec::new() };
    let flags: Vec<&str> = flags.split_ascii_whitespace().collect();
    NEEDED.into_iter().filter(|needed| !flags.contains(needed)).collect()
}

/// Raises the limit of open files as far as the system lets an ordinary process.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Has the allocator keep freed memory for a while. `MIMALLOC_PURGE_DELAY` in the environment says otherwise.
#[expect(unsafe_code, reason = "an option of the allocator has no safe setter")]
pub(crate) fn keep_freed_memory() {
    // SAFETY: writes one number of the allocator's, before a server has started any other thread that could read it meanwhile.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, GIVE_BACK_MS) }
}

#[cfg(test)]
mod tests {
    use super::missing;

    /// The number of the option is the C header's, and the bindings do not have it.
    #[test]
    #[expect(unsafe_code, reason = "an option of the allocator has no safe getter")]
    fn the_option_is_the_one_that_is_meant() {
        // SAFETY: reads numbers.
        let before = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(before, 1_000, "the default of mimalloc 3 is a second");
        super::keep_freed_memory();
        // SAFETY: reads a number.
        let after = unsafe { libmimalloc_sys::mi_option_get(super::PURGE_DELAY) };
        assert_eq!(after, super::GIVE_BACK_MS);
    }

    #[test]
    fn an_old_processor_is_named_by_what_it_lacks() {
        let flags = "flags\t\t: fpu avx avx2 bmi1 f16c fma abm movbe xsave\n";
        assert_eq!(missing(flags), ["bmi2"]);
        assert!(missing("model name: some other architecture\n").is_empty());
    }
}
