//! `lakehouse search`: the rows of an index that are nearest to a text.

use serde_json::{Map, Value, json};

use crate::{
    args::Search,
    client::Client,
    console::Console,
    failure::{Failure, plain},
};

pub(crate) async fn search(console: Console, client: Client, search: Search) -> Result<(), Failure> {
    let answer = client.post(&["vectors", "hybrid"], &body(&search)?).await?;
    if !console.person {
        return console.write_json(&answer);
    }
    let hits = answer.get("hits").and_then(Value::as_array).cloned().unwrap_or_default();
    let flat: Vec<Value> = hits
        .iter()
        .map(|hit| {
            let text = hit.get("chunk").and_then(|chunk| chunk.get("text")).cloned().unwrap_or_default();
            json!({ "score": hit.get("score"), "doc_id": hit.get("doc_id"), "row_key": hit.get("row_key"), "text": text })
        })
        .collect();
    console.objects(&flat, &["score", "doc_id", "row_key", "text"])?;
    let member = |name: &str| answer.get(name).map(plain).unwrap_or_default();
    let mut told =
        format!("{} of {} candidates by {} in {} ms", hits.len(), member("candidates"), member("method"), member("duration_ms"));
    if answer.get("stale").and_then(Value::as_bool) == Some(true) {
        told += &format!("; rows of {} are not indexed yet: lakehouse index refresh", member("relation"));
    }
    console.note(&told);
    Ok(())
}

fn body(search: &Search) -> Result<Value, Failure> {
    let mut body = Map::from_iter([("index".to_owned(), json!(search.index)), ("k".to_owned(), json!(search.k))]);
    if let Some(query) = &search.query {
        body.insert("query".to_owned(), json!(query));
    }
    if let Some(vector) = &search.vector {
        let numbers: Vec<f64> = serde_json::from_str(vector)
            .map_err(|_| Failure::Usage("--vector is a JSON list of numbers, like [0.1, -2, 3]".into()))?;
        body.insert("vector".to_owned(), json!(numbers));
    }
    if let Some(filter) = &search.filter {
        body.insert("filter".to_owned(), json!(filter));
    }
    Ok(Value::Object(body))
}
