//! A store whose files have other bytes than were written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::is_damage;

fn newest(folder: &Path) -> PathBuf {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
}

/// Found by the trial of damaged files: SlateDB reads a manifest of zeros as that of an empty store.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_refused_and_never_an_empty_store() {
    let root = tempfile::tempdir().unwrap();
    let kind = || BucketKind::Local { path: root.path().to_owned() };
    {
        let open = buckets(kind()).await;
        let meta = Meta::open(&open.primary(), MetaOptions::default()).await.unwrap();
        put(&meta, "a", 1).await;
        meta.close().await.unwrap();
    }
    let manifest = newest(&root.path().join("_meta/1/manifest"));
    let whole = fs::read(&manifest).unwrap();
    let altered = (0..whole.len()).step_by(whole.len() / 12).flat_map(|at| {
        let (mut flipped, mut zeroed, mut lost) = (whole.clone(), whole.clone(), whole.clone());
        flipped[at] ^= 1 << (at % 8);
        zeroed[at..].fill(0);
        lost.truncate(at);
        [flipped, zeroed, lost]
    });
    for altered in altered.filter(|altered| *altered != whole) {
        fs::write(&manifest, &altered).unwrap();
        for claim in [Claim::Write, Claim::Read] {
            let specs = vec![BucketSpec { name: BucketName::primary(), kind: kind() }];
            let open = Buckets::open(specs, BucketOptions { claim, ..BucketOptions::new(Handle::current()) }).await.unwrap();
            let opened = Meta::open(&open.primary(), MetaOptions { claim, ..MetaOptions::default() }).await;
            assert!(opened.as_ref().is_err_and(|error| is_damage(error)), "{claim:?} of {altered:?}: {opened:?}");
        }
    }
    fs::write(&manifest, &whole).unwrap();
    let open = buckets(kind()).await;
    let meta = Meta::open(&open.primary(), MetaOptions::default()).await.unwrap();
    assert_eq!(meta.collection::<Number>().get("a").await.unwrap(), Some(Number(1)));
}
