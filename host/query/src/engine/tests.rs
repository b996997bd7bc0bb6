//! Names, grants, profiles and tombstones over real tables. Components run in the tests of `plugins` and over HTTP.

use std::{path::PathBuf, sync::Arc, time::Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use lakehouse_access::{Caller, Grant, Principal, Role};
use lakehouse_catalog::{Catalog, ProfileInput, ViewInput, ViewRecord};
use lakehouse_journal::{Draft, EventKind, Journal, Stamp};
use lakehouse_plugins::{Compiler, Registry, RegistryOptions};
use lakehouse_storage::{BucketKind, BucketOptions, BucketSpec, Buckets, Meta, MetaOptions};
use lakehouse_tables::{Begin, Tables, WriteMode, WriteSpec};
use lakehouse_types::{
    Actor, BucketName, Clock, Code, ColumnName, DatasetName, Fault, ManualClock, PluginName, ProfileId, RequestId,
};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::{QueryEngine, QueryOptions, QueryRequest};
use crate::{QueryError, harness::cpu};

mod buried; // rows under tombstones
mod history;
mod listing;
mod redactions; // each on each type
mod repeats; // answers that are given again
mod stacks; // views over views
mod trials; // definitions on sample rows

struct Host {
    engine: QueryEngine,
    tables: Arc<Tables>,
    catalog: Arc<Catalog>,
    registry: Arc<Registry>,
    journal: Journal,
    _folder: tempfile::TempDir,
}

fn stamp(actor: &str) -> Stamp {
    Stamp {
        actor: Actor::new(actor).unwrap(),
        role: "admin".into(),
        profile: None,
        request_id: RequestId::fresh(),
        at: DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap(),
    }
}

fn dataset(name: &str) -> DatasetName {
    DatasetName::new(name).unwrap()
}

impl Host {
    /// `people`, 100 rows; `payroll`; the views `named` (columns only), `adults` (filtered), `masked` (a rule that nothing binds).
    async fn open() -> Self {
        Self::with_memory(256 << 20).await
    }

    async fn with_memory(memory_bytes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = BucketSpec { name: BucketName::primary(), kind: BucketKind::Local { path: folder.path().join("primary") } };
        let buckets = Buckets::open(vec![spec], BucketOptions::new(Handle::current())).await.unwrap();
        let meta = Meta::open(&buckets.primary(), MetaOptions::default()).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap()));
        let journal = Journal::open(meta.clone(), Arc::clone(&clock)).await.unwrap();
        let catalog = Arc::new(Catalog::open(meta.clone(), journal.clone(), Arc::clone(&clock)).await.unwrap());
        let io = Handle::current();
        let tables = Tables::open(
            buckets.clone(),
            meta.clone(),
            Arc::clone(&catalog),
            journal.clone(),
            Arc::clone(&clock),
            io,
            lakehouse_tables::TableOptions::default(),
        )
        .await
        .unwrap();
        let cpu = cpu().handle().clone();
        let cache = folder.path().join("cache");
        let registry =
            RegistryOptions::new(buckets.primary(), meta, journal.clone(), Arc::clone(&clock), cpu.clone(), cache).unwrap();
        let registry = Registry::open(RegistryOptions { compiler: Compiler::in_process(), ..registry }).await.unwrap();
        let options = QueryOptions {
            deadline: std::time::Duration::from_secs(10),
            memory_bytes,
            spill_path: folder.path().join("spill"),
            spill_bytes: 1 << 30,
            max_rows: 1_000,
            concurrency: 8,
            concurrency_per_key: 8,
            result_cache_bytes: 1 << 20,
            partitions: 2,
            max_sql_bytes: 64 * 1024,
            clock,
        };
        let engine = QueryEngine::new(
            options,
            Arc::clone(&tables),
            Arc::clone(&catalog),
            Arc::clone(&registry),
            journal.clone(),
            &buckets,
            cpu,
        )
        .unwrap();
        let host = Self { engine, tables, catalog, registry, journal, _folder: folder };
        host.write("people").await;
        host.write("payroll").await;
        host.view(json!({"name": "named", "base_dataset": "people", "columns": ["name", "id"]})).await;
        host.view(json!({"name": "adults", "base_dataset": "people", "columns": ["id", "name"], "row_filter": "age >= 18"}))
            .await;
        host.view(json!({"name": "masked", "base_dataset": "people", "columns": ["id", "name"],
            "column_redactions": {"name": {"plugin": {"rule": "nobody-binds-it"}}}}))
            .await;
        host
    }

    async fn write(&self, name: &str) {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let names: ArrayRef = Arc::new(StringArray::from_iter_values((0..100).map(|id| format!("name {id}"))));
        let ages: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
        let batch =
            RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true), ("age", ages, true)]).unwrap();
        let spec = WriteSpec {
            dataset: dataset(name),
            bucket: None,
            mode: WriteMode::Append,
            key: None,
            idempotency: None,
            by: stamp("ada"),
            started: Instant::now(),
        };
        let Begin::Writer(mut writer) = self.tables.begin(spec).await.unwrap() else { panic!("replayed") };
        writer.write(batch).await.unwrap();
        writer.finish(Vec::new(), 0).await.unwrap();
    }

    fn record(view: Value) -> ViewRecord {
        let input: ViewInput = serde_json::from_value(view).unwrap();
        input.into_record(&Actor::new("ada").unwrap(), DateTime::<Utc>::from_timestamp(1_700_000_000, 0).unwrap(), None)
    }

    async fn view(&self, view: Value) {
        let record = Self::record(view);
        self.catalog
            .edit::<_, lakehouse_catalog::CatalogError>(&stamp("ada"), |_, edit| {
                edit.event(Draft::new(EventKind::ViewPut, record.name.as_str()));
                edit.put_view(record)
            })
            .await
            .unwrap();
    }

    /// Installs a component that `make components` built.
    async fn install(&self, component: &str) {
        let folder = std::env::var_os("LAKEHOUSE_COMPONENTS")
            .map_or_else(|| std::env::current_exe().unwrap().parent().unwrap().join("../../components"), PathBuf::from);
        let path = folder.join(format!("{component}.wasm"));
        let wasm = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; run `make components`", path.display()));
        self.registry.push(&stamp("ada"), &PluginName::new(component).unwrap(), wasm.into()).await.unwrap();
    }

    async fn text(&self, caller: &Caller, sql: &str) -> Result<String, QueryError> {
        self.asked(caller, QueryRequest { sql: sql.to_owned(), ..QueryRequest::default() }).await.map(|(text, _)| text)
    }

    /// The answer as text, and whether it was kept from before.
    async fn asked(&self, caller: &Caller, request: QueryRequest) -> Result<(String, bool), QueryError> {
        let answer = self.engine.query(caller, request).await?.answer;
        let cached = answer.outcome.from_cache();
        let batches: Vec<RecordBatch> = answer.batches.try_collect().await?;
        let mut lines = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cell = |column: &ArrayRef| arrow::util::display::array_value_to_string(column, row).unwrap();
                lines.push(batch.columns().iter().map(cell).collect::<Vec<_>>().join(" | "));
            }
        }
        Ok((lines.join("\n"), cached))
    }
}

fn admin() -> Caller {
    caller(Principal::local_admin())
}

fn caller(principal: Principal) -> Caller {
    Caller { principal: Arc::new(principal), profile: ProfileId::default_profile(), request_id: RequestId::fresh() }
}

fn reader(grants: Value) -> Caller {
    let grants: Vec<Grant> = serde_json::from_value(grants).unwrap();
    let name = Actor::new("rita").unwrap();
    caller(Principal { role: Role::Reader, grants, name, ..Principal::local_admin() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_may_not_be_read_is_one_that_does_not_exist() {
    let host = Host::open().await;
    let rita = reader(json!([{"view": "adults", "verbs": ["read"]}, {"view": "named", "verbs": ["read"]}]));
    assert_eq!(host.text(&rita, "SELECT count(*), min(id) FROM adults").await.unwrap(), "82 | 18");
    assert_eq!(host.text(&rita, "SELECT * FROM named WHERE id = 3").await.unwrap(), "name 3 | 3");
    assert_eq!(
        host.text(&rita, "SHOW TABLES").await.unwrap(),
        "adults | view\nnamed | view\nsystem.journal | system\nsystem.queries | system"
    );
    for hidden in ["people", "payroll", "masked", "__raw__people", "__raw__payroll", "__raw__adults"] {
        let absent = hidden.replace('p', "q").replace('m', "n").replace('a', "e");
        for shape in [
            "SELECT * FROM NAME",
            "DESCRIBE NAME",
            "EXPLAIN SELECT 1 FROM NAME",
            "SELECT 1 FROM adults JOIN NAME ON true",
            "SELECT (SELECT 1 FROM NAME)",
            "WITH x AS (SELECT * FROM NAME) SELECT 1",
            "SELECT * FROM main.NAME",
        ] {
            let ask = async |name: &str| host.text(&rita, &shape.replace("NAME", name)).await.unwrap_err();
            let (hidden_error, absent_error) = (ask(hidden).await, ask(&absent).await);
            assert_eq!(hidden_error.code(), Code::UnknownTable, "{shape} {hidden}");
            assert_eq!(hidden_error.code(), absent_error.code());
            let public = hidden_error.public();
            assert_eq!(public.replace(hidden, "X"), absent_error.public().replace(&absent, "X"), "{shape}");
            assert!(!format!("{:?}", hidden_error.members()).contains("payroll"), "{public}");
        }
    }
    // A slip near a hidden name is not led there; one near a visible name is.
    assert!(!host.text(&rita, "SELECT 1 FROM payrol").await.unwrap_err().public().contains("payroll"));
    assert!(host.text(&rita, "SELECT 1 FROM adult").await.unwrap_err().public().contains("`adults`"));
    let error = host.text(&rita, "SELECT age FROM adults").await.unwrap_err();
    assert_eq!(error.code(), Code::UnknownColumn, "{error:?}");
    assert!(!format!("{} {:?}", error.public(), error.members()).contains("name 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_limits_what_its_requests_reach() {
    let host = Host::open().await;
    let profile: ProfileInput = serde_json::from_value(json!({"id": "narrow", "bound_datasets": ["adults"]})).unwrap();
    let profile = profile.into_profile(&Actor::new("ada").unwrap(), DateTime::<Utc>::from_timestamp(0, 0).unwrap(), None);
    host.catalog.edit::<_, lakehouse_catalog::CatalogError>(&stamp("ada"), |_, edit| edit.put_profile(profile)).await.unwrap();
    let narrow = Caller { profile: ProfileId::new("narrow").unwrap(), ..admin() };
    assert_eq!(host.text(&narrow, "SELECT count(*) FROM adults").await.unwrap(), "82");
    for name in ["people", "named", "__raw__people"] {
        let error = host.text(&narrow, &format!("SELECT 1 FROM {name}")).await.unwrap_err();
        assert_eq!(error.code(), Code::UnknownTable, "{name}");
    }
    assert_eq!(host.text(&admin(), "SELECT count(*) FROM people").await.unwrap(), "100");
    let gone = Caller { profile: ProfileId::new("gone").unwrap(), ..admin() };
    assert_eq!(host.text(&gone, "SELECT 1").await.unwrap_err().code(), Code::UnknownProfile);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_nothing_binds_fails_closed() {
    let host = Host::open().await;
    for sql in ["SELECT name FROM masked", "SELECT id FROM masked", "SELECT count(*) FROM masked", "DESCRIBE masked"] {
        assert_eq!(host.text(&admin(), sql).await.unwrap_err().code(), Code::UnresolvedRule, "{sql}");
    }
}

/// Nothing of the view is opened: its name stands for the query.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_with_stands_before_a_view() {
    let host = Host::open().await;
    for (sql, expected) in [
        ("WITH masked AS (SELECT 7 AS x) SELECT x FROM masked", "7"),
        ("SELECT (WITH masked AS (SELECT 7 AS x) SELECT x FROM masked)", "7"),
        ("WITH people AS (SELECT id FROM people WHERE id < 3) SELECT count(*) FROM people", "3"),
    ] {
        assert_eq!(host.text(&admin(), sql).await.unwrap(), expected, "{sql}");
    }
    let error = host.text(&admin(), "WITH masked AS (SELECT * FROM masked) SELECT 1").await.unwrap_err();
    assert_eq!(error.code(), Code::UnresolvedRule);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_pays_for_its_components() {
    for (memory_bytes, expected) in [(64 << 10, Err(Code::MemoryExceeded)), (256 << 20, Ok("100 | 0".to_owned()))] {
        let host = Host::with_memory(memory_bytes).await;
        host.install("redact-null").await;
        host.view(json!({"name": "hushed", "base_dataset": "people", "columns": ["id", "name"],
            "column_redactions": {"name": "null"}}))
            .await;
        let answer = host.text(&admin(), "SELECT count(id), count(name) FROM hushed").await;
        assert_eq!(answer.map_err(|error| error.code()), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_checked_where_it_is_written() {
    let host = Host::open().await;
    let base = json!({"name": "v", "base_dataset": "people", "columns": ["id", "name"]});
    let with = |member: &str, value: Value| {
        let mut view = base.clone();
        view[member] = value;
        Host::record(view)
    };
    let admin = admin();
    let good = with("row_filter", json!("age > 3 AND name LIKE 'n%'"));
    assert!(host.engine.check_view(&admin, &good).await.is_ok());
    let schema = host.engine.view_schema(&admin, &good).await.unwrap();
    assert_eq!(schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["id", "name"]);
    for (record, code, words) in [
        (with("columns", json!(["id", "nam"])), Code::UnknownColumn, "did you mean `name`"),
        (with("row_filter", json!("agee > 3")), Code::InvalidDefinition, "`age`"),
        (with("row_filter", json!("age >")), Code::InvalidDefinition, "row_filter"),
        (with("row_filter", json!("id IN (SELECT 1)")), Code::InvalidDefinition, "subquery"),
        (
            with("column_redactions", json!({"name": {"plugin": {"rule": "nobody-binds-it"}}})),
            Code::UnresolvedRule,
            "nobody-binds-it",
        ),
    ] {
        let error = host.engine.check_view(&admin, &record).await.unwrap_err();
        assert_eq!(error.code(), code, "{error:?}");
        assert!(error.public().contains(words), "{}", error.public());
    }
    // A base that has changed under its view tells a reader nothing of itself.
    host.view(json!({"name": "stale", "base_dataset": "people", "columns": ["id", "gone"]})).await;
    let rita = reader(json!([{"view": "stale", "verbs": ["read"]}]));
    let error = host.text(&rita, "SELECT id FROM stale").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidDefinition);
    assert!(!error.public().contains("age") && !error.public().contains("people"), "{}", error.public());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_shows_a_reader_only_its_own_events() {
    let host = Host::open().await;
    let draft = Draft::new(EventKind::Denied, "keys");
    host.journal.record(&stamp("rita"), draft).await.unwrap();
    let all = host.text(&admin(), "SELECT count(DISTINCT actor), count(*) > 4 FROM system.journal").await.unwrap();
    assert_eq!(all, "2 | true");
    let own = host.text(&reader(json!([])), "SELECT actor, count(*) FROM system.journal GROUP BY actor").await.unwrap();
    assert_eq!(own, "rita | 1");
    let error = host.text(&admin(), "SELECT * FROM system.keys").await.unwrap_err();
    assert_eq!(error.code(), Code::UnknownTable);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_query_sees_one_version_of_what_it_names_twice() {
    let host = Host::open().await;
    let writing = async {
        for _ in 0..5 {
            host.write("people").await;
        }
    };
    let reading = async {
        for _ in 0..40 {
            let counts = host
                .text(
                    &admin(),
                    "SELECT (SELECT count(*) FROM people) AS a, (SELECT count(*) FROM named) AS b, \
                     (SELECT count(*) FROM __raw__people) AS c",
                )
                .await
                .unwrap();
            let counts: Vec<&str> = counts.split(" | ").collect();
            assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        }
    };
    Box::pin(futures::future::join(writing, reading)).await;
}
