//! Components come in, are tried, replaced and put back; what is none is refused, and the old version serves.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::lake::{Lake, component};

async fn masked() -> Lake {
    let lake = Lake::start().await;
    lake.ingest("t", "id\nCAND-000001\n").await.expect_ok();
    lake.put_view("v", "t", &["id"], json!({ "id": { "mask": { "keep_prefix": 3, "keep_suffix": 2 } } }))
        .await
        .expect_status(201);
    lake
}

const OLD: &str = "CAN******01";
const NEW: &str = "CAN######01";

#[tokio::test]
async fn a_new_version_serves_at_once_and_a_rollback_survives_a_restart() {
    let mut lake = masked().await;
    let first = lake.get("/plugins/redact-mask").await.expect_ok()["version"].clone();
    let report = lake.push("redact-mask", component("redact-mask-v2")).await.expect_status(201);
    assert_eq!(
        (&report["name"], &report["version"], &report["state"]),
        (&json!("redact-mask"), &json!("2.0.0"), &json!("active"))
    );
    assert_eq!(report["kinds"], json!(["redactor"]));
    assert_eq!(report["digest"].as_str().map(|digest| digest.trim_start_matches("sha256:").len()), Some(64));
    lake.sql("SELECT id FROM v").await.expect_cell("id", NEW);
    lake.kill_and_restart().await;
    lake.sql("SELECT id FROM v").await.expect_cell("id", NEW);

    lake.post("/plugins/redact-mask/rollback", json!({})).await.expect_ok();
    lake.sql("SELECT id FROM v").await.expect_cell("id", OLD);
    lake.kill_and_restart().await;
    lake.sql("SELECT id FROM v").await.expect_cell("id", OLD);
    lake.post("/plugins/redact-mask/rollback", json!({ "to": "2.0.0" })).await.expect_ok();
    lake.sql("SELECT id FROM v").await.expect_cell("id", NEW);
    lake.post("/plugins/redact-mask/rollback", json!({ "to": first })).await.expect_ok();
    lake.sql("SELECT id FROM v").await.expect_cell("id", OLD);
    lake.post("/plugins/redact-mask/rollback", json!({ "to": "9.9.9" })).await.expect_problem("unknown_version");
    lake.post("/plugins/nope/rollback", json!({})).await.expect_problem("unknown_plugin");
}

#[tokio::test]
async fn a_pin_stays_where_it_is_when_the_active_version_moves() {
    let lake = masked().await;
    let rule = |component: &str| json!([{ "name": "mask", "kind": "redactor", "component": component, "config": {} }]);
    lake.put_rules("pinned", rule("redact-mask@0.1")).await.expect_ok();
    let digest =
        lake.push("redact-mask", component("redact-mask-v2")).await.expect_status(201)["digest"].as_str().unwrap().to_owned();
    lake.sql("SELECT id FROM v").await.expect_cell("id", NEW);
    lake.under("pinned").sql("SELECT id FROM v").await.expect_cell("id", OLD);
    lake.post("/plugins/redact-mask/rollback", json!({})).await.expect_ok();
    let by_digest = format!("redact-mask@sha256:{}", digest.trim_start_matches("sha256:"));
    lake.put_rules("pinned", rule(&by_digest)).await.expect_ok();
    lake.under("pinned").sql("SELECT id FROM v").await.expect_cell("id", NEW);
    lake.sql("SELECT id FROM v").await.expect_cell("id", OLD);
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let lake = Lake::start().await;
    let events = lake.events().await;
    let body = json!({
        "kind": "redactor",
        "config": { "keep_prefix": 3, "keep_suffix": 2 },
        "input": { "values": ["CAND-000001", null, "short"] },
    });
    let report = lake.post("/plugins/redact-mask/dry-run", body).await.expect_ok();
    assert_eq!(report["outputs"], json!([OLD, null, "*****"]), "{report}");
    let body = json!({
        "kind": "condition",
        "config": { "fields": ["a"] },
        "input": { "contexts": [{ "a": 1 }, {}] },
    });
    let report = lake.post("/plugins/condition-required-fields/dry-run", body).await.expect_ok();
    assert_eq!((&report["outputs"][0]["holds"], &report["outputs"][1]["holds"]), (&json!(true), &json!(false)), "{report}");
    let wrong = json!({ "kind": "redactor", "config": { "keep": 1 }, "input": { "values": ["x"] } });
    let problem = lake.post("/plugins/redact-mask/dry-run", wrong).await.expect_problem("invalid_rule_config");
    assert!(problem["detail"].as_str().unwrap().contains("keep"), "{problem}");
    assert_eq!(lake.events().await, events);
}

#[tokio::test]
async fn a_disabled_component_fails_closed_until_it_is_enabled() {
    let lake = masked().await;
    lake.post("/plugins/redact-mask/disable", json!({})).await.expect_ok();
    let problem = lake.sql("SELECT id FROM v").await.expect_any_problem();
    assert!(!problem.to_string().contains("CAND-000001"));
    lake.post("/plugins/redact-mask/enable", json!({})).await.expect_ok();
    lake.sql("SELECT id FROM v").await.expect_cell("id", OLD);
}

#[tokio::test]
async fn a_component_in_use_stays() {
    let lake = Lake::start().await;
    lake.push("evil", component("evil")).await.expect_status(201);
    let rules = json!([{ "name": "e", "kind": "redactor", "component": "evil", "config": {} }]);
    lake.put_rules("lab", rules).await.expect_ok();
    let problem = lake.delete("/plugins/evil").await.expect_problem("in_use");
    assert!(problem["used_by"].to_string().contains("lab"), "{problem}");
    lake.put_rules("lab", json!([])).await.expect_ok();
    lake.delete("/plugins/evil").await.expect_ok();
    lake.get("/plugins/evil").await.expect_problem("unknown_plugin");
}

/// T-43
#[tokio::test]
async fn what_is_no_component_is_refused_and_the_old_version_serves() {
    let mut lake = masked().await;
    let good = component("redact-mask");
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle..middle + 64].fill(0xff);
    let core_module = b"\0asm\x01\0\0\0".to_vec();
    let empty_component = b"\0asm\x0d\0\x01\0".to_vec();
    let elf = std::fs::read(std::env::current_exe().unwrap()).unwrap()[..64 * 1024].to_vec();
    let random: Vec<u8> = (0..10_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for (what, bytes) in [
        ("nothing", Vec::new()),
        ("random bytes", random),
        ("text", b"(component)".to_vec()),
        ("an ELF file", elf),
        ("a core module", core_module),
        ("a component without any of our interfaces", empty_component),
        ("half a component", good[..good.len() / 2].to_vec()),
        ("a component with a few bytes missing", good[..good.len() - 7].to_vec()),
        ("a component with flipped bits", flipped),
        ("a component of another name", component("redact-hash")),
    ] {
        let answer = lake.push("redact-mask", bytes).await;
        let problem = answer.expect_any_problem();
        assert_eq!(answer.status, 422, "{what}: {problem}");
        assert_eq!(problem["code"], "plugin_refused", "{what}");
        assert!(problem["checks"].as_array().is_some_and(|checks| !checks.is_empty()), "{what}: {problem}");
        lake.sql("SELECT id FROM v").await.expect_cell("id", OLD);
    }
    lake.push("No Such Name", good).await.expect_any_problem();
    assert!(lake.is_alive());
    let shown = lake.get("/plugins/redact-mask").await.expect_ok();
    assert_eq!(shown["version"], "0.1.0", "{shown}");
    assert_eq!(lake.names("/plugins", "plugins", "name").await.len(), 9);
}

#[tokio::test]
async fn a_file_in_the_plugin_folder_is_pushed_once() {
    let mut lake = masked().await;
    let folder = lake.data().join("plugins.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("broken.wasm"), b"no component").unwrap();
    std::fs::write(folder.join("redact-mask.wasm"), component("redact-mask-v2")).unwrap();
    let began = Instant::now();
    while lake.sql("SELECT id FROM v").await.column("id") != [json!(NEW)] {
        assert!(began.elapsed() < Duration::from_secs(20), "the file is not noticed: {}", lake.get("/plugins").await.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(lake.get("/plugins").await.text().contains("broken.wasm"), "a failed file is reported");
    lake.post("/plugins/redact-mask/rollback", json!({})).await.expect_ok();
    lake.kill_and_restart().await;
    // A file that comes later is taken after those before it in the alphabet, had they been.
    std::fs::write(folder.join("zz-evil.wasm"), component("evil")).unwrap();
    let began = Instant::now();
    while lake.get("/plugins/evil").await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(30), "the file is not noticed: {}", lake.get("/plugins").await.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    lake.sql("SELECT id FROM v").await.expect_cell("id", OLD);
}

/// S-L3. The component passes every check of its own: that nothing works on it shows only in the rules that follow it.
#[tokio::test]
async fn a_version_that_breaks_the_rules_in_force_is_refused_and_told_by_name() {
    let mut lake = masked().await;
    let rules = json!([{ "name": "ids", "kind": "redactor", "component": "redact-mask", "config": { "keep_prefix": 4711 } }]);
    lake.put_rules("hr", rules).await.expect_ok();
    // Hashes under the name of the mask, and takes no configuration of it.
    let mut impostor = component("redact-hash");
    let (from, to) = (b"redact-hash", b"redact-mask");
    let places: Vec<usize> = (0..impostor.len() - from.len()).filter(|at| impostor[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| impostor[at..at + to.len()].copy_from_slice(to));

    let events = lake.events().await;
    let answer = lake.push("redact-mask", impostor).await;
    let problem = answer.expect_problem("plugin_refused");
    assert_eq!(answer.status, 422);
    let checks = problem["checks"].as_array().unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] == false).collect();
    let told = failed.iter().map(|check| check["detail"].as_str().unwrap()).collect::<Vec<_>>().join("; ");
    assert!(failed.iter().all(|check| check["check"] == "bindings"), "{failed:?}");
    assert!(told.contains("rule `ids` of profile `hr`") && told.contains("rule `mask` of profile `default`"), "{told}");
    assert!(told.contains("view `v`") && !told.contains("4711") && !told.contains("keep_prefix"), "{told}");
    lake.sql("SELECT id FROM v").await.expect_cell("id", OLD);

    // S-A4: what was tried and refused is told too.
    assert_eq!(lake.events().await, events + 1);
    let page = lake.get("/journal/events?kind=plugin_push").await.expect_ok();
    let event = &page["events"][0];
    assert_eq!((&event["outcome"], &event["subject"]), (&json!("refused"), &json!("redact-mask")), "{event}");
    assert_eq!(event["details"]["refusals"][0]["failed"], json!(["bindings"]), "{event}");
    lake.kill_and_restart().await;
    lake.sql("SELECT id FROM v").await.expect_cell("id", OLD);
    lake.push("redact-mask", component("redact-mask-v2")).await.expect_status(201);
    lake.sql("SELECT id FROM v").await.expect_cell("id", NEW);
}
