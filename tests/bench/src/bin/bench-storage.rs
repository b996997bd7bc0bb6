//! `bench-storage`: what storage promises. The peer is DuckDB, of the Python that `LAKEHOUSE_BENCH_PYTHON` names. With names of
//! parts, those alone: `csv`, `tombstones`, `appends`, `erasure`, `durable`, `start`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lakehouse_bench::run("bench-storage", lakehouse_bench::STORAGE)
}
