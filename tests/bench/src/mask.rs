//! The mask through the component boundary, beside the very same crate linked natively.

use std::{hint::black_box, sync::Arc, time::Instant};

use arrow::array::{ArrayRef, StringArray};
use lakehouse_sdk::{Column, Redactor as _, Values, Varlen};
use redact_mask::Mask;
use serde_json::json;

use crate::{
    bar::{Bars, median},
    host::Failure,
    plugins::Components,
};

const ROWS: usize = 1_000_000;
const BATCH: usize = 8_192;
const RUNS: usize = 51;
const SINGLE_CALLS: usize = 20_000;

pub(crate) async fn run(bars: &mut Bars, components: &Components) -> Result<(), Failure> {
    let ids: Vec<String> = (1..=ROWS).map(|n| format!("CAND-{n:06}")).collect();
    let batches: Vec<ArrayRef> = ids.chunks(BATCH).map(|ids| Arc::new(StringArray::from_iter_values(ids)) as ArrayRef).collect();
    let columns: Vec<Column> = ids.chunks(BATCH).map(column).collect::<Result<_, Failure>>()?;
    let rule = Mask { keep_prefix: 3, keep_suffix: 2 };
    let config = json!({ "keep_prefix": 3, "keep_suffix": 2 });
    let mut instance = components.redactor("redact-mask", config).await?;

    let (mut native, mut component) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let start = Instant::now();
        for column in &columns {
            black_box(rule.redact_column(column.clone())?);
        }
        let native_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        for batch in &batches {
            black_box(instance.redact(batch).await?);
        }
        let component_seconds = start.elapsed().as_secs_f64();
        // The first round warms both.
        if run > 0 {
            native.push(native_seconds);
            component.push(component_seconds);
        }
    }
    let ratios = native.iter().zip(&component).map(|(native, component)| component / native).collect();
    let ns = |seconds: Vec<f64>| median(seconds) * 1e9 / ROWS as f64;
    let beside = format!("{:.1} ns a row against {:.1} ns a row, {BATCH} rows a batch", ns(component), ns(native));
    bars.at_most("plugin.mask.ratio_native", median(ratios), 3.0, &beside);

    let one: ArrayRef = Arc::new(StringArray::from_iter_values(["CAND-000001"]));
    let mut calls = Vec::with_capacity(SINGLE_CALLS);
    for _ in 0..SINGLE_CALLS {
        let start = Instant::now();
        black_box(instance.redact(&one).await?);
        calls.push(start.elapsed().as_secs_f64() * 1e6);
    }
    bars.at_most("plugin.mask.one_row_us", median(calls), 10.0, "one row on a warm instance, median of 20,000 calls");
    Ok(())
}

/// The column as a component would receive it.
fn column(ids: &[String]) -> Result<Column, Failure> {
    let mut varlen = Varlen { offsets: vec![0], data: Vec::new() };
    for id in ids {
        varlen.data.extend_from_slice(id.as_bytes());
        varlen.offsets.push(i32::try_from(varlen.data.len())?);
    }
    Ok(Column::of(Values::Text(varlen)))
}
