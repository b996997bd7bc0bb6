//! Compiles `shim/` against the headers of the FAISS that faiss-sys has built.

use std::{env, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=shim");
    // cmake reports where it installed to; the name comes from faiss-sys's `links = "faiss_c"`.
    let root = env::var("DEP_FAISS_C_ROOT").expect("faiss-sys with its feature `static` says where FAISS is");
    let headers = Path::new(&root).join("include");
    assert!(headers.join("faiss/Index.h").is_file(), "no FAISS headers in {}", headers.display());

    // Templates of the headers are compiled here and in FAISS, and the linker keeps one of the two: what changes their meaning
    // (OpenMP, assertions, the instruction set that CXXFLAGS brings) has to be the same.
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .files(["build", "search", "settle", "store"].map(|name| format!("shim/{name}.cpp")))
        .flag("-isystem")
        .flag(&headers)
        .flag("-fopenmp")
        .define("NDEBUG", None)
        .compile("lakehouse_faiss_shim");
}
