//! `lakehouse queries`.

use crate::{
    args::{Queries, QueryCommand},
    client::Client,
    console::Console,
    failure::Failure,
};

pub(crate) async fn queries(console: Console, client: Client, command: Queries) -> Result<(), Failure> {
    match command.command.unwrap_or(QueryCommand::List) {
        QueryCommand::List => {
            let queries = client.list(&["query"], "queries").await?;
            console.objects(&queries, &["id", "actor", "duration_ms", "rows", "statement"])
        }
        QueryCommand::Show { id } => console.object(&client.get(&["query", &id]).await?),
        QueryCommand::Cancel { id } => console.object(&client.delete(&["query", &id]).await?),
    }
}
