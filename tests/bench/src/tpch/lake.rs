//! The tables: generated, ingested over HTTP into a server of their own, and laid out so that peers read the very files.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use serde_json::Value;
use tempfile::TempDir;

use super::texts::Query;
use crate::{
    host::{Failure, Host},
    python,
};

const SCALE_FACTOR: &str = "1";
const TABLES: [&str; 8] = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];

/// A server with the tables.
pub(crate) struct Lake {
    host: Host,
    queries: Vec<Query>,
    folder: TempDir,
}

impl Lake {
    pub(crate) async fn fill() -> Result<Self, Failure> {
        let queries = Query::all()?;
        let lake = Self { host: Host::start().await?, queries, folder: TempDir::new()? };
        lake.generate()?;
        let begun = Instant::now();
        for table in TABLES {
            lake.ingest(table)?;
        }
        println!("TPC-H: scale factor {SCALE_FACTOR} in after {:.1} s", begun.elapsed().as_secs_f64());
        Ok(lake)
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn queries(&self) -> &[Query] {
        &self.queries
    }

    /// A folder for each table, with the files that it consists of.
    pub(super) fn tables(&self) -> PathBuf {
        self.folder.path().join("tables")
    }

    /// The same with what the generator wrote.
    pub(super) fn generated(&self) -> PathBuf {
        self.folder.path().join("generated")
    }

    fn generate(&self) -> Result<(), Failure> {
        let generator = python::installed("tpchgen-cli")?;
        // In parts each table has a folder.
        let made = Command::new(&generator)
            .args(["parquet", "--quiet", "--parts", "1", "--scale-factor", SCALE_FACTOR, "--output-dir"])
            .arg(self.generated())
            .status()
            .map_err(|error| format!("{}: {error}", generator.display()))?;
        if made.success() { Ok(()) } else { Err(format!("{} failed", generator.display()).into()) }
    }

    /// Sends a table's files, and links what it has become.
    fn ingest(&self, table: &str) -> Result<(), Failure> {
        let before = self.datasets()?;
        let generated = entries(&self.generated().join(table))?;
        let [file] = generated.as_slice() else {
            return Err(format!("{table} was generated in {} files", generated.len()).into());
        };
        self.host.ingest_file(table, file)?;
        let after = self.datasets()?;
        let mut new = after.difference(&before);
        let (Some(dataset), None) = (new.next(), new.next()) else {
            return Err(format!("it cannot be told which folder is that of {table}").into());
        };
        let folder = self.tables().join(table);
        fs::create_dir_all(&folder)?;
        for file in live_files(dataset)? {
            // Not a copy: the peers' pages of the disk cache are to be ours.
            fs::hard_link(&file, folder.join(file.file_name().ok_or("a file without a name")?))?;
        }
        Ok(())
    }

    fn datasets(&self) -> Result<BTreeSet<PathBuf>, Failure> {
        let folder = self.host.folder().join("data/datasets");
        if folder.is_dir() { Ok(entries(&folder)?.into_iter().collect()) } else { Ok(BTreeSet::new()) }
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries: Result<Vec<_>, _> = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(entries.map_err(|error| format!("{}: {error}", folder.display()))?)
}

/// What the log of a Delta table has added and not removed. Its first commits are all there: no checkpoint has replaced them.
fn live_files(table: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut commits = entries(&table.join("_delta_log"))?;
    commits.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    commits.sort();
    let mut live = BTreeSet::new();
    for commit in commits {
        for line in fs::read_to_string(commit)?.lines() {
            let action: Value = serde_json::from_str(line)?;
            if let Some(added) = action["add"]["path"].as_str() {
                live.insert(table.join(added));
            }
            if let Some(removed) = action["remove"]["path"].as_str() {
                live.remove(&table.join(removed));
            }
        }
    }
    if live.is_empty() { Err(format!("{} has no files", table.display()).into()) } else { Ok(live.into_iter().collect()) }
}
