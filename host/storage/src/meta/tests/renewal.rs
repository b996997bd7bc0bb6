//! A store that is renewed.

use super::*;

/// Whether a byte sequence stands in any file under `root`.
fn holds(root: &std::path::Path, text: &str) -> bool {
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(text) => return true,
                false => {}
            }
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_store_has_what_lives_and_no_byte_of_what_does_not() {
    let root = tempfile::tempdir().unwrap();
    let kind = || BucketKind::Local { path: root.path().to_owned() };
    let open = buckets(kind()).await;
    let meta = Meta::open(&open.primary(), MetaOptions::default()).await.unwrap();
    let mut txn = meta.begin().await.unwrap();
    for text in ["stays", "goes-away-0815", "changes-from-4711"] {
        txn.put(&text[..4], &Numbering(text.to_owned())).unwrap();
    }
    txn.commit().await.unwrap();
    let mut txn = meta.begin().await.unwrap();
    txn.delete::<Numbering>("goes");
    txn.put("chan", &Numbering("changed".to_owned())).unwrap();
    txn.commit().await.unwrap();
    assert!(holds(root.path(), "goes-away-0815") && holds(root.path(), "changes-from-4711"));
    let before = meta.epoch();
    let renewal = meta.renew().await.unwrap();
    // The two, and the sign of life.
    assert_eq!((renewal.generation, renewal.records), (2, 3));
    assert!(!holds(root.path(), "goes-away-0815") && !holds(root.path(), "changes-from-4711"));
    assert!(meta.epoch() > before);
    put(&meta, "later", 1).await;
    meta.renew().await.unwrap();
    let epoch = meta.epoch();
    meta.close().await.unwrap();
    drop((meta, open));

    let open = buckets(kind()).await;
    let meta = Meta::open(&open.primary(), MetaOptions::default()).await.unwrap();
    assert!(meta.epoch() > epoch, "writers of all generations are in order");
    let texts = meta.collection::<Numbering>().all().await.unwrap();
    let texts: Vec<_> = texts.iter().map(|(key, text)| (key.as_str(), text.0.as_str())).collect();
    assert_eq!(texts, [("chan", "changed"), ("stay", "stays")]);
    assert_eq!(meta.collection::<Number>().get("later").await.unwrap(), Some(Number(1)));
    let mut folders: Vec<_> =
        std::fs::read_dir(root.path().join("_meta")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    folders.sort();
    assert_eq!(folders, ["3", "generation-0000000003"]);
    let sums = std::fs::read_dir(root.path().join("_sums/_meta")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut sums: Vec<_> = sums.collect();
    sums.sort();
    assert_eq!(sums, ["3", "generation-0000000003"], "sums go with what they are of");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_interrupted_renewal_left_is_nobodys() {
    let root = tempfile::tempdir().unwrap();
    let kind = || BucketKind::Local { path: root.path().to_owned() };
    let open = buckets(kind()).await;
    let meta = Meta::open(&open.primary(), MetaOptions::default()).await.unwrap();
    put(&meta, "a", 1).await;
    meta.close().await.unwrap();
    drop((meta, open));
    // It ended before it switched: the copy is in part there.
    std::fs::create_dir_all(root.path().join("_meta/2/wal")).unwrap();
    std::fs::write(root.path().join("_meta/2/wal/00000000000000000001.sst"), "half").unwrap();
    let open = buckets(kind()).await;
    let meta = Meta::open(&open.primary(), MetaOptions::default()).await.unwrap();
    assert_eq!(meta.collection::<Number>().get("a").await.unwrap(), Some(Number(1)));
    assert!(!root.path().join("_meta/2").exists());
    meta.renew().await.unwrap();
    meta.close().await.unwrap();
    drop((meta, open));
    // It ended after it switched: the old generation is in part there.
    std::fs::create_dir_all(root.path().join("_meta/1/wal")).unwrap();
    std::fs::write(root.path().join("_meta/1/wal/00000000000000000001.sst"), "old").unwrap();
    let open = buckets(kind()).await;
    let meta = Meta::open(&open.primary(), MetaOptions::default()).await.unwrap();
    assert_eq!(meta.collection::<Number>().get("a").await.unwrap(), Some(Number(1)));
    assert!(!root.path().join("_meta/1").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_and_reads_go_on_over_renewals() {
    let meta = memory().await;
    let writing = |writer: u64| {
        let meta = meta.clone();
        tokio::spawn(async move {
            for number in 0..200 {
                put(&meta, &format!("{writer}/{number:04}"), number).await;
                let read = meta.collection::<Number>().get(&format!("{writer}/{number:04}")).await.unwrap();
                assert_eq!(read, Some(Number(number)), "what was acknowledged is read");
            }
        })
    };
    let writers: Vec<_> = (0..4).map(writing).collect();
    for _ in 0..5 {
        meta.renew().await.unwrap();
    }
    for writer in writers {
        writer.await.unwrap();
    }
    meta.renew().await.unwrap();
    assert_eq!(meta.collection::<Number>().all().await.unwrap().len(), 800);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_stays_open_is_not_renewed_away() {
    let meta = memory().await;
    let mut txn = meta.begin().await.unwrap();
    txn.put("a", &Number(1)).unwrap();
    let renewing = meta.clone();
    let renewal = tokio::spawn(async move { renewing.renew().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(meta.latest::<Number>("a").await.unwrap(), None, "reads do not wait");
    txn.commit().await.unwrap();
    renewal.await.unwrap().unwrap();
    assert_eq!(meta.collection::<Number>().get("a").await.unwrap(), Some(Number(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_is_in_doubt_stops_the_store_and_loses_nothing() {
    let root = tempfile::tempdir().unwrap();
    let kind = || BucketKind::Local { path: root.path().to_owned() };
    let open = buckets(kind()).await;
    let meta = Meta::open(&open.primary(), MetaOptions::default()).await.unwrap();
    put(&meta, "a", 1).await;
    // A folder where the marker should be makes its creation fail.
    let marker = root.path().join("_meta/generation-0000000002");
    std::fs::create_dir_all(marker.join("in the way")).unwrap();
    assert!(meta.renew().await.is_err());
    let error = meta.begin().await.map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::ShuttingDown, "nobody writes to what may not hold");
    drop((meta, open));
    std::fs::remove_dir_all(marker).unwrap();
    let open = buckets(kind()).await;
    let meta = Meta::open(&open.primary(), MetaOptions::default()).await.unwrap();
    assert_eq!(meta.collection::<Number>().get("a").await.unwrap(), Some(Number(1)));
    put(&meta, "b", 2).await;
    meta.renew().await.unwrap();
    assert_eq!(meta.collection::<Number>().all().await.unwrap().len(), 2);
}
