//! `lakehouse index`: list, show, refresh, drop.

use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::{Map, Value, json};

use crate::{
    args::{Index, RefreshIndex},
    client::Client,
    console::Console,
    failure::Failure,
};

pub(crate) async fn index(console: Console, client: Client, command: Index) -> Result<(), Failure> {
    match command {
        Index::List => {
            let indexes = client.list(&["vectors", "indexes"], "indexes").await?;
            let members = ["name", "relation", "rows", "chunks", "embed_model", "segments", "warm", "stale", "refreshed_at"];
            console.objects(&indexes, &members)
        }
        Index::Show { name } => console.object(&client.get(&["vectors", "indexes", &name]).await?),
        Index::Refresh(refresh) => {
            let waiting = spinner(console, &format!("refreshing {}", refresh.index));
            let report = client.post(&["vectors", "refresh", &refresh.relation], &body(&refresh)).await;
            waiting.finish_and_clear();
            console.object(&report?)
        }
        Index::Drop { name } => {
            let answer = client.delete(&["vectors", "indexes", &name]).await?;
            if console.person { console.line(&format!("dropped {name}")) } else { console.write_json(&answer) }
        }
        Index::Stale => {
            let stale = client.get(&["vectors", "stale"]).await?;
            if !console.person {
                return console.write_json(&stale);
            }
            let datasets = stale.get("datasets").and_then(Value::as_array).cloned().unwrap_or_default();
            console.objects(&datasets, &["dataset", "last_embedded_at", "embedding_stale_since", "indexes"])
        }
    }
}

/// Something that moves while a person waits.
pub(super) fn spinner(console: Console, what: &str) -> ProgressBar {
    if !console.person {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(90));
    spinner
}

fn body(refresh: &RefreshIndex) -> Value {
    let mut body = Map::from_iter([("index_name".to_owned(), json!(refresh.index))]);
    let members = [
        ("id_column", refresh.id.clone().map(Value::from)),
        ("text_column", refresh.text.clone().map(Value::from)),
        ("vector_column", refresh.vectors.clone().map(Value::from)),
        ("metric", refresh.metric.clone().map(Value::from)),
        ("chunk_size", refresh.chunk_size.map(Value::from)),
        ("overlap", refresh.overlap.map(Value::from)),
        ("id_prefix", refresh.id_prefix.clone().map(Value::from)),
    ];
    body.extend(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Value::Object(body)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::{Index, body};
    use crate::args::{Arguments, Command};

    #[test]
    fn what_is_not_said_is_not_sent() {
        let parse = |line: &str| {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            let Command::Index(Index::Refresh(refresh)) = arguments.command else { panic!("another command") };
            body(&refresh)
        };
        assert_eq!(parse("lakehouse index refresh people --index notes"), json!({"index_name": "notes"}));
        let whole = parse("lakehouse index refresh people --index notes --id k --text t --chunk-size 200 --id-prefix W-");
        assert_eq!(
            whole,
            json!({"index_name": "notes", "id_column": "k", "text_column": "t", "chunk_size": 200, "id_prefix": "W-"})
        );
    }
}
