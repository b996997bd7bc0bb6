//! Storage: a large file in, many small ones, rows that are hidden, dropped and erased, a start with much behind it, and what it costs
//! that an answer is durable.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::DateTime;
use lakehouse_journal::{Draft, EventKind, Journal, Stamp};
use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions};
use lakehouse_types::{Actor, BucketName, Clock, RequestId, SystemClock};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    bar::{Bars, median, ms},
    host::{Failure, Host},
    python,
};

const LARGE_ROWS: u64 = 10_000_000;
const LARGE_RUNS: usize = 3;
const ROWS: u64 = 1_000_000;
const TOMBSTONES: u64 = 10_000;
/// Pairs of queries, at least; short ones are asked for as long as [`PAIRS_FOR`].
const RUNS: usize = 101;
const PAIRS_FOR: Duration = Duration::from_secs(6);
const APPENDS: u64 = 1_000;
const DATASETS: u64 = 1_000;
const EVENTS: usize = 100_000;
const SUBJECTS: u64 = 100;
const CLIENTS: usize = 32;
const RUSH: Duration = Duration::from_secs(5);

/// The parts, in the order of their measuring.
pub const PARTS: &[&str] = &["csv", "tombstones", "appends", "erasure", "durable", "start"];

pub(crate) async fn run(bars: &mut Bars, wanted: impl Fn(&str) -> bool) -> Result<(), Failure> {
    for part in PARTS.iter().filter(|part| wanted(part)) {
        match *part {
            "csv" => large_file(bars).await?,
            "tombstones" => hidden_rows(bars).await?,
            "appends" => small_files(bars).await?,
            "erasure" => erasure(bars).await?,
            "durable" => durable(bars).await?,
            _ => start(bars).await?,
        }
    }
    Ok(())
}

/// One row: about 95 bytes, of the kinds of columns that people have.
fn row(id: u64) -> String {
    let mix = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (city, day) = (["Akron", "Toledo", "Dayton", "Canton", "Parma"][(mix % 5) as usize], 1 + mix % 28);
    format!(
        "C-{id:09},Person number {},{city},{}.{:02},2026-{:02}-{day:02},{},note {:x}\n",
        mix % 1_000_003,
        mix % 90_000,
        mix % 100,
        1 + (mix >> 8) % 12,
        mix.is_multiple_of(2),
        mix
    )
}

const HEADER: &str = "id,name,city,amount,day,active,note\n";

fn rows(from: u64, to: u64) -> String {
    (from..to).fold(HEADER.to_owned(), |csv, id| csv + &row(id))
}

fn write_csv(path: &Path, rows: u64) -> Result<u64, Failure> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(HEADER.as_bytes())?;
    for id in 0..rows {
        out.write_all(row(id).as_bytes())?;
    }
    out.flush()?;
    Ok(fs::metadata(path)?.len())
}

/// CSV into a table, beside DuckDB's CSV into Parquet.
async fn large_file(bars: &mut Bars) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let (csv, parquet) = (folder.path().join("large.csv"), folder.path().join("large.parquet"));
    let bytes = write_csv(&csv, LARGE_ROWS)?;
    let python = python::python()?;
    let host = Host::start().await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..LARGE_RUNS {
        let begun = Instant::now();
        host.ingest_file("large", &csv)?;
        ours.push(begun.elapsed().as_secs_f64());
        let script = format!(
            "import duckdb, time\nt = time.time()\nc = duckdb.connect()\nc.execute('SET threads = 2')\n\
             c.execute('SET enable_progress_bar = false')\n\
             c.execute(\"COPY (SELECT * FROM read_csv('{}')) TO '{}' (FORMAT parquet, COMPRESSION zstd)\")\nprint(time.time() - t)",
            csv.display(),
            parquet.display()
        );
        let told = Command::new(&python).args(["-c", &script]).output()?;
        if !told.status.success() {
            return Err(format!("DuckDB: {}", String::from_utf8_lossy(&told.stderr)).into());
        }
        theirs.push(String::from_utf8_lossy(&told.stdout).trim().parse::<f64>()?);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let beside = format!(
        "{LARGE_ROWS} rows, {} MB of CSV: {ours:.1} s durable over HTTP, DuckDB to Parquet {theirs:.1} s",
        bytes / 1_000_000
    );
    bars.at_least("storage.csv.ratio_duckdb", theirs / ours, 0.5, &beside);
    bars.at_most("storage.csv.peak_mib", host.peak_mib()?, 1024.0, "the server's most resident memory meanwhile");
    Ok(())
}

/// Two queries, asked in turn, now the one first, now the other.
struct Pair {
    /// The medians, ms.
    first: f64,
    second: f64,
    /// The median of how many times as long the second took as the first.
    ratio: f64,
    pairs: usize,
}

async fn pair(host: &Host, first: &str, second: &str) -> Result<Pair, Failure> {
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while one.len() < RUNS || began.elapsed() < PAIRS_FOR {
        if one.len() % 2 == 0 {
            one.push(ms(host.timed(first).await?));
            two.push(ms(host.timed(second).await?));
        } else {
            two.push(ms(host.timed(second).await?));
            one.push(ms(host.timed(first).await?));
        }
    }
    let ratios = one.iter().zip(&two).map(|(one, two)| two / one).collect();
    Ok(Pair { ratio: median(ratios), pairs: one.len(), first: median(one), second: median(two) })
}

async fn hidden_rows(bars: &mut Bars) -> Result<(), Failure> {
    let host = Host::start().await?;
    let csv = rows(0, ROWS).into_bytes();
    for dataset in ["plain", "hidden", "undone"] {
        host.ingest_csv(dataset, csv.clone()).await?;
    }
    let keys: Vec<String> = (0..TOMBSTONES).map(|n| format!("C-{:09}", n * (ROWS / TOMBSTONES))).collect();
    for dataset in ["hidden", "undone"] {
        let path = format!("/catalog/datasets/by-name/{dataset}/tombstone");
        host.send(Method::POST, &path, &json!({ "row_key_column": "id", "row_key_values": keys })).await?;
    }
    let path = "/catalog/datasets/by-name/undone/tombstone";
    host.send(Method::DELETE, path, &json!({ "row_key_values": keys })).await?;
    let scan = |dataset: &str| format!("SELECT city, count(*) AS n, sum(amount) AS s, max(id) AS m FROM {dataset} GROUP BY city");
    let point = |dataset: &str| format!("SELECT * FROM {dataset} WHERE id = 'C-000500001'");
    for (name, query) in [("scan", &scan as &dyn Fn(&str) -> String), ("point", &point)] {
        let Pair { first, second, ratio, pairs } = pair(&host, &query("plain"), &query("hidden")).await?;
        let beside = format!("{TOMBSTONES} of {ROWS} rows hidden: {second:.1} ms, without {first:.1} ms; {pairs} pairs");
        bars.at_most(&format!("storage.tombstones.{name}"), ratio, 1.10, &beside);
        let Pair { first, second, ratio, pairs } = pair(&host, &query("plain"), &query("undone")).await?;
        let beside = format!("all of them undone: {second:.1} ms, never there {first:.1} ms; {pairs} pairs");
        bars.at_most(&format!("storage.no_tombstones.{name}"), ratio, 1.01, &beside);
    }
    Ok(())
}

async fn small_files(bars: &mut Bars) -> Result<(), Failure> {
    let host = Host::start().await?;
    let each = ROWS / APPENDS;
    for part in 0..APPENDS {
        host.append("many", rows(part * each, (part + 1) * each)).await?;
    }
    host.ingest_csv("once", rows(0, ROWS).into_bytes()).await?;
    let scan = |dataset: &str| format!("SELECT city, count(*) AS n, sum(amount) AS s, max(id) AS m FROM {dataset} GROUP BY city");
    let Pair { first, second, ratio, pairs } = pair(&host, &scan("once"), &scan("many")).await?;
    let beside = format!("{APPENDS} appends of {each} rows: {second:.1} ms, in one go {first:.1} ms; {pairs} pairs");
    bars.at_most("storage.appends.scan", ratio, 3.0, &beside);
    let begun = Instant::now();
    host.send(Method::POST, "/query/compact", &json!({ "dataset": "many" })).await?;
    let took = begun.elapsed().as_secs_f64();
    let Pair { first, second, ratio, pairs } = pair(&host, &scan("once"), &scan("many")).await?;
    let beside = format!("compacted in {took:.1} s: {second:.1} ms, in one go {first:.1} ms; {pairs} pairs");
    bars.at_most("storage.compacted.scan", ratio, 1.05, &beside);
    Ok(())
}

/// Subjects out of a large table, beside a compaction that writes as many rows.
async fn erasure(bars: &mut Bars) -> Result<(), Failure> {
    let host = Host::start().await?;
    let (mut compactions, mut erasures) = (Vec::new(), Vec::new());
    for run in 0..5 {
        host.ingest_csv("plain", rows(0, ROWS / 2).into_bytes()).await?;
        host.append("plain", rows(ROWS / 2, ROWS)).await?;
        let begun = Instant::now();
        host.send(Method::POST, "/query/compact", &json!({ "dataset": "plain" })).await?;
        compactions.push(ms(begun.elapsed()));
        host.ingest_csv("people", rows(0, ROWS).into_bytes()).await?;
        let keys: Vec<String> = (0..SUBJECTS).map(|n| format!("C-{:09}", n * (ROWS / SUBJECTS) + run)).collect();
        let body = json!({ "dataset": "people", "row_key_column": "id", "row_key_values": keys });
        let begun = Instant::now();
        let certificate = host.send(Method::POST, "/erasure", &body).await?;
        let scanned = certificate["scan"]["duration_ms"].as_f64().ok_or("no duration of the scan")?;
        erasures.push(ms(begun.elapsed()) - scanned);
        if certificate["rows_erased"] != json!(SUBJECTS) {
            return Err(format!("erased {}", certificate["rows_erased"]).into());
        }
    }
    let (compaction, erasure) = (median(compactions), median(erasures));
    let beside = format!(
        "{SUBJECTS} of {ROWS}: {erasure:.0} ms without the byte scan, a plain compaction {compaction:.0} ms; median of 5"
    );
    bars.at_most("storage.erasure.ratio_compaction", erasure / compaction, 1.5, &beside);
    Ok(())
}

/// What an acknowledged row costs, beside what a disk takes for a file and its directory.
async fn durable(bars: &mut Bars) -> Result<(), Failure> {
    let host = Arc::new(Host::start().await?);
    host.append("people", rows(0, 1)).await?;
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for n in 1..=200 {
        bare.push(ms(synced(host.folder(), n)?));
        let csv = rows(n, n + 1);
        let begun = Instant::now();
        host.append("people", csv).await?;
        ours.push(ms(begun.elapsed()));
    }
    let (bare, one) = (median(bare), median(ours));
    let beside = format!("{one:.2} ms, a file and its directory synced {bare:.2} ms; median of 200");
    bars.at_most("storage.durable.ratio_fsync", one / bare, 8.0, &beside);
    let ends = Instant::now() + RUSH;
    let clients = (0..CLIENTS as u64).map(|client| {
        let host = Arc::clone(&host);
        tokio::spawn(async move {
            let mut done = 0_u64;
            while Instant::now() < ends {
                let id = 1_000_000 * (client + 1) + done;
                host.append("people", rows(id, id + 1)).await?;
                done += 1;
            }
            Ok::<_, Failure>(done)
        })
    });
    let mut total = 0;
    for client in futures::future::join_all(clients).await {
        total += client??;
    }
    let (rate, alone) = (total as f64 / RUSH.as_secs_f64(), 1_000.0 / one);
    let beside = format!("{CLIENTS} clients {rate:.0} a second, one {alone:.0}");
    bars.at_least("storage.durable.ratio_clients", rate / alone, 5.0, &beside);
    Ok(())
}

/// A file and its directory, synced. Directories take turns: what a file costs in one may be several times what it costs in another.
fn synced(folder: &Path, n: u64) -> Result<Duration, Failure> {
    const DIRECTORIES: u64 = 16;
    let folder = &folder.join(format!("calibration/{}", n % DIRECTORIES));
    fs::create_dir_all(folder)?;
    let path = folder.join(n.to_string());
    let begun = Instant::now();
    let mut file = File::create(&path)?;
    file.write_all(&[7; 1024])?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(begun.elapsed())
}

/// A start with many datasets and a long journal behind it.
async fn start(bars: &mut Bars) -> Result<(), Failure> {
    let mut host = Host::start().await?;
    for n in 0..DATASETS {
        host.append(&format!("d{n:04}"), rows(n, n + 1)).await?;
    }
    host.kill();
    fill_journal(&host.folder().join("data")).await?;
    let mut starts = Vec::new();
    for _ in 0..5 {
        starts.push(host.launch().await?.as_secs_f64());
        host.kill();
    }
    let events: Value = {
        host.launch().await?;
        host.send(Method::GET, "/journal/stats", &Value::Null).await?
    };
    let beside =
        format!("{DATASETS} datasets, {} events, after kill -9, until /ready; median of 5", events["total_events_created"]);
    bars.at_most("storage.start.seconds", median(starts), 1.0, &beside);
    Ok(())
}

async fn fill_journal(primary: &Path) -> Result<(), Failure> {
    let spec = BucketSpec { name: BucketName::primary(), kind: BucketKind::Local { path: primary.to_owned() } };
    let buckets = Buckets::open(vec![spec], BucketOptions::new(tokio::runtime::Handle::current())).await?;
    let meta = Meta::open(&buckets.primary(), MetaOptions::default()).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let journal = Journal::open(meta.clone(), Arc::clone(&clock)).await?;
    let by = Stamp {
        actor: Actor::new("bench")?,
        role: "admin".into(),
        profile: None,
        request_id: RequestId::fresh(),
        at: DateTime::UNIX_EPOCH,
    };
    const AT_ONCE: usize = 500;
    for _ in 0..EVENTS / AT_ONCE {
        let drafts = (0..AT_ONCE).map(|n| Draft::new(EventKind::Ingest, format!("d{n}")).details(json!({ "rows": n }))).collect();
        journal.commit(meta.begin().await?, &by, drafts).await?;
    }
    meta.close().await?;
    Ok(())
}
