//! Queries in this process: a table without rules beside bare DataFusion on the same files, a masking view beside the same mask
//! as a native expression.

use std::{path::Path, sync::Arc, time::Instant};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, StringArray},
    datatypes::DataType,
    util::pretty::pretty_format_batches,
};
use datafusion::{
    logical_expr::{ColumnarValue, Volatility, create_udf},
    prelude::{ParquetReadOptions, SessionConfig, SessionContext},
};
use futures::{StreamExt, TryStreamExt, stream};
use lakehouse_cli::Candidates;
use lakehouse_engine::{
    Caller, Compiler, Engine, EngineOptions, IngestFile, IngestMode, OnError, Principal, QueryRequest, Settings,
};
use lakehouse_types::{ColumnName, DatasetName, ProfileId, RequestId};
use serde_json::{from_value, json};
use tempfile::TempDir;

use crate::{
    bar::{Bars, median, ms},
    host::Failure,
    plugins,
};

const ROWS: u64 = 1_000_000;
const RUNS: usize = 15;
const PLAIN: &str =
    "SELECT state, count(*) AS n, round(avg(hourly_rate), 3) AS rate FROM candidates GROUP BY state ORDER BY n DESC, state";
const MASKED: &str = "SELECT count(*) AS n, min(candidate_id) AS first FROM candidates_safe";

pub(crate) async fn run(bars: &mut Bars) -> Result<(), Failure> {
    let folder = TempDir::new()?;
    let mut settings = Settings::default().rooted(folder.path());
    settings.plugins.distribution = Some(plugins::distribution()?);
    // What is asked again is read again.
    settings.query.result_cache_bytes = 0;
    let options = EngineOptions { compiler: Some(Compiler::in_process()), ..EngineOptions::default() };
    let engine = Engine::open(settings, options).await?;
    let caller = Caller {
        principal: Arc::new(Principal::local_admin()),
        profile: ProfileId::default_profile(),
        request_id: RequestId::fresh(),
    };
    load(&engine, &caller).await?;

    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let bare = bare(folder.path(), threads).await?;
    pair(bars, &engine, &caller, &bare, ("query.plain_over_datafusion", 1.05), (PLAIN, PLAIN)).await?;
    let native = "SELECT count(*) AS n, min(native_mask(candidate_id)) AS first FROM candidates";
    pair(bars, &engine, &caller, &bare, ("query.masked_over_native", 3.0), (MASKED, native)).await?;
    engine.shutdown().await?;
    Ok(())
}

async fn load(engine: &Arc<Engine>, caller: &Caller) -> Result<(), Failure> {
    let file = IngestFile {
        dataset: DatasetName::new("candidates")?,
        bucket: None,
        mode: IngestMode::Replace,
        format: Some(lakehouse_engine::Format::Csv),
        file_name: None,
        content_type: None,
        key: Some(ColumnName::new("candidate_id")?),
        on_error: OnError::Fail,
        idempotency_key: None,
    };
    let body = stream::iter((Candidates { rows: ROWS }).csv_chunks().map(Ok)).boxed();
    engine.ingest(caller, file, body).await?;
    let view = json!({
        "name": "candidates_safe",
        "base_dataset": "candidates",
        "columns": ["candidate_id", "state", "skills"],
        "column_redactions": { "candidate_id": { "mask": { "keep_prefix": 3, "keep_suffix": 2 } } },
    });
    engine.put_view(caller, from_value(view)?, None).await?;
    Ok(())
}

/// DataFusion on the very files, with nothing of ours.
async fn bare(folder: &Path, threads: usize) -> Result<SessionContext, Failure> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(threads));
    let mut files = Vec::new();
    parquet_files(&folder.join("data").join("datasets"), &mut files)?;
    let frame = context.read_parquet(files, ParquetReadOptions::default()).await?;
    context.register_table("candidates", frame.into_view())?;
    let mask = create_udf("native_mask", vec![DataType::Utf8], DataType::Utf8, Volatility::Immutable, Arc::new(native_mask));
    context.register_udf(mask);
    Ok(context)
}

fn parquet_files(folder: &Path, files: &mut Vec<String>) -> Result<(), Failure> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "_delta_log") {
            parquet_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path.display().to_string());
        }
    }
    Ok(())
}

/// Three characters, stars, two characters: what an engineer would write as an expression of DataFusion.
fn native_mask(arguments: &[ColumnarValue]) -> datafusion::common::Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let values = arrays[0].as_string::<i32>();
    let mut masked = String::new();
    let answer: StringArray = values
        .iter()
        .map(|value| {
            value.map(|value| {
                masked.clear();
                let count = value.chars().count();
                for (at, character) in value.chars().enumerate() {
                    masked.push(if count > 5 && (at < 3 || at + 2 >= count) { character } else { '*' });
                }
                masked.clone()
            })
        })
        .collect();
    Ok(ColumnarValue::Array(Arc::new(answer) as ArrayRef))
}

/// Runs ours and the peer in turns, and bars the median of the ratios.
async fn pair(
    bars: &mut Bars,
    engine: &Arc<Engine>,
    caller: &Caller,
    bare: &SessionContext,
    (name, limit): (&str, f64),
    (ours, theirs): (&str, &str),
) -> Result<(), Failure> {
    let (mut ratios, mut own, mut peer) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS + 2 {
        let start = Instant::now();
        let request = QueryRequest { sql: ours.to_owned(), ..QueryRequest::default() };
        let answer: Vec<RecordBatch> = engine.query(caller, request).await?.answer.batches.try_collect().await?;
        let own_time = start.elapsed();
        let start = Instant::now();
        let expected = bare.sql(theirs).await?.collect().await?;
        let peer_time = start.elapsed();
        let (answer, expected) = (shown(&answer)?, shown(&expected)?);
        if answer != expected {
            return Err(format!("{name}: ours\n{answer}\nagainst\n{expected}").into());
        }
        // The first rounds warm both.
        if run >= 2 {
            own.push(ms(own_time));
            peer.push(ms(peer_time));
            ratios.push(own_time.as_secs_f64() / peer_time.as_secs_f64());
        }
    }
    let beside = format!("{:.1} ms against {:.1} ms, {ROWS} rows, median of {RUNS}", median(own), median(peer));
    bars.at_most(name, median(ratios), limit, &beside);
    Ok(())
}

/// Every cell as text: the types may differ, as a view of text does from a text.
fn shown(batches: &[RecordBatch]) -> Result<String, Failure> {
    Ok(pretty_format_batches(batches)?.to_string())
}
