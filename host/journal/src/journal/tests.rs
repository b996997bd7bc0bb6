use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use chrono::{DateTime, Duration, Utc};
use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions, Record, Transaction};
use lakehouse_types::{Actor, BucketName, Clock, Code, DatasetName, ManualClock, RequestId};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use crate::{
    Draft, Event, EventKind, Filter, Journal, JournalError, Stamp,
    chain::{GENESIS, Hash, Link, Payload, bytes, key, seal},
    journal::Head,
};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Counter(u64);

impl Record for Counter {
    const COLLECTION: &'static str = "counter";
    const FORMAT: u32 = 1;
}

fn start() -> DateTime<Utc> {
    "2026-01-02T03:04:00Z".parse().unwrap()
}

fn by(actor: &str, at: DateTime<Utc>) -> Stamp {
    Stamp {
        actor: Actor::new(actor).unwrap(),
        role: "admin".into(),
        profile: None,
        request_id: RequestId::new("req-1").unwrap(),
        at,
    }
}

async fn meta() -> Meta {
    let specs = vec![BucketSpec { name: BucketName::primary(), kind: BucketKind::Memory }];
    let buckets = Buckets::open(specs, BucketOptions::new(Handle::current())).await.unwrap();
    Meta::open(&buckets.primary(), MetaOptions::default()).await.unwrap()
}

async fn journal(meta: &Meta) -> Journal {
    Journal::open(meta.clone(), Arc::new(ManualClock::at(start()))).await.unwrap()
}

fn ingest(rows: u64) -> Draft {
    Draft::new(EventKind::Ingest, "people")
        .dataset(DatasetName::new("people").unwrap())
        .details(json!({"rows": rows, "share": 0.1}))
}

/// Reads the whole log, a few events at a time, and so checks it; counts the events that can still be read.
async fn whole(journal: &Journal) -> Result<u64, JournalError> {
    let (mut after, mut by_kind) = (None, BTreeMap::new());
    loop {
        let page = journal.events(&Filter::default(), after, 3).await?;
        page.events.iter().for_each(|event| *by_kind.entry(event.kind).or_default() += 1);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let (events, stats) = (by_kind.values().sum(), journal.stats());
    assert!(events < stats.total_events_created || by_kind == stats.by_kind, "{by_kind:?} {stats:?}");
    Ok(events)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_and_its_events_are_one_commit() {
    let meta = meta().await;
    let journal = journal(&meta).await;

    let mut change = meta.begin().await.unwrap();
    change.put("n", &Counter(1)).unwrap();
    let view = Draft::new(EventKind::ViewPut, "safe");
    assert_eq!(journal.commit(change, &by("ada", start()), vec![ingest(3), view]).await.unwrap(), 2);
    assert_eq!(meta.collection::<Counter>().get("n").await.unwrap(), Some(Counter(1)));

    // A change that loses its race leaves no event and no hole.
    let mut late = meta.begin().await.unwrap();
    let seen: Counter = late.get("n").await.unwrap().unwrap();
    let mut early = meta.begin().await.unwrap();
    early.put("n", &Counter(7)).unwrap();
    journal.commit(early, &by("bob", start()), vec![ingest(1)]).await.unwrap();
    late.put("n", &Counter(seen.0 + 1)).unwrap();
    let error = journal.commit(late, &by("ada", start()), vec![ingest(2)]).await.unwrap_err();
    assert!(error.is_conflict(), "{error:?}");

    assert_eq!(journal.stats().total_events_created, 3);
    assert_eq!(journal.stats().by_kind, BTreeMap::from([(EventKind::Ingest, 2), (EventKind::ViewPut, 1)]));
    assert_eq!(journal.record(&by("ada", start()), ingest(4)).await.unwrap(), 4);
    assert_eq!(whole(&journal).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_pseudonyms_and_the_chain_outlive_a_restart() {
    let meta = meta().await;
    let first = journal(&meta).await;
    for rows in 0..3 {
        first.record(&by("ada", start()), ingest(rows)).await.unwrap();
    }
    let second = journal(&meta).await;
    assert_eq!(second.stats(), first.stats());
    assert_eq!(second.pseudonym("CAND-1"), first.pseudonym("CAND-1"));
    assert_ne!(second.pseudonym("CAND-1"), second.pseudonym("CAND-2"));
    assert_eq!(second.pseudonym("CAND-1").len(), 32);
    second.record(&by("ada", start()), ingest(9)).await.unwrap();
    assert_eq!(whole(&second).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_filtered_and_paged() {
    let meta = meta().await;
    let journal = journal(&meta).await;
    for n in 0..700 {
        let actor = if n % 7 == 0 { "ada" } else { "bob" };
        let draft = if n % 2 == 0 { ingest(n) } else { Draft::new(EventKind::ViewPut, "v") };
        journal.record(&by(actor, start() + Duration::seconds(n.try_into().unwrap())), draft).await.unwrap();
    }
    let mut seqs = Vec::new();
    let mut after = None;
    loop {
        let page = journal.events(&Filter::default(), after, 99).await.unwrap();
        seqs.extend(page.events.iter().map(|event| event.seq));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seqs, (1..=700).collect::<Vec<_>>());

    let wanted = Filter {
        actor: Some(Actor::new("ada").unwrap()),
        kind: Some(EventKind::Ingest),
        dataset: Some(DatasetName::new("people").unwrap()),
        since: Some(start() + Duration::seconds(14)),
        until: Some(start() + Duration::seconds(42)),
    };
    let page = journal.events(&wanted, None, 10).await.unwrap();
    let found: Vec<_> = page.events.iter().map(|event| (event.seq, event.details["rows"].as_u64())).collect();
    assert_eq!(found, [(15, Some(14)), (29, Some(28))]);
    assert!(page.events.iter().all(|event| event.digest.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_are_gathered_by_minute_and_flushed() {
    let meta = meta().await;
    let clock = Arc::new(ManualClock::at(start()));
    let journal = Journal::open(meta.clone(), Arc::clone(&clock) as _).await.unwrap();
    for _ in 0..50 {
        journal.deny(&by("eve", clock.now()), "POST /plugins", Code::Forbidden).await.unwrap();
    }
    assert_eq!(journal.stats().total_events_created, 1);
    journal.flush().await.unwrap();
    let page = journal.events(&Filter { kind: Some(EventKind::Denied), ..Filter::default() }, None, 10).await.unwrap();
    let counts: Vec<_> = page.events.iter().map(|event| event.details["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [1, 49]);
    assert_eq!(page.events[0].details["denials"][0]["code"], "forbidden");
}

#[tokio::test(start_paused = true)]
async fn denials_leave_by_themselves_when_their_minute_is_over() {
    let meta = meta().await;
    let clock = Arc::new(ManualClock::at(start()));
    let journal = Journal::open(meta, Arc::clone(&clock) as _).await.unwrap();
    for _ in 0..3 {
        journal.deny(&by("eve", clock.now()), "x", Code::Forbidden).await.unwrap();
    }
    clock.advance(Duration::seconds(61));
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert_eq!(journal.stats().total_events_created, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_can_compute_the_chain_from_what_events_carry() {
    let journal = five(&meta().await).await;
    let sha256 = |parts: &[&[u8]]| -> Hash {
        let mut hash = Sha256::new();
        parts.iter().for_each(|part| hash.update(part));
        hash.finalize().into()
    };
    let mut end = GENESIS;
    for event in journal.events(&Filter::default(), None, 10).await.unwrap().events {
        let proof = event.proof.clone().unwrap();
        assert_eq!(bytes(&proof.previous), Some(end));
        let commitment = sha256(&[proof.salt.as_bytes(), proof.payload.as_bytes()]);
        assert_eq!(bytes(&proof.commitment), Some(commitment));
        end = sha256(&[&end, &event.seq.to_be_bytes(), &commitment]);
        assert_eq!(event.digest.as_ref().and_then(bytes), Some(end));
        let sealed: Event = serde_json::from_str(&proof.payload).unwrap();
        assert_eq!(sealed, Event { digest: None, proof: None, ..event });
    }
    assert_eq!(bytes(&journal.stats().head), Some(end));
}

#[tokio::test(flavor = "multi_thread")]
async fn erasure_is_not_damage() {
    let meta = meta().await;
    let journal = five(&meta).await;
    let mut erase = meta.begin().await.unwrap();
    erase.delete::<Payload>(&key(2));
    erase.commit().await.unwrap();
    assert_eq!(whole(&journal).await.unwrap(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_by_whoever_reads_past_it() {
    expect_broken(3, |log, txn| txn.put(&key(3), &log.payloads[3]).unwrap()).await;
    expect_broken(4, |_, txn| {
        txn.delete::<Link>(&key(4));
        txn.delete::<Payload>(&key(4));
    })
    .await;
    expect_broken(5, |_, txn| {
        txn.delete::<Link>(&key(5));
        txn.delete::<Payload>(&key(5));
    })
    .await;
    // Forged with all skill: one event, of which the next link knows nothing; and all to the end, which ends elsewhere.
    expect_broken(4, |log, txn| forge(log, txn, 3..=3)).await;
    expect_broken(5, |log, txn| forge(log, txn, 3..=5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_moved_is_noticed_after_a_start() {
    let meta = meta().await;
    let journal = five(&meta).await;
    let head = meta.collection::<Head>().get(Head::KEY).await.unwrap().unwrap();
    let mut change = meta.begin().await.unwrap();
    change.put(Head::KEY, &Head { seq: 3, ..head }).unwrap();
    change.commit().await.unwrap();
    assert_eq!(whole(&journal).await.unwrap(), 5);
    match whole(&self::journal(&meta).await).await {
        Err(JournalError::Broken { seq: 3, .. }) => {}
        other => panic!("expected damage at 3, got {other:?}"),
    }
}

/// What is stored of five events.
struct Log {
    links: Vec<Link>,
    payloads: Vec<Payload>,
}

async fn five(meta: &Meta) -> Journal {
    let journal = journal(meta).await;
    for rows in 0..5 {
        journal.record(&by("ada", start()), ingest(rows)).await.unwrap();
    }
    journal
}

/// Writes events of its own, each sealed after the one before.
fn forge(log: &Log, txn: &mut Transaction, seqs: RangeInclusive<u64>) {
    let mut end = bytes(&log.links[usize::try_from(*seqs.start()).unwrap() - 2].digest).unwrap();
    for seq in seqs {
        let (link, payload, digest) = seal(&end, &Event::new(seq, &by("mallory", start()), ingest(7))).unwrap();
        txn.put(&key(seq), &link).unwrap();
        txn.put(&key(seq), &payload).unwrap();
        end = digest;
    }
}

/// Whoever reads from the start or from just before the damage finds it, in the host that runs and in the next one.
async fn expect_broken(at: u64, damage: impl FnOnce(&Log, &mut Transaction)) {
    let meta = meta().await;
    let running = five(&meta).await;
    let links = meta.collection::<Link>().all().await.unwrap().into_iter().map(|(_, link)| link).collect();
    let payloads = meta.collection::<Payload>().all().await.unwrap().into_iter().map(|(_, payload)| payload).collect();
    let mut change = meta.begin().await.unwrap();
    damage(&Log { links, payloads }, &mut change);
    change.commit().await.unwrap();
    for journal in [running, journal(&meta).await] {
        for after in [None, Some(at - 2)] {
            match journal.events(&Filter::default(), after, 10).await {
                Err(JournalError::Broken { seq, .. }) => assert_eq!(seq, at),
                other => panic!("expected damage at {at}, got {other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever commits race, conflict or carry no events: numbers have no gaps, the chain verifies, totals agree.
    #[test]
    fn any_interleaving_leaves_a_chain_that_verifies(writers in prop::collection::vec((0_usize..4, 0_u64..3, any::<bool>()), 1..24)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        runtime.block_on(async {
            let meta = meta().await;
            let journal = journal(&meta).await;
            let tasks: Vec<_> = writers
                .into_iter()
                .map(|(events, target, reads)| {
                    let (meta, journal) = (meta.clone(), journal.clone());
                    tokio::spawn(async move {
                        let mut change = meta.begin().await.unwrap();
                        let name = target.to_string();
                        if reads {
                            let _ = change.get::<Counter>(&name).await.unwrap();
                        }
                        tokio::task::yield_now().await;
                        change.put(&name, &Counter(target)).unwrap();
                        let drafts = (0..events).map(|n| ingest(n as u64)).collect();
                        match journal.commit(change, &by("ada", start()), drafts).await {
                            Ok(_) => events as u64,
                            Err(error) if error.is_conflict() => 0,
                            Err(error) => panic!("{error:?}"),
                        }
                    })
                })
                .collect();
            let mut written = 0;
            for task in tasks {
                written += task.await.unwrap();
            }
            assert_eq!(whole(&journal).await.unwrap(), written);
            assert_eq!(journal.stats().total_events_created, written);
            let page = journal.events(&Filter::default(), None, 1000).await.unwrap();
            assert!(page.events.iter().map(|event| event.seq).eq(1..=written));
            meta.close().await.unwrap();
        });
    }
}
