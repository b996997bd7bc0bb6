//! One row by its key over HTTP, beside a bare axum handler that returns the same bytes from a process of its own: the latency of a
//! statement that is planned and read each time, the rate of one that many clients ask again and again, and beside it the rate of that
//! statement when its answer is never kept.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::{
    bar::{Bars, median, ms},
    bare,
    host::{Failure, Host},
};

const ROWS: usize = 1_000;
/// Requests of one client in a slice, and slices of each side.
const REQUESTS: usize = 50;
const SLICES: usize = 40;
const CLIENTS: usize = 32;
/// How long many clients ask in a slice, and slices of each side.
const RUSH: Duration = Duration::from_millis(500);
const RUSHES: usize = 10;

pub(crate) async fn run(bars: &mut Bars) -> Result<(), Failure> {
    let reading = Host::start().await?;
    let read = of_host(&reading).await?;
    let repeating = Host::start_with("").await?;
    let repeated = of_host(&repeating).await?;
    let answer = sent(&repeated).await?;
    if sent(&read).await? != answer {
        return Err("the two servers differ".into());
    }
    let bare = Bare::start(&answer)?;
    let theirs = repeating.request_at(&bare.base, Method::POST, bare::PATH).json(&body());
    one_client(
        bars,
        &Pair { ours: read.try_clone().ok_or(TWICE)?, theirs: theirs.try_clone().ok_or(TWICE)?, answer: answer.clone() },
    )
    .await?;
    many_clients(bars, &Pair { ours: repeated, theirs, answer: answer.clone() }, &read).await
}

const TWICE: &str = "a request that cannot be sent twice";

fn body() -> serde_json::Value {
    json!({ "sql": "SELECT id, name, city FROM people WHERE id = 7" })
}

/// The table, and the request for one row of it.
async fn of_host(host: &Host) -> Result<RequestBuilder, Failure> {
    let line = |n| format!("{n},Person number {n},{}\n", ["Akron", "Toledo", "Dayton"][n % 3]);
    host.ingest_csv("people", format!("id,name,city\n{}", (0..ROWS).map(line).collect::<String>()).into_bytes()).await?;
    let request = host.request(Method::POST, bare::PATH).json(&body());
    let answer = sent(&request).await?;
    if !String::from_utf8_lossy(&answer).contains("Person number 7") {
        return Err(format!("not the row: {}", String::from_utf8_lossy(&answer)).into());
    }
    Ok(request)
}

/// The same request to both.
struct Pair {
    ours: RequestBuilder,
    theirs: RequestBuilder,
    answer: Vec<u8>,
}

async fn one_client(bars: &mut Bars, pair: &Pair) -> Result<(), Failure> {
    let (mut ours, mut theirs, mut over) = (Vec::new(), Vec::new(), Vec::new());
    for slice in 0..=SLICES {
        let (own, bare) = if slice % 2 == 0 {
            let own = p50(&pair.ours, &pair.answer).await?;
            (own, p50(&pair.theirs, &pair.answer).await?)
        } else {
            let bare = p50(&pair.theirs, &pair.answer).await?;
            (p50(&pair.ours, &pair.answer).await?, bare)
        };
        // The first slice warms both.
        if slice > 0 {
            ours.push(own);
            theirs.push(bare);
            over.push(own - bare);
        }
    }
    let beside = format!(
        "ms; p50 {:.2} ms, bare axum {:.2} ms; {} bytes, {SLICES} slices of {REQUESTS} requests each",
        median(ours),
        median(theirs),
        pair.answer.len()
    );
    bars.at_most("one_row.p50_over_axum_ms", median(over), 2.0, &beside);
    Ok(())
}

async fn many_clients(bars: &mut Bars, pair: &Pair, read: &RequestBuilder) -> Result<(), Failure> {
    let mut anew = Vec::new();
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for rush in 0..=RUSHES {
        let (own, bare) = if rush % 2 == 0 {
            let own = rate(&pair.ours, &pair.answer).await?;
            (own, rate(&pair.theirs, &pair.answer).await?)
        } else {
            let bare = rate(&pair.theirs, &pair.answer).await?;
            (rate(&pair.ours, &pair.answer).await?, bare)
        };
        let reading = rate(read, &pair.answer).await?;
        if rush > 0 {
            anew.push(reading);
            ours.push(own);
            theirs.push(bare);
            ratios.push(own / bare);
        }
    }
    let beside = format!(
        "of bare axum's rate; {:.0} a second against {:.0}, {CLIENTS} clients, {RUSHES} slices each; {:.0} when no answer is kept",
        median(ours),
        median(theirs),
        median(anew)
    );
    bars.at_least("one_row.clients_32", median(ratios), 0.4, &beside);
    Ok(())
}

async fn sent(request: &RequestBuilder) -> Result<Vec<u8>, Failure> {
    let request = request.try_clone().ok_or(TWICE)?;
    let answer = request.send().await?;
    let status = answer.status();
    let bytes = answer.bytes().await?;
    if status.is_success() { Ok(bytes.into()) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&bytes)).into()) }
}

async fn asked(request: &RequestBuilder, expected: &[u8]) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let answer = sent(request).await?;
    let took = begun.elapsed();
    if answer == expected { Ok(took) } else { Err(format!("another answer: {}", String::from_utf8_lossy(&answer)).into()) }
}

/// The median of one client's requests, ms.
async fn p50(request: &RequestBuilder, expected: &[u8]) -> Result<f64, Failure> {
    let mut times = Vec::with_capacity(REQUESTS);
    for _ in 0..REQUESTS {
        times.push(ms(asked(request, expected).await?));
    }
    Ok(median(times))
}

/// Answers a second to many clients.
async fn rate(request: &RequestBuilder, expected: &[u8]) -> Result<f64, Failure> {
    let begun = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let (request, expected) = (request.try_clone(), expected.to_vec());
        tokio::spawn(async move {
            let request = request.ok_or(TWICE)?;
            let mut done = 0_u32;
            while begun.elapsed() < RUSH {
                asked(&request, &expected).await?;
                done += 1;
            }
            Ok::<_, Failure>(done)
        })
    });
    let mut total = 0;
    for client in futures::future::join_all(clients).await {
        total += client??;
    }
    Ok(f64::from(total) / begun.elapsed().as_secs_f64())
}

/// The other server: this program once more.
struct Bare {
    child: Child,
    base: String,
    _answer: NamedTempFile,
}

impl Bare {
    fn start(answer: &[u8]) -> Result<Self, Failure> {
        let file = NamedTempFile::new()?;
        std::fs::write(file.path(), answer)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(bare::ARGUMENT)
            .arg(file.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut base = String::new();
        BufReader::new(child.stdout.take().ok_or("a server without stdout")?).read_line(&mut base)?;
        Ok(Self { child, base: base.trim().to_owned(), _answer: file })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
