//! `bench-storage`: what storage promises. The peer is DuckDB, of the Python that `LAKEHOUSE_BENCH_PYTHON` names.

use std::process::ExitCode;

fn main() -> ExitCode {
    lakehouse_bench::run("bench-storage", lakehouse_bench::STORAGE)
}
