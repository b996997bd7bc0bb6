//! Buckets, the metadata store, and the folder of truth rules.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use croner::Cron;
use lakehouse_types::BucketName;

use crate::{S3Settings, section::Section};

/// `[buckets.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketSettings {
    /// A directory, created on first start.
    Local {
        /// Relative to the data folder.
        path: PathBuf,
    },
    /// Lives as long as the process.
    Memory,
    /// A bucket of an S3-compatible service.
    S3(S3Settings),
}

impl BucketSettings {
    /// Reads `[buckets]`. The primary bucket always exists: the local folder `data` unless the file says otherwise.
    pub(crate) fn read(section: Section<'_, '_>) -> BTreeMap<BucketName, Self> {
        let problems = section.problems();
        let mut buckets = BTreeMap::new();
        let mut lines = BTreeMap::new();
        for (name, mut table) in section.into_named() {
            let bucket = Self::read_one(&mut table, &name);
            match BucketName::new(&name) {
                Ok(name) => {
                    lines.insert(name.clone(), table.line());
                    buckets.extend(bucket.map(|bucket| (name, bucket)));
                }
                Err(error) => table.report(format!("[buckets.{name:?}]: {error}")),
            }
            table.finish();
        }
        buckets.entry(BucketName::primary()).or_insert_with(|| Self::Local { path: PathBuf::from("data") });
        for (name, line) in lines {
            if let Some(other) = Self::overlapping(&name, &buckets) {
                problems.report(line, format!("[buckets.{name}] and [buckets.{other}] share a folder; give each its own"));
            }
        }
        buckets
    }

    fn read_one(table: &mut Section<'_, '_>, name: &str) -> Option<Self> {
        #[derive(Clone, Copy, PartialEq)]
        enum Kind {
            Local,
            Memory,
            S3,
        }
        let has_path = table.has("path");
        let kind = table.choice("kind", Kind::Local, &[("local", Kind::Local), ("memory", Kind::Memory), ("s3", Kind::S3)]);
        let path = table.optional_path("path");
        if kind != Kind::Local && path.is_some() {
            let word = if kind == Kind::S3 { "s3" } else { "memory" };
            table.report(format!("\"path\" in [buckets.{name}] has no meaning for kind = \"{word}\""));
        }
        match (kind, path) {
            (Kind::S3, _) => S3Settings::read(table, name).map(Self::S3),
            (Kind::Memory, None) => Some(Self::Memory),
            (Kind::Memory, Some(_)) => None,
            (Kind::Local, Some(path)) => Some(Self::Local { path }),
            (Kind::Local, None) => {
                if !has_path {
                    table.report(format!("[buckets.{name}] needs a \"path\": the folder that holds its objects"));
                }
                None
            }
        }
    }

    /// Another bucket whose folder contains this one's, is inside it, or is the same. Of two that the file states, the later
    /// name is told of the earlier.
    fn overlapping<'b>(name: &BucketName, buckets: &'b BTreeMap<BucketName, Self>) -> Option<&'b BucketName> {
        let (service, mine) = buckets.get(name)?.place()?;
        let others = buckets.iter().filter(|(other, _)| *other < name || other.as_str() == "primary" && *other != name);
        others.filter_map(|(other, bucket)| Some((other, bucket.place()?))).find_map(|(other, (at, theirs))| {
            let is_shared = at == service && (mine.starts_with(&theirs) || theirs.starts_with(&mine));
            is_shared.then_some(other)
        })
    }

    /// The service that keeps the objects, none for this machine, and the folder in it.
    fn place(&self) -> Option<(Option<String>, PathBuf)> {
        match self {
            Self::Local { path } => Some((None, lexical(path))),
            Self::Memory => None,
            Self::S3(remote) => {
                let (service, folder) = remote.place();
                Some((Some(service), lexical(Path::new(folder))))
            }
        }
    }
}

/// The path without `.` and with `..` resolved by name alone.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSettings {
    /// How long metadata writes are gathered before one is made durable. Default 2 ms, and 50 ms when the primary bucket is remote.
    pub meta_flush: Duration,
    /// How long files of versions stay that a newer one has replaced or merged, for readers from outside. Files with rows that were
    /// dropped for good go at once. Default 24 hours.
    pub version_retention: Duration,
}

impl StorageSettings {
    pub(crate) fn read(mut section: Section<'_, '_>, is_remote: bool) -> Self {
        let settings = Self {
            meta_flush: section.millis("meta_flush_ms", if is_remote { 50 } else { 2 }, 1..=1000),
            version_retention: section.millis("version_retention_ms", 86_400_000, 0..=31_622_400_000),
        };
        section.finish();
        settings
    }
}

/// `[compaction]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CompactionSettings {
    /// When every dataset is compacted that it brings something to: a cron expression of five fields, in UTC. Compaction takes
    /// tombstoned rows out for good, so nothing runs unless it is said. Default never.
    pub schedule: Option<String>,
}

impl CompactionSettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let expected = "a cron expression of five fields (minute, hour, day, month, weekday; UTC), or \"\" for never";
        let schedule = section.text("schedule", None, expected, |text| match text {
            "" => Some(None),
            text => (text.split_whitespace().count() == 5 && Cron::from_str(text).is_ok()).then(|| Some(text.to_owned())),
        });
        section.finish();
        Self { schedule }
    }
}

/// `[truth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TruthSettings {
    /// The folder of rule files; relative to the config folder. Default `truth`.
    pub dir: PathBuf,
    /// How often the folder is looked at for changes. Default 500 ms.
    pub poll: Duration,
}

impl TruthSettings {
    pub(crate) fn read(mut section: Section<'_, '_>) -> Self {
        let settings = Self { dir: section.path("dir", "truth"), poll: section.millis("poll_ms", 500, 50..=60_000) };
        section.finish();
        settings
    }
}
