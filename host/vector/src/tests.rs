//! Segments over a bucket in memory: written, searched, damaged, swept.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use bytes::Bytes;
use lakehouse_catalog::{
    IdType, IndexLitter, IndexMetric, IndexRecord, IndexRules, IndexSource, PinnedRule, Recipe, Seen, SegmentRecord,
};
use lakehouse_faiss::Bitmap;
use lakehouse_storage::{
    BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions,
    object_store::{ObjectStoreExt, path::Path},
};
use lakehouse_types::{Actor, BucketName, ColumnName, DatasetId, Digest, IndexId};
use proptest::prelude::*;

use crate::{
    Indexes, Mask, MaskBuilder, Method, Need, Query, Structure, VectorError, draft::Draft, embed::digest, folder_of_index,
    folder_of_segment, search, sweep,
};

const DIMENSIONS: usize = 8;

struct Lake {
    buckets: Buckets,
    meta: Meta,
    indexes: Indexes,
}

impl Lake {
    async fn open() -> Self {
        let spec = BucketSpec { name: BucketName::primary(), kind: BucketKind::Memory };
        let buckets = Buckets::open(vec![spec], BucketOptions::new(tokio::runtime::Handle::current())).await.unwrap();
        let meta = Meta::open(&buckets.primary(), MetaOptions::default()).await.unwrap();
        let indexes = Indexes::new(buckets.clone(), 1 << 30);
        Self { buckets, meta, indexes }
    }

    /// Writes a segment of these rows: key, and the vectors of its chunks.
    async fn write(&self, index: &IndexRecord, rows: &[(String, Vec<Vec<f32>>)], flat_below: usize) -> SegmentRecord {
        let mut draft = Draft::new(DIMENSIONS);
        for (key, chunks) in rows {
            draft.push_test_row(key, digest(key.as_bytes()), chunks);
        }
        let structure = Structure { flat_below, m: 8, ef_construction: 40, ef_search: 40 };
        draft.write(&self.indexes, &self.meta, index, structure).await.unwrap()
    }

    async fn store_dead(&self, index: &IndexRecord, segment: &mut SegmentRecord, dead: &[u32]) {
        let bits = Bitmap::of(segment.rows as usize, dead.iter().copied()).unwrap();
        let folder = folder_of_segment(&index.id, &segment.id);
        let file = self.indexes.store(&self.buckets.primary(), &folder, "dead/1/rows.bits", bits.to_bytes()).await.unwrap();
        segment.files.dead = Some(file);
    }
}

fn rule(plugin: &str) -> PinnedRule {
    PinnedRule {
        plugin: plugin.parse().unwrap(),
        version: "1".to_owned(),
        digest: Digest::from_bytes(&[7; 32]),
        config: serde_json::json!({}),
        overlay: serde_json::Value::Null,
    }
}

fn record(segments: Vec<SegmentRecord>) -> IndexRecord {
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    IndexRecord {
        name: "people".parse().unwrap(),
        id: IndexId::new("01jd0000000000000000000000").unwrap(),
        relation: "people".to_owned(),
        base: "people".parse().unwrap(),
        bucket: BucketName::primary(),
        recipe: Recipe {
            id_column: ColumnName::new("id").unwrap(),
            source: IndexSource::Text(ColumnName::new("note").unwrap()),
            metric: IndexMetric::InnerProduct,
            rules: IndexRules { id_mapper: rule("id-prefix"), chunker: None, embedder: None },
        },
        id_type: IdType::Text,
        profile: "default".parse().unwrap(),
        dimensions: Some(DIMENSIONS as u32),
        governance: Digest::from_bytes(&[9; 32]),
        seen: Seen { dataset: DatasetId::fresh(), version: 0, tombstones: 0, files: Vec::new() },
        generation: 1,
        segments,
        pending: None,
        created_at: at,
        created_by: Actor::new("ada").unwrap(),
        refreshed_at: Some(at),
    }
}

/// A direction that leans to one axis, and a little to another.
fn leaning(axis: usize, by: f32) -> Vec<f32> {
    let mut vector = vec![0.0; DIMENSIONS];
    vector[axis % DIMENSIONS] = 1.0;
    vector[(axis + 1) % DIMENSIONS] += by;
    vector
}

fn rows(from: usize, to: usize) -> Vec<(String, Vec<Vec<f32>>)> {
    (from..to).map(|n| (format!("K-{n}"), vec![leaning(n, n as f32 / 1_000.0), leaning(n + 3, 0.0)])).collect()
}

async fn keys(lake: &Lake, index: &Arc<IndexRecord>, need: Need, k: usize, vector: &[f32]) -> (Vec<String>, Method) {
    let loaded = lake.indexes.load(index, need).await.unwrap();
    let found = search(&loaded, Query { vector, k, mask: &Mask::live(&loaded) }).unwrap();
    (found.hits.into_iter().map(|hit| hit.row_key).collect(), found.method)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_all_segments_are_found_once_and_dead_ones_never() {
    let lake = Lake::open().await;
    let bare = record(vec![]);
    let first = lake.write(&bare, &rows(0, 40), 1_000).await;
    let mut second = lake.write(&bare, &rows(40, 80), 1_000).await;
    // Rows 40 + 8 and 40 + 16 lean as the query does.
    lake.store_dead(&bare, &mut second, &[8, 16]).await;
    let index = Arc::new(record(vec![first, second]));
    let (found, method) = keys(&lake, &index, Need::Now, 80, &leaning(0, 0.0)).await;
    assert_eq!((found.len(), method), (78, Method::Flat));
    let distinct: std::collections::BTreeSet<_> = found.iter().collect();
    assert_eq!(distinct.len(), 78, "each row once");
    assert!(!found.contains(&"K-48".to_owned()) && !found.contains(&"K-56".to_owned()));
    assert_eq!(found[0], "K-0", "of equally near rows the oldest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_is_walked_when_it_is_in_memory_and_not_waited_for_otherwise() {
    let lake = Lake::open().await;
    let bare = record(vec![]);
    let segment = lake.write(&bare, &rows(0, 3_000), 1_000).await;
    assert_eq!(segment.files.faiss.as_ref().unwrap().factory, "HNSW8");
    let index = Arc::new(record(vec![segment]));
    let (exact, method) = keys(&lake, &index, Need::Now, 10, &leaning(5, 0.5)).await;
    assert_eq!(method, Method::BruteForce);
    assert!(!lake.indexes.is_warm(&index));
    let (walked, method) = keys(&lake, &index, Need::Warm, 10, &leaning(5, 0.5)).await;
    assert_eq!((method, lake.indexes.is_warm(&index)), (Method::Hnsw, true));
    let both = walked.iter().filter(|key| exact.contains(key)).count();
    assert!(both >= 8, "{walked:?} {exact:?}");
    lake.indexes.forget(&index.id);
    assert_eq!((lake.indexes.cached_bytes(), lake.indexes.is_warm(&index)), (0, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_leaves_few_starves_nobody() {
    let lake = Lake::open().await;
    let bare = record(vec![]);
    let index = Arc::new(record(vec![lake.write(&bare, &rows(0, 3_000), 1_000).await]));
    let loaded = lake.indexes.load(&index, Need::Warm).await.unwrap();
    for wanted in [1usize, 7, 40] {
        let mut mask = MaskBuilder::new(&loaded);
        let few: ArrayRef = Arc::new((0..wanted).map(|n| Some(format!("K-{}", n * 70))).collect::<StringArray>());
        mask.add(&few).unwrap();
        mask.add(&(Arc::new(StringArray::from(vec![Some("nobody"), None])) as ArrayRef)).unwrap();
        let found = search(&loaded, Query { vector: &leaning(2, 0.1), k: 20, mask: &mask.finish().unwrap() }).unwrap();
        assert_eq!((found.hits.len(), found.method), (wanted.min(20), Method::BruteForce));
        assert_eq!(found.candidates, wanted * 2);
    }
    // Rows whose content is another are not found.
    let mut mask = MaskBuilder::new(&loaded);
    let some: ArrayRef = Arc::new(StringArray::from(vec!["K-1", "K-2"]));
    let contents: ArrayRef = Arc::new(StringArray::from(vec!["K-1", "changed"]));
    mask.add_unchanged(&some, &contents).unwrap();
    let found = search(&loaded, Query { vector: &leaning(2, 0.1), k: 20, mask: &mask.finish().unwrap() }).unwrap();
    assert_eq!(found.hits.iter().map(|hit| hit.row_key.as_str()).collect::<Vec<_>>(), ["K-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_a_short_file_or_none_is_damage_with_its_name() {
    let lake = Lake::open().await;
    let bare = record(vec![]);
    let mut segment = lake.write(&bare, &rows(0, 1_200), 1_000).await;
    lake.store_dead(&bare, &mut segment, &[3]).await;
    let index = Arc::new(record(vec![segment.clone()]));
    let store = lake.buckets.primary().store();
    let files: Vec<String> = segment.files.iter().map(|file| file.name.clone()).collect();
    assert_eq!(files.len(), 5, "{files:?}");
    for name in files {
        let path = Path::from(format!("{}/{name}", folder_of_segment(&index.id, &segment.id)));
        let whole = store.get(&path).await.unwrap().bytes().await.unwrap();
        let mut flipped = whole.to_vec();
        let at = flipped.len() / 2;
        flipped[at] ^= 16;
        for broken in [Some(flipped), Some(whole[..whole.len() - 1].to_vec()), None] {
            lake.indexes.forget(&index.id);
            match broken {
                Some(bytes) => drop(store.put(&path, bytes.into()).await.unwrap()),
                None => store.delete(&path).await.unwrap(),
            }
            match lake.indexes.load(&index, Need::Warm).await {
                Err(VectorError::Damaged { file, .. }) => assert_eq!(file, path.as_ref()),
                other => panic!("{name}: {:?}", other.map(drop)),
            }
        }
        store.put(&path, whole.into()).await.unwrap();
        lake.indexes.forget(&index.id);
        lake.indexes.load(&index, Need::Warm).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_down_as_litter_goes_and_nothing_else() {
    let lake = Lake::open().await;
    let bare = record(vec![]);
    let kept = lake.write(&bare, &rows(0, 3), 1_000).await;
    let lost = lake.write(&bare, &rows(0, 3), 1_000).await;
    let mut txn = lake.meta.begin().await.unwrap();
    txn.delete::<IndexLitter>(&folder_of_segment(&bare.id, &kept.id));
    txn.commit().await.unwrap();
    let foreign = Path::from("indexes/another/installations/file");
    lake.buckets.primary().store().put(&foreign, Bytes::from_static(b"x").into()).await.unwrap();

    sweep(&lake.meta, &lake.buckets).await.unwrap();
    assert!(lake.indexes.load(&Arc::new(record(vec![kept])), Need::Warm).await.is_ok());
    assert!(lake.indexes.load(&Arc::new(record(vec![lost])), Need::Warm).await.is_err());
    assert!(lake.buckets.primary().store().get(&foreign).await.is_ok());
    assert!(lake.meta.collection::<IndexLitter>().all().await.unwrap().is_empty());
    assert!(folder_of_index(&bare.id).starts_with("indexes/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_of_another_length_or_not_finite_is_refused() {
    let lake = Lake::open().await;
    let bare = record(vec![]);
    let index = Arc::new(record(vec![lake.write(&bare, &rows(0, 3), 1_000).await]));
    let loaded = lake.indexes.load(&index, Need::Now).await.unwrap();
    let mask = Mask::live(&loaded);
    assert!(search(&loaded, Query { vector: &[1.0; 7], k: 3, mask: &mask }).is_err());
    assert!(search(&loaded, Query { vector: &[f32::NAN; 8], k: 3, mask: &mask }).is_err());
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert!(MaskBuilder::new(&loaded).add_unchanged(&numbers, &numbers).is_err(), "integers are no content");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the rows, their chunks and the mask: min(k, rows that may be found) hits, each in the mask, in order of their scores.
    #[test]
    fn as_many_as_asked_for_while_there_are_as_many(
        chunks in prop::collection::vec(0usize..4, 1..60),
        chosen in prop::collection::vec(any::<bool>(), 60),
        k in 1usize..40,
        split in 0usize..60,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let lake = Lake::open().await;
            let bare = record(vec![]);
            let rows: Vec<_> = chunks.iter().enumerate().map(|(n, chunks)| {
                (format!("K-{n}"), (0..*chunks).map(|c| leaning(n + c, c as f32)).collect::<Vec<_>>())
            }).collect();
            let split = split.min(rows.len());
            let mut segments = Vec::new();
            for part in [&rows[..split], &rows[split..]] {
                if !part.is_empty() {
                    segments.push(lake.write(&bare, part, 20).await);
                }
            }
            let index = Arc::new(record(segments));
            let loaded = lake.indexes.load(&index, Need::Warm).await.unwrap();
            let mut mask = MaskBuilder::new(&loaded);
            let wanted: Vec<&String> = rows.iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|((key, _), _)| key).collect();
            mask.add(&(Arc::new(wanted.iter().map(|key| Some(key.as_str())).collect::<StringArray>()) as ArrayRef)).unwrap();
            let found = search(&loaded, Query { vector: &leaning(1, 0.3), k, mask: &mask.finish().unwrap() }).unwrap();
            let with_chunks = rows.iter().zip(&chosen).filter(|((_, chunks), chosen)| **chosen && !chunks.is_empty()).count();
            assert_eq!(found.hits.len(), k.min(with_chunks));
            assert!(found.hits.iter().all(|hit| wanted.contains(&&hit.row_key)));
            assert!(found.hits.is_sorted_by(|a, b| a.score >= b.score));
        });
    }
}
