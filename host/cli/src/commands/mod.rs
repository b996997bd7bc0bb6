//! One file per command.

mod compile;
mod grant;
mod index;
mod ingest;
mod ingest_source;
mod job;
mod journal;
mod key;
mod output;
mod plugin;
mod profile;
mod queries;
mod search;
mod serve;
mod sql;
mod storage;
mod upload;
mod view;

pub(crate) use compile::compile_component;
pub(crate) use grant::grant;
pub(crate) use index::index;
pub(crate) use ingest::{dataset_name, format_of, ingest};
pub(crate) use job::jobs;
pub(crate) use journal::journal;
pub(crate) use key::key;
pub(crate) use plugin::plugin;
pub(crate) use profile::profile;
pub(crate) use queries::queries;
pub(crate) use search::search;
pub(crate) use serve::{LISTENS, serve};
pub(crate) use sql::sql;
pub(crate) use storage::{certificates, compact, datasets, describe, erase};
pub(crate) use upload::open as open_upload;
pub(crate) use view::view;
