//! A body that streams with a bar: a file of any size never sits in memory.

use std::{
    io::{self, IsTerminal},
    path::Path,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use crate::{console::Console, failure::Failure};

/// Bytes read from the file at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// What is sent, how long it is if known, and the bar that follows it.
pub(crate) struct Upload {
    pub(crate) body: reqwest::Body,
    pub(crate) length: Option<u64>,
    pub(crate) bar: ProgressBar,
}

/// Opens a file, or stdin for `-`.
pub(crate) async fn open(console: Console, path: &Path) -> Result<Upload, Failure> {
    if path.as_os_str() == "-" {
        return Ok(follow(console, "stdin", None, tokio::io::stdin()));
    }
    let failed = |source: io::Error| Failure::File { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let data = file.metadata().await.map_err(failed)?;
    if data.is_dir() {
        return Err(failed(io::Error::new(io::ErrorKind::IsADirectory, "is a folder; name the files")));
    }
    let length = data.is_file().then_some(data.len());
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    Ok(follow(console, &name, length, file))
}

fn follow(console: Console, name: &str, length: Option<u64>, source: impl AsyncRead + Send + Sync + 'static) -> Upload {
    let bar = bar(console, name, length);
    let counted = count(ReaderStream::with_capacity(source, CHUNK_BYTES), bar.clone());
    Upload { body: reqwest::Body::wrap_stream(counted), length, bar }
}

fn count(
    chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    bar: ProgressBar,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    chunks.inspect_ok(move |chunk| {
        bar.inc(chunk.len() as u64);
        if bar.length() == Some(bar.position()) {
            bar.set_message("committing");
        }
    })
}

fn bar(console: Console, name: &str, length: Option<u64>) -> ProgressBar {
    if !console.person || !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
    }
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{prefix} {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}"),
        None => (ProgressBar::new_spinner(), "{prefix} {spinner} {bytes} {binary_bytes_per_sec} {msg}"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
