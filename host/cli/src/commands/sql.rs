//! `lakehouse sql`: a statement in, an answer in the form that was asked for.
//!
//! **Invariant**: an answer that the server broke off is a failure, however much of it was already written.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    path::Path,
};

use reqwest::{Method, Response, header};
use serde_json::{Value, json};

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
    if format == SqlFormat::Arrow && output.is_none() && io::stdout().is_terminal() {
        return Err(Failure::Usage("Arrow is not for a terminal: say --output FILE, or pipe it on".into()));
    }

    let query: &[(&str, &str)] = if format == SqlFormat::Table { &[("rows", "array")] } else { &[] };
    let request = client.request_with(Method::POST, &["query", "sql"], query).header(header::ACCEPT, accept(format)).json(&body);
    if format == SqlFormat::Table {
        let text = shown(console, &client.json(request).await?)?;
        return to(output, |out| writeln!(out, "{text}"));
    }
    let answer = client.send(request).await?;
    let tail = stream(answer, output).await?;
    match broken_off(format, &tail) {
        Some(problem) => Err(Failure::Problem(Box::new(problem))),
        None => Ok(()),
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
    let (count, s) = (rows.len(), if rows.len() == 1 { "" } else { "s" });
    if count > SHOWN_ROWS {
        console.note(&format!("{count} rows, {SHOWN_ROWS} shown; --format csv gives them all"));
    } else {
        console.note(&format!("{count} row{s}"));
    }
    if answer.get("truncated").is_some_and(|marker| *marker != Value::Bool(false) && !marker.is_null()) {
        console.note("the server's row limit cut the answer: there are more rows");
    }
    Ok(text)
}

/// Copies the answer as it arrives and returns its last bytes.
async fn stream(mut answer: Response, output: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut file = output.map(|path| create(path).map(|file| (path, file))).transpose()?;
    let mut tail = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(Failure::Broken)? {
        match &mut file {
            Some((path, file)) => {
                file.write_all(&chunk).map_err(|source| Failure::File { path: path.to_path_buf(), source })?;
            }
            None => io::stdout().lock().write_all(&chunk)?,
        }
        tail.extend_from_slice(&chunk);
        if tail.len() > 2 * TAIL_BYTES {
            tail.drain(..tail.len() - TAIL_BYTES);
        }
    }
    if file.is_none() {
        let mut out = io::stdout().lock();
        if out.is_terminal() && !tail.ends_with(b"\n") {
            writeln!(out)?;
        }
        out.flush()?;
    }
    Ok(tail)
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
        SqlFormat::Table | SqlFormat::Csv | SqlFormat::Arrow => None,
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

fn to(output: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    match output {
        Some(path) => write(&mut create(path)?).map_err(|source| Failure::File { path: path.to_owned(), source }),
        None => Ok(write(&mut io::stdout().lock())?),
    }
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|source| Failure::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::{SqlFormat, broken_off};

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
