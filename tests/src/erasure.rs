//! T-13: after an erasure no byte of what was erased is anywhere, and the certificate says so; what is planted is found.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    indexes::{csv, lake_of, note, notes},
    lake::{Lake, Options, copy},
};

impl Lake {
    /// Whether a byte sequence stands in any file of the lake: as it is, in a Parquet file's pages, in what is packed. The server's
    /// own log is a file of the lake, too.
    pub(crate) fn holds(&self, what: &[u8]) -> bool {
        files(self.folder()).iter().any(|file| {
            let Ok(bytes) = fs::read(file) else { return false };
            contains(&bytes, what) || unpacked(&bytes).iter().any(|bytes| contains(bytes, what))
        })
    }

    /// Whether it is gone, once what reads the files has ended.
    pub(crate) async fn forgets(&self, what: &[u8]) -> bool {
        for _ in 0..200 {
            if !self.holds(what) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    async fn erase(&self, dataset: &str, column: &str, keys: &[&str]) -> Value {
        let body = json!({ "dataset": dataset, "row_key_column": column, "row_key_values": keys });
        self.post("/erasure", body).await.expect_ok()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(_) => found.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    found
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// What a file holds beside its bytes.
fn unpacked(bytes: &[u8]) -> Vec<Vec<u8>> {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let mut found = Vec::new();
    let starts = bytes.windows(4).enumerate().filter(|(_, window)| *window == b"PAR1").map(|(at, _)| at).collect::<Vec<_>>();
    for pair in starts.windows(2) {
        let part = bytes::Bytes::copy_from_slice(&bytes[pair[0]..pair[1] + 4]);
        let Ok(reader) = SerializedFileReader::new(part) else { continue };
        for group in 0..reader.num_row_groups() {
            let Ok(group) = reader.get_row_group(group) else { continue };
            for column in 0..group.num_columns() {
                let Ok(pages) = group.get_column_page_reader(column) else { continue };
                found.extend(pages.filter_map(Result::ok).map(|page| page.buffer().to_vec()));
            }
        }
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        if flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).is_ok() {
            found.push(plain);
        }
    }
    found
}

#[tokio::test]
async fn no_byte_of_an_erased_subject_is_left_anywhere() {
    let mut lake = lake_of(40).await;
    let secret = "the whereabouts of Zebulon Quimby";
    lake.ingest("people", csv([(4711, secret.to_owned()), (4712, "an unremarkable note".to_owned())])).await.expect_ok();
    lake.refresh("people", notes("people_notes")).await.expect_ok();
    // An earlier version of the row, one that replaced it, and a tombstone: all of it is the subject's.
    let replaced = csv([(4711, "moved on, says Zebulon Quimby".to_owned())]);
    lake.ingest_with("dataset=people&format=csv&mode=upsert&key=k", replaced).await.expect_ok();
    lake.refresh("people", notes("people_notes")).await.expect_ok();
    lake.bury("people", "k", ["K-4711"]).await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM people WHERE note LIKE '%Quimby%'").await.expect_cell("n", 0);
    assert!(lake.holds(b"Quimby") && lake.holds(b"K-4711"), "there is something to erase");

    let certificate = lake.erase("people", "k", &["K-4711"]).await;
    assert_eq!(certificate["rows_erased"], 1, "{certificate}");
    assert_eq!((&certificate["scan"]["clean"], &certificate["scan"]["traces"]), (&json!(true), &json!([])), "{certificate}");
    assert!(certificate["scan"]["needles"].as_u64().unwrap() >= 2, "{certificate}");
    assert!(certificate["scan"]["objects"].as_u64().unwrap() > 5, "{certificate}");
    assert_eq!(certificate["subjects"].as_array().map(Vec::len), Some(1));
    assert!(!certificate.to_string().contains("4711") && !certificate.to_string().contains("Quimby"));
    for _ in 0..2 {
        assert!(!lake.holds(b"Quimby"), "a text is left");
        assert!(!lake.holds(b"K-4711"), "a key is left");
        lake.sql("SELECT count(*) AS n FROM people").await.expect_cell("n", 41);
        lake.sql("SELECT count(*) AS n FROM __raw__people").await.expect_cell("n", 41);
        assert_eq!(lake.hybrid(json!({ "index": "people_notes", "query": note(9), "k": 1 })).await.keys(), ["K-9"]);
        let kept = lake.get(&format!("/erasure/{}", certificate["id"].as_str().unwrap())).await.expect_ok();
        assert_eq!(kept, certificate);
        lake.kill_and_restart().await;
    }
    // The journal knows of it, holds, and names nobody.
    let events = lake.get("/journal/events?kind=erasure").await.expect_ok();
    assert_eq!(events["events"][0]["details"]["certificate"], certificate["id"], "{events}");
    assert_eq!(events["events"][0]["details"]["keys"], certificate["subjects"], "{events}");
    // Whoever comes again is welcome.
    lake.ingest("people", csv([(4711, "back again".to_owned())])).await.expect_ok();
    lake.sql("SELECT count(*) AS n FROM people WHERE k = 'K-4711'").await.expect_cell("n", 1);
    lake.kill_and_restart().await;
    lake.sql("SELECT count(*) AS n FROM people WHERE k = 'K-4711'").await.expect_cell("n", 1);
}

#[tokio::test]
async fn the_scan_finds_what_is_planted() {
    let lake = lake_of(10).await;
    let plant = |place: &str, bytes: &[u8]| {
        let path = lake.data().join("data").join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(b"some leftover on Ottoline Vandersnoot").unwrap();
    lake.ingest("people", csv([(77, "a remark on Ottoline Vandersnoot".to_owned())])).await.expect_ok();
    let folder = fs::read_dir(lake.data().join("data/datasets")).unwrap().next().unwrap().unwrap().path();
    let data = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let parquet: Vec<PathBuf> = data.filter(|path| path.extension().is_some_and(|end| end == "parquet")).collect();
    let with_it = parquet.iter().max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap()).unwrap();
    plant("leftovers/plain.txt", b"hay a remark on Ottoline Vandersnoot hay");
    plant("leftovers/copy.parquet", &fs::read(with_it).unwrap());
    plant("leftovers/packed.gz", &packed.finish().unwrap());
    let certificate = lake.erase("people", "k", &["K-77"]).await;
    assert_eq!(certificate["scan"]["clean"], false);
    let traces: Vec<&str> =
        certificate["scan"]["traces"].as_array().unwrap().iter().map(|trace| trace["object"].as_str().unwrap()).collect();
    // The packed leftover says something else than the row: it is no copy of a value.
    assert_eq!(traces, ["leftovers/copy.parquet", "leftovers/plain.txt"], "{certificate}");
}

#[tokio::test]
async fn an_older_copy_of_a_bucket_does_not_bring_anybody_back() {
    let config = "[buckets.archive]\nkind = \"local\"\npath = \"archive\"\n".to_owned();
    let mut lake = Lake::start_with(Options { config: Some(config), ..Options::default() }).await;
    let request = lake.request(reqwest::Method::POST, "/ingest/file?dataset=people&format=csv&key=k");
    let body = csv([(1, "stays here".to_owned()), (2, "the unforgettable Hepzibah".to_owned())]);
    lake.send(request.header("X-Lakehouse-Bucket", "archive").body(body)).await.expect_status(201);
    lake.stop_and_restart().await;
    let archive = lake.data().join("archive");
    let older = tempfile::TempDir::new().unwrap();
    copy(&archive, older.path());

    let certificate = lake.erase("people", "k", &["K-2"]).await;
    assert_eq!(certificate["scan"]["clean"], true, "{certificate}");
    lake.ingest("people", csv([(3, "came later".to_owned())])).await.expect_ok();
    lake.kill();
    fs::remove_dir_all(&archive).unwrap();
    copy(older.path(), &archive);
    lake.restart(Vec::new());
    for _ in 0..2 {
        lake.sql("SELECT count(*) AS n FROM __raw__people WHERE k = 'K-2'").await.expect_cell("n", 0);
        lake.sql("SELECT count(*) AS n FROM people").await.expect_cell("n", 1);
        assert!(!lake.holds(b"Hepzibah"));
        lake.kill_and_restart().await;
    }
    // It was done once: who comes again after that stays.
    lake.ingest("people", csv([(2, "here again".to_owned())])).await.expect_ok();
    lake.kill_and_restart().await;
    lake.sql("SELECT count(*) AS n FROM people WHERE k = 'K-2'").await.expect_cell("n", 1);
}

#[tokio::test]
async fn erasures_are_asked_for_rightly_or_refused() {
    let lake = lake_of(10).await;
    let erase = async |body: Value| lake.post("/erasure", body).await;
    let base = json!({ "dataset": "people", "row_key_column": "k", "row_key_values": ["K-1"] });
    let with = |name: &str, value: Value| {
        let mut body = base.clone();
        body[name] = value;
        body
    };
    erase(with("dataset", json!("nobody"))).await.expect_problem("unknown_dataset");
    erase(with("row_key_column", json!("nothing"))).await.expect_problem("unknown_column");
    erase(with("row_key_values", json!([]))).await.expect_problem("invalid_parameter");
    let nth = erase(with("row_key_values", json!(["K-1", null]))).await.expect_problem("invalid_body");
    assert!(nth["detail"].as_str().unwrap().contains("row_key_values[1]"), "{nth}");
    erase(with("reason", json!("because"))).await.expect_problem("invalid_body");
    for role in ["operator", "writer", "reader"] {
        let other = lake.new_key(role, role, json!([{ "dataset": "*", "verbs": ["read", "write"] }])).await;
        other.post("/erasure", base.clone()).await.expect_problem("forbidden");
        other.get("/erasure").await.expect_problem("forbidden");
    }
    lake.sql("SELECT count(*) AS n FROM people").await.expect_cell("n", 10);
    // Nobody is no error, and there is a certificate for it.
    let certificate = lake.erase("people", "k", &["K-nobody"]).await;
    assert_eq!((&certificate["rows_erased"], &certificate["scan"]["clean"]), (&json!(0), &json!(true)), "{certificate}");
    lake.bury("people", "k", ["K-1"]).await.expect_ok();
    erase(with("row_key_column", json!("grp"))).await.expect_problem("key_column_mismatch");
    lake.get("/erasure/none").await.expect_problem("unknown_certificate");
    let listed = lake.get("/erasure").await.expect_ok();
    assert_eq!(listed["certificates"].as_array().map(Vec::len), Some(1));
}
