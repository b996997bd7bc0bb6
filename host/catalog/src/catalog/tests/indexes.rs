use lakehouse_types::{BucketName, Code, ColumnName, DatasetId, Digest, Fault, IndexId, IndexName, PluginName, ProfileId};
use serde_json::{Value, json};

use super::{Lake, ada, at, by, check_golden, dataset, dataset_name};
use crate::{
    CatalogError, FaissRecord, FileRecord, IdType, IndexLitter, IndexMetric, IndexRecord, IndexRules, IndexSource,
    PendingSegments, PinnedRule, Recipe, Seen, SegmentFiles, SegmentRecord,
};

#[test]
fn a_stored_index_reads_as_it_was_written() {
    check_golden(include_str!("../../../golden/index-1.json"), &index("resumes", "candidates"));
    let litter = IndexLitter { bucket: BucketName::primary(), folder: "indexes/01jd/01je".into() };
    check_golden(include_str!("../../../golden/index_litter-1.json"), &litter);
}

fn index(name: &str, base: &str) -> IndexRecord {
    let rule = |plugin: &str, overlay: Value| PinnedRule {
        plugin: PluginName::new(plugin).unwrap(),
        version: "1.2.0".into(),
        digest: Digest::from_bytes(&[0xab; 32]),
        config: json!({"chunk_size": 800}),
        overlay,
    };
    let file = |name: &str| FileRecord { name: name.into(), bytes: 17, crc32c: 99 };
    let recipe = Recipe {
        id_column: ColumnName::new("candidate_id").unwrap(),
        source: IndexSource::Text(ColumnName::new("resume_text").unwrap()),
        metric: IndexMetric::InnerProduct,
        rules: IndexRules {
            id_mapper: rule("id-prefix", json!({"prefix": "W-"})),
            chunker: Some(rule("chunk-text", Value::Null)),
            embedder: Some(rule("embed-hash", Value::Null)),
        },
    };
    let segment = SegmentRecord {
        id: IndexId::new("01jf").unwrap(),
        rows: 3,
        live_rows: 2,
        chunks: 5,
        files: SegmentFiles {
            rows: file("rows.bin"),
            text: Some(file("text.bin")),
            vectors: file("vectors.f32"),
            faiss: Some(FaissRecord { file: file("index.faiss"), factory: "HNSW32".into(), ef_search: 64 }),
            dead: Some(file("dead/2/rows.bits")),
        },
    };
    IndexRecord {
        name: IndexName::new(name).unwrap(),
        id: IndexId::new("01jd").unwrap(),
        relation: base.into(),
        base: dataset_name(base),
        bucket: BucketName::primary(),
        recipe: recipe.clone(),
        id_type: IdType::Text,
        profile: ProfileId::default_profile(),
        dimensions: Some(384),
        governance: Digest::from_bytes(&[0xcd; 32]),
        seen: Seen { dataset: DatasetId::new("01jc").unwrap(), version: 4, tombstones: 1, files: vec![1, u64::MAX] },
        generation: 2,
        segments: vec![segment.clone()],
        pending: Some(PendingSegments { recipe, dimensions: 384, segments: vec![segment] }),
        created_at: at(2),
        created_by: ada(),
        refreshed_at: Some(at(3)),
    }
}

#[tokio::test]
async fn an_index_keeps_its_relation_and_its_plugins() {
    let lake = Lake::start().await;
    let put = async |record: IndexRecord| lake.catalog.edit(&by(), |_, edit| edit.put_index(record)).await;
    assert!(matches!(put(index("resumes", "nothing")).await, Err(CatalogError::UnknownDataset { .. })));
    lake.catalog.edit(&by(), |_, edit| edit.put_dataset(dataset("candidates"))).await.unwrap();
    put(index("resumes", "candidates")).await.unwrap();
    let other = IndexRecord { id: IndexId::new("01zz").unwrap(), ..index("resumes", "candidates") };
    assert!(matches!(put(other).await, Err(CatalogError::NameTaken { holder: "index", .. })));
    let removed = lake.catalog.edit(&by(), |_, edit| edit.remove_dataset(&dataset_name("candidates")).map(drop)).await;
    let error = removed.unwrap_err();
    assert_eq!((error.code(), &error.members()["used_by"]), (Code::InUse, &json!([{"index": "resumes"}])));
    let pinning = |plugin: &str| lake.catalog.snapshot().indexes_by_plugin(&PluginName::new(plugin).unwrap()).len();
    assert_eq!((pinning("embed-hash"), pinning("redact-pii")), (1, 0));
    let name = IndexName::new("resumes").unwrap();
    lake.catalog.edit(&by(), |_, edit| edit.remove_index(&name).map(drop)).await.unwrap();
    assert!(lake.catalog.edit(&by(), |_, edit| edit.remove_index(&name).map(drop)).await.is_err());
    lake.catalog.edit(&by(), |_, edit| edit.remove_dataset(&dataset_name("candidates")).map(drop)).await.unwrap();
}
