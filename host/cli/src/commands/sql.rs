//! `lakehouse sql`: a statement in, an answer in the form that was asked for.
//!
//! **Invariant**: an answer that the server broke off is a failure, however much of it was already written, and makes no file.

use std::io::{self, IsTerminal, Read};

use reqwest::{Method, Response, header};
use serde_json::{Value, json};

use super::output::Output;
use crate::{
    args::{Sql, SqlFormat},
    client::Client,
    console::{Console, table},
    failure::{Failure, Problem, plain},
};

/// More rows than a person reads; the other forms have no such end.
const SHOWN_ROWS: usize = 1_000;
/// The tail of a streamed answer that is kept to look for an error member.
const TAIL_BYTES: usize = 64 * 1024;

pub(crate) async fn sql(console: Console, client: Client, command: Sql) -> Result<(), Failure> {
    let statement = statement(&command)?;
    let params: Vec<Value> =
        command.params.iter().map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))).collect();
    let mut body = json!({ "sql": statement });
    if !params.is_empty() {
        body["params"] = Value::Array(params);
    }
    let format = match command.format {
        Some(format) => format,
        None if console.person && command.output.is_none() => SqlFormat::Table,
        None => SqlFormat::Json,
    };
    let output = command.output.as_deref();
    if matches!(format, SqlFormat::Arrow | SqlFormat::Parquet) && output.is_none() && io::stdout().is_terminal() {
        return Err(Failure::Usage("Arrow and Parquet are not for a terminal: say --output FILE, or pipe it on".into()));
    }

    let query: &[(&str, &str)] = if format == SqlFormat::Table { &[("rows", "array")] } else { &[] };
    let request = client.request_with(Method::POST, &["query", "sql"], query).header(header::ACCEPT, accept(format)).json(&body);
    if format == SqlFormat::Table {
        let text = shown(console, &client.json(request).await?)?;
        let mut output = Output::open(output)?;
        output.write(format!("{text}\n").as_bytes())?;
        return output.finish(true);
    }
    let answer = client.send(request).await.map_err(|failure| match failure {
        // A short answer can be broken off before its head has left the server.
        Failure::Broken(source) => ended(format, 0, source),
        other => other,
    })?;
    let mut output = Output::open(output)?;
    let tail = stream(answer, format, &mut output).await?;
    match broken_off(format, &tail) {
        Some(problem) => Err(Failure::Problem(Box::new(problem))),
        None => output.finish(tail.ends_with(b"\n")),
    }
}

fn statement(command: &Sql) -> Result<String, Failure> {
    if let Some(path) = &command.file {
        return std::fs::read_to_string(path).map_err(|source| Failure::File { path: path.clone(), source });
    }
    match command.statement.as_deref() {
        Some(statement) if statement != "-" => Ok(statement.to_owned()),
        None if io::stdin().is_terminal() => {
            Err(Failure::Usage("no statement: lakehouse sql 'SELECT 1', or --file, or pipe one in".into()))
        }
        _ => {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text)?;
            Ok(text)
        }
    }
}

fn accept(format: SqlFormat) -> &'static str {
    match format {
        SqlFormat::Table | SqlFormat::Json => "application/json",
        SqlFormat::Csv => "text/csv",
        SqlFormat::Ndjson => "application/x-ndjson",
        SqlFormat::Arrow => "application/vnd.apache.arrow.stream",
        SqlFormat::Parquet => "application/vnd.apache.parquet",
    }
}

/// The table of a JSON answer whose rows are arrays.
fn shown(console: Console, answer: &Value) -> Result<String, Failure> {
    if let Some(problem) = answer.get("error") {
        return Err(error_member(problem));
    }
    let missing = |what: &str| Failure::Answer(format!("no `{what}` in it"));
    let columns = answer.get("columns").and_then(Value::as_array).ok_or_else(|| missing("columns"))?;
    let names: Vec<&str> = columns.iter().map(|column| column.get("name").and_then(Value::as_str).unwrap_or_default()).collect();
    let rows = answer.get("rows").and_then(Value::as_array).ok_or_else(|| missing("rows"))?;
    let text = table(&names, rows.iter().take(SHOWN_ROWS).filter_map(Value::as_array));
    let is_cut = answer.get("truncated").is_some_and(|marker| *marker != Value::Bool(false) && !marker.is_null());
    console.note(&counted(rows.len(), is_cut));
    Ok(text)
}

/// How many rows there are, and where the others are.
fn counted(rows: usize, is_cut: bool) -> String {
    let s = if rows == 1 { "" } else { "s" };
    let shown = if rows > SHOWN_ROWS { format!(", {SHOWN_ROWS} shown") } else { String::new() };
    let more = match (is_cut, rows > SHOWN_ROWS) {
        (true, _) => "; the server's row limit cut the answer: there are more rows",
        (false, true) => "; --format csv gives them all",
        (false, false) => "",
    };
    format!("{rows} row{s}{shown}{more}")
}

/// Copies the answer as it arrives and returns its last bytes.
async fn stream(mut answer: Response, format: SqlFormat, output: &mut Output) -> Result<Vec<u8>, Failure> {
    let (mut tail, mut bytes) = (Vec::new(), 0);
    while let Some(chunk) = answer.chunk().await.map_err(|source| ended(format, bytes, source))? {
        output.write(&chunk)?;
        bytes += chunk.len() as u64;
        tail.extend_from_slice(&chunk);
        if tail.len() > 2 * TAIL_BYTES {
            tail.drain(..tail.len() - TAIL_BYTES);
        }
    }
    Ok(tail)
}

/// An answer that ended in its middle: CSV, Arrow and Parquet have no other way to say that something is wrong.
fn ended(format: SqlFormat, bytes: u64, source: reqwest::Error) -> Failure {
    match format {
        SqlFormat::Csv | SqlFormat::Arrow | SqlFormat::Parquet => Failure::BrokenOff { bytes, source },
        SqlFormat::Table | SqlFormat::Json | SqlFormat::Ndjson => Failure::Broken(source),
    }
}

/// JSON and NDJSON answers that failed after their first byte end with an `error` member.
fn broken_off(format: SqlFormat, tail: &[u8]) -> Option<Problem> {
    let text = String::from_utf8_lossy(tail);
    let text = text.trim_end();
    let ending = match format {
        SqlFormat::Ndjson => text.rsplit('\n').next().and_then(|line| serde_json::from_str::<Value>(line).ok()),
        SqlFormat::Json => {
            text.rfind("\"error\":").and_then(|at| serde_json::from_str::<Value>(&format!("{{{}", &text[at..])).ok())
        }
        SqlFormat::Table | SqlFormat::Csv | SqlFormat::Arrow | SqlFormat::Parquet => None,
    }?;
    // A row may well have a column named `error`; a problem has a code beside its detail.
    let error = ending.as_object().filter(|members| members.len() == 1)?.get("error")?;
    (error.get("code").is_some() && error.get("detail").is_some()).then(|| serde_json::from_value(error.clone()).ok()).flatten()
}

fn error_member(error: &Value) -> Failure {
    match serde_json::from_value::<Problem>(error.clone()) {
        Ok(problem) => Failure::Problem(Box::new(problem)),
        Err(_) => Failure::Answer(plain(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use clap::Parser;

    use super::{SHOWN_ROWS, SqlFormat, broken_off, counted, sql};
    use crate::{
        args::{Arguments, Command},
        client::Client,
        console::Console,
        failure::{Failure, exit},
    };

    /// What the statement in `format` fails with, at a server that answers this and hangs up; a file must be as it was.
    async fn failure(format: &str, answer: &'static [u8]) -> Failure {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", server.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let (mut asked, _) = server.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut part = [0; 1024];
                let read = asked.read(&mut part).unwrap();
                request.extend_from_slice(&part[..read]);
            }
            asked.write_all(answer).unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answer");
        std::fs::write(&path, "before").unwrap();
        let line = ["lakehouse", "sql", "--format", format, "--output", path.to_str().unwrap(), "SELECT n FROM t"];
        let Command::Sql(command) = Arguments::try_parse_from(line).unwrap().command else { panic!("a statement") };
        let failure = sql(Console::new(false), Client::with(&url, None, None).unwrap(), command).await.unwrap_err();
        answering.join().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        failure
    }

    #[tokio::test]
    async fn an_answer_that_broke_off_says_where_and_makes_no_file() {
        const CUT: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nn\r\n1\r\n\r\n";
        for (format, answer, after) in [("csv", CUT, 6), ("arrow", CUT, 6), ("csv", b"", 0)] {
            let failure = failure(format, answer).await;
            assert!(matches!(failure, Failure::BrokenOff { bytes, .. } if bytes == after), "{failure:?}");
            assert_eq!(failure.exit_code(), exit::SERVER_FAILED);
            let told = format!("error: the answer was broken off after {after} bytes: row limit, deadline or a rule");
            assert_eq!(failure.explain()[0], told);
        }
        // Those say what is wrong: without a word the server is gone.
        for format in ["json", "ndjson"] {
            assert_eq!(failure(format, CUT).await.exit_code(), exit::UNREACHABLE);
        }
    }

    #[test]
    fn the_note_promises_nothing_that_the_row_limit_cuts() {
        for (rows, is_cut, note) in [
            (1, false, "1 row"),
            (0, false, "0 rows"),
            (SHOWN_ROWS + 1, false, "1001 rows, 1000 shown; --format csv gives them all"),
            (SHOWN_ROWS + 1, true, "1001 rows, 1000 shown; the server's row limit cut the answer: there are more rows"),
            (5, true, "5 rows; the server's row limit cut the answer: there are more rows"),
        ] {
            assert_eq!(counted(rows, is_cut), note);
        }
    }

    #[test]
    fn an_answer_that_broke_off_is_noticed() {
        let json = br#"{"columns":[],"rows":[{"a":1}],"error":{"code":"query_timeout","detail":"late","status":504}}"#;
        assert_eq!(broken_off(SqlFormat::Json, json).unwrap().code, "query_timeout");
        let lines = b"{\"a\":1}\n{\"error\":{\"code\":\"plugin_failed\",\"detail\":\"x\"}}\n";
        assert_eq!(broken_off(SqlFormat::Ndjson, lines).unwrap().code, "plugin_failed");
    }

    #[test]
    fn a_column_named_error_is_no_problem() {
        assert!(broken_off(SqlFormat::Json, br#"{"rows":[{"error":"none"}],"row_count":1}"#).is_none());
        assert!(broken_off(SqlFormat::Ndjson, b"{\"error\":\"none\"}\n").is_none());
    }
}
