//! Indexes: searched beside bare FAISS on the same file, refreshed when nothing or little has changed, loaded by a new process.

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::{
    array::{ArrayRef, Int64Array, ListArray, RecordBatch},
    datatypes::{DataType, Field, Float32Type, Schema},
    ipc::writer::StreamWriter,
};
use lakehouse_engine::{Caller, Compiler, Engine, EngineOptions, Principal, SearchIndex, Seek, Settings};
use lakehouse_faiss::{Index, SearchParameters};
use lakehouse_types::{ProfileId, RequestId};
use reqwest::Method;
use serde_json::json;

use crate::{
    bar::{Bars, median, ms},
    host::{Failure, Host},
};

const VECTORS: usize = 20_000;
const DIMENSIONS: usize = 384;
/// Centres of the clusters that vectors lie around.
const CENTRES: usize = 200;
const QUERIES: usize = 1_000;
const K: usize = 10;
/// Candidates of the graph's search: what the server takes by itself.
const EF_SEARCH: usize = 128;
const RUNS: usize = 5;

pub(crate) async fn run(bars: &mut Bars) -> Result<(), Failure> {
    let mut host = Host::start().await?;
    let vectors = Vectors::seeded(7);
    host.ingest_as("points", "arrow", vectors.file()?).await?;
    let made = Instant::now();
    let body = json!({ "index_name": "points", "id_column": "id", "vector_column": "v" });
    host.send(Method::POST, "/vectors/refresh/points", &body).await?;
    let made = made.elapsed().as_secs_f64();
    host.send(Method::POST, "/vectors/profile/default/activate", &json!({})).await?;

    let bare = Bare::open(host.folder())?;
    let queries = vectors.queries(QUERIES);
    let bare_us = bare.median_us(&queries)?;
    let mut over_http = Vec::new();
    for query in &queries {
        let body = json!({ "index": "points", "vector": query, "k": K });
        let start = Instant::now();
        let hits = host.send(Method::POST, "/vectors/hybrid", &body).await?;
        over_http.push(ms(start.elapsed()));
        if hits["method"] != "hnsw" || hits["hit_count"] != K {
            return Err(format!("no {K} hits by graph: {hits}").into());
        }
    }
    let p50 = median(over_http);
    let beside = format!(
        "ms, p50 of {QUERIES}, a vector of {DIMENSIONS} as JSON, k {K}; bare FAISS {:.3} ms; built in {made:.1} s",
        bare_us / 1e3
    );
    bars.at_most("search.http_over_bare_ms", p50 - bare_us / 1e3, 1.0, &beside);

    refreshes(bars, &host).await?;
    let mut activations = Vec::new();
    for _ in 0..RUNS {
        host.kill();
        host.launch().await?;
        let start = Instant::now();
        let active = host.send(Method::POST, "/vectors/profile/default/activate", &json!({})).await?;
        activations.push(ms(start.elapsed()));
        if active["failed"] != 0 {
            return Err(format!("not active: {active}").into());
        }
    }
    let beside =
        format!("ms; two indexes of {VECTORS} vectors each, new process, warm page cache, checksums verified; median of {RUNS}");
    bars.at_most("search.activation_ms", median(activations), 150.0, &beside);
    host.kill();
    in_process(bars, host.folder(), &bare, &queries).await
}

/// The engine without a gateway, over the folder that the server left, beside FAISS over the same file.
async fn in_process(bars: &mut Bars, folder: &Path, bare: &Bare, queries: &[Vec<f32>]) -> Result<(), Failure> {
    let options = EngineOptions { compiler: Some(Compiler::in_process()), ..EngineOptions::default() };
    let engine = Engine::open(Settings::default().rooted(folder), options).await?;
    let caller = Caller {
        principal: Arc::new(Principal::local_admin()),
        profile: ProfileId::default_profile(),
        request_id: RequestId::fresh(),
    };
    engine.activate(&caller, &ProfileId::default_profile()).await?;
    let (mut ours, mut theirs, mut equal) = (Vec::new(), Vec::new(), 0);
    for query in queries {
        let what = SearchIndex { index: "points".parse()?, seek: Seek::Vector(query.clone()), k: K, filter: None, profile: None };
        let start = Instant::now();
        let hits = black_box(engine.search(&caller, what).await?);
        ours.push(micros(start.elapsed()));
        let start = Instant::now();
        let ordinals = black_box(bare.search(query)?);
        theirs.push(micros(start.elapsed()));
        // Ids are ordinals here.
        let found: Vec<String> = hits.found.hits.into_iter().map(|hit| hit.row_key).collect();
        equal += usize::from(found == ordinals.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    engine.shutdown().await?;
    if equal < queries.len() {
        return Err(format!("{} of {} answers are not those of bare FAISS", queries.len() - equal, queries.len()).into());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let beside =
        format!("x; {ours:.0} us a search with permission, governance and keys, {theirs:.0} us bare FAISS, same answers");
    bars.at_most("search.ratio_bare", ours / theirs, 1.3, &beside);
    Ok(())
}

/// A text index that follows its dataset.
async fn refreshes(bars: &mut Bars, host: &Host) -> Result<(), Failure> {
    let csv = |changed: usize| {
        let line = |n: usize| {
            let note = if n < changed { format!("changed {n}") } else { format!("note {n}") };
            format!("{n},{note} about forklifts and night shifts\n")
        };
        format!("id,note\n{}", (0..VECTORS).map(line).collect::<String>()).into_bytes()
    };
    host.ingest_csv("notes", csv(0)).await?;
    let body = json!({ "index_name": "notes", "id_column": "id", "text_column": "note" });
    host.send(Method::POST, "/vectors/refresh/notes", &body).await?;
    let mut idle = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        let report = host.send(Method::POST, "/vectors/refresh/notes", &json!({ "index_name": "notes" })).await?;
        idle.push(ms(start.elapsed()));
        if report["embedded"] != 0 {
            return Err(format!("not idle: {report}").into());
        }
    }
    let beside = format!("ms over HTTP; {VECTORS} rows, median of 20");
    bars.at_most("refresh.idle_ms", median(idle), 5.0, &beside);

    let one_percent = VECTORS / 100;
    host.ingest_csv("notes", csv(one_percent)).await?;
    let start = Instant::now();
    let report = host.send(Method::POST, "/vectors/refresh/notes", &json!({ "index_name": "notes" })).await?;
    let embedded = report["embedded"].as_f64().unwrap_or_default();
    let beside =
        format!("texts embedded beyond the {one_percent} that changed, of {VECTORS}; took {:.0} ms", ms(start.elapsed()));
    bars.at_most("refresh.embedded_beyond_changed", (embedded - one_percent as f64).abs(), 0.0, &beside);
    Ok(())
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The server's own index file, without the server.
struct Bare {
    index: Index,
    parameters: SearchParameters,
}

impl Bare {
    fn open(folder: &Path) -> Result<Self, Failure> {
        let file = find(folder, "index.faiss").ok_or("the server wrote no index.faiss")?;
        let index = Index::read(&std::fs::read(file)?)?;
        Ok(Self { index, parameters: SearchParameters { ef_search: EF_SEARCH, ..SearchParameters::default() } })
    }

    fn search(&self, query: &[f32]) -> Result<Vec<u32>, Failure> {
        let hits = self.index.search(query, K, &self.parameters, None)?;
        Ok(hits.into_iter().map(|hit| hit.ordinal).collect())
    }

    fn median_us(&self, queries: &[Vec<f32>]) -> Result<f64, Failure> {
        let mut times = Vec::with_capacity(queries.len());
        for query in queries {
            let start = Instant::now();
            black_box(self.search(query)?);
            times.push(micros(start.elapsed()));
        }
        Ok(median(times))
    }
}

fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find_map(|path| if path.is_dir() { find(&path, name) } else { (path.file_name()? == name).then_some(path) })
}

/// Unit vectors around common centres, the same in every run.
struct Vectors {
    numbers: Vec<f32>,
    state: u64,
}

impl Vectors {
    fn seeded(seed: u64) -> Self {
        let mut vectors = Self { numbers: Vec::new(), state: seed };
        let centres: Vec<f32> = (0..CENTRES * DIMENSIONS).map(|_| vectors.next()).collect();
        for n in 0..VECTORS {
            let centre = &centres[n % CENTRES * DIMENSIONS..][..DIMENSIONS];
            let vector: Vec<f32> = centre.iter().map(|number| number + 0.6 * vectors.next()).collect();
            vectors.numbers.extend(unit(&vector));
        }
        vectors
    }

    /// Near vectors that are there.
    fn queries(&self, count: usize) -> Vec<Vec<f32>> {
        let mut noise = Self { numbers: Vec::new(), state: 99 };
        let near = |n: usize| {
            let of = &self.numbers[n * 17 % VECTORS * DIMENSIONS..][..DIMENSIONS];
            unit(&of.iter().map(|number| number + 0.02 * noise.next()).collect::<Vec<_>>())
        };
        (0..count).map(near).collect()
    }

    /// As an Arrow stream: `id`, `v`.
    fn file(&self) -> Result<Vec<u8>, Failure> {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..VECTORS as i64));
        let lists = self.numbers.chunks_exact(DIMENSIONS).map(|vector| Some(vector.iter().map(|number| Some(*number))));
        let vectors: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists));
        let item = DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), Field::new("v", item, true)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![ids, vectors])?;
        let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
        writer.write(&batch)?;
        Ok(writer.into_inner()?)
    }

    /// From -1 to 1 (Marsaglia's xorshift).
    fn next(&mut self) -> f32 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    vector.iter().map(|number| number / length).collect()
}
