//! `bench-query`: what queries promise. The peers are those of the Python that `LAKEHOUSE_BENCH_PYTHON` names. With names of parts,
//! those alone: `tpch`, `views`, `one_row`, `auth`.

use std::process::ExitCode;

fn main() -> ExitCode {
    lakehouse_bench::serve_bare_if_asked()
        .unwrap_or_else(|| lakehouse_bench::run("bench-query", &["tpch", "views", "one_row", "auth"]))
}
