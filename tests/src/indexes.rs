//! Indexes: refreshed, stale, damaged, crowded, restarted.

use serde_json::{Value, json};

use crate::{
    answer::Answer,
    caller::Caller,
    lake::{Lake, component},
};

impl Caller {
    pub(crate) async fn refresh(&self, relation: &str, body: Value) -> Answer {
        self.post(&format!("/vectors/refresh/{relation}"), body).await
    }

    pub(crate) async fn hybrid(&self, body: Value) -> Answer {
        self.post("/vectors/hybrid", body).await
    }
}

impl Answer {
    /// Row keys of the hits, in order.
    #[track_caller]
    pub(crate) fn keys(&self) -> Vec<String> {
        let json = self.expect_ok();
        json["hits"].as_array().unwrap().iter().map(|hit| hit["row_key"].as_str().unwrap().to_owned()).collect()
    }
}

const NOTES: [&str; 6] = [
    "night-shift forklift operator, reach truck licence",
    "pediatric nurse, night duty",
    "line cook for banquets, knows HACCP",
    "forklift and dock lead, days only",
    "bookkeeper with payroll experience",
    "electrician's helper, conduit and drywall",
];

pub(crate) fn csv(rows: impl IntoIterator<Item = (usize, String)>) -> String {
    let lines: String = rows.into_iter().map(|(n, note)| format!("K-{n},{},\"{note}\"\n", n % 7)).collect();
    format!("k,grp,note\n{lines}")
}

pub(crate) fn note(n: usize) -> String {
    format!("{} number {n}", NOTES[n % NOTES.len()])
}

pub(crate) fn notes(index: &str) -> Value {
    json!({ "index_name": index, "id_column": "k", "text_column": "note" })
}

pub(crate) async fn lake_of(rows: usize) -> Lake {
    let lake = Lake::start().await;
    lake.ingest("people", csv((0..rows).map(|n| (n, note(n))))).await.expect_ok();
    lake
}

/// Rows handed to the embedder so far.
async fn embedder_rows(lake: &Caller) -> u64 {
    lake.get("/plugins/embed-hash").await.expect_ok()["versions"][0]["stats"]["rows"].as_u64().unwrap()
}

#[tokio::test]
async fn a_refresh_embeds_exactly_what_is_new_or_changed() {
    let mut lake = lake_of(600).await;
    let made = lake.refresh("people", notes("notes")).await.expect_ok();
    assert_eq!((&made["rows"], &made["new_docs"], &made["embedded"]), (&json!(600), &json!(600), &json!(600)), "{made}");
    assert_eq!(made["stale_cleared"], true);
    let called = embedder_rows(&lake).await;
    assert_eq!(called, 600);

    let idle = lake.refresh("people", json!({ "index_name": "notes" })).await.expect_ok();
    assert_eq!(
        (&idle["embedded"], &idle["unchanged_docs"], &idle["stale_cleared"]),
        (&json!(0), &json!(600), &json!(false)),
        "{idle}"
    );

    // One in a hundred changes, three go, two come.
    let changed = |n: usize| if n.is_multiple_of(100) { format!("retired diver {n}") } else { note(n) };
    let rows = csv((3..602).map(|n| (n, changed(n))).filter(|(n, _)| *n != 50 && *n != 51));
    lake.ingest_with("dataset=people&mode=replace&format=csv", rows).await.expect_ok();
    let stale = lake.get("/vectors/stale").await.expect_ok();
    assert_eq!(stale["datasets"][0]["indexes"][0]["stale_because"], json!(["rows"]), "{stale}");
    assert!(stale["datasets"][0]["embedding_stale_since"].is_string(), "{stale}");
    // Until the refresh, what went or changed is not found by what it was.
    let found = lake.hybrid(json!({ "index": "notes", "query": "forklift", "k": 700 })).await;
    assert_eq!((found.keys().len(), found.json()["stale"].as_bool()), (600 - 3 - 2 - 5, Some(true)));
    let mended = lake.refresh("people", json!({ "index_name": "notes" })).await.expect_ok();
    assert_eq!(
        (&mended["new_docs"], &mended["changed_docs"], &mended["removed_docs"], &mended["embedded"]),
        (&json!(2), &json!(5), &json!(5), &json!(7)),
        "{mended}"
    );
    assert_eq!(embedder_rows(&lake).await, called + 1 + 7, "one text was searched for");
    assert_eq!(lake.get("/vectors/stale").await.expect_ok()["datasets"][0]["indexes"][0]["stale"], false);
    let divers = lake.hybrid(json!({ "index": "notes", "query": "retired diver", "k": 5 })).await.keys();
    assert_eq!(divers.len(), 5);
    assert!(divers.iter().all(|key| key.ends_with("00")), "{divers:?}");

    lake.kill_and_restart().await;
    assert_eq!(lake.hybrid(json!({ "index": "notes", "query": "retired diver", "k": 5 })).await.keys(), divers);
    let again = lake.refresh("people", json!({ "index_name": "notes" })).await.expect_ok();
    assert_eq!((&again["embedded"], &again["rows"]), (&json!(0), &json!(597)));
    let events = lake.get("/journal/events?kind=index_refresh").await.expect_ok();
    assert_eq!(events["events"].as_array().unwrap().len(), 2, "an idle refresh changes nothing");
}

#[tokio::test]
async fn integers_and_prefixes_name_documents_and_a_changed_type_is_refused() {
    let lake = Lake::start().await;
    lake.ingest("jobs", "id,ad\n7,night guard\n-3,day guard\n,nobody\n8,\n").await.expect_ok();
    let body = json!({ "index_name": "ads", "id_column": "id", "text_column": "ad", "id_prefix": "W500K-" });
    let made = lake.refresh("jobs", body).await.expect_ok();
    assert_eq!(
        (&made["rows"], &made["rows_without_id"], &made["rows_without_content"]),
        (&json!(2), &json!(1), &json!(1)),
        "{made}"
    );
    let hits = lake.hybrid(json!({ "index": "ads", "query": "night guard", "k": 1 })).await.expect_ok();
    assert_eq!((&hits["hits"][0]["doc_id"], &hits["hits"][0]["row_key"]), (&json!("W500K-7"), &json!("7")), "{hits}");
    assert_eq!(hits["hits"][0]["chunk"], json!({ "text": "night guard", "start": 0, "end": 11 }));
    let filtered = lake.hybrid(json!({ "index": "ads", "query": "guard", "filter": "id < 0" })).await;
    assert_eq!(filtered.keys(), ["-3"]);
    lake.ingest_with("dataset=jobs&mode=replace&format=csv", "id,ad\nseven,night guard\n").await.expect_ok();
    let problem = lake.refresh("jobs", json!({ "index_name": "ads" })).await.expect_problem("index_mismatch");
    assert!(problem["detail"].as_str().unwrap().contains("named them by integer"), "{problem}");
}

#[tokio::test]
async fn what_cannot_be_indexed_is_refused_and_nothing_is_half_done() {
    let lake = Lake::start().await;
    lake.ingest("people", "k,grp,note,none\na,1,forklift,\nb,2,nurse,\n").await.expect_ok();
    lake.ingest("twins", "k,note\na,forklift\nb,nurse\na,cook\n").await.expect_ok();
    let before = lake.events().await;
    for (relation, body, code) in [
        ("people", json!({ "index_name": "n", "id_column": "k", "text_column": "grp" }), "invalid_definition"),
        ("people", json!({ "index_name": "n", "id_column": "k", "text_column": "none" }), "invalid_data"),
        ("people", json!({ "index_name": "n", "id_column": "k", "text_column": "missing" }), "unknown_column"),
        ("people", json!({ "index_name": "n", "id_column": "k", "vector_column": "note" }), "invalid_definition"),
        ("people", json!({ "index_name": "n", "text_column": "note" }), "invalid_body"),
        ("people", json!({ "index_name": "n", "id_column": "k" }), "invalid_body"),
        (
            "people",
            json!({ "index_name": "n", "id_column": "k", "text_column": "note", "vector_column": "note" }),
            "invalid_body",
        ),
        ("people", json!({ "index_name": "N", "id_column": "k", "text_column": "note" }), "invalid_body"),
        ("people", json!({ "index_name": "n", "id_column": "k", "text_column": "note", "chunk_size": 0 }), "invalid_rule_config"),
        ("people", json!({ "index_name": "n", "id_column": "k", "text_column": "note", "metric": "manhattan" }), "invalid_body"),
        ("twins", json!({ "index_name": "n", "id_column": "k", "text_column": "note" }), "invalid_data"),
        ("nothing", json!({ "index_name": "n", "id_column": "k", "text_column": "note" }), "unknown_dataset"),
    ] {
        let problem = lake.refresh(relation, body.clone()).await.expect_any_problem();
        assert_eq!(problem["code"], code, "{body}: {problem}");
        assert!(!problem.to_string().contains("forklift"), "no value in {problem}");
        lake.hybrid(json!({ "index": "n", "query": "x" })).await.expect_problem("unknown_index");
    }
    assert_eq!(lake.events().await, before, "nothing was changed");
}

#[tokio::test]
async fn a_swapped_chunker_marks_the_index_stale_and_the_next_refresh_mends_it() {
    let lake = lake_of(60).await;
    lake.refresh("people", notes("notes")).await.expect_ok();
    // The same component with a mark in it: other bytes, another version.
    let mut rebuilt = component("chunk-text");
    rebuilt.extend([0, 5, 4, b'm', b'a', b'r', b'k']);
    lake.push("chunk-text", rebuilt).await.expect_status(201);
    let shown = lake.get("/vectors/indexes/notes").await.expect_ok();
    assert_eq!((&shown["stale"], &shown["stale_because"]), (&json!(true), &json!(["rules"])));
    // It is searched as before meanwhile.
    assert_eq!(lake.hybrid(json!({ "index": "notes", "query": "forklift", "k": 3 })).await.keys().len(), 3);
    let mended = lake.refresh("people", json!({ "index_name": "notes" })).await.expect_ok();
    assert_eq!(
        (&mended["rebuilt"], &mended["embedded"], &mended["stale_cleared"]),
        (&json!(true), &json!(60), &json!(true)),
        "{mended}"
    );
    let shown = lake.get("/vectors/indexes/notes").await.expect_ok();
    assert_eq!((&shown["stale"], &shown["rows"]), (&json!(false), &json!(60)));
    // So does a setting of the index's own.
    let smaller = json!({ "index_name": "notes", "chunk_size": 20, "overlap": 0 });
    let mended = lake.refresh("people", smaller).await.expect_ok();
    assert!(mended["rebuilt"] == true && mended["chunks"].as_u64().unwrap() > 60, "{mended}");
    // An index keeps what it was made with from being deleted.
    lake.delete("/plugins/embed-hash").await.expect_problem("in_use");
}

#[tokio::test]
async fn an_embedder_that_dies_half_way_leaves_nothing_to_see_and_the_next_refresh_goes_on() {
    let lake = Lake::start().await;
    lake.push("evil", component("evil")).await.expect_status(201);
    let embedder = json!({ "name": "embed", "kind": "embedder", "component": "evil",
        "config": { "attack": "unreachable", "trigger": "BOOM" } });
    lake.post("/catalog/profiles", json!({ "id": "frail", "rules": [embedder] })).await.expect_status(201);
    let frail = lake.under("frail");
    let with_bomb = |n: usize| if n == 900 { "BOOM RAW-VALUE-7421".to_owned() } else { note(n) };
    lake.ingest("people", csv((0..1_000).map(|n| (n, with_bomb(n))))).await.expect_ok();
    let failed = frail.refresh("people", notes("notes")).await;
    failed.expect_problem("plugin_failed");
    assert!(!failed.text().contains("RAW-VALUE") && !lake.log().contains("RAW-VALUE"));
    frail.hybrid(json!({ "index": "notes", "vector": [1, 1, 1, 1] })).await.expect_problem("unknown_index");
    assert_eq!(lake.get("/vectors/indexes/notes").await.expect_ok()["stale_because"][0], "unfinished");

    lake.ingest_with("dataset=people&mode=replace&format=csv", csv((0..1_000).map(|n| (n, note(n))))).await.expect_ok();
    let done =
        frail.refresh("people", json!({ "index_name": "notes", "id_column": "k", "text_column": "note" })).await.expect_ok();
    let embedded = done["embedded"].as_u64().unwrap();
    assert!((1..=256).contains(&embedded), "768 were embedded before: {done}");
    assert_eq!(done["rows"], 1_000);
    assert_eq!(frail.hybrid(json!({ "index": "notes", "vector": [1, 1, 1, 1], "k": 1000 })).await.keys().len(), 1_000);
}

#[tokio::test]
async fn vectors_of_a_column_are_searched_as_they_are() {
    let mut lake = Lake::start().await;
    let rows: String = (0..50).map(|n| format!("{{\"k\": {n}, \"v\": [{n}, 1.5, -2]}}\n")).collect();
    lake.ingest_with("dataset=points&format=ndjson", format!("{rows}{{\"k\": 99}}\n")).await.expect_ok();
    for metric in ["l2", "inner_product", "cosine"] {
        let body = json!({ "index_name": metric.replace('_', "-"), "id_column": "k", "vector_column": "v", "metric": metric });
        let made = lake.refresh("points", body).await.expect_ok();
        assert_eq!(
            (&made["rows"], &made["embedded"], &made["rows_without_content"]),
            (&json!(50), &json!(0), &json!(1)),
            "{made}"
        );
    }
    let nearest = async |lake: &Lake, index: &str| lake.hybrid(json!({ "index": index, "vector": [7.2, 1.5, -2], "k": 2 })).await;
    let l2 = nearest(&lake, "l2").await;
    assert_eq!(l2.keys(), ["7", "8"]);
    assert!((l2.json()["hits"][0]["score"].as_f64().unwrap() + 0.04).abs() < 1e-3, "{}", l2.text());
    assert_eq!(nearest(&lake, "inner-product").await.keys(), ["49", "48"]);
    assert_eq!(nearest(&lake, "cosine").await.keys()[0], "7");
    for (body, code) in [
        (json!({ "index": "l2", "vector": [1, 2] }), "invalid_data"),
        (json!({ "index": "l2", "query": "seven" }), "invalid_body"),
        (json!({ "index": "l2", "vector": [1e30, 0, 0] }), "invalid_parameter"),
    ] {
        assert_eq!(lake.hybrid(body.clone()).await.expect_any_problem()["code"], code, "{body}");
    }
    lake.ingest_with("dataset=points&format=ndjson", "{\"k\": 100, \"v\": [1, 2]}\n").await.expect_ok();
    lake.refresh("points", json!({ "index_name": "l2" })).await.expect_problem("invalid_data");
    lake.kill_and_restart().await;
    assert_eq!(nearest(&lake, "l2").await.keys(), ["7", "8"]);
}

#[tokio::test]
async fn a_flipped_bit_is_refused_and_a_refresh_makes_the_segment_anew() {
    let mut lake = lake_of(400).await;
    lake.refresh("people", notes("notes")).await.expect_ok();
    let ask = json!({ "index": "notes", "query": "forklift", "k": 20 });
    let before = lake.hybrid(ask.clone()).await.keys();
    lake.kill();
    let vectors = find(&lake.data(), "vectors.f32");
    let mut bytes = std::fs::read(&vectors).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&vectors, bytes).unwrap();
    lake.restart(Vec::new());
    let problem = lake.hybrid(ask.clone()).await.expect_problem("index_damaged");
    assert_eq!(problem["status"], 503);
    let active = lake.post("/vectors/profile/default/activate", json!({})).await.expect_ok();
    assert_eq!((&active["failed"], &active["indexes"][0]["state"]), (&json!(1), &json!("failed")), "{active}");
    assert_eq!(lake.get("/vectors/indexes/notes").await.expect_ok()["stale_because"], json!(["damaged"]));
    let mended = lake.refresh("people", json!({ "index_name": "notes" })).await.expect_ok();
    assert_eq!((&mended["embedded"], &mended["rows"]), (&json!(400), &json!(400)), "{mended}");
    assert_eq!(lake.hybrid(ask).await.keys(), before);
}

#[tokio::test]
async fn a_dropped_index_leaves_no_file_and_a_used_relation_stays() {
    let mut lake = lake_of(30).await;
    lake.refresh("people", notes("notes")).await.expect_ok();
    let problem = lake.delete("/catalog/datasets/people").await.expect_problem("in_use");
    assert_eq!(problem["used_by"], json!([{ "index": "notes" }]));
    lake.delete("/vectors/indexes/notes").await.expect_status(204);
    lake.delete("/vectors/indexes/notes").await.expect_problem("unknown_index");
    lake.hybrid(json!({ "index": "notes", "query": "forklift" })).await.expect_problem("unknown_index");
    lake.stop_and_restart().await;
    let indexes = lake.data().join("data/indexes");
    assert_eq!(files(&indexes), Vec::<std::path::PathBuf>::new());
    lake.delete("/catalog/datasets/people").await.expect_status(204);
}

#[tokio::test]
async fn vectors_that_are_none_leave_nothing_broken_behind() {
    let lake = Lake::start().await;
    let body = json!({ "index_name": "v", "id_column": "k", "vector_column": "v", "metric": "l2" });
    for bad in ["[]", "[1e30, 1]", "[null, 1]"] {
        let rows = format!("{{\"k\": 1, \"v\": {bad}}}\n{{\"k\": 2, \"v\": [1, 2]}}\n");
        lake.ingest_with("dataset=points&format=ndjson&mode=replace", rows).await.expect_ok();
        for _ in 0..2 {
            let problem = lake.refresh("points", body.clone()).await.expect_problem("invalid_data");
            assert!(!problem.to_string().contains("1e30"), "{problem}");
        }
    }
    lake.ingest_with("dataset=points&format=ndjson&mode=replace", "{\"k\": 2, \"v\": [1, 2]}\n").await.expect_ok();
    lake.refresh("points", body).await.expect_ok();
    assert_eq!(lake.hybrid(json!({ "index": "v", "vector": [1, 2] })).await.keys(), ["2"]);
}

#[tokio::test]
async fn refreshes_and_drops_of_many_indexes_at_once_disturb_nobody() {
    let lake = lake_of(300).await;
    for n in 0..4 {
        lake.ingest(&format!("d{n}"), csv((0..200).map(|n| (n, note(n))))).await.expect_ok();
    }
    let workers = (0..4).map(|n| {
        let caller = lake.as_key(crate::lake::ADMIN_KEY);
        tokio::spawn(async move {
            let (dataset, index) = (format!("d{n}"), format!("i{n}"));
            for round in 0..6 {
                let refreshed = loop {
                    let answer = caller.refresh(&dataset, notes(&index)).await;
                    if answer.status != 503 {
                        break answer.expect_ok();
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                };
                assert_eq!(refreshed["rows"], 200);
                let found = caller.hybrid(json!({ "index": index, "query": "forklift", "k": 200 })).await.keys();
                assert_eq!(found.len(), 200, "round {round}");
                if round % 2 == 0 {
                    caller.delete(&format!("/vectors/indexes/{index}")).await.expect_status(204);
                } else {
                    let rows = csv((0..200).map(|n| (n, format!("{} round {round}", note(n)))));
                    caller.ingest_with(&format!("dataset={dataset}&mode=replace&format=csv"), rows).await.expect_ok();
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn find(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let found = files(folder).into_iter().find(|path| path.file_name().is_some_and(|found| found == name));
    found.unwrap_or_else(|| panic!("no {name}"))
}
