//! Compaction, purging and upserts.

use std::collections::BTreeMap;

use lakehouse_types::{Progress, Unwatched};

use super::*;
use crate::{CompactionReport, Scope};

mod erase;

impl Host {
    async fn compact(&self, dataset: &str) -> CompactionReport {
        self.tables.compact(&stamp(), &name(dataset), Scope::Whole, Arc::new(Unwatched)).await.unwrap()
    }

    async fn could_swap(&self, pinned: &Arc<crate::DatasetState>, scope: Scope) -> bool {
        self.tables.could_swap(&stamp(), pinned, scope).await
    }

    async fn hide(&self, dataset: &str, keys: &[&str]) {
        let values = keys.iter().map(|key| json!(key)).collect();
        let buried = self.tables.bury(&stamp(), &name(dataset), &column("code"), values, None, String::new()).await.unwrap();
        assert!(buried.is_complete(), "{buried:?}");
    }

    async fn upsert(&self, batch: RecordBatch) -> Result<CommitReport, TableError> {
        let spec = WriteSpec { mode: WriteMode::Upsert, key: Some(column("code")), ..spec("people") };
        write(&self.tables, spec, vec![batch]).await
    }

    /// `id` by `code` of the rows that queries see.
    async fn visible(&self) -> BTreeMap<String, i64> {
        let Some(state) = self.tables.dataset(&name("people")) else { return BTreeMap::new() };
        let mut seen = BTreeMap::new();
        for batch in self.sql("SELECT code::text AS code, id FROM people").await {
            let (codes, ids) =
                (arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap(), batch.column(1));
            for (code, id) in codes.as_string::<i32>().iter().zip(ids.as_primitive::<Int64Type>()) {
                let code = code.unwrap();
                if !state.tombstones.contains(code) {
                    assert!(seen.insert(code.to_owned(), id.unwrap()).is_none(), "{code} twice");
                }
            }
        }
        assert_eq!(seen.len() as u64, state.visible_rows());
        seen
    }

    /// Names of all files of the dataset and its log.
    fn data_files(&self) -> Vec<String> {
        let is_data = |name: &String| name.ends_with(".zstd.parquet") || name.ends_with(".snappy.parquet");
        self.files().into_iter().filter(is_data).collect()
    }

    /// Whether a byte sequence stands in any file of the bucket's tables, as it is.
    fn holds(&self, text: &str) -> bool {
        let root = self.buckets.primary().local_path().unwrap().join(DATASETS);
        let mut open = vec![root];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(text) {
                    return true;
                }
            }
        }
        false
    }
}

/// One row.
fn row(code: &str, id: i64) -> RecordBatch {
    rows_of(&[(code, id)])
}

fn rows_of(rows: &[(&str, i64)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, id)| *id)));
    let codes: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(code, _)| *code)));
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("code", codes, true)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_files_become_one_and_hidden_rows_are_gone_with_their_versions_and_tombstones() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    for part in 0..20 {
        host.write("people", vec![rows(part * 10, part * 10 + 10)]).await.unwrap();
    }
    host.hide("people", &["C-000000", "C-000042", "C-000199"]).await;
    assert!(host.holds("C-000199"), "the log quotes the greatest value");
    let report = host.compact("people").await;
    assert_eq!((report.tombstones_applied, report.rows_dropped_by_tombstones, report.final_rows), (3, 3, 197));
    assert_eq!((report.files_before, report.files_after, report.files_rewritten), (20, 1, 20));
    let state = host.tables.state(&name("people")).unwrap();
    assert_eq!((state.rows, state.hidden, state.tombstones.is_empty(), state.version), (197, 0, true, report.version));
    drop(state);
    host.tables.purge(&name("people")).await.unwrap();
    assert_eq!(host.data_files().len(), 1);
    assert!(!host.holds("C-000199") && !host.holds("C-000000"), "{:?}", host.files());
    // Neither after a restart, where the key comes again and is seen.
    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(*) FROM people").await, 197);
    host.write("people", vec![row("C-000042", 7)]).await.unwrap();
    assert_eq!(host.visible().await.get("C-000042"), Some(&7));
    let compacted = Filter { kind: Some(EventKind::Compact), ..Filter::default() };
    assert_eq!(host.journal.events(&compacted, None, 10).await.unwrap().events.len(), 1);
    assert_eq!(host.intents().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_with_nothing_to_do_does_nothing() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    let before = host.journal.stats().total_events_created;
    let report = host.compact("people").await;
    assert_eq!((report.version, report.files_rewritten, report.final_rows), (0, 0, 10));
    assert_eq!(host.journal.stats().total_events_created, before);
    let unknown = host.tables.compact(&stamp(), &name("nobody"), Scope::Whole, Arc::new(Unwatched)).await.unwrap_err();
    assert_eq!(unknown.code(), Code::UnknownDataset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_keeps_its_version_and_the_files_go_after_it() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    host.write("people", vec![rows(10, 20)]).await.unwrap();
    host.hide("people", &["C-000003"]).await;
    let reading = host.tables.state(&name("people")).unwrap();
    host.compact("people").await;
    assert_eq!(host.data_files().len(), 3, "the reader's files are there");
    let session = host.session();
    session.deregister_table("people").unwrap();
    session.register_table("people", reading.provider()).unwrap();
    let read = session.sql("SELECT count(*) FROM people").await.unwrap().collect().await.unwrap();
    assert_eq!(read[0].column(0).as_primitive::<Int64Type>().value(0), 20);
    drop((session, reading));
    assert!(eventually(async || host.data_files().len() == 1).await, "{:?}", host.files());
    assert!(eventually(async || !host.holds("C-000003")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_ends_is_not_waited_for_for_ever() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    host.hide("people", &["C-000003"]).await;
    let endless = host.tables.state(&name("people")).unwrap();
    host.compact("people").await;
    let begun = Instant::now();
    host.tables.purge(&name("people")).await.unwrap();
    assert!(begun.elapsed() >= OPTIONS.patience);
    assert_eq!(host.data_files().len(), 1);
    drop(endless);
}

#[tokio::test(flavor = "multi_thread")]
async fn replaced_versions_stay_for_their_time() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    write(&host.tables, WriteSpec { mode: WriteMode::Replace, ..spec("people") }, vec![rows(0, 5)]).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    assert_eq!(host.data_files().len(), 2);
    // Also over a restart.
    let host = host.restart(&directory).await;
    host.clock.advance(TimeDelta::hours(25));
    assert!(eventually(async || host.data_files().len() == 1).await);
    assert_eq!(host.number("SELECT count(*) FROM people").await, 5);
    host.write("people", vec![rows(5, 6)]).await.unwrap();
    let host = host.restart(&directory).await;
    assert_eq!(host.number("SELECT count(*) FROM people").await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_compaction_is_finished_or_undone() {
    for committed in [true, false] {
        let directory = TempDir::new().unwrap();
        let host = Host::open(&directory).await;
        host.write("people", vec![rows(0, 10)]).await.unwrap();
        host.write("people", vec![rows(10, 20)]).await.unwrap();
        host.hide("people", &["C-000003", "C-000013"]).await;
        let before = host.visible().await;
        host.tables.compact_behind(&name("people"), &stamp(), committed).await;
        let host = host.restart(&directory).await;
        assert_eq!(host.visible().await, before, "committed: {committed}");
        let state = host.tables.state(&name("people")).unwrap();
        assert_eq!((state.rows, state.hidden), if committed { (18, 0) } else { (20, 2) });
        assert_eq!(host.intents().await.len(), 0);
        drop(state);
        let left = if committed { 1 } else { 2 };
        assert!(eventually(async || host.data_files().len() == left).await, "{committed}: {:?}", host.files());
        let host = host.restart(&directory).await;
        assert_eq!(host.visible().await, before, "committed: {committed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_meanwhile_is_not_undone() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    host.write("people", vec![rows(10, 20)]).await.unwrap();
    host.hide("people", &["C-000003"]).await;
    let pinned = || host.tables.state(&name("people")).unwrap();
    let state = pinned();
    host.write("people", vec![rows(20, 30)]).await.unwrap();
    assert!(host.could_swap(&state, Scope::Whole).await, "an append is no obstacle");
    host.write("people", vec![row("C-000003", 1)]).await.unwrap();
    assert!(!host.could_swap(&state, Scope::Whole).await, "a row with a hidden key came in");
    let state = pinned();
    host.tables.restore(&stamp(), &name("people"), vec![json!("C-000003")]).await.unwrap();
    assert!(!host.could_swap(&state, Scope::Whole).await, "the rows were shown again");
    let keys = Arc::new(crate::Tombstones::new(None, ["C-000004"]));
    let scope = Scope::Erase { column: column("code"), keys, number: 1, gate: None };
    let state = pinned();
    assert!(host.could_swap(&state, scope.clone()).await);
    host.hide("people", &["C-000004"]).await;
    assert!(!host.could_swap(&state, scope.clone()).await, "the row was hidden since, and not counted as hidden");
    let state = pinned();
    write(&host.tables, WriteSpec { mode: WriteMode::Replace, ..spec("people") }, vec![rows(0, 5)]).await.unwrap();
    assert!(!host.could_swap(&state, Scope::Whole).await, "the files are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_deletes_what_no_version_names_and_spares_who_writes() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    // As an older copy of a bucket, another writer or an earlier release may leave it.
    let folder = host.folder("people");
    let named = host.data_files().remove(0);
    std::fs::copy(folder.join(&named), folder.join("unnamed.zstd.parquet")).unwrap();
    let mut open = begin(&host.tables, spec("people")).await.unwrap();
    for part in 1..40 {
        open.write(rows(part * 8192, (part + 1) * 8192)).await.unwrap();
    }
    host.tables.purge(&name("people")).await.unwrap();
    assert!(!folder.join("unnamed.zstd.parquet").exists() && folder.join(named).exists());
    assert_eq!(open.finish(Vec::new(), 0).await.unwrap().rows, 39 * 8192);
    assert_eq!(host.number("SELECT count(*) FROM people").await, 39 * 8192 + 10);
}

#[derive(Debug)]
struct Cancelled;

impl Progress for Cancelled {
    fn begin(&self, _: &'static str, _: Option<u64>) {}

    fn advance(&self, _: u64) {}

    fn is_cancelled(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_compaction_leaves_nothing() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.write("people", vec![rows(0, 10)]).await.unwrap();
    host.write("people", vec![rows(10, 20)]).await.unwrap();
    let files = host.files();
    let error = host.tables.compact(&stamp(), &name("people"), Scope::Whole, Arc::new(Cancelled)).await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    assert_eq!(host.files(), files);
    assert_eq!(host.intents().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_replaces_rows_by_key_and_adds_the_others() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    let report = host.upsert(rows(0, 10)).await.unwrap();
    assert_eq!((report.rows, report.replaced_rows), (10, 0), "into a dataset that is made by it");
    host.write("people", vec![rows(10, 20)]).await.unwrap();
    let report = host.upsert(rows_of(&[("C-000004", 400), ("C-000015", 1500), ("C-new", 1)])).await.unwrap();
    assert_eq!((report.rows, report.replaced_rows, report.version), (3, 2, 2));
    let seen = host.visible().await;
    assert_eq!((seen.len(), seen["C-000004"], seen["C-000015"], seen["C-new"], seen["C-000005"]), (21, 400, 1500, 1, 5));
    // Hidden rows are replaced too, and stay hidden.
    host.hide("people", &["C-000004"]).await;
    let report = host.upsert(rows_of(&[("C-000004", 401)])).await.unwrap();
    assert_eq!((report.replaced_rows, report.tombstoned_keys), (1, 1));
    let host = host.restart(&directory).await;
    assert_eq!(host.visible().await.len(), 20);
    let state = host.tables.state(&name("people")).unwrap();
    assert_eq!((state.rows, state.hidden), (21, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn upserts_that_do_not_say_which_row_is_meant_are_refused() {
    let directory = TempDir::new().unwrap();
    let host = Host::open(&directory).await;
    host.upsert(rows(0, 3)).await.unwrap();
    let twice = host.upsert(rows_of(&[("a", 1), ("b", 2), ("a", 3)])).await.unwrap_err();
    assert!(matches!(twice, TableError::RepeatedKey { row: 3, .. }), "{twice:?}");
    let codes: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    let null = host.upsert(RecordBatch::try_from_iter_with_nullable([("code", codes, true)]).unwrap()).await.unwrap_err();
    assert!(matches!(null, TableError::NullKey { row: 2, .. }), "{null:?}");
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let missing = host.upsert(RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).unwrap()).await.unwrap_err();
    assert!(matches!(missing, TableError::UnknownColumn { .. }), "{missing:?}");
    host.write("plain", vec![rows(0, 3)]).await.unwrap();
    let spec = WriteSpec { mode: WriteMode::Upsert, ..spec("plain") };
    let keyless = write(&host.tables, spec, vec![rows(0, 1)]).await.unwrap_err();
    assert!(matches!(keyless, TableError::NoKey { .. }), "{keyless:?}");
    assert_eq!(host.visible().await.len(), 3);
}

/// A small generator: the same seed gives the same story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_stories_agree_with_a_model() {
    const KEYS: u64 = 12;
    for seed in 0..4 {
        let directory = TempDir::new().unwrap();
        let mut host = Host::open(&directory).await;
        let mut dice = Dice(seed);
        // Rows that are there by key, and the keys that are hidden.
        let (mut there, mut hidden) = (BTreeMap::<String, i64>::new(), std::collections::BTreeSet::<String>::new());
        host.upsert(row("K-first", 0)).await.unwrap();
        there.insert("K-first".to_owned(), 0);
        for step in 1..60 {
            let key = format!("K-{}", dice.roll(KEYS));
            match dice.roll(10) {
                0..=3 => {
                    host.upsert(row(&key, step)).await.unwrap();
                    there.insert(key, step);
                }
                4 if !there.contains_key(&key) => {
                    host.write("people", vec![row(&key, step)]).await.unwrap();
                    there.insert(key, step);
                }
                5 | 6 => {
                    let values = vec![json!(key)];
                    let buried =
                        host.tables.bury(&stamp(), &name("people"), &column("code"), values, None, String::new()).await.unwrap();
                    if buried.is_complete() {
                        hidden.insert(key);
                    }
                }
                7 => {
                    host.tables.restore(&stamp(), &name("people"), vec![json!(key)]).await.unwrap();
                    hidden.remove(&key);
                }
                8 => {
                    host.compact("people").await;
                    there.retain(|key, _| !hidden.contains(key));
                    hidden.clear();
                }
                _ => host = host.restart(&directory).await,
            }
            let expected: BTreeMap<String, i64> =
                there.iter().filter(|(key, _)| !hidden.contains(*key)).map(|(key, id)| (key.clone(), *id)).collect();
            assert_eq!(host.visible().await, expected, "seed {seed}, step {step}");
            let state = host.tables.state(&name("people")).unwrap();
            assert_eq!(state.rows, there.len() as u64, "seed {seed}, step {step}");
        }
    }
}
