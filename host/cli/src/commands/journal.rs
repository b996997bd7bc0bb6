//! `lakehouse journal`: events, and the check of their chain by who does not trust the server.

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{args::Journal, client::Client, console::Console, failure::Failure};

/// Events fetched at once.
const PAGE: &str = "1000";
const GENESIS: [u8; 32] = [0; 32];

pub(crate) async fn journal(console: Console, client: Client, command: Journal) -> Result<(), Failure> {
    match command {
        Journal::List { kind, dataset, actor } => {
            let given = [("kind", kind), ("dataset", dataset), ("actor", actor)];
            let query: Vec<(&str, String)> = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            let events = pages(&client, &query, |_| Ok(())).await?;
            console.objects(&events, &["seq", "at", "kind", "actor", "dataset", "subject", "outcome", "details"])
        }
        Journal::Verify { head } => verify(console, client, head).await,
    }
}

/// All pages of events.
async fn pages(
    client: &Client,
    query: &[(&str, String)],
    mut each: impl FnMut(&Value) -> Result<(), Failure>,
) -> Result<Vec<Value>, Failure> {
    let mut events = Vec::new();
    let mut after = String::new();
    loop {
        let mut asked: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        asked.push(("limit", PAGE));
        if !after.is_empty() {
            asked.push(("after", &after));
        }
        let mut page = client.json(client.request_with(Method::GET, &["journal", "events"], &asked)).await?;
        let Some(Value::Array(list)) = page.get_mut("events").map(Value::take) else {
            return Err(Failure::Answer("no `events` in it".into()));
        };
        list.iter().try_for_each(&mut each)?;
        events.extend(list);
        match page.get("next").and_then(Value::as_u64) {
            Some(next) => after = next.to_string(),
            None => return Ok(events),
        }
    }
}

async fn verify(console: Console, client: Client, kept: Option<String>) -> Result<(), Failure> {
    let mut chain = Chain { seq: 0, end: GENESIS, kept_at: None };
    let kept = kept.map(|kept| kept.to_ascii_lowercase());
    // First: the pages must reach what it tells, and may go further.
    let stats = client.get(&["journal", "stats"]).await?;
    let told = stats.get("head").and_then(Value::as_str).unwrap_or_default().to_owned();
    let total = stats.get("total_events_created").and_then(Value::as_u64).unwrap_or_default();
    if told.is_empty() {
        return Err(Failure::Answer(
            "this key sees its own events only: the chain needs one that reads the whole journal".into(),
        ));
    }
    let mut at_total = (total == 0).then(|| hex(&GENESIS));
    pages(&client, &[("proof", "true".to_owned())], |event| {
        chain.follow(event, kept.as_deref())?;
        if chain.seq == total {
            at_total = Some(hex(&chain.end));
        }
        Ok(())
    })
    .await?;
    let end = hex(&chain.end);
    if at_total.as_ref() != Some(&told) {
        return Err(Failure::Answer(format!(
            "the server says that event {total} ends the chain with {told}; what it shows ends at event {} with {end}",
            chain.seq
        )));
    }
    if let Some(kept) = &kept
        && chain.kept_at.is_none()
    {
        return Err(Failure::Answer(format!("{kept} is not in the chain: it was written anew since")));
    }
    let report = json!({ "verified": true, "events": chain.seq, "head": end, "kept_head_at": chain.kept_at });
    if console.person {
        console.line(&format!("{} events, none changed, left out or put in between; head {end}", chain.seq))
    } else {
        console.write_json(&report)
    }
}

/// How far the chain was followed.
struct Chain {
    seq: u64,
    end: [u8; 32],
    kept_at: Option<u64>,
}

impl Chain {
    fn follow(&mut self, event: &Value, kept: Option<&str>) -> Result<(), Failure> {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let seq = event.get("seq").and_then(Value::as_u64).unwrap_or_default();
        let broken = |what: &str| Failure::Answer(format!("event {seq}: {what}"));
        if seq != self.seq + 1 {
            return Err(broken(&format!("it comes after event {}: what lies between is missing", self.seq)));
        }
        let previous = bytes(text("/proof/previous")).ok_or_else(|| broken("it has no proof"))?;
        if previous != self.end {
            return Err(broken("it does not continue the chain"));
        }
        let commitment: [u8; 32] =
            Sha256::new().chain_update(text("/proof/salt")).chain_update(text("/proof/payload")).finalize().into();
        if hex(&commitment) != text("/proof/commitment") {
            return Err(broken("its payload is not the one that was sealed"));
        }
        self.end =
            Sha256::new().chain_update(previous).chain_update(seq.to_be_bytes()).chain_update(commitment).finalize().into();
        if hex(&self.end) != text("/hash") {
            return Err(broken("its hash is not that of its payload"));
        }
        let sealed: Value = serde_json::from_str(text("/proof/payload")).map_err(|_| broken("its payload is not an event"))?;
        let shown = ["seq", "kind", "actor", "role", "profile", "request_id", "dataset", "subject", "outcome"];
        if shown.iter().any(|member| sealed.get(*member) != event.get(*member)) {
            return Err(broken("it is shown as another than was sealed"));
        }
        self.seq = seq;
        if kept == Some(text("/hash")) {
            self.kept_at = Some(seq);
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    let mut bytes = GENESIS;
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sha2::{Digest, Sha256};

    use super::{Chain, GENESIS, hex};

    fn chain() -> Chain {
        Chain { seq: 0, end: GENESIS, kept_at: None }
    }

    /// Events as the server shows them, sealed one after the other.
    fn events(count: u64) -> Vec<Value> {
        let mut end = GENESIS;
        let mut sealed = Vec::new();
        for seq in 1..=count {
            let payload = json!({ "seq": seq, "kind": "ingest" }).to_string();
            let commitment: [u8; 32] = Sha256::new().chain_update("salt").chain_update(&payload).finalize().into();
            let previous = end;
            end = Sha256::new().chain_update(previous).chain_update(seq.to_be_bytes()).chain_update(commitment).finalize().into();
            sealed.push(json!({
                "seq": seq, "kind": "ingest", "hash": hex(&end),
                "proof": { "previous": hex(&previous), "commitment": hex(&commitment), "salt": "salt", "payload": payload },
            }));
        }
        sealed
    }

    #[test]
    fn an_honest_chain_is_followed_and_a_kept_head_found() {
        let events = events(5);
        let mut chain = chain();
        let kept = events[2]["hash"].as_str().unwrap().to_owned();
        events.iter().try_for_each(|event| chain.follow(event, Some(&kept))).unwrap();
        assert_eq!((chain.seq, chain.kept_at), (5, Some(3)));
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let changes: [(&str, Value); 6] = [
            ("/proof/payload", json!(r#"{"seq":3,"kind":"tombstone"}"#)),
            ("/proof/salt", json!("other")),
            ("/proof/commitment", json!("00")),
            ("/proof/previous", json!("11".repeat(32))),
            ("/hash", json!("22".repeat(32))),
            ("/kind", json!("tombstone")),
        ];
        for (place, value) in changes {
            let mut changed = events(5);
            *changed[2].pointer_mut(place).unwrap() = value;
            let mut chain = chain();
            assert!(changed.iter().try_for_each(|event| chain.follow(event, None)).is_err(), "{place}");
        }
        let mut swapped = events(5);
        swapped.swap(1, 2);
        let mut left_out = events(5);
        left_out.remove(2);
        for story in [swapped, left_out] {
            let mut chain = chain();
            assert!(story.iter().try_for_each(|event| chain.follow(event, None)).is_err());
        }
    }
}
