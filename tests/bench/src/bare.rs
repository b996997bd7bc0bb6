//! A server that does nothing but answer: what HTTP itself costs with axum on tokio's default runtime, as the server has it.

use std::{io::Read, path::Path};

use axum::{Router, body::Bytes, http::header, routing::post};
use tokio::net::TcpListener;

use crate::host::Failure;

/// What this program is started with to be that server; the file with the answer follows.
pub(crate) const ARGUMENT: &str = "serve-bare";
/// Where it answers.
pub(crate) const PATH: &str = "/query/sql";

/// Says where it listens, and serves until stdin closes.
pub(crate) fn serve(answer: &Path) -> Result<(), Failure> {
    let answer = Bytes::from(std::fs::read(answer)?);
    std::thread::spawn(|| {
        let mut stdin = std::io::stdin().lock();
        while matches!(stdin.read(&mut [0; 64]), Ok(1..)) {}
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let handler = move |_body: Bytes| {
            let answer = answer.clone();
            async move { ([(header::CONTENT_TYPE, "application/json")], answer) }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}", listener.local_addr()?);
        axum::serve(listener, Router::new().route(PATH, post(handler))).await?;
        Ok(())
    })
}
