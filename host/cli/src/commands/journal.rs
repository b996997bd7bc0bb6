//! `lakehouse journal`: events, and the check of their chain by who does not trust the server.

use chrono::{DateTime, FixedOffset};
use lakehouse_journal::Proof;
use lakehouse_types::Digest;
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::{args::Journal, client::Client, console::Console, failure::Failure};

/// Events fetched at once.
const PAGE: &str = "1000";

pub(crate) async fn journal(console: Console, client: Client, command: Journal) -> Result<(), Failure> {
    match command {
        Journal::List { kind, dataset, actor } => {
            let given = [("kind", kind), ("dataset", dataset), ("actor", actor)];
            let query: Vec<(&str, String)> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let mut events = Vec::new();
            pages(&client, &query, |page| {
                events.extend(page);
                Ok(())
            })
            .await?;
            console.objects(&events, &["seq", "at", "kind", "actor", "dataset", "subject", "outcome", "details"])
        }
        Journal::Verify { head } => verify(console, client, head).await,
    }
}

/// Fetches page after page of events, and hands each over.
async fn pages(
    client: &Client,
    query: &[(&str, String)],
    mut take: impl FnMut(Vec<Value>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let mut asked: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        asked.push(("limit", PAGE));
        if !after.is_empty() {
            asked.push(("after", &after));
        }
        let mut page = client.json(client.request_with(Method::GET, &["journal", "events"], &asked)).await?;
        let Some(Value::Array(events)) = page.get_mut("events").map(Value::take) else {
            return Err(Failure::Answer("no `events` in it".into()));
        };
        take(events)?;
        match page.get("next").and_then(Value::as_u64) {
            Some(next) => after = next.to_string(),
            None => return Ok(()),
        }
    }
}

async fn verify(console: Console, client: Client, kept: Option<Digest>) -> Result<(), Failure> {
    // First: the pages must reach what it tells, and may go further.
    let stats = client.get(&["journal", "stats"]).await?;
    let told = stats.get("head").and_then(Value::as_str).unwrap_or_default().to_owned();
    let total = stats.get("total_events_created").and_then(Value::as_u64).unwrap_or_default();
    if told.is_empty() {
        return Err(Failure::Answer(
            "this key sees its own events only: the chain needs one that reads the whole journal".into(),
        ));
    }
    let mut chain = Chain::new();
    let mut at_total = (total == 0).then(|| chain.end.clone());
    let mut kept_at = (kept.as_ref() == Some(&chain.end)).then_some(0);
    pages(&client, &[("proof", "true".to_owned())], |page| {
        for event in &page {
            chain.follow(event)?;
            if chain.seq == total {
                at_total = Some(chain.end.clone());
            }
            if kept.as_ref() == Some(&chain.end) {
                kept_at = Some(chain.seq);
            }
        }
        Ok(())
    })
    .await?;
    let Chain { seq, end } = chain;
    if at_total.as_ref().map(Digest::as_str) != Some(&told) {
        return Err(Failure::Answer(format!(
            "the server says that event {total} ends the chain with {told}; what it shows ends at event {seq} with {end}"
        )));
    }
    if let (Some(kept), None) = (&kept, kept_at) {
        return Err(Failure::Answer(format!("{kept} is not in the chain: it was written anew since")));
    }
    if console.person {
        console.line(&format!("{seq} events, none changed, left out or put in between; head {end}"))
    } else {
        console.write_json(&json!({ "verified": true, "events": seq, "head": end, "kept_head_at": kept_at }))
    }
}

/// How far the chain was followed.
struct Chain {
    seq: u64,
    end: Digest,
}

impl Chain {
    fn new() -> Self {
        Self { seq: 0, end: Digest::from_bytes(&[0; 32]) }
    }

    /// Follows the chain by one event, as the server shows it with its proof.
    fn follow(&mut self, event: &Value) -> Result<(), Failure> {
        let seq = event.get("seq").and_then(Value::as_u64).unwrap_or_default();
        let broken = |what: &str| Failure::Answer(format!("event {seq}: {what}"));
        if seq != self.seq + 1 {
            return Err(broken(&format!("it comes after event {}: what lies between is missing", self.seq)));
        }
        let proof: Proof = event
            .get("proof")
            .and_then(|proof| serde_json::from_value(proof.clone()).ok())
            .ok_or_else(|| broken("it has no proof"))?;
        if proof.previous != self.end {
            return Err(broken("it does not continue the chain"));
        }
        let end = proof.digest(seq).map_err(|_| broken("its payload is not the one that was sealed"))?;
        if event.get("hash").and_then(Value::as_str) != Some(end.as_str()) {
            return Err(broken("its hash is not that of its payload"));
        }
        let sealed: Map<String, Value> =
            serde_json::from_str(&proof.payload).map_err(|_| broken("its payload is not an event"))?;
        if let Some(member) = other_than(&sealed, event) {
            return Err(broken(&format!("its `{member}` is shown as another than was sealed")));
        }
        *self = Self { seq, end };
        Ok(())
    }
}

/// The first member that the server shows otherwise than it was sealed, or that only one of the two has.
fn other_than(sealed: &Map<String, Value>, shown: &Value) -> Option<String> {
    let added = ["hash", "proof"];
    let shown = shown.as_object()?;
    let names = sealed.keys().chain(shown.keys().filter(|name| !added.contains(&name.as_str())));
    let time = |value: &Value| DateTime::<FixedOffset>::parse_from_rfc3339(value.as_str()?).ok();
    // Absent and null are one.
    let member = |event: &Map<String, Value>, name: &str| event.get(name).filter(|value| !value.is_null()).cloned();
    names
        .into_iter()
        .find(|name| match (member(sealed, name), member(shown, name)) {
            (Some(sealed), Some(shown)) if *name == "at" => time(&sealed).is_none() || time(&sealed) != time(&shown),
            (sealed, shown) => sealed != shown,
        })
        .cloned()
}

#[cfg(test)]
mod tests {
    use lakehouse_types::Digest;
    use serde_json::{Value, json};
    use sha2::{Digest as _, Sha256};

    use super::Chain;
    use crate::failure::Failure;

    const GENESIS: [u8; 32] = [0; 32];

    /// Events as the server shows them, sealed one after the other by the published rule.
    fn events(count: u64) -> Vec<Value> {
        let text = |digest: &[u8; 32]| Digest::from_bytes(digest).to_string();
        let mut end = GENESIS;
        let mut shown = Vec::new();
        for seq in 1..=count {
            let payload = json!({
                "seq": seq, "kind": "ingest", "at": "2026-01-02T03:04:05.678901Z", "subject": "people", "details": { "rows": seq },
            });
            let mut event = payload.clone();
            let payload = payload.to_string();
            let commitment: [u8; 32] = Sha256::new().chain_update("salt").chain_update(&payload).finalize().into();
            let previous = end;
            end = Sha256::new().chain_update(previous).chain_update(seq.to_be_bytes()).chain_update(commitment).finalize().into();
            event["at"] = json!("2026-01-02T03:04:05.678901+00:00");
            event["hash"] = json!(text(&end));
            event["proof"] =
                json!({ "previous": text(&previous), "commitment": text(&commitment), "salt": "salt", "payload": payload });
            shown.push(event);
        }
        shown
    }

    fn follow(events: &[Value]) -> Result<Chain, Failure> {
        let mut chain = Chain::new();
        events.iter().try_for_each(|event| chain.follow(event))?;
        Ok(chain)
    }

    #[test]
    fn an_honest_chain_is_followed_to_its_end() {
        let events = events(5);
        let chain = follow(&events).unwrap();
        assert_eq!((chain.seq, chain.end.as_str()), (5, events[4]["hash"].as_str().unwrap()));
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let other = "11".repeat(32);
        let changes = [
            ("/proof/payload", json!(r#"{"seq":3,"kind":"tombstone"}"#)),
            ("/proof/salt", json!("other")),
            ("/proof/commitment", json!(other)),
            ("/proof/previous", json!(other)),
            ("/proof", json!({})),
            ("/hash", json!(other)),
            ("/kind", json!("tombstone")),
            ("/subject", Value::Null),
            ("/details", json!({ "rows": 4 })),
            ("/at", json!("2026-01-02T03:04:05.678902+00:00")),
            ("/at", json!("then")),
        ];
        for (place, value) in changes {
            let mut changed = events(5);
            *changed[2].pointer_mut(place).unwrap() = value;
            assert!(follow(&changed).is_err(), "{place}");
        }
        let mut added = events(5);
        added[2]["dataset"] = json!("people");
        let mut swapped = events(5);
        swapped.swap(1, 2);
        let mut left_out = events(5);
        left_out.remove(2);
        let mut told_twice = events(5);
        told_twice.insert(2, told_twice[1].clone());
        for story in [added, swapped, left_out, told_twice] {
            assert!(follow(&story).is_err());
        }
    }
}
