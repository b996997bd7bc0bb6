//! A component that misbehaves costs its own request one clear problem; nothing raw leaves, and its neighbours go on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    lake::{Lake, component},
    sql::resident_mib,
};

const RAW: &str = "RAW-VALUE-7421";
const DEADLINE: Duration = Duration::from_millis(500);
/// What ends at a deadline; everything else fails at once, and has a deadline that a loaded machine does not reach.
const SLOW: [&str; 5] = ["loop", "sleep", "memory", "handles", "huge-output"];

/// A lake where the rule `shady` is bound to `evil`, and a view per attack can be made.
async fn lab(alone: bool) -> Lake {
    let lake = if alone { Lake::start_alone().await } else { Lake::start().await };
    let rows: String = (0..200).map(|row| format!("{row},{RAW}-{row}\n")).collect();
    lake.ingest("t", format!("n,secret\n{rows}999,\n")).await.expect_ok();
    lake.put_view("safe", "t", &["n", "secret"], json!({ "secret": { "mask": { "keep_prefix": 0, "keep_suffix": 0 } } }))
        .await
        .expect_ok();
    lake.push("evil", component("evil")).await.expect_status(201);
    let shady = |name: &str, deadline_ms: u32| {
        json!({
            "name": name, "kind": "redactor", "component": "evil", "config": { "trigger": RAW },
            "limits": { "deadline_ms": deadline_ms, "memory_mib": 64, "output_mib": 16, "log_kib": 16 },
        })
    };
    let rules = json!([
        shady("shady", 500),
        shady("shady-patient", 10_000),
        {
            "name": "shady-condition", "kind": "condition", "component": "evil", "config": { "trigger": "BOOM" },
            "limits": { "deadline_ms": 500 },
        },
    ]);
    lake.put_rules("default", rules).await.expect_ok();
    lake
}

async fn attack(lake: &Lake, attack: &str) -> (crate::answer::Answer, Duration) {
    let view = format!("v-{attack}");
    let rule = if SLOW.contains(&attack) { "shady" } else { "shady-patient" };
    let redaction = json!({ "secret": { "plugin": { "rule": rule, "config": { "attack": attack } } } });
    lake.put_view(&view, "t", &["n", "secret"], redaction).await.expect_status(201);
    let began = Instant::now();
    let answer = lake.sql(&format!("SELECT n, secret FROM \"{view}\"")).await;
    (answer, began.elapsed())
}

/// T-40, T-41, T-42, T-45
#[tokio::test]
async fn every_attack_of_a_redactor_is_one_problem_and_no_value_leaves() {
    let mut lake = lab(false).await;
    for (name, codes) in [
        ("loop", ["plugin_timeout", ""]),
        ("sleep", ["plugin_timeout", "plugin_failed"]),
        ("memory", ["plugin_failed", "plugin_timeout"]),
        ("recursion", ["plugin_failed", ""]),
        ("unreachable", ["plugin_failed", ""]),
        ("panic", ["plugin_failed", ""]),
        ("exit", ["plugin_failed", ""]),
        ("handles", ["plugin_failed", "plugin_timeout"]),
        ("short-rows", ["plugin_failed", ""]),
        ("long-rows", ["plugin_failed", ""]),
        ("no-rows", ["plugin_failed", ""]),
        ("bad-utf8", ["plugin_failed", ""]),
        ("split-character", ["plugin_failed", ""]),
        ("bad-offsets-decreasing", ["plugin_failed", ""]),
        ("bad-offsets-overrun", ["plugin_failed", ""]),
        ("bad-offsets-negative", ["plugin_failed", ""]),
        ("bad-offsets-start", ["plugin_failed", ""]),
        ("null-to-value", ["plugin_failed", ""]),
        ("short-validity", ["plugin_failed", ""]),
        ("wrong-type", ["plugin_failed", ""]),
        ("huge-output", ["plugin_failed", "plugin_timeout"]),
        ("wild-pointer", ["plugin_failed", ""]),
        ("huge-error", ["plugin_failed", ""]),
        ("control-chars-error", ["plugin_failed", ""]),
    ] {
        let (answer, took) = attack(&lake, name).await;
        let problem = answer.expect_any_problem();
        let code = problem["code"].as_str().unwrap();
        assert!(codes.contains(&code), "{name}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains("evil"), "{name} names the plugin: {problem}");
        assert!(answer.body.len() < 4_096, "{name}: {} bytes", answer.body.len());
        assert!(!answer.text().contains("RAW-VALUE"), "{name}: {problem}");
        assert!(!answer.text().chars().any(|c| c.is_control() && c != '\n'), "{name}");
        assert!(took < DEADLINE + Duration::from_secs(5), "{name}: {took:?}");
        lake.sql("SELECT count(*) AS n FROM safe WHERE secret LIKE '*%'").await.expect_cell("n", 200);
    }
    assert!(lake.is_alive());
    assert!(resident_mib(lake.pid()) < 900, "{} MiB", resident_mib(lake.pid()));
    let log = lake.log();
    assert!(!log.contains("RAW-VALUE"), "no value in the log");
    assert!(log.len() < 4 << 20, "{} bytes of log", log.len());
}

/// T-47
#[tokio::test]
async fn floods_of_words_are_bounded_and_the_answer_comes() {
    let lake = lab(false).await;
    for name in ["log-flood", "log-huge", "stderr-flood", "memory-grow"] {
        let before = lake.log().len();
        let (answer, _) = attack(&lake, name).await;
        if answer.status >= 400 {
            answer.expect_any_problem();
        }
        let grown = lake.log().len() - before;
        assert!(grown < 256 * 1024, "{name}: the log grew by {grown} bytes");
    }
    assert!(!lake.log().contains('\u{1b}'), "control characters are escaped");
}

/// T-40, T-42 for conditions
#[tokio::test]
async fn every_attack_of_a_condition_is_one_problem() {
    let lake = lab(false).await;
    for (name, codes) in [
        ("loop", ["plugin_timeout", ""]),
        ("memory", ["plugin_failed", "plugin_timeout"]),
        ("recursion", ["plugin_failed", ""]),
        ("panic", ["plugin_failed", ""]),
        ("short-rows", ["plugin_failed", ""]),
        ("long-rows", ["plugin_failed", ""]),
        ("no-rows", ["plugin_failed", ""]),
        ("bad-utf8", ["plugin_failed", ""]),
        ("huge-output", ["plugin_failed", "plugin_timeout"]),
    ] {
        let rules = json!([{
            "name": "needed", "kind": "condition", "component": "evil",
            "config": { "attack": name, "trigger": "BOOM" },
            "limits": { "deadline_ms": if SLOW.contains(&name) { 500 } else { 10_000 }, "output_mib": 1 },
        }]);
        lake.put_rules("default", rules).await.expect_ok();
        let truth = lake.folder().join("config/truth");
        std::fs::create_dir_all(&truth).unwrap();
        let rule = "[[rule]]\nid = \"r\"\ntask_class = \"c\"\ncondition = { plugin = \"needed\" }\nactions = [\"allow\"]\n";
        std::fs::write(truth.join("r.toml"), rule).unwrap();
        crate::truth::await_rule(&lake, "c", "r").await;
        let ask = |context: Value| lake.post("/truth/evaluate", json!({ "task_class": "c", "context": context }));
        let problem = ask(json!({ "x": "BOOM-RAW" })).await.expect_any_problem();
        assert!(codes.contains(&problem["code"].as_str().unwrap()), "{name}: {problem}");
        assert!(!problem.to_string().contains("BOOM-RAW"), "{name}");
        let fine = ask(json!({ "x": "calm" })).await.expect_ok();
        assert_eq!(fine["decision"], "allow", "{name}: the next call works on a fresh instance");
    }
}

/// T-40
#[tokio::test]
async fn a_loop_ends_at_its_deadline_and_neighbours_go_on() {
    let lake = lab(true).await;
    lake.put_view(
        "looping",
        "t",
        &["secret"],
        json!({ "secret": { "plugin": { "rule": "shady", "config": { "attack": "loop" } } } }),
    )
    .await
    .expect_ok();
    let median = async |rounds: u32| {
        let mut took = Vec::new();
        for _ in 0..rounds {
            let began = Instant::now();
            lake.sql("SELECT count(*) AS n FROM safe WHERE secret LIKE '*%'").await.expect_cell("n", 200);
            took.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        took.sort_unstable();
        took[took.len() / 2]
    };
    let alone = median(40).await;
    let attacks = async {
        for _ in 0..3 {
            let began = Instant::now();
            lake.sql("SELECT secret FROM looping").await.expect_problem("plugin_timeout");
            let took = began.elapsed();
            // 50 ms is the bar on a quiet machine; here the client and the neighbours share its two cores.
            assert!(took >= DEADLINE && took < DEADLINE + Duration::from_secs(2), "{took:?}");
        }
    };
    let ((), beside) = tokio::join!(attacks, median(40));
    // The margin is that of two cores which the client, the neighbours and the loop share.
    assert!(beside <= alone.mul_f64(1.5) + Duration::from_millis(50), "median {alone:?} alone, {beside:?} beside");
}

/// T-46
#[tokio::test]
async fn one_request_never_sees_what_another_left_in_a_component() {
    let lake = lab(false).await;
    lake.ingest("a", "secret\nRAW-VALUE-7421-alpha\n").await.expect_ok();
    lake.ingest("b", "secret\nRAW-VALUE-7421-beta\n").await.expect_ok();
    let redaction = json!({ "secret": { "plugin": { "rule": "shady", "config": { "attack": "remember-state" } } } });
    lake.put_view("va", "a", &["secret"], redaction.clone()).await.expect_ok();
    lake.put_view("vb", "b", &["secret"], redaction).await.expect_ok();
    let (reader_a, reader_b) = (lake.reader("va").await, lake.reader("vb").await);
    for _ in 0..20 {
        let (a, b) = tokio::join!(reader_a.sql("SELECT secret FROM va"), reader_b.sql("SELECT secret FROM vb"));
        assert!(a.text().contains("alpha") && b.text().contains("beta"), "each sees its own: {} {}", a.text(), b.text());
        assert!(!a.text().contains("beta") && !b.text().contains("alpha"), "{} {}", a.text(), b.text());
        let again = reader_b.sql("SELECT secret FROM vb").await;
        assert!(!again.text().contains("alpha"), "{}", again.text());
    }
}

/// T-45
#[tokio::test]
async fn an_attack_halfway_through_an_answer_ends_it_with_an_error() {
    let lake = Lake::start().await;
    let rows: String = (0..60_000).map(|row| if row == 55_000 { "BOOM\n".to_owned() } else { format!("v-{row}\n") }).collect();
    lake.ingest("t", format!("secret\n{rows}")).await.expect_ok();
    lake.push("evil", component("evil")).await.expect_status(201);
    let rules =
        json!([{ "name": "shady", "kind": "redactor", "component": "evil", "config": { "attack": "panic", "trigger": "BOOM" } }]);
    lake.put_rules("default", rules).await.expect_ok();
    lake.put_view("v", "t", &["secret"], json!({ "secret": { "plugin": { "rule": "shady" } } })).await.expect_ok();
    let answer = lake.sql("SELECT secret FROM v").await;
    assert!(!answer.text().contains("BOOM"));
    if answer.status == 200 {
        assert_eq!(
            answer.json()["error"]["code"],
            "plugin_failed",
            "…{}",
            &answer.text()[answer.text().len().saturating_sub(400)..]
        );
    } else {
        answer.expect_problem("plugin_failed");
    }
    for accept in ["text/csv", "application/vnd.apache.arrow.stream"] {
        let request = lake
            .request(reqwest::Method::POST, "/query/sql")
            .header("Accept", accept)
            .json(&json!({ "sql": "SELECT secret FROM v" }));
        match lake.try_send(request).await {
            None => {}
            Some(answer) => {
                assert!(answer.status >= 400, "a whole {accept} answer though the rule failed: {}", answer.body.len());
            }
        }
    }
}
