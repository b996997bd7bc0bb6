use proptest::prelude::*;

use super::{Records, Unreadable};
use crate::IngestError;

fn all(text: &str) -> Result<Vec<(u64, Vec<String>)>, IngestError> {
    let mut records = Records::new(text.as_bytes(), b',', 1 << 10);
    let mut found = Vec::new();
    while let Some(record) = records.read()?.transpose()? {
        let fields = (0..record.len()).map(|index| String::from_utf8(record.field(index).into_owned()).unwrap());
        found.push((record.line, fields.collect()));
    }
    Ok(found)
}

#[test]
fn records_know_their_lines() {
    let found = all("a,b\r\n\r\n1,\"x\ny\"\n\n2,\"say \"\"hi\"\"\"\n3,").unwrap();
    let expected: [(u64, [&str; 2]); 4] = [(1, ["a", "b"]), (3, ["1", "x\ny"]), (6, ["2", "say \"hi\""]), (7, ["3", ""])];
    let expected: Vec<_> = expected.map(|(line, fields)| (line, fields.map(str::to_owned).to_vec())).into();
    assert_eq!(found, expected);
    assert!(all("").unwrap().is_empty());
    assert_eq!(all("a\r").unwrap(), [(1, vec!["a".to_owned()])]);
}

#[test]
fn a_line_of_delimiters_is_counted_not_kept() {
    let text = ",".repeat(100_000);
    let mut records = Records::new(text.as_bytes(), b',', 1 << 20);
    assert_eq!(records.read().unwrap().unwrap().unwrap().len(), 100_001);
    assert_eq!(records.fields.kept.len(), crate::delimited::MAX_COLUMNS);
}

#[test]
fn broken_quotes_are_found_where_they_open() {
    for (text, line, column) in [("a,b\n1,\"x\n", 2, 2), ("a\n\"x\"y\n", 2, 1), ("a,b\n\"1\n2\",\"3\"4\n", 3, 2)] {
        let error = all(text).unwrap_err();
        assert!(matches!(error, IngestError::Malformed { line: l, column: c, .. } if (l, c) == (line, column)), "{error}");
    }
    let endless = format!("a\n\"{}", "x".repeat(1 << 21));
    assert!(matches!(all(&endless), Err(IngestError::RecordTooLarge { line: 2, .. })));
}

#[test]
fn after_a_stray_quote_the_next_line_is_a_record_again() {
    let long = "x".repeat(3 << 20);
    let text = format!("a,b\n\"1\n\",\"2\"{long},\"\n3,4\n\"5\"x\n\n\"6\",7\n\"8\"y");
    let mut records = Records::new(text.as_bytes(), b',', 1 << 10);
    let mut found = Vec::new();
    while let Some(record) = records.read().unwrap() {
        found.push(match record {
            Ok(record) => (record.line, record.len()),
            Err(Unreadable { line, error: IngestError::Malformed { column, .. } }) => (line, 100 + column),
            Err(unreadable) => panic!("{unreadable:?}"),
        });
    }
    assert_eq!(found, [(1, 2), (2, 102), (4, 2), (5, 101), (7, 2), (8, 101)]);
}

#[test]
fn other_delimiters_are_recognized() {
    for (text, expected) in [("a;b\n", b';'), ("a\tb|c\td\n", b'\t'), ("a,b;c;d\n", b','), ("a\n", b','), ("\"a;b\",c\n", b',')] {
        let mut records = Records::new(text.as_bytes(), b',', 1 << 10);
        records.sniff_delimiter().unwrap();
        assert_eq!(records.delimiter, expected, "{text}");
    }
}

/// Hands out a few bytes at a time, so that records lie across reads.
struct Drip<'a>(&'a [u8], usize);

impl std::io::Read for Drip<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let now = self.1.min(self.0.len()).min(into.len());
        into[..now].copy_from_slice(&self.0[..now]);
        self.0 = &self.0[now..];
        Ok(now)
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        rows in proptest::collection::vec(proptest::collection::vec("[a-z\",\r\n é]{0,6}", 3), 1..20),
        drip in 1usize..7,
        crlf: bool,
    ) {
        let quote = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
        let end = if crlf { "\r\n" } else { "\n" };
        let text: String = rows.iter().map(|row| row.iter().map(quote).collect::<Vec<_>>().join(",") + end).collect();
        let mut records = Records::new(Drip(text.as_bytes(), drip), b',', 1 << 10);
        for row in &rows {
            let record = records.read().unwrap().unwrap().unwrap();
            let fields: Vec<_> = (0..record.len()).map(|i| String::from_utf8(record.field(i).into_owned()).unwrap()).collect();
            prop_assert_eq!(&fields, row);
        }
        prop_assert!(records.read().unwrap().is_none());
    }
}
