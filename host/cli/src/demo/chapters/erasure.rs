//! Subjects are erased, and a search of every byte proves it.

use serde_json::{Value, json};

use super::Stage;
use crate::{
    demo::{ask::quoted, grouped, narrator::Narrator, subject::Subject},
    failure::{Failure, plain},
};

pub(in crate::demo) async fn erasure(narrator: &mut Narrator, stage: &Stage, subject: &Subject) -> Result<(), Failure> {
    narrator.begin(&format!("erase {} subjects, and search every byte for them", subject.buried.len()));
    let raw = format!("__raw__{}", subject.dataset);
    let before = stage.admin.count(&raw).await?;
    let hit = format!("SELECT count(*) AS n FROM {} WHERE {}", quoted(&raw), subject.is_buried());
    let rows = stage.admin.number(&hit).await?;
    let body = json!({
        "dataset": subject.dataset,
        "row_key_column": subject.id,
        "row_key_values": subject.buried,
    });
    let certificate = stage.admin.post(&["erasure"], &body).await?;
    let number = |pointer: &str| certificate.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    narrator.show(format!("certificate {}", certificate.get("id").map(plain).unwrap_or_default()));
    narrator.check(number("/rows_erased") == rows && rows > 0, format!("{rows} rows erased, hidden ones as they were"));
    let after = stage.admin.count(&raw).await?;
    narrator.check(after + rows == before, format!("{raw} went from {} to {}", grouped(before), grouped(after)));
    narrator.check(stage.admin.number(&hit).await? == 0, "the keys are in no version any more");
    let clean = certificate.pointer("/scan/clean").and_then(Value::as_bool) == Some(true);
    narrator.check(
        clean && number("/scan/objects") > 0,
        format!(
            "{} objects and {} bytes searched for {} texts that only they had: {}",
            grouped(number("/scan/objects")),
            grouped(number("/scan/bytes")),
            grouped(number("/scan/needles")),
            if clean { "nothing".to_owned() } else { certificate.pointer("/scan/traces").map(plain).unwrap_or_default() }
        ),
    );
    narrator.end();
    Ok(())
}
