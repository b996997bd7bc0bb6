//! The immutable face of one version of a dataset.
//!
//! **Invariant**: a state never changes. A query that holds one sees that version and those tombstones to its end, and its files
//! stay as long.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::common::Statistics;
use datafusion::datasource::TableProvider;
use deltalake_core::kernel::{Action, Add, LogicalFileView};
use lakehouse_storage::Quiet;
use lakehouse_types::{BucketName, DatasetName};
use object_store_13::{ObjectMeta, path::Path};

use crate::folder::Folder;
use crate::mark::mark;
use crate::provider::DatasetProvider;
use crate::schema::scanned;
use crate::snapshot::Snapshot;
use crate::statistics::{from_log, together};
use crate::{Column, TableError, Tombstones};

/// One version of a dataset: its files, schema and tombstones.
#[derive(Debug)]
pub struct DatasetState {
    pub name: DatasetName,
    /// Unique over time: a dataset that is deleted and made again has another.
    pub id: String,
    pub bucket: BucketName,
    /// The Delta version.
    pub version: u64,
    /// The stored schema: plain types. Scans hand out `scan_schema`.
    pub schema: SchemaRef,
    /// The schema of [`DatasetState::provider`]: text and binary columns are views, all else as in `schema`.
    pub scan_schema: SchemaRef,
    /// Rows in the files, hidden ones included.
    pub rows: u64,
    /// Rows that tombstones hide.
    pub hidden: u64,
    /// Size of the files.
    pub bytes: u64,
    pub tombstones: Arc<Tombstones>,
    pub(crate) files: Arc<[DataFile]>,
    pub(crate) statistics: Arc<Statistics>,
    pub(crate) folder: Arc<Folder>,
    pub(crate) snapshot: Snapshot,
}

/// One Parquet file of a version.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    pub(crate) meta: ObjectMeta,
    pub(crate) statistics: Arc<Statistics>,
}

impl DatasetState {
    /// Reads the file list of a snapshot; what is known of files from another version is not read again.
    pub(crate) fn new(
        name: DatasetName,
        folder: Arc<Folder>,
        snapshot: Snapshot,
        tombstones: Arc<Tombstones>,
        hidden: u64,
        known: Option<&Self>,
    ) -> Result<Self, TableError> {
        let corrupt = |what| TableError::Corrupt { dataset: name.clone(), what };
        let schema = snapshot.schema();
        let scan_schema = scanned(&schema);
        let known = known.filter(|known| known.scan_schema == scan_schema);
        let before = known.and_then(|known| Some((&known.files, snapshot.added_since(&known.snapshot)?)));
        let (mut files, added) = match before {
            Some((files, added)) => (files.to_vec(), added),
            None => {
                let log = snapshot.loaded().try_log_data().map_err(|_| corrupt("its log cannot be replayed"))?;
                let known = known.map_or(&[][..], |known| &known.files);
                let files: Result<_, _> =
                    log.iter().map(|file| in_log(&folder, &scan_schema, &file, known).map_err(corrupt)).collect();
                (files?, snapshot.added())
            }
        };
        files.extend(added.iter().map(|add| of_add(&folder, &scan_schema, add)));
        files.sort_by(|a, b| a.meta.location.cmp(&b.meta.location));
        let each: Vec<_> = files.iter().map(|file| Arc::clone(&file.statistics)).collect();
        Ok(Self {
            id: folder.id().to_owned(),
            bucket: folder.bucket().name().clone(),
            version: snapshot.version(),
            statistics: Arc::new(together(&scan_schema, &each)),
            rows: rows_of(&files),
            hidden,
            bytes: files.iter().map(|file| file.meta.size).sum(),
            name,
            schema,
            scan_schema,
            tombstones,
            files: files.into(),
            folder,
            snapshot,
        })
    }

    /// The rows that a write is about to add, as far as a scan needs them: files of this dataset's folder that no version has yet.
    pub(crate) fn with_files(&self, schema: SchemaRef, adds: &[Add]) -> Self {
        let scan_schema = scanned(&schema);
        let files = adds.iter().map(|add| of_add(&self.folder, &scan_schema, add)).collect();
        self.of_files(schema, files)
    }

    /// Some files of this dataset's folder, read under a schema that holds theirs. Only scans make sense of it.
    pub(crate) fn of_files(&self, schema: SchemaRef, files: Vec<DataFile>) -> Self {
        let scan_schema = scanned(&schema);
        let each: Vec<_> = files.iter().map(|file| Arc::clone(&file.statistics)).collect();
        let statistics = Arc::new(together(&scan_schema, &each));
        let rows = rows_of(&files);
        let whole = self.with_tombstones(Arc::clone(&self.tombstones), self.hidden);
        Self { schema, scan_schema, statistics, rows, files: files.into(), ..whole }
    }

    /// The same version with other tombstones.
    pub(crate) fn with_tombstones(&self, tombstones: Arc<Tombstones>, hidden: u64) -> Self {
        Self {
            name: self.name.clone(),
            id: self.id.clone(),
            bucket: self.bucket.clone(),
            version: self.version,
            schema: Arc::clone(&self.schema),
            scan_schema: Arc::clone(&self.scan_schema),
            rows: self.rows,
            hidden,
            bytes: self.bytes,
            tombstones,
            files: Arc::clone(&self.files),
            statistics: Arc::clone(&self.statistics),
            folder: Arc::clone(&self.folder),
            snapshot: self.snapshot.clone(),
        }
    }

    /// The same version, with a snapshot of it that was loaded anew.
    pub(crate) fn with_snapshot(&self, snapshot: Snapshot) -> Self {
        Self { snapshot, ..self.with_tombstones(Arc::clone(&self.tombstones), self.hidden) }
    }

    /// The actions that take files out of the next version, by their names.
    pub(crate) fn removes(&self, data_change: bool, at_ms: i64, goes: impl Fn(&str) -> bool) -> Result<Vec<Action>, TableError> {
        let failed = |source| TableError::Delta { dataset: self.name.clone(), source: Quiet::of(source) };
        let removes = self.snapshot.removes(data_change, at_ms, goes).map_err(failed)?;
        Ok(removes.into_iter().map(Action::Remove).collect())
    }

    /// A number for each data file, ascending. While a later state has all of them, it has all rows of this one.
    pub fn file_marks(&self) -> Vec<u64> {
        let mut marks: Vec<u64> = self.files.iter().map(|file| mark(file.meta.location.as_ref().as_bytes())).collect();
        marks.sort_unstable();
        marks
    }

    /// Rows that queries see.
    pub fn visible_rows(&self) -> u64 {
        self.rows.saturating_sub(self.hidden)
    }

    /// The columns with their friendly types.
    pub fn columns(&self) -> Vec<Column> {
        Column::of(&self.schema)
    }

    /// Every row of this version, tombstoned ones included, as fast as bare DataFusion reads the files. The session must know the
    /// bucket's object store under [`lakehouse_storage::Bucket::url`].
    pub fn provider(self: &Arc<Self>) -> Arc<dyn TableProvider> {
        Arc::new(DatasetProvider::new(Arc::clone(self)))
    }
}

impl DataFile {
    /// Its name in the dataset's folder.
    pub(crate) fn name(&self) -> &str {
        self.meta.location.filename().unwrap_or_default()
    }

    /// Rows, as far as the log tells.
    pub(crate) fn rows(&self) -> u64 {
        self.statistics.num_rows.get_value().copied().unwrap_or_default() as u64
    }
}

/// A file that the log names. A file's name is its own: nothing is written under it again, and so nothing is read again of one that is
/// known.
fn in_log(folder: &Folder, schema: &SchemaRef, file: &LogicalFileView, known: &[DataFile]) -> Result<DataFile, &'static str> {
    if file.deletion_vector_descriptor().is_some() {
        return Err("a foreign writer left deletion vectors, which are not read here");
    }
    let size = u64::try_from(file.size()).map_err(|_| "a file has a negative size")?;
    let location = folder.path().parts().chain(file.object_store_path().parts()).collect::<Path>();
    let statistics = match known.binary_search_by(|file| file.meta.location.cmp(&location)) {
        Ok(at) => Arc::clone(&known[at].statistics),
        Err(_) => Arc::new(from_log(schema, file.stats().as_deref(), size)),
    };
    Ok(data_file(location, file.modification_time(), size, statistics))
}

/// A file of ours that a commit adds, or is about to.
fn of_add(folder: &Folder, schema: &SchemaRef, add: &Add) -> DataFile {
    let size = u64::try_from(add.size).unwrap_or_default();
    let statistics = Arc::new(from_log(schema, add.stats.as_deref(), size));
    data_file(folder.path().join(add.path.as_str()), add.modification_time, size, statistics)
}

fn data_file(location: Path, modified_ms: i64, size: u64, statistics: Arc<Statistics>) -> DataFile {
    let last_modified = DateTime::<Utc>::from_timestamp_millis(modified_ms).unwrap_or_default();
    DataFile { meta: ObjectMeta { location, last_modified, size, e_tag: None, version: None }, statistics }
}

fn rows_of(files: &[DataFile]) -> u64 {
    files.iter().map(DataFile::rows).sum()
}
