//! A store whose files have other bytes than were written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use futures::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::is_damage;

fn newest(folder: &Path) -> PathBuf {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).max().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &to) } else { fs::copy(&path, &to).map(|_| ()).unwrap() }
    }
}

async fn open(root: &Path, claim: Claim) -> crate::Result<Meta> {
    let specs = vec![BucketSpec { name: BucketName::primary(), kind: BucketKind::Local { path: root.to_owned() } }];
    let open = Buckets::open(specs, BucketOptions { claim, ..BucketOptions::new(Handle::current()) }).await?;
    Meta::open(&open.primary(), MetaOptions { claim, ..MetaOptions::default() }).await
}

/// Found by the trial of damaged files: SlateDB reads a manifest of zeros as that of an empty store.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_refused_and_never_an_empty_store() {
    let root = TempDir::new().unwrap();
    let meta = open(root.path(), Claim::Write).await.unwrap();
    put(&meta, "a", 1).await;
    meta.close().await.unwrap();
    let manifest = newest(&root.path().join("_meta/1/manifest"));
    let whole = fs::read(&manifest).unwrap();
    let altered = (0..whole.len()).step_by(whole.len() / 12).flat_map(|at| {
        let (mut flipped, mut zeroed, mut lost) = (whole.clone(), whole.clone(), whole.clone());
        flipped[at] ^= 1 << (at % 8);
        zeroed[at..].fill(0);
        lost.truncate(at);
        [flipped, zeroed, lost]
    });
    // At once: the store asks several times before it gives up.
    let cases = altered.filter(|altered| *altered != whole).map(|altered| {
        let copied = TempDir::new().unwrap();
        copy(root.path(), copied.path());
        fs::write(copied.path().join(manifest.strip_prefix(root.path()).unwrap()), &altered).unwrap();
        async move {
            for claim in [Claim::Write, Claim::Read] {
                let opened = open(copied.path(), claim).await;
                assert!(opened.as_ref().is_err_and(|error| is_damage(error)), "{claim:?} of {altered:?}: {opened:?}");
            }
        }
    });
    join_all(cases).await;
    let meta = open(root.path(), Claim::Write).await.unwrap();
    assert_eq!(meta.collection::<Number>().get("a").await.unwrap(), Some(Number(1)));
}
