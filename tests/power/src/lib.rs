//! Power loss for tests, without a machine that loses power.
//!
//! A program that links this crate has its `fsync` and `fdatasync` pass through [`record`]: once recording began, each call also
//! copies what it makes durable (a file's content, a folder's list of names) to a record beside the data. [`left`] makes of that
//! record the folder that would be found after the power came back.
//!
//! The record holds `folders/KEY` (a line `f KEY NAME` or `d KEY NAME` for each entry at the folder's last sync), `files/KEY` (the
//! content at the file's last sync) and `root` (the folder's key). A key is an inode with its time of birth, so that a number that the
//! file system gives out again is another.
//!
//! **Invariant**: what was never synced is not in the record, and a sync returns only after the record has what it promises.

mod left;
mod record;

pub use left::{Loss, left};
pub use record::begin;

use std::{fs::Metadata, os::unix::fs::MetadataExt, time::UNIX_EPOCH};

const FILES: &str = "files";
const FOLDERS: &str = "folders";
const ROOT: &str = "root";

/// What tells one file from all others, also from earlier ones with its number.
fn key(metadata: &Metadata) -> String {
    let born = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{}-{}", metadata.ino(), born.as_nanos())
}

#[cfg(test)]
mod tests;
