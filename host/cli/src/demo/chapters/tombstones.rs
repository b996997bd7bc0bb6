//! Rows are hidden by key, effective for the next query, through every view.

use serde_json::{Value, json};

use super::Stage;
use crate::{
    demo::{ask::quoted, grouped, narrator::Narrator, subject::Subject},
    failure::{Failure, plain},
};

pub(in crate::demo) async fn tombstones(narrator: &mut Narrator, stage: &Stage, subject: &Subject) -> Result<(), Failure> {
    let keys: Vec<String> = subject.buried.iter().map(plain).collect();
    narrator.begin(&format!("tombstone {} of the keys", keys.len()));
    let (base, raw, view) = (subject.dataset.clone(), format!("__raw__{}", subject.dataset), quoted(&subject.view()));
    let reader = stage.reader()?;
    let before = stage.admin.count(&base).await?;
    let seen = reader.number(&format!("SELECT count(*) AS n FROM {view}")).await?;
    let hit = format!("SELECT count(*) AS n FROM {} WHERE {}", quoted(&base), subject.is_buried());
    let rows = stage.admin.number(&hit).await?;
    let through = stage.admin.number(&format!("{hit} AND ({})", subject.filter)).await?;

    let body = json!({
        "row_key_column": subject.id,
        "row_key_values": subject.buried,
        "actor": "privacy desk",
        "reason": "erasure request",
    });
    let burial = stage.admin.post(&["catalog", "datasets", "by-name", &base, "tombstone"], &body).await?;
    narrator.show(format!("{}: {}", subject.id, keys.join(", ")));
    let failures = burial.get("failures").and_then(Value::as_array).map_or(0, Vec::len);
    narrator.check(failures == 0, format!("rows_tombstoned: {}", burial.get("rows_tombstoned").map(plain).unwrap_or_default()));

    let after = stage.admin.count(&base).await?;
    narrator.check(after + rows == before, format!("{} - {rows} = {} rows", grouped(before), grouped(after)));
    let left = reader.number(&format!("SELECT count(*) AS n FROM {view}")).await?;
    narrator.check(left + through == seen, format!("the view went from {} to {} with it", grouped(seen), grouped(left)));
    narrator.check(stage.admin.number(&hit).await? == 0, "none of the keys is found any more");
    narrator.check(stage.admin.count(&raw).await? == before, format!("{raw}, for admins, still has {}", grouped(before)));
    let listed = stage.admin.get(&["catalog", "datasets", "by-name", &base, "tombstone"]).await?;
    let shown = listed.to_string();
    narrator.check(shown.contains("privacy desk") && shown.contains("erasure request"), "the list says who asked for it and why");
    narrator.end();
    Ok(())
}
