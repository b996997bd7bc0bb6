//! Each redaction on each type: what comes out, and as what.

use arrow::array::{
    BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal128Array, Decimal256Array, DictionaryArray,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, LargeBinaryArray, LargeStringArray,
    ListArray, StringViewArray, StructArray, Time32SecondArray, Time64MicrosecondArray, TimestampMicrosecondArray,
    TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Int32Type, Schema, i256};
use sha2::{Digest as _, Sha256};

use super::*;
use crate::{
    govern::Governed,
    harness::{Lake, table, template},
    view::{Layer, Reader},
};

/// Values of one type each, with the text form that is hashed and masked.
fn values() -> Vec<(ArrayRef, &'static str)> {
    fn one(array: impl arrow::array::Array + 'static) -> ArrayRef {
        Arc::new(array)
    }
    let micros = 1_769_860_800_000_000; // 2026-01-31T12:00:00Z
    let decimal = Decimal128Array::from(vec![1_250]).with_precision_and_scale(10, 2).unwrap();
    let wide = Decimal256Array::from(vec![i256::from_i128(-1_250)]).with_precision_and_scale(60, 3).unwrap();
    let words: DictionaryArray<Int32Type> = [Some("Žofie")].into_iter().collect();
    let member = (Arc::new(Field::new("a", DataType::Int32, true)), one(Int32Array::from(vec![1])));
    vec![
        (one(Int8Array::from(vec![-5])), "-5"),
        (one(Int16Array::from(vec![700])), "700"),
        (one(Int32Array::from(vec![12_345])), "12345"),
        (one(Int64Array::from(vec![i64::MIN])), "-9223372036854775808"),
        (one(UInt8Array::from(vec![200])), "200"),
        (one(UInt16Array::from(vec![60_000])), "60000"),
        (one(UInt32Array::from(vec![u32::MAX])), "4294967295"),
        (one(UInt64Array::from(vec![u64::MAX])), "18446744073709551615"),
        (one(Float32Array::from(vec![0.1])), "0.1"),
        (one(Float64Array::from(vec![-1.5])), "-1.5"),
        (one(decimal), "12.50"),
        (one(wide), "-1.250"),
        (one(BooleanArray::from(vec![true])), "true"),
        (one(Date32Array::from(vec![20_484])), "2026-01-31"),
        (one(Date64Array::from(vec![micros / 1_000])), "2026-01-31T12:00:00Z"),
        (one(TimestampSecondArray::from(vec![micros / 1_000_000])), "2026-01-31T12:00:00Z"),
        (one(TimestampMillisecondArray::from(vec![micros / 1_000]).with_timezone("UTC")), "2026-01-31T12:00:00Z"),
        (one(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC")), "2026-01-31T12:00:00Z"),
        (one(TimestampNanosecondArray::from(vec![micros * 1_000])), "2026-01-31T12:00:00Z"),
        (one(Time32SecondArray::from(vec![3_661])), "01:01:01"),
        (one(Time64MicrosecondArray::from(vec![3_661_000_000])), "01:01:01"),
        (one(BinaryArray::from(vec![&b"\x0f\xa0"[..]])), "0fa0"),
        (one(LargeBinaryArray::from(vec![&b"\x0f\xa0"[..]])), "0fa0"),
        (one(BinaryViewArray::from(vec![&b"\x0f\xa0"[..]])), "0fa0"),
        (one(FixedSizeBinaryArray::try_from(vec![&b"\x0f\xa0"[..]]).unwrap()), "0fa0"),
        (one(StringArray::from(vec!["Žofie"])), "Žofie"),
        (one(LargeStringArray::from(vec!["Žofie"])), "Žofie"),
        (one(StringViewArray::from(vec!["Žofie"])), "Žofie"),
        (one(words), "Žofie"),
        (one(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])])), "[1,null]"),
        (one(StructArray::from(vec![member])), r#"{"a":1}"#),
    ]
}

fn hashed(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first and the last character, stars between.
fn masked(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let shown = |at: usize| characters.len() > 2 && (at == 0 || at == characters.len() - 1);
    characters.iter().enumerate().map(|(at, one)| if shown(at) { *one } else { '*' }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_redacted_in_its_text_form_and_null_keeps_the_type() {
    let host = Host::open().await;
    for component in ["redact-null", "redact-hash", "redact-mask"] {
        host.install(component).await;
    }
    for (value, text) in values() {
        let given = value.data_type().clone();
        let rows = concat(&[&value, &arrow::array::new_null_array(&given, 1)]).unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("c", given.clone(), true)]));
        let base = table(vec![RecordBatch::try_new(schema, vec![rows]).unwrap()]);
        for (redaction, kind, expected) in [
            (json!("null"), given.clone(), "NULL".to_owned()),
            (json!("hash"), DataType::Utf8, hashed(text)),
            (json!({"mask": {"keep_prefix": 1, "keep_suffix": 1}}), DataType::Utf8, masked(text)),
        ] {
            let record = Host::record(json!({"name": "v", "base_dataset": "t", "columns": ["c"],
                "column_redactions": {"c": redaction}}));
            let (scope, base, session) = (host.engine.scope(&admin()).unwrap(), Arc::clone(&base), template());
            let layered = cpu().spawn(async move {
                let layer = Layer { record: &record, told: "v", reader: Reader::Author };
                layer
                    .over(Governed::whole("t".into(), base, None), scope.bindings(), session.bare())
                    .await
                    .map(Governed::into_provider)
            });
            let view = layered.await.unwrap().unwrap_or_else(|error| panic!("{given} {redaction}: {error:?}"));
            assert_eq!(*view.schema().field(0).data_type(), kind, "{given} {redaction}");
            let answer = Lake::default().with("v", view).text("SELECT c FROM v").await;
            let answer = answer.unwrap_or_else(|error| panic!("{given} {redaction}: {error:?}"));
            assert_eq!(answer, format!("{expected}\nNULL"), "{given} {redaction}");
        }
    }
}
