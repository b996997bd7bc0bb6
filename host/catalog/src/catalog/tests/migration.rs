use serde::{Deserialize, Serialize};

use super::*;

/// A record as another release wrote it.
#[derive(Debug, Serialize, Deserialize)]
struct Planted(Value);

impl Record for Planted {
    const COLLECTION: &'static str = DatasetRecord::COLLECTION;
    const FORMAT: u32 = DatasetRecord::FORMAT;
}

async fn plant(lake: &Lake, name: &str, bucket: &str) {
    let mut record = serde_json::to_value(dataset(name)).unwrap();
    record["bucket"] = bucket.into();
    let mut txn = lake.meta.begin().await.unwrap();
    txn.put(name, &Planted(record)).unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_names_of_the_primary_bucket_are_read_and_renamed_once() {
    let lake = Lake::start().await;
    for (name, bucket) in [("a", ""), ("b", "data"), ("c", "local"), ("d", "primary"), ("e", "profile:ada"), ("f", "data2")] {
        plant(&lake, name, bucket).await;
    }
    let catalog = lake.reopened().await;
    let buckets = |catalog: &Catalog| {
        let present = catalog.snapshot();
        present.datasets.values().map(|record| record.bucket.as_str().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(buckets(&catalog), "primary data local primary profile:ada data2");

    let is_legacy = |name: &str| ["", "data", "local"].contains(&name);
    let first = catalog.migrate_buckets(&by(), is_legacy).await.unwrap();
    assert_eq!((first.renamed, first.already_canonical, first.total), (3, 3, 6));
    assert_eq!(buckets(&catalog), "primary primary primary primary profile:ada data2");
    let again = catalog.migrate_buckets(&by(), is_legacy).await.unwrap();
    assert_eq!((again.renamed, again.already_canonical, again.total), (0, 6, 6));

    let filter = Filter { kind: Some(EventKind::BucketMigrate), ..Filter::default() };
    let events = lake.journal.events(&filter, None, 10).await.unwrap().events;
    assert_eq!(events.len(), 1, "a run that renames nothing is no event");
    assert_eq!(buckets(&lake.reopened().await), "primary primary primary primary profile:ada data2");
}
