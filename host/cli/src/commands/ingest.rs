//! `lakehouse ingest`: streams files into datasets, a request each.

use std::{collections::BTreeSet, path::Path};

use lakehouse_engine::Format;
use reqwest::{Method, header};
use serde_json::Value;

use super::{ingest_source, upload};
use crate::{
    args::{Ingest, IngestMode, OnError},
    client::Client,
    console::Console,
    failure::{Failure, plain},
};

pub(crate) async fn ingest(console: Console, client: Client, command: Ingest) -> Result<(), Failure> {
    if let Some(source) = &command.from {
        return ingest_source::ingest_source(console, &client, &command, source).await;
    }
    if command.files.len() > 1 && command.idempotency_key.is_some() {
        return Err(Failure::Usage("one idempotency key cannot stand for several files: send them one by one".into()));
    }
    let (reports, failed) = send_all(console, &client, &command).await;
    // What came in stays in, whatever failed after it.
    let written = match reports.as_slice() {
        _ if console.person => Ok(()),
        [] => Ok(()),
        [report] if command.files.len() == 1 => console.write_json(report),
        _ => console.write_json(&Value::Array(reports)),
    };
    failed.map_or(written, Err)
}

/// The reports of the files up to the first that failed, and why it did.
async fn send_all(console: Console, client: &Client, command: &Ingest) -> (Vec<Value>, Option<Failure>) {
    let (mut reports, mut begun) = (Vec::new(), BTreeSet::new());
    for file in &command.files {
        match one(console, client, command, file, &mut begun).await {
            Ok(report) => reports.push(report),
            Err(failure) if command.files.len() > 1 => return (reports, Some(failure.of(file))),
            Err(failure) => return (reports, Some(failure)),
        }
    }
    (reports, None)
}

async fn one(
    console: Console,
    client: &Client,
    command: &Ingest,
    file: &Path,
    begun: &mut BTreeSet<String>,
) -> Result<Value, Failure> {
    let dataset = dataset_of(command, file)?;
    let mode = mode(command.mode, begun.insert(dataset.clone()));
    let report = send(console, client, command, file, &dataset, mode).await?;
    if console.person {
        console.line(&told(&report))?;
        for rejected in report.get("rejected").and_then(Value::as_array).into_iter().flatten() {
            console.note(&format!("  rejected: {}", plain(rejected)));
        }
    }
    Ok(report)
}

fn dataset_of(command: &Ingest, file: &Path) -> Result<String, Failure> {
    let named = command.dataset.clone().or_else(|| dataset_name(file));
    named.ok_or_else(|| Failure::Usage(format!("no dataset can be named after {}: say --dataset NAME", file.display())))
}

/// Only the first file of a dataset can replace its rows: a later one would replace those of the first.
fn mode(wanted: IngestMode, is_first: bool) -> &'static str {
    match wanted {
        IngestMode::Replace if is_first => "replace",
        IngestMode::Upsert => "upsert",
        IngestMode::Replace | IngestMode::Append => "append",
    }
}

async fn send(
    console: Console,
    client: &Client,
    command: &Ingest,
    file: &Path,
    dataset: &str,
    mode: &str,
) -> Result<Value, Failure> {
    let on_error = if command.on_error == OnError::Skip { "skip" } else { "fail" };
    let mut query = vec![("dataset", dataset), ("mode", mode), ("on_error", on_error)];
    let format = command.format.clone().or_else(|| format_of(file));
    query.extend(format.as_deref().map(|format| ("format", format)));
    query.extend(command.row_key.as_deref().map(|column| ("key", column)));

    let upload = upload::open(console, file).await?;
    let mut request = client.request_with(Method::POST, &["ingest", "file"], &query).body(upload.body);
    if let Some(length) = upload.length {
        request = request.header(header::CONTENT_LENGTH, length);
    }
    if let Some(bucket) = &command.bucket {
        request = request.header("X-Lakehouse-Bucket", bucket);
    }
    if let Some(key) = &command.idempotency_key {
        request = request.header("Idempotency-Key", key);
    }
    let answer = client.json(request).await;
    upload.bar.finish_and_clear();
    answer
}

pub(super) fn told(report: &Value) -> String {
    let member = |name: &str| report.get(name).map_or_else(String::new, plain);
    let columns = report.get("columns").and_then(Value::as_array).map_or(0, Vec::len);
    format!(
        "{}: {} rows, {columns} columns, {} ({} ms, version {}, bucket {})",
        member("dataset"),
        member("rows"),
        match member("mode").as_str() {
            "replace" => "replaced".to_owned(),
            "upsert" => format!("{} replaced", member("replaced_rows")),
            _ => "appended".to_owned(),
        },
        member("duration_ms"),
        member("version"),
        member("bucket"),
    )
}

/// `Müller's People (2).csv.gz` can be `m_ller_s_people_2`.
pub(crate) fn dataset_name(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?.split('.').find(|part| !part.is_empty())?;
    let mut slug = String::new();
    for c in name.chars().map(|c| c.to_ascii_lowercase()) {
        if c.is_ascii_alphanumeric() || c == '-' {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('_') {
            slug.push('_');
        }
    }
    let slug = slug.trim_matches(['_', '-']);
    let slug: String = slug.trim_start_matches(|c: char| !c.is_ascii_lowercase()).chars().take(63).collect();
    (!slug.is_empty()).then_some(slug)
}

/// The format that the file's name says, as the server would understand it.
pub(crate) fn format_of(file: &Path) -> Option<String> {
    Format::of_name(file.file_name()?.to_str()?).map(|format| format.to_string())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        path::Path,
    };

    use clap::Parser;

    use super::{BTreeSet, dataset_name, dataset_of, format_of, mode, send_all};
    use crate::{
        args::{Arguments, Command},
        client::Client,
        console::Console,
        failure::exit,
    };

    #[tokio::test]
    async fn what_came_in_is_reported_though_a_later_file_fails() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            for answer in ["201 Created\r\ncontent-length: 10\r\n\r\n{\"rows\":1}", "422 No\r\ncontent-length: 0\r\n\r\n"] {
                let (mut asked, _) = server.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"end\n") {
                    let mut part = [0; 1024];
                    let read = asked.read(&mut part).unwrap();
                    request.extend_from_slice(&part[..read]);
                }
                asked
                    .write_all(format!("HTTP/1.1 {}", answer.replacen("\r\n", "\r\nconnection: close\r\n", 1)).as_bytes())
                    .unwrap();
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let files = ["a.csv", "b.csv", "c.csv"].map(|name| folder.path().join(name));
        files.iter().for_each(|file| std::fs::write(file, "n\nend\n").unwrap());
        let line = ["lakehouse", "ingest"].into_iter().chain(files.iter().map(|file| file.to_str().unwrap()));
        let Command::Ingest(command) = Arguments::try_parse_from(line).unwrap().command else { panic!("an ingest") };
        let (reports, failed) = send_all(Console::new(true), &Client::with(&url, None, None).unwrap(), &command).await;
        answering.join().unwrap();
        assert_eq!(reports, [serde_json::json!({ "rows": 1 })]);
        let failure = failed.unwrap();
        assert_eq!(failure.exit_code(), exit::REFUSED);
        assert!(failure.explain()[0].contains("b.csv"), "{:?}", failure.explain());
    }

    #[test]
    fn each_dataset_is_replaced_by_its_first_file_only() {
        for (line, modes) in [
            (vec!["a.csv", "b.csv", "x/a.csv"], ["replace", "replace", "append"]),
            (vec!["--dataset", "all", "a.csv", "b.csv", "c.csv"], ["replace", "append", "append"]),
        ] {
            let line = ["lakehouse", "ingest", "--mode", "replace"].into_iter().chain(line);
            let Command::Ingest(command) = Arguments::try_parse_from(line).unwrap().command else { panic!("an ingest") };
            let mut begun = BTreeSet::new();
            let sent: Vec<_> =
                command.files.iter().map(|file| mode(command.mode, begun.insert(dataset_of(&command, file).unwrap()))).collect();
            assert_eq!(sent, modes);
        }
    }

    #[test]
    fn a_dataset_is_named_after_its_file() {
        for (file, name) in [
            ("people.csv", Some("people")),
            ("/data/Müller's People (2).csv.gz", Some("m_ller_s_people_2")),
            ("2024-flights.parquet", Some("flights")),
            ("-", None),
            ("123.csv", None),
        ] {
            assert_eq!(dataset_name(Path::new(file)).as_deref(), name, "{file}");
        }
    }

    #[test]
    fn the_format_is_seen_through_compression() {
        for (file, format) in [
            ("a.CSV", Some("csv")),
            ("x/a.jsonl.zst", Some("ndjson")),
            ("a.csv.gzip", Some("csv")),
            ("a.tsv.zstd", Some("tsv")),
            ("a.pq", Some("parquet")),
            ("a.gz", None),
            ("a.exe", None),
            ("-", None),
        ] {
            assert_eq!(format_of(Path::new(file)).as_deref(), format, "{file}");
        }
    }
}
