mod indexes; // what they keep, and how they are stored
mod migration; // bucket names of earlier releases
mod profiles; // what they may say and bind
mod views; // upon each other, and what they said before

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use lakehouse_journal::{Draft, EventKind, Filter, Journal, Stamp};
use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions, Record};
use lakehouse_types::{
    Actor, BucketName, Code, ColumnName, DatasetId, DatasetName, Fault, ManualClock, PluginName, ProfileId, RequestId, RuleName,
    ViewName,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    Catalog, CatalogError, ComponentRef, DatasetRecord, DefinitionError, Profile, ProfileInput, Redaction, RefreshPolicy,
    RuleBinding, RuleLimits, TombstoneRecord, ViewInput, ViewRecord, ViewVersion,
};

fn at(day: u32) -> DateTime<Utc> {
    format!("2026-01-{day:02}T03:04:05Z").parse().unwrap()
}

fn ada() -> Actor {
    Actor::new("ada").unwrap()
}

fn by() -> Stamp {
    Stamp { actor: ada(), role: "admin".into(), profile: None, request_id: RequestId::new("req-1").unwrap(), at: at(9) }
}

fn dataset_name(name: &str) -> DatasetName {
    DatasetName::new(name).unwrap()
}

fn view_name(name: &str) -> ViewName {
    ViewName::new(name).unwrap()
}

fn dataset(name: &str) -> DatasetRecord {
    DatasetRecord::new(dataset_name(name), BucketName::primary(), ada(), at(2))
}

fn view(body: &Value) -> ViewRecord {
    serde_json::from_value::<ViewInput>(body.clone()).unwrap().into_record(&ada(), at(3), None)
}

fn safe() -> ViewRecord {
    view(&json!({"name": "candidates_safe", "base_dataset": "candidates", "columns": ["id"]}))
}

fn profile(body: &Value) -> Profile {
    serde_json::from_value::<ProfileInput>(body.clone()).unwrap().into_profile(&ada(), at(3), None)
}

struct Lake {
    meta: Meta,
    journal: Journal,
    catalog: Catalog,
}

impl Lake {
    async fn start() -> Self {
        let specs = vec![BucketSpec { name: BucketName::primary(), kind: BucketKind::Memory }];
        let buckets = Buckets::open(specs, BucketOptions::new(tokio::runtime::Handle::current())).await.unwrap();
        let meta = Meta::open(&buckets.primary(), MetaOptions::default()).await.unwrap();
        let clock = Arc::new(ManualClock::at(at(1)));
        let journal = Journal::open(meta.clone(), clock.clone()).await.unwrap();
        let catalog = Catalog::open(meta.clone(), journal.clone(), clock).await.unwrap();
        Self { meta, journal, catalog }
    }

    async fn reopened(&self) -> Catalog {
        Catalog::open(self.meta.clone(), self.journal.clone(), Arc::new(ManualClock::at(at(20)))).await.unwrap()
    }

    async fn put_dataset(&self, record: DatasetRecord) -> Result<(), CatalogError> {
        self.catalog.edit(&by(), |_, edit| edit.put_dataset(record)).await
    }

    async fn put_view(&self, record: ViewRecord) -> Result<(), CatalogError> {
        self.catalog.edit(&by(), |_, edit| edit.put_view(record)).await
    }

    async fn put_profile(&self, record: Profile) -> Result<(), CatalogError> {
        self.catalog.edit(&by(), |_, edit| edit.put_profile(record)).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_survive_a_restart_with_their_events() {
    let lake = Lake::start().await;
    lake.put_dataset(dataset("candidates")).await.unwrap();
    let added = lake
        .catalog
        .edit(&by(), |present, edit| {
            assert!(present.views.is_empty());
            edit.put_view(safe())?;
            edit.put_profile(profile(&json!({"id": "Ada", "bound_datasets": ["candidates_safe"]})))?;
            edit.event(Draft::new(EventKind::ViewPut, "candidates_safe"));
            Ok::<_, CatalogError>(edit.definitions().views.len())
        })
        .await
        .unwrap();
    assert_eq!(added, 1);

    let (before, after) = (lake.catalog.snapshot(), lake.reopened().await.snapshot());
    assert_eq!(after.datasets, before.datasets);
    assert_eq!(after.views, before.views);
    assert_eq!(after.profiles, before.profiles, "the default profile too keeps its first record");
    let events = lake.journal.events(&Filter::default(), None, 10).await.unwrap().events;
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::ViewPut]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_fails_leaves_everything_as_it_was() {
    let lake = Lake::start().await;
    let error = lake
        .catalog
        .edit(&by(), |_, edit| {
            edit.put_dataset(dataset("candidates"))?;
            edit.event(Draft::new(EventKind::Ingest, "candidates"));
            edit.put_view(view(&json!({"name": "v", "base_dataset": "nowhere", "columns": ["a"]})))
        })
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::UnknownDataset);
    assert!(lake.catalog.snapshot().datasets.is_empty());
    assert!(lake.reopened().await.snapshot().datasets.is_empty());
    assert_eq!(lake.journal.stats().total_events_created, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_take_turns() {
    let lake = Lake::start().await;
    lake.put_dataset(dataset("candidates")).await.unwrap();
    let edits = (0..32).map(|n| {
        let catalog = lake.catalog.clone();
        tokio::spawn(async move {
            let change = |present: &crate::CatalogSnapshot, edit: &mut crate::Edit| {
                let mut record = DatasetRecord::clone(present.dataset(&dataset_name("candidates"))?);
                let count: u32 = record.key_column.map_or(0, |column| column.as_str().parse().unwrap());
                record.key_column = Some(ColumnName::new((count + 1).to_string()).unwrap());
                edit.put_dataset(record)
            };
            catalog.edit(&by(), change).await.unwrap_or_else(|error| panic!("edit {n}: {error}"));
        })
    });
    for edit in edits.collect::<Vec<_>>() {
        edit.await.unwrap();
    }
    let last = |catalog: &Catalog| catalog.snapshot().datasets["candidates"].key_column.clone().unwrap();
    assert_eq!(last(&lake.catalog).as_str(), "32");
    assert_eq!(last(&lake.reopened().await).as_str(), "32");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_unique_across_datasets_and_views() {
    let lake = Lake::start().await;
    lake.put_dataset(dataset("candidates")).await.unwrap();
    lake.put_view(safe()).await.unwrap();

    let taken = lake.put_dataset(dataset("candidates_safe")).await.unwrap_err();
    assert!(matches!(taken, CatalogError::NameTaken { holder: "view", .. }), "{taken}");
    let taken = lake.put_dataset(dataset("candidates")).await.unwrap_err();
    assert!(matches!(taken, CatalogError::NameTaken { holder: "dataset", .. }), "a second one of the name: {taken}");
    let view = view(&json!({"name": "candidates", "base_dataset": "candidates", "columns": ["id"]}));
    let taken = lake.put_view(view).await.unwrap_err();
    assert_eq!((taken.code(), taken.public().as_str()), (Code::AlreadyExists, "a dataset named `candidates` already exists"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_stays_until_nothing_uses_it() {
    let lake = Lake::start().await;
    lake.put_dataset(dataset("candidates")).await.unwrap();
    lake.put_view(safe()).await.unwrap();
    lake.put_profile(profile(&json!({"id": "ada", "bound_datasets": ["candidates_safe", "candidates"]}))).await.unwrap();

    let candidates = dataset_name("candidates");
    let error = lake.catalog.edit(&by(), |_, edit| edit.remove_dataset(&candidates)).await.unwrap_err();
    assert_eq!(error.code(), Code::InUse);
    assert_eq!(error.members()["used_by"], json!([{"view": "candidates_safe"}, {"profile": "ada"}]));
    let error = lake.catalog.edit(&by(), |_, edit| edit.remove_view(&view_name("candidates_safe"))).await.unwrap_err();
    assert_eq!(error.members()["used_by"], json!([{"profile": "ada"}]));

    lake.catalog
        .edit(&by(), |_, edit| {
            edit.remove_profile(&ProfileId::new("ada").unwrap())?;
            edit.remove_view(&view_name("candidates_safe"))?;
            edit.remove_dataset(&candidates).map(drop)
        })
        .await
        .unwrap();
    for catalog in [lake.catalog.clone(), lake.reopened().await] {
        let snapshot = catalog.snapshot();
        assert!(snapshot.datasets.is_empty() && snapshot.views.is_empty());
        assert_eq!(snapshot.profiles.len(), 1);
    }
    let gone = lake.catalog.edit(&by(), |_, edit| edit.remove_dataset(&candidates)).await.unwrap_err();
    assert_eq!(gone.code(), Code::UnknownDataset);
}

#[test]
fn a_view_that_cannot_be_is_refused_by_field() {
    let columns = |columns: Value| json!({"name": "v", "base_dataset": "d", "columns": columns});
    let with = |field: &str, value: Value| {
        let mut body = columns(json!(["a", "b"]));
        body[field] = value;
        body
    };
    for (body, expected) in [
        (columns(json!([])), "`columns` is empty"),
        (columns(json!(["a", "b", "a"])), "column `a` is listed twice"),
        (with("row_filter", json!(" \n")), "`row_filter` is empty"),
        (with("row_filter", json!("x".repeat(20_000))), "`row_filter` holds more than 16384 bytes"),
        (with("column_redactions", json!({"c": "hash"})), "`column_redactions` names `c`"),
        (with("column_redactions", json!({"a": {"plugin": {"rule": "pii", "config": [1]}}})), "`config` of rule `pii` must be"),
        (
            with("column_redactions", json!({"a": {"plugin": {"rule": "pii", "config": {"x": "y".repeat(70_000)}}}})),
            "`config` holds",
        ),
    ] {
        let error = view(&body).validate().unwrap_err();
        assert_eq!(error.code(), Code::InvalidDefinition);
        assert!(error.public().starts_with("view `v`: ") && error.public().contains(expected), "{error}");
    }
    assert!(view(&with("row_filter", Value::Null)).validate().is_ok());
}

#[test]
fn bodies_reject_what_they_do_not_know() {
    fn refuses<T: DeserializeOwned + std::fmt::Debug>(body: &Value, expected: &str) {
        let error = serde_json::from_value::<T>(body.clone()).expect_err(&body.to_string()).to_string();
        assert!(error.contains(expected), "{body}: {error}");
    }
    let view = |field: &str, value: Value| {
        let mut body = json!({"name": "v", "base_dataset": "d", "columns": ["a"]});
        body[field] = value;
        body
    };
    refuses::<ViewInput>(&view("filter", json!("x")), "unknown field `filter`");
    refuses::<ViewInput>(&view("name", json!("__raw__v")), "a view name must be");
    refuses::<ViewInput>(&view("column_redactions", json!({"a": "nul"})), "unknown variant `nul`");
    refuses::<ViewInput>(&view("column_redactions", json!({"a": null})), "");
    refuses::<ViewInput>(&view("column_redactions", json!({"a": {"mask": {"keep": 3}}})), "unknown field `keep`");
    refuses::<ViewInput>(&view("column_redactions", json!({"a": {"mask": {"keep_prefix": -1}}})), "");
    refuses::<ViewInput>(&view("column_redactions", json!({"a": {"plugin": {}}})), "missing field `rule`");
    refuses::<ProfileInput>(&json!({"id": "a b"}), "a profile id must be");
    refuses::<ProfileInput>(&json!({"id": "a", "vector_backend": "lance"}), "unknown variant `lance`");
    let rule = |field: &str, value: Value| {
        let mut body = json!({"name": "r", "kind": "redactor", "component": "c"});
        body[field] = value;
        json!({"id": "a", "rules": [body]})
    };
    refuses::<ProfileInput>(&rule("kind", json!("oracle")), "unknown variant `oracle`");
    refuses::<ProfileInput>(&rule("component", json!("c@")), "a component is named NAME");
    refuses::<ProfileInput>(&rule("limits", json!({"memory_mb": 5})), "unknown field `memory_mb`");
    refuses::<ProfileInput>(&rule("priority", json!(1)), "unknown field `priority`");
}

#[test]
fn embeddings_go_stale_once_and_only_if_there_are_any() {
    let mut record = dataset("candidates");
    assert!(!record.mark_stale(at(4)));
    record.last_embedded_at = Some(at(3));
    assert!(record.mark_stale(at(4)) && !record.mark_stale(at(5)));
    assert_eq!(record.embedding_stale_since, Some(at(4)));
}

/// A stored format changes only together with its number.
fn check_golden<T: Record + PartialEq + std::fmt::Debug>(golden: &str, record: &T) {
    let golden = golden.trim_end();
    assert_eq!(T::FORMAT, 1, "{} has golden files up to 1", T::COLLECTION);
    assert_eq!(serde_json::to_string(record).unwrap(), golden);
    assert_eq!(&serde_json::from_str::<T>(golden).unwrap(), record);
}

#[test]
fn stored_records_read_as_they_were_written() {
    let mut record = dataset("candidates");
    record.id = DatasetId::new("01jd0000000000000000000000").unwrap();
    record.bucket = BucketName::new("profile:ada").unwrap();
    record.key_column = Some(ColumnName::new("candidate_id").unwrap());
    (record.last_embedded_at, record.embedding_stale_since) = (Some(at(3)), Some(at(4)));
    record.embedding_refresh_policy = RefreshPolicy::Scheduled { cron: "0 3 * * *".into() };
    check_golden(include_str!("../../golden/dataset-1.json"), &record);

    let first = view(&json!({"name": "candidates_safe", "base_dataset": "candidates", "columns": ["id"]}));
    let body = json!({
        "name": "candidates_safe", "base_dataset": "candidates", "columns": ["candidate_id", "city", "Résumé text", "email"],
        "row_filter": "status = 'active'",
        "column_redactions": {
            "candidate_id": {"mask": {"keep_prefix": 3, "keep_suffix": 2}}, "city": "null", "email": "hash",
            "Résumé text": {"plugin": {"rule": "pii", "config": {"replacement": "…"}}},
        },
    });
    let first = ViewRecord { created_at: at(2), ..first };
    let record = serde_json::from_value::<ViewInput>(body).unwrap().into_record(&Actor::new("bob").unwrap(), at(5), Some(&first));
    // Of a release that knew neither versions nor who changed a view last.
    check_golden(include_str!("../../golden/view-1.json"), &ViewRecord { updated_by: None, ..record.clone() });
    let record = ViewRecord { version: 7, base_dataset: dataset_name("candidates_clean"), ..record };
    check_golden(include_str!("../../golden/view-1-version-7.json"), &record);
    check_golden(include_str!("../../golden/view_version-1.json"), &ViewVersion(record));

    let body = json!({
        "id": "Staffing_1", "description": "Recruiters", "ollama_name": "qwen3", "bound_datasets": ["candidates_safe"],
        "rules": [
            {"name": "pii", "kind": "redactor", "component": "redact-pii@1.2", "config": {"replacement": "x"},
             "limits": {"deadline_ms": 500}, "grants": ["prf"]},
            {"name": "required-fields", "kind": "condition", "component": "condition-required-fields"},
        ],
        "hnsw_config": {}, "embed_model": "minilm", "vector_backend": "parquet",
    });
    let first = Profile { created_at: at(2), ..profile(&json!({"id": "Staffing_1"})) };
    let record =
        serde_json::from_value::<ProfileInput>(body).unwrap().into_profile(&Actor::new("bob").unwrap(), at(5), Some(&first));
    assert_eq!(record.rules[1].component, ComponentRef::active(PluginName::new("condition-required-fields").unwrap()));
    check_golden(include_str!("../../golden/profile-1.json"), &record);

    let record = TombstoneRecord {
        dataset: dataset_name("candidates"),
        row_key_column: ColumnName::new("candidate_id").unwrap(),
        row_key_value: "CAND-000001".into(),
        deleted_at: at(2),
        actor: ada(),
        reason: "request 17".into(),
    };
    check_golden(include_str!("../../golden/tombstone-1.json"), &record);
}
