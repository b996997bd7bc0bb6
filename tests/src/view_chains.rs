//! Views over views: each sees what the one below gives out, and nothing else; and how definitions change.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    answer::Answer,
    caller::Caller,
    indexes::{lake_of, notes},
    lake::Lake,
};

const PEOPLE: &str = "id,name,age,city\n1,Ana,31,Oslo\n2,Bo,17,Bergen\n3,Cleo,45,Oslo\n4,Dan,52,Tromso\n5,Eve,29,Bergen\n";

impl Caller {
    /// Replaces one version of a view.
    async fn put_view_if(&self, version: &str, view: &Value) -> Answer {
        self.send(self.request(Method::POST, "/catalog/views").header("If-Match", version).json(view)).await
    }

    async fn validate(&self, view: Value) -> Answer {
        self.post("/catalog/views/validate", view).await
    }

    async fn versions(&self, view: &str) -> Vec<Value> {
        self.get(&format!("/catalog/views/{view}/versions")).await.expect_ok()["versions"].as_array().unwrap().clone()
    }
}

/// `grown` over `people` hides minors and masks names; `oslo` over that hides other cities and hashes the masked names.
async fn chain() -> Lake {
    let lake = Lake::start().await;
    lake.ingest("people", PEOPLE).await.expect_ok();
    let grown = json!({ "name": "grown", "base_dataset": "people", "columns": ["id", "name", "city"], "row_filter": "age >= 18",
        "column_redactions": { "name": { "mask": { "keep_prefix": 1, "keep_suffix": 0 } } } });
    lake.post("/catalog/views", grown).await.expect_status(201);
    let oslo = json!({ "name": "oslo", "base_dataset": "grown", "columns": ["name", "id"], "row_filter": "city = 'Oslo'" });
    lake.post("/catalog/views", oslo).await.expect_status(201);
    lake
}

#[tokio::test]
async fn the_upper_view_has_the_lowers_rows_and_values_and_its_reader_nothing_else() {
    let mut lake = chain().await;
    let shown = lake.get("/catalog/views/oslo").await.expect_ok();
    assert_eq!((&shown["base_dataset"], &shown["version"]), (&json!("grown"), &json!(1)));
    let reader = lake.reader("oslo").await;
    let rows = json!([{ "name": "A**", "id": 1 }, { "name": "C***", "id": 3 }]);
    assert_eq!(reader.sql("SELECT * FROM oslo ORDER BY id").await.expect_ok()["rows"], rows);
    for relation in ["grown", "people", "__raw__people", "__raw__grown"] {
        reader.sql(&format!("SELECT 1 FROM {relation}")).await.expect_problem("unknown_table");
    }
    for column in ["city", "age"] {
        reader.sql(&format!("SELECT {column} FROM oslo")).await.expect_problem("unknown_column");
    }
    let plan = reader.sql("EXPLAIN SELECT id FROM oslo WHERE id = 2").await.text();
    assert!(!plan.contains("grown") && !plan.contains("people") && !plan.contains("Oslo"), "{plan}");
    // A filter above is asked of what is given out.
    let view =
        json!({ "name": "named", "base_dataset": "grown", "columns": ["id"], "row_filter": "name = 'Ana' OR name = 'C***'" });
    lake.post("/catalog/views", view).await.expect_status(201);
    lake.sql("SELECT id AS n FROM named").await.expect_cell("n", 3);
    let missing = json!({ "name": "aged", "base_dataset": "grown", "columns": ["id"], "row_filter": "age > 18" });
    lake.post("/catalog/views", missing).await.expect_problem("invalid_definition");

    lake.bury("people", "id", ["3"]).await.expect_ok();
    reader.sql("SELECT count(*) AS n FROM oslo").await.expect_cell("n", 1);
    lake.kill_and_restart().await;
    lake.sql("SELECT count(*) AS n FROM oslo").await.expect_cell("n", 1);
    lake.sql("SELECT count(*) AS n FROM oslo a JOIN grown b ON a.name = b.name").await.expect_cell("n", 1);
}

#[tokio::test]
async fn what_a_view_stands_on_stays_and_still_fits() {
    let lake = chain().await;
    let used = lake.delete("/catalog/views/grown").await.expect_problem("in_use");
    assert_eq!(used["used_by"], json!([{ "view": "oslo" }]));
    assert_eq!(lake.delete("/catalog/datasets/people").await.expect_problem("in_use")["used_by"], json!([{ "view": "grown" }]));
    let circle = lake.put_view("grown", "oslo", &["id"], json!({})).await.expect_problem("invalid_definition");
    assert!(circle["detail"].as_str().unwrap().contains("stand on itself"), "{circle}");
    lake.put_view("alone", "alone", &["id"], json!({})).await.expect_any_problem();

    // Without the city, `oslo` has nothing to ask for; with other redactions it goes on.
    let narrow = lake.put_view("grown", "people", &["id", "name"], json!({})).await.expect_problem("in_use");
    assert_eq!(narrow["used_by"], json!([{ "view": "oslo" }]));
    lake.sql("SELECT count(*) AS n FROM oslo").await.expect_cell("n", 2);
    lake.put_view("grown", "people", &["id", "name", "city"], json!({ "name": "null" })).await.expect_status(201);
    lake.sql("SELECT count(name) AS n FROM oslo").await.expect_cell("n", 0);

    let mut base = "oslo".to_owned();
    for n in 3..=8 {
        let name = format!("v{n}");
        lake.put_view(&name, &base, &["id"], json!({})).await.expect_status(201);
        base = name;
    }
    lake.sql("SELECT count(*) AS n FROM v8").await.expect_cell("n", 2);
    let high = lake.put_view("v9", "v8", &["id"], json!({})).await.expect_problem("invalid_definition");
    assert!(high["detail"].as_str().unwrap().contains("at most 8"), "{high}");
    for n in (3..=8).rev() {
        lake.delete(&format!("/catalog/views/v{n}")).await.expect_ok();
    }
    for view in ["oslo", "grown"] {
        lake.delete(&format!("/catalog/views/{view}")).await.expect_ok();
    }
    lake.delete("/catalog/datasets/people").await.expect_ok();
}

#[tokio::test]
async fn an_operator_comes_to_see_no_more_by_a_view_further_down() {
    let lake = chain().await;
    let all = ["id", "name", "city", "age"];
    let read = |relations: &[&str]| {
        let of = |name: &&str| {
            let kind = if *name == "people" { "dataset" } else { "view" };
            json!({ kind: name, "verbs": ["read"] })
        };
        Value::Array(relations.iter().map(of).collect())
    };
    // It reads the upper view; loosening the lower one would show it more.
    let upper = lake.new_key("upper", "operator", read(&["oslo"])).await;
    for (name, base) in [("grown", "people"), ("oslo", "people"), ("oslo", "grown")] {
        let told = upper.put_view(name, base, &all[..3], json!({})).await.expect_problem("forbidden");
        assert!(told["detail"].as_str().unwrap().contains("`oslo`"), "{told}");
    }
    let rules = json!([{ "name": "mask", "kind": "redactor", "component": "redact-null", "config": {} }]);
    upper.put_rules("default", rules).await.expect_problem("forbidden");

    // It reads nothing, and still sets no filter: neither by leaving one behind nor by changing what one is asked of.
    let blind = lake.new_key("blind", "operator", json!([])).await;
    blind.put_view("oslo", "people", &["id"], json!({})).await.expect_problem("forbidden");
    blind.put_view("grown", "people", &all[..3], json!({ "city": "hash" })).await.expect_problem("forbidden");
    blind.delete("/catalog/views/oslo").await.expect_problem("forbidden");
    blind.put_view("free", "grown", &["id"], json!({})).await.expect_status(201);
    blind.put_view("free", "people", &["id"], json!({})).await.expect_problem("forbidden");
    blind.delete("/catalog/views/free").await.expect_problem("forbidden");
    // What changes nothing of that is its to do.
    let same = json!({ "name": { "mask": { "keep_prefix": 1, "keep_suffix": 0 } } });
    blind.put_view("grown", "people", &all, same).await.expect_status(201);
    lake.sql("SELECT count(*) AS n FROM oslo").await.expect_cell("n", 2);
    lake.sql("SELECT count(*) AS n FROM grown").await.expect_cell("n", 4);
}

#[tokio::test]
async fn an_index_of_an_upper_view_holds_its_output_and_follows_the_lower() {
    let lake = lake_of(60).await;
    let lower = |filter: &str| {
        json!({ "name": "lower", "base_dataset": "people", "columns": ["k", "grp", "note"], "row_filter": filter,
            "column_redactions": { "grp": "null" } })
    };
    lake.post("/catalog/views", lower("grp <> 3")).await.expect_status(201);
    let redacted = json!({ "note": { "mask": { "keep_prefix": 12, "keep_suffix": 0 } } });
    lake.put_view("upper", "lower", &["k", "note"], redacted).await.expect_status(201);
    let n = lake.sql("SELECT count(*) AS n FROM upper").await.n();
    let made = lake.refresh("upper", notes("tops")).await.expect_ok();
    assert_eq!(made["rows"], n, "{made}");
    assert_eq!(lake.get("/vectors/indexes/tops").await.expect_ok()["dataset"], "people");

    let reader = lake.reader("upper").await;
    let search = |caller: &Caller| {
        let caller = caller.clone();
        async move { caller.hybrid(json!({ "index": "tops", "query": "night", "k": 100 })).await }
    };
    let found = search(&reader).await;
    assert_eq!(found.keys().len() as u64, n);
    assert!(!found.text().contains("licence") && !found.text().contains("K-3\""), "{}", found.text());
    lake.bury("people", "k", ["K-1"]).await.expect_ok();
    assert_eq!(search(&reader).await.keys().len() as u64, n - 1);

    lake.post("/catalog/views", lower("grp <> 3 AND grp <> 4")).await.expect_status(201);
    search(&reader).await.expect_problem("index_outdated");
    let mended = lake.refresh("upper", json!({ "index_name": "tops" })).await.expect_ok();
    assert!(mended["rows"].as_u64().unwrap() < n - 1, "{mended}");
    let left = lake.sql("SELECT count(*) AS n FROM upper").await.n();
    assert_eq!(search(&reader).await.keys().len() as u64, left);
    assert_eq!(lake.delete("/catalog/views/upper").await.expect_problem("in_use")["used_by"], json!([{ "index": "tops" }]));
}

#[tokio::test]
async fn a_version_is_replaced_by_whoever_has_read_it() {
    let mut lake = Lake::start().await;
    lake.ingest("people", PEOPLE).await.expect_ok();
    let view = |columns: &[&str]| json!({ "name": "v", "base_dataset": "people", "columns": columns, "row_filter": "age > 18" });
    lake.put_view_if("1", &view(&["id"])).await.expect_problem("version_mismatch");
    assert_eq!(lake.post("/catalog/views", view(&["id"])).await.expect_status(201)["version"], 1);
    assert_eq!(lake.put_view_if("\"1\"", &view(&["id", "name"])).await.expect_status(201)["version"], 2);
    let late = lake.put_view_if("1", &view(&["city"])).await.expect_problem("version_mismatch");
    assert_eq!((late["status"].as_u64(), &late["present_version"]), (Some(409), &json!(2)));
    lake.put_view_if("one", &view(&["id"])).await.expect_problem("invalid_parameter");
    assert_eq!(lake.post("/catalog/views", view(&["id", "name"])).await.expect_status(201)["version"], 2, "nothing has changed");

    // Of two who have read the same, one comes through.
    let (red, blue) = (view(&["name"]), view(&["age"]));
    let (one, other) = tokio::join!(lake.put_view_if("2", &red), lake.put_view_if("2", &blue));
    assert_eq!([one.status, other.status].iter().filter(|status| **status == 201).count(), 1);

    lake.kill_and_restart().await;
    let kept = lake.versions("v").await;
    let told: Vec<_> = kept.iter().map(|one| one["version"].as_u64().unwrap()).collect();
    assert_eq!(told, [3, 2, 1]);
    assert_eq!((&kept[2]["columns"], &kept[2]["row_filter"]), (&json!(["id"]), &json!("age > 18")));
    let operator = lake.new_key("op", "operator", json!([])).await;
    assert!(operator.versions("v").await.iter().all(|one| one.get("row_filter").is_none()));
    lake.reader("v").await.get("/catalog/views/v/versions").await.expect_problem("forbidden");
    for n in 0..25 {
        lake.post("/catalog/views", view(&[["id", "name"][n % 2]])).await.expect_status(201);
    }
    assert_eq!(lake.versions("v").await.len(), 20);
    let events = lake.get("/journal/events?kind=view_put").await.expect_ok();
    assert!(!events.to_string().contains("age > 18"), "{events}");
    lake.delete("/catalog/views/v").await.expect_ok();
    lake.get("/catalog/views/v/versions").await.expect_problem("unknown_view");
}

#[tokio::test]
async fn a_definition_is_tried_before_it_is_in_force() {
    let lake = chain().await;
    let view = |base: &str| {
        json!({ "base_dataset": base, "columns": ["id", "name"], "row_filter": "id <> 1",
            "column_redactions": { "name": { "mask": { "keep_prefix": 2, "keep_suffix": 0 } } } })
    };
    let with = |base: &str, member: &str, value: Value| {
        let mut view = view(base);
        view[member] = value;
        view
    };
    let of_base = lake.validate(view("people")).await.expect_ok();
    assert_eq!(
        (&of_base["valid"], &of_base["rows_sampled"], &of_base["rows_kept"], &of_base["rows_filtered"]),
        (&json!(true), &json!(5), &json!(4), &json!(1)),
        "{of_base}"
    );
    assert_eq!(of_base["columns"], json!([{ "name": "id", "type": "integer" }, { "name": "name", "type": "text" }]));
    assert_eq!(of_base["rules"][0]["rule"], "mask");
    assert!(of_base["rules"][0]["digest"].is_string() && of_base["rules"][0].get("problem").is_none(), "{of_base}");
    let of_view = lake.validate(with("grown", "limit", json!(2))).await.expect_ok();
    assert_eq!(of_view["rows_sampled"], 2, "{of_view}");

    // An operator brings its own rows, and sees none of others.
    let operator = lake.new_key("op", "operator", json!([])).await;
    operator.validate(view("people")).await.expect_problem("forbidden");
    operator.validate(view("grown")).await.expect_problem("forbidden");
    let own = json!([{ "id": 1, "name": "Zoe" }, { "id": 2, "name": "Yan" }, { "id": 3 }]);
    let tried = operator.validate(with("grown", "sample_rows", own)).await.expect_ok();
    assert_eq!((&tried["rows_kept"], &tried["rows"]), (&json!(2), &json!([{ "id": 2, "name": "Ya*" }, { "id": 3 }])), "{tried}");
    // The filters below, and the one that the view has already, are not to be found out by trying.
    let mut named = with("people", "sample_rows", json!([{ "id": 2, "name": "Bo", "age": 7 }]));
    named["name"] = json!("grown");
    assert_eq!(operator.validate(named).await.expect_ok()["rows_kept"], 1);

    let broken = json!({ "name": { "plugin": { "rule": "no-such-rule" } } });
    let told = lake.validate(with("people", "column_redactions", broken)).await.expect_ok();
    assert_eq!((&told["valid"], &told["rules"][0]["problem"]["code"]), (&json!(false), &json!("unresolved_rule")), "{told}");
    assert!(told.get("rows").is_none());
    lake.validate(with("people", "columns", json!(["nope"]))).await.expect_any_problem();
    lake.validate(with("people", "row_filter", json!("age >"))).await.expect_problem("invalid_definition");
    lake.validate(with("nope", "limit", json!(5))).await.expect_problem("unknown_dataset");
    for (member, value) in
        [("limit", json!(101)), ("limit", json!(0)), ("sample_rows", json!([])), ("sample_rows", json!([{ "id": "x" }]))]
    {
        lake.validate(with("people", member, value)).await.expect_problem("invalid_parameter");
    }
    let reader = lake.reader("oslo").await;
    reader.validate(view("oslo")).await.expect_problem("forbidden");
    assert_eq!(lake.names("/catalog/views", "views", "name").await, ["grown", "oslo"]);
    let put = lake.get("/journal/events?kind=view_put").await.expect_ok();
    assert_eq!(put["events"].as_array().unwrap().len(), 2, "{put}");
}

/// A binding's config and limits, and what a view lays over the config, all reach the component.
#[tokio::test]
async fn config_and_limits_of_a_rule_reach_its_component() {
    let lake = Lake::start().await;
    let long: String = (0..20_000).map(|n| format!("{n},{}\n", "x".repeat(200))).collect();
    lake.ingest("t", format!("id,text\n{long}")).await.expect_ok();
    let rules = |limits: Value| {
        json!([{ "name": "ends", "kind": "redactor", "component": "redact-mask", "config": { "keep_prefix": 2, "keep_suffix": 9 },
            "limits": limits }])
    };
    lake.put_rules("wide", rules(json!({}))).await.expect_ok();
    lake.put_rules("narrow", rules(json!({ "output_mib": 1 }))).await.expect_ok();
    let redactions = json!({ "text": { "plugin": { "rule": "ends", "config": { "keep_suffix": 1 } } } });
    lake.under("wide").put_view("v", "t", &["id", "text"], redactions).await.expect_status(201);
    let sql = "SELECT text AS t, count(*) AS n FROM v GROUP BY text";
    lake.under("wide").sql(sql).await.expect_cell("t", format!("xx{}x", "*".repeat(197)));
    lake.under("narrow").sql(sql).await.expect_problem("plugin_failed");
    lake.sql(sql).await.expect_problem("unresolved_rule");
}
