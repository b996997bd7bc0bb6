use std::{slice::from_ref, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, local::LocalFileSystem, path::Path,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{BLOCK, ChecksumStore, Contents, Summing, Sums, beside, is_damage, sweep};

fn bytes(length: usize, seed: u8) -> Bytes {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed) ^ (at >> 8) as u8).collect::<Vec<_>>().into()
}

fn store() -> (ChecksumStore, TempDir) {
    let folder = TempDir::new().unwrap();
    let local = LocalFileSystem::new_with_prefix(folder.path()).unwrap();
    (ChecksumStore::new(Arc::new(local)), folder)
}

/// As after a start: nothing is known.
fn again(folder: &TempDir) -> ChecksumStore {
    ChecksumStore::new(Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()))
}

proptest! {
    #[test]
    fn sums_are_the_same_in_whatever_parts_they_come(length in 0_usize..400_000, cuts in prop::collection::vec(0_usize..400_000, 0..6)) {
        let whole = bytes(length, 7);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(length)).chain([0, length]).collect();
        cuts.sort_unstable();
        let mut summing = Summing::default();
        cuts.windows(2).for_each(|cut| summing.add(&whole[cut[0]..cut[1]]));
        let sums = summing.end();
        prop_assert_eq!(&sums, &Sums::of([&whole]));
        prop_assert!(sums.fit(0, &whole));
        prop_assert_eq!(sums.blocks.len(), length.div_ceil(BLOCK as usize));
    }

    #[test]
    fn the_stored_form_is_read_back_and_no_other_is(lengths in prop::collection::vec(0_usize..200_000, 0..3), bit in any::<prop::sample::Index>()) {
        let contents = Contents(lengths.iter().map(|length| Sums::of([&bytes(*length, 3)])).collect());
        let mut stored = contents.encode();
        prop_assert_eq!(Contents::decode(&stored), Some(contents));
        let bit = bit.index(stored.len() * 8);
        stored[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Contents::decode(&stored), None);
    }
}

#[test]
fn the_stored_form_stays_as_it_is() {
    let contents = Contents(vec![Sums::of([&Bytes::from_static(b"123456789")])]);
    let hex: String = contents.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    // The published check value of CRC-32C is e3069283.
    assert_eq!(hex, "4c4853554d3030310900000000000000839206e3f7a73345");
}

#[tokio::test]
async fn ranges_are_what_was_written() {
    let (store, folder) = store();
    let (object, whole) = (Path::from("datasets/a/part.parquet"), bytes(300_000, 1));
    store.put(&object, whole.clone().into()).await.unwrap();
    for store in [store, again(&folder)] {
        let ranges = [0..10, 5..65_541, 65_536..65_537, 299_990..300_000, 0..300_000, 70_000..70_000, 131_072..196_608];
        let found = store.get_ranges(&object, &ranges).await.unwrap();
        for (range, found) in ranges.iter().zip(found) {
            assert_eq!(found, whole[range.start as usize..range.end as usize], "{range:?}");
            assert_eq!(store.get_range(&object, range.clone()).await.ok().unwrap_or_default(), found, "{range:?}");
        }
        assert_eq!(store.get(&object).await.unwrap().bytes().await.unwrap(), whole);
        let suffix = GetOptions::new().with_range(Some(object_store::GetRange::Suffix(7)));
        assert_eq!(store.get_opts(&object, suffix).await.unwrap().bytes().await.unwrap(), whole[299_993..]);
        assert!(store.get_ranges(&object, from_ref(&(299_999..300_001))).await.is_err());
        assert_eq!(store.head(&object).await.unwrap().size, 300_000);
    }
    assert!(folder.path().join("_sums/datasets/a/part.parquet").exists());
}

#[tokio::test]
async fn each_flipped_bit_is_noticed_and_each_lost_or_added_tail() {
    let (store, folder) = store();
    let (object, whole) = (Path::from("x"), bytes(150_000, 2));
    store.put(&object, whole.clone().into()).await.unwrap();
    let file = folder.path().join("x");
    let mut altered: Vec<Vec<u8>> = (0..150_000)
        .step_by(7_919)
        .map(|at| {
            let mut altered = whole.to_vec();
            altered[at] ^= 1 << (at % 8);
            altered
        })
        .collect();
    altered.extend([whole[..149_999].to_vec(), whole[..65_536].to_vec(), Vec::new(), [&whole[..], b"x"].concat()]);
    let mut zeroed = whole.to_vec();
    zeroed[140_000..].fill(0);
    altered.push(zeroed);
    for altered in altered {
        std::fs::write(&file, &altered).unwrap();
        for store in [store.clone(), again(&folder)] {
            let read = async { store.get(&object).await?.bytes().await };
            assert!(is_damage(&read.await.unwrap_err()));
            let at = whole.iter().zip(&altered).position(|(a, b)| a != b).unwrap_or(altered.len().min(149_999)) as u64;
            if altered.len() == whole.len() {
                assert!(is_damage(&store.get_ranges(&object, from_ref(&(at..at + 1))).await.unwrap_err()));
                let other = if at < BLOCK { 140_000..140_010 } else { 0..10 };
                assert!(store.get_ranges(&object, from_ref(&other)).await.is_ok(), "blocks stand for themselves");
            } else {
                let last = 149_990..150_000;
                let read = store.get_ranges(&object, from_ref(&last)).await;
                assert!(read.is_err() || altered.len() > whole.len());
            }
        }
    }
    std::fs::write(&file, &whole).unwrap();
    let sums = folder.path().join("_sums/x");
    let mut flipped = std::fs::read(&sums).unwrap();
    flipped[20] ^= 4;
    std::fs::write(&sums, flipped).unwrap();
    assert!(is_damage(&again(&folder).get(&object).await.unwrap_err()));
}

#[tokio::test]
async fn an_interrupted_overwrite_leaves_the_one_or_the_other() {
    let (store, folder) = store();
    let object = Path::from("_last_checkpoint");
    let (old, new, newer) = (bytes(100, 1), bytes(100, 9), bytes(70, 4));
    store.put(&object, old.clone().into()).await.unwrap();
    let was = std::fs::read(folder.path().join("_last_checkpoint")).unwrap();
    store.put(&object, new.clone().into()).await.unwrap();
    assert_eq!(again(&folder).get(&object).await.unwrap().bytes().await.unwrap(), new);
    // The sums are there, the object is not.
    std::fs::write(folder.path().join("_last_checkpoint"), was).unwrap();
    let store = again(&folder);
    assert_eq!(store.get(&object).await.unwrap().bytes().await.unwrap(), old);
    assert_eq!(store.get_ranges(&object, from_ref(&(3..9))).await.unwrap()[0], old[3..9]);
    for content in [&new, &newer, &old, &new] {
        store.put(&object, content.clone().into()).await.unwrap();
        assert_eq!(again(&folder).get(&object).await.unwrap().bytes().await.unwrap(), content);
    }
    let kept = Contents::decode(&std::fs::read(folder.path().join("_sums/_last_checkpoint")).unwrap()).unwrap();
    assert!(kept.0.len() <= 2);
}

#[tokio::test]
async fn a_creation_that_comes_second_changes_no_sums() {
    let (store, folder) = store();
    let object = Path::from("log/1.json");
    let create = || PutOptions { mode: PutMode::Create, ..PutOptions::default() };
    store.put_opts(&object, bytes(50, 1).into(), create()).await.unwrap();
    for seed in 2..6 {
        let second = store.put_opts(&object, bytes(60, seed).into(), create()).await;
        assert!(matches!(second, Err(object_store::Error::AlreadyExists { .. })));
    }
    assert_eq!(again(&folder).get(&object).await.unwrap().bytes().await.unwrap(), bytes(50, 1));
}

#[tokio::test]
async fn uploads_copies_renames_and_deletions_keep_the_sums_beside_their_objects() {
    let (store, folder) = store();
    let path = |name: &str| Path::from(name);
    let whole = bytes(200_000, 5);
    let mut upload = store.put_multipart(&path("a")).await.unwrap();
    for part in [0..70_000, 70_000..131_072, 131_072..200_000] {
        upload.put_part(whole.slice(part).into()).await.unwrap();
    }
    upload.complete().await.unwrap();
    store.copy(&path("a"), &path("b")).await.unwrap();
    store.rename(&path("b"), &path("c")).await.unwrap();
    store.put(&path("other"), bytes(9, 1).into()).await.unwrap();
    let only_new = CopyOptions { mode: object_store::CopyMode::Create, ..Default::default() };
    assert!(store.copy_opts(&path("other"), &path("c"), only_new).await.is_err());
    let store = again(&folder);
    for name in ["a", "c"] {
        assert!(store.contents(&path(name)).await.unwrap().is_some());
        assert_eq!(store.get(&path(name)).await.unwrap().bytes().await.unwrap(), whole);
    }
    assert!(!folder.path().join("_sums/b").exists());
    // Sums are in no listing, and go with their object.
    let listed: Vec<Path> = store.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    assert!(listed.iter().all(|path| !path.as_ref().starts_with("_sums")) && listed.len() == 3, "{listed:?}");
    assert!(store.list_with_delimiter(None).await.unwrap().common_prefixes.is_empty());
    store.delete_stream(futures::stream::iter([Ok(path("a"))]).boxed()).try_collect::<Vec<_>>().await.unwrap();
    assert!(!folder.path().join("_sums/a").exists());
    // What has none is read as it is.
    std::fs::remove_file(folder.path().join("_sums/c")).unwrap();
    let store = again(&folder);
    assert_eq!(store.get(&path("c")).await.unwrap().bytes().await.unwrap(), whole);
    store.put(&path("_meta/1/wal"), "x".into()).await.unwrap();
    assert!(!folder.path().join("_sums/_meta").exists());
}

#[tokio::test]
async fn sums_without_an_object_are_swept() {
    let (store, folder) = store();
    for name in ["d/kept", "d/gone"] {
        store.put(&Path::from(name), "x".into()).await.unwrap();
    }
    std::fs::remove_file(folder.path().join("d/gone")).unwrap();
    let written = std::fs::metadata(folder.path().join("_sums/d/gone")).unwrap().modified().unwrap();
    sweep(folder.path(), written);
    assert!(folder.path().join("_sums/d/gone").exists(), "too young");
    sweep(folder.path(), written + std::time::Duration::from_secs(60));
    assert!(!folder.path().join("_sums/d/gone").exists());
    assert!(folder.path().join(beside(&Path::from("d/kept")).as_ref()).exists());
}

/// Refuses to write sums.
#[derive(Debug)]
struct NoSums(LocalFileSystem);

impl std::fmt::Display for NoSums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NoSums")
    }
}

#[async_trait::async_trait]
impl ObjectStore for NoSums {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        if location.prefix_matches(&Path::from(super::FOLDER)) {
            let source = Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
            return Err(object_store::Error::Generic { store: "test", source });
        }
        self.0.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// Found by the trial of seeded faults: the sums of a write that failed were kept, and those of the next were not.
#[tokio::test]
async fn a_content_never_meets_the_sums_of_a_write_that_failed() {
    let (store, folder) = store();
    let object = Path::from("log/1.json");
    store.put(&object, bytes(50, 1).into()).await.unwrap();
    // The sums are there, and the object never came about.
    std::fs::remove_file(folder.path().join("log/1.json")).unwrap();
    let failing = ChecksumStore::new(Arc::new(NoSums(LocalFileSystem::new_with_prefix(folder.path()).unwrap())));
    assert!(failing.put(&object, bytes(60, 2).into()).await.is_err());
    assert!(matches!(again(&folder).get(&object).await, Err(object_store::Error::NotFound { .. })));
    again(&folder).put(&object, bytes(60, 2).into()).await.unwrap();
    assert_eq!(again(&folder).get(&object).await.unwrap().bytes().await.unwrap(), bytes(60, 2));
}

/// Found by the trial of a host that is taken from: it had written the sums of a commit that another one then made.
#[tokio::test(flavor = "multi_thread")]
async fn what_two_hosts_create_at_once_has_the_sums_of_the_one_who_did() {
    let (one, folder) = store();
    let other = again(&folder);
    let create = || PutOptions::from(PutMode::Create);
    for n in 0..200_u8 {
        let object = Path::from(format!("log/{n}.json"));
        let (first, second) = futures::join!(
            one.put_opts(&object, bytes(50, n).into(), create()),
            other.put_opts(&object, bytes(60, n).into(), create())
        );
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        let wanted = if first.is_ok() { bytes(50, n) } else { bytes(60, n) };
        for store in [&one, &other, &again(&folder)] {
            assert_eq!(store.get(&object).await.unwrap().bytes().await.unwrap(), wanted);
        }
    }
}

#[tokio::test]
async fn what_another_host_writes_anew_is_read_with_its_new_sums() {
    let (one, folder) = store();
    let other = again(&folder);
    let object = Path::from("log/_last_checkpoint");
    for n in 0..3 {
        one.put(&object, bytes(50, n).into()).await.unwrap();
        assert_eq!(other.get(&object).await.unwrap().bytes().await.unwrap(), bytes(50, n));
    }
}
