//! Tables read by others: the `deltalake` Python package opens the folder of a dataset while the server writes it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{lake::Lake, python::python};

/// Opens a table and prints what it finds as JSON.
const READ: &str = r#"
import json, sys
from deltalake import DeltaTable, QueryBuilder
table = DeltaTable(sys.argv[1])
def ask(table, sql):
    found = QueryBuilder().register("t", table).execute(sql).read_all()
    return [{name: found.column(name)[row].as_py() for name in found.schema.names} for row in range(found.num_rows)]
print(json.dumps({
    "version": table.version(),
    "files": len(table.file_uris()),
    "types": {field.name: json.loads(field.type.to_json()) for field in table.schema().fields},
    "rows": ask(table, "SELECT count(*) AS n, sum(v) AS s, min(id) AS least, max(d) AS day FROM t")[0],
    "nested": ask(table, "SELECT tags FROM t WHERE tags IS NOT NULL ORDER BY id LIMIT 1"),
    "operations": [entry["operation"] for entry in table.history()],
}, default=str))
"#;

fn read(table: &Path) -> Value {
    let told = Command::new(python()).args(["-c", READ]).arg(table).output().expect("Python runs");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    serde_json::from_slice(&told.stdout).expect("JSON")
}

/// The one folder of a dataset with a Delta log.
fn table(lake: &Lake) -> PathBuf {
    let mut open = vec![lake.data().join("data/datasets")];
    while let Some(folder) = open.pop() {
        if folder.join("_delta_log").is_dir() {
            return folder;
        }
        open.extend(std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    panic!("no table");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deltalake_package_reads_a_table_in_every_state() {
    let lake = Lake::start().await;
    let rows =
        "{\"id\":\"a\",\"v\":1,\"d\":\"2026-01-02\",\"tags\":[{\"k\":\"x\"}]}\n{\"id\":\"b\",\"v\":2,\"d\":\"2026-01-03\"}\n";
    lake.ingest_with("dataset=t&format=ndjson&key=id", rows).await.expect_ok();
    let folder = table(&lake);
    let first = read(&folder);
    assert_eq!((&first["rows"]["n"], &first["rows"]["s"], &first["rows"]["least"]), (&json!(2), &json!(3), &json!("a")));
    assert_eq!(first["types"]["v"], "long", "{first}");
    assert_eq!(first["nested"][0]["tags"][0]["k"], "x", "{first}");

    lake.ingest_with("dataset=t&format=csv&mode=upsert&key=id", "id,v\nb,20\nc,4\n").await.expect_ok();
    let second = read(&folder);
    assert!(second["version"].as_u64() > first["version"].as_u64());
    assert_eq!((&second["rows"]["n"], &second["rows"]["s"]), (&json!(3), &json!(25)), "{second}");

    // A tombstone is ours alone; compaction is for everybody.
    lake.bury("t", "id", ["a"]).await.expect_ok();
    assert_eq!(read(&folder)["rows"]["n"], 3);
    lake.post("/query/compact", json!({ "dataset": "t" })).await.expect_ok();
    let third = read(&folder);
    assert_eq!((&third["rows"]["n"], &third["rows"]["s"], &third["files"]), (&json!(2), &json!(24), &json!(1)), "{third}");
    lake.post("/erasure", json!({ "dataset": "t", "row_key_column": "id", "row_key_values": ["c"] })).await.expect_ok();
    let fourth = read(&folder);
    assert_eq!((&fourth["rows"]["n"], &fourth["rows"]["s"]), (&json!(1), &json!(20)), "{fourth}");
}
