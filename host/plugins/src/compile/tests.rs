use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Compiler, compile_child, cut_artifact};
use crate::{
    PluginError,
    compile::child::MAGIC,
    testing::{HONEST, REALLOC, REDACT, redactor_wat, wat},
};

/// The child's whole life, in a process of its own: see [`child`].
#[test]
#[ignore = "not a test: started by others as the compiling child"]
fn child_entry() {
    let code = compile_child();
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS) * super::child::REFUSED);
}

/// This test binary as the compiling child.
pub(crate) fn child() -> Compiler {
    let args = ["--ignored", "--exact", "compile::tests::child_entry", "--nocapture", "--test-threads=1"];
    Compiler::program(std::env::current_exe().unwrap(), args)
}

async fn refusal(compiler: &Compiler, wasm: Bytes) -> String {
    match compiler.compile(wasm).await {
        Err(PluginError::Refused { checks }) => checks[0].detail.clone(),
        other => panic!("{:?}", other.map(|code| code.len())),
    }
}

#[tokio::test]
async fn a_child_compiles_what_the_host_can_load() {
    let wasm = redactor_wat(&[HONEST, REALLOC, REDACT].concat());
    let code = child().compile(wasm.clone()).await.unwrap();
    assert_eq!(code, Compiler::in_process().compile(wasm).await.unwrap(), "the child's engine is ours");
    assert!(wasmtime::Engine::detect_precompiled(&code).is_some());
}

#[tokio::test]
async fn what_does_not_validate_is_refused_with_the_reason() {
    let mut bent = wat("(component (core module (func (result i32) i32.const 1)))").to_vec();
    let at = bent.windows(2).position(|pair| pair == [0x41, 1]).unwrap();
    bent[at] = 0x42;
    let refusal = refusal(&child(), bent.into()).await;
    assert!(refusal.contains("type mismatch"), "{refusal}");
}

#[tokio::test]
async fn a_reason_longer_than_a_pipe_holds_nobody_up() {
    let export = format!(r#"(export "{}" (func 0))"#, "a".repeat(90_000));
    let twice = wat(&format!("(component (core module (func) {export} {export}))"));
    let begun = Instant::now();
    let refusal = refusal(&child(), twice).await;
    assert!(refusal.contains("duplicate export") && refusal.len() < 1100, "{refusal}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// Functions of which nothing can be dropped.
fn bomb(functions: usize, length: usize) -> Bytes {
    let body =
        "(local.set 0 (i64.rotl (i64.mul (local.get 0) (local.get 1)) (i64.xor (local.get 1) (local.get 0))))".repeat(length);
    let function = format!("(func (param i64 i64) (result i64) {body} (local.get 0))");
    wat(&format!("(component (core module {}))", function.repeat(functions)))
}

#[tokio::test]
async fn a_bomb_hits_the_deadline_and_the_child_is_gone() {
    let compiler = child().with_limits(Duration::from_millis(150), 2 << 30);
    let bomb = bomb(60, 2000);
    let begun = Instant::now();
    let refusal = refusal(&compiler, bomb).await;
    assert!(
        refusal.contains("took longer") && begun.elapsed() < Duration::from_secs(20),
        "{refusal} after {:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_bomb_hits_the_memory_limit() {
    let compiler = child().with_limits(Duration::from_secs(60), 96 << 20);
    let refusal = refusal(&compiler, bomb(1, 60_000)).await;
    assert!(refusal.contains("without a result") && refusal.contains("96 MiB"), "{refusal}");
}

#[tokio::test]
async fn a_compiler_that_is_not_there_is_the_hosts_fault() {
    let missing = Compiler::program("/nonexistent/compiler", ["x"]).compile(wat("(component)")).await;
    assert!(matches!(missing, Err(PluginError::Host { .. })));
    let silent = refusal(&Compiler::program("/bin/true", Vec::<String>::new()), wat("(component)")).await;
    assert!(silent.contains("no code"), "{silent}");
}

#[test]
fn an_artifact_is_cut_by_its_length() {
    let output = |preamble: &[u8], length: u64| [preamble, MAGIC, &length.to_le_bytes(), b"code and more"].concat();
    assert_eq!(cut_artifact(output(b"running 1 test\n", 4)).as_deref(), Some(&b"code"[..]));
    assert_eq!(cut_artifact(output(b"", 0)).as_deref(), Some(&b""[..]));
    for bad in [output(b"", 14), output(b"", u64::MAX), b"nothing".to_vec(), MAGIC.to_vec()] {
        assert_eq!(cut_artifact(bad), None);
    }
}
