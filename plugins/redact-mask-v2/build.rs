//! The component calls itself `redact-mask`: it is another version of that rule, not another rule.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=CARGO_PKG_NAME=redact-mask");
}
