//! Writers that keep account of what they asked for and what was answered, and the comparison of that with what is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{answer::Answer, caller::Caller};

/// Writers at once.
pub(crate) const WRITERS: u64 = 4;
/// Keys that each writer upserts.
const KEYS: u64 = 3;
/// How often a request is repeated that got an error.
const REPEATS: usize = 20;
const APPENDED: &str = "t";
const UPSERTED: &str = "u";

/// What was asked for, and what of it was answered with success.
#[derive(Debug, Default)]
pub(crate) struct Account {
    appended: Asked,
    hidden: Asked,
    /// By key: the greatest value.
    upserted: BTreeMap<String, Upserted>,
    pub(crate) answered: usize,
}

#[derive(Debug, Default)]
struct Asked {
    tried: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Upserted {
    tried: u64,
    acknowledged: u64,
}

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Acknowledged,
    /// It failed, or may have.
    Unknown,
    /// The server is gone.
    Gone,
}

/// Creates the datasets that writers write.
pub(crate) async fn prepare(admin: &Caller) {
    for dataset in [APPENDED, UPSERTED] {
        admin.ingest_with(&format!("dataset={dataset}&format=csv&key=id"), "id,v\nfirst,0\n").await.expect_ok();
    }
}

/// Writers and a compaction at work, until the server is gone or each writer did `parts`.
pub(crate) struct Writers {
    running: JoinSet<Account>,
    answered: Arc<AtomicUsize>,
}

impl Writers {
    pub(crate) fn start(admin: &Caller, round: u64, parts: u64) -> Self {
        let answered = Arc::new(AtomicUsize::new(0));
        let mut running = JoinSet::new();
        for writer in 0..WRITERS {
            running.spawn(write(admin.clone(), format!("{round}-{writer}"), parts, Arc::clone(&answered)));
        }
        let (admin, finished) = (admin.clone(), Arc::clone(&answered));
        running.spawn(async move {
            let mut seen = usize::MAX;
            // While somebody writes.
            while seen != finished.load(Relaxed) {
                seen = finished.load(Relaxed);
                let request = admin.request(Method::POST, "/query/compact").json(&json!({ "dataset": APPENDED }));
                if admin.try_send(request).await.is_none() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
            Account::default()
        });
        Self { running, answered }
    }

    /// Waits until so many requests were answered.
    pub(crate) async fn answered(&self, count: usize) {
        while self.answered.load(Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What all of them asked for, when the last has ended.
    pub(crate) async fn ended(self, account: &mut Account) {
        for one in self.running.join_all().await {
            account.add(one);
        }
    }
}

async fn write(admin: Caller, name: String, parts: u64, answered: Arc<AtomicUsize>) -> Account {
    let mut account = Account::default();
    for part in 0..parts {
        let id = format!("{name}-{part}");
        let fate = match part % 4 {
            2 => {
                let key = format!("{name}-k{}", part / 4 % KEYS);
                let upserted = account.upserted.entry(key.clone()).or_default();
                upserted.tried = part + 1;
                let query = format!("dataset={UPSERTED}&format=csv&mode=upsert&key=id");
                let fate = post(&admin, &query, &id, format!("id,v\n{key},{}\n", part + 1)).await;
                if fate == Fate::Acknowledged {
                    upserted.acknowledged = part + 1;
                }
                fate
            }
            3 if !account.appended.acknowledged.is_empty() => {
                let one = account.appended.acknowledged.iter().find(|id| !account.hidden.tried.contains(*id)).cloned();
                let Some(hidden) = one else { continue };
                account.hidden.tried.insert(hidden.clone());
                let path = format!("/catalog/datasets/by-name/{APPENDED}/tombstone");
                let body = json!({ "row_key_column": "id", "row_key_values": [hidden] });
                let fate = repeat(&admin, || admin.request(Method::POST, &path).json(&body)).await;
                if fate == Fate::Acknowledged {
                    account.hidden.acknowledged.insert(hidden);
                }
                fate
            }
            _ => {
                account.appended.tried.insert(id.clone());
                let fate = post(&admin, &format!("dataset={APPENDED}&format=csv"), &id, format!("id,v\n{id},1\n")).await;
                if fate == Fate::Acknowledged {
                    account.appended.acknowledged.insert(id);
                }
                fate
            }
        };
        match fate {
            Fate::Acknowledged => {
                account.answered += 1;
                answered.fetch_add(1, Relaxed);
            }
            Fate::Unknown => {}
            Fate::Gone => break,
        }
    }
    account
}

async fn post(admin: &Caller, query: &str, key: &str, csv: String) -> Fate {
    let path = format!("/ingest/file?{query}");
    repeat(admin, || admin.request(Method::POST, &path).header("idempotency-key", key).body(csv.clone())).await
}

/// As a client does it that means what it asks for: again after a failure of the server.
async fn repeat(admin: &Caller, request: impl Fn() -> RequestBuilder) -> Fate {
    for _ in 0..REPEATS {
        match admin.try_send(request()).await {
            None => return Fate::Gone,
            Some(answer) if (200..300).contains(&answer.status) => return Fate::Acknowledged,
            Some(answer) if answer.status >= 500 || answer.status == 409 => {}
            Some(answer) => panic!("{}", answer.text()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Fate::Unknown
}

impl Account {
    fn add(&mut self, other: Self) {
        for (mine, others) in [(&mut self.appended, other.appended), (&mut self.hidden, other.hidden)] {
            mine.tried.extend(others.tried);
            mine.acknowledged.extend(others.acknowledged);
        }
        self.upserted.extend(other.upserted);
        self.answered += other.answered;
    }

    /// What is there and should not be, or the other way round; a line each.
    pub(crate) async fn violations(&self, admin: &Caller) -> Vec<String> {
        let mut found = Vec::new();
        let list = texts(&admin.sql(&format!("SELECT id FROM {APPENDED} WHERE id <> 'first'")).await, "id");
        let count = admin.sql(&format!("SELECT count(*) AS n FROM {APPENDED} WHERE id <> 'first'")).await.n();
        let ids: BTreeSet<String> = list.iter().cloned().collect();
        if list.len() as u64 != count {
            found.push(format!("{} rows listed, {count} counted", list.len()));
        }
        if ids.len() != list.len() {
            found.push(format!("{} rows, {} ids: doubled", list.len(), ids.len()));
        }
        let Self { appended, hidden, upserted, .. } = self;
        found.extend(ids.difference(&appended.tried).map(|id| format!("{id}: nobody wrote it")));
        let lost = appended.acknowledged.iter().filter(|id| !ids.contains(*id) && !hidden.tried.contains(*id));
        found.extend(lost.map(|id| format!("{id}: acknowledged and not there")));
        found.extend(hidden.acknowledged.intersection(&ids).map(|id| format!("{id}: hidden, acknowledged, and there")));

        let events = events(admin, APPENDED).await;
        let (least, most) = (1 + appended.acknowledged.len(), 1 + appended.tried.len());
        if !(least..=most).contains(&events) {
            found.push(format!("{events} events of ingest: not between {least} and {most}"));
        }
        // What was hidden may have been compacted away; nothing else may be missing.
        let seen = 1 + ids.union(&hidden.tried).count();
        if seen != events {
            found.push(format!("{events} events of ingest, {seen} rows seen or hidden"));
        }

        let answer = admin.sql(&format!("SELECT id, v FROM {UPSERTED} WHERE id <> 'first'")).await;
        let keys = texts(&answer, "id");
        let values: BTreeMap<String, u64> =
            keys.iter().cloned().zip(answer.column("v").iter().map(|v| v.as_u64().unwrap_or_default())).collect();
        if values.len() != keys.len() {
            found.push(format!("{} upserted rows, {} keys: doubled", keys.len(), values.len()));
        }
        found.extend(values.keys().filter(|key| !upserted.contains_key(*key)).map(|key| format!("{key}: nobody upserted it")));
        for (key, Upserted { tried, acknowledged }) in upserted {
            let value = values.get(key).copied().unwrap_or_default();
            if !(*acknowledged..=*tried).contains(&value) {
                found.push(format!("{key} is {value}: {acknowledged} was acknowledged, {tried} the last tried"));
            }
        }
        found
    }
}

fn texts(answer: &Answer, column: &str) -> Vec<String> {
    answer.expect_ok();
    answer.column(column).iter().map(|value| value.as_str().unwrap_or_default().to_owned()).collect()
}

/// How many ingests the journal tells of; reading it checks its chain.
async fn events(admin: &Caller, dataset: &str) -> usize {
    let (mut count, mut after) = (0, String::new());
    loop {
        let page = admin.get(&format!("/journal/events?kind=ingest&dataset={dataset}&limit=1000{after}")).await.expect_ok();
        count += page["events"].as_array().map_or(0, Vec::len);
        match page["next"].as_u64() {
            Some(next) => after = format!("&after={next}"),
            None => return count,
        }
    }
}
