//! Where answers go: tables for a person, JSON for a program.
//!
//! **Invariant**: stdout carries the answer and nothing else; what a person should know besides goes to stderr.

use std::io::{self, BufWriter, IsTerminal, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use serde_json::Value;

use crate::failure::{Failure, plain};

/// Columns of text wider than this are cut on a terminal.
const CELL_CHARS: usize = 80;
const DEFAULT_WIDTH: u16 = 110;

/// How answers are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Console {
    /// A person reads: tables, bars, colours.
    pub(crate) person: bool,
    /// JSON was asked for by name.
    pub(crate) json: bool,
}

impl Console {
    /// A person reads when stdout is a terminal and no JSON was asked for.
    pub(crate) fn new(json: bool) -> Self {
        Self { person: !json && io::stdout().is_terminal(), json }
    }

    pub(crate) fn write_json(self, value: &Value) -> Result<(), Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
        writeln!(out)?;
        Ok(out.flush()?)
    }

    pub(crate) fn line(self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(io::stdout().lock(), "{text}")?)
    }

    /// A word to the person, beside the answer.
    pub(crate) fn note(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A list of objects: a table of the named members, or the JSON as it came.
    pub(crate) fn objects(self, items: &[Value], members: &[&str]) -> Result<(), Failure> {
        if !self.person {
            return self.write_json(&Value::Array(items.to_vec()));
        }
        let rows = items.iter().map(|item| members.iter().map(|name| item.get(*name).unwrap_or(&Value::Null)));
        self.line(&table(members, rows))
    }

    /// One object: a line a member, or the JSON as it came.
    pub(crate) fn object(self, item: &Value) -> Result<(), Failure> {
        let Some(members) = item.as_object().filter(|_| self.person) else { return self.write_json(item) };
        let width = members.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in members {
            match value.as_array() {
                Some(list) if list.iter().any(Value::is_object) => {
                    self.line(&format!("{name:width$}"))?;
                    for entry in list {
                        self.line(&format!("{:width$}  {}", "", inline(entry)))?;
                    }
                }
                _ => self.line(&format!("{name:width$}  {}", inline(value)))?,
            }
        }
        Ok(())
    }
}

/// `a: 1, b: x` for an object, the plain form for the rest.
fn inline(value: &Value) -> String {
    match value.as_object() {
        Some(members) => members.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect::<Vec<_>>().join(", "),
        None => plain(value),
    }
}

/// A table with a header; numbers stand to the right.
pub(crate) fn table<'a, R>(header: &[&str], rows: R) -> String
where
    R: IntoIterator,
    R::Item: IntoIterator<Item = &'a Value>,
{
    let mut table = Table::new();
    // One line, under the header.
    table.load_preset(presets::NOTHING).set_style(TableComponent::HeaderLines, '─');
    table.set_style(TableComponent::MiddleHeaderIntersections, '─').set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width());
    table.set_header(header.iter().map(|name| printable(name)));
    let mut numbers = vec![true; header.len()];
    for row in rows {
        let cells: Vec<String> = row
            .into_iter()
            .enumerate()
            .map(|(at, value)| {
                if let Some(number) = numbers.get_mut(at) {
                    *number &= value.is_number() || value.is_null();
                }
                printable(&plain(value))
            })
            .collect();
        table.add_row(cells);
    }
    for (at, number) in numbers.iter().enumerate() {
        if let Some(column) = table.column_mut(at).filter(|_| *number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// The text without what steers a terminal.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A value must not steer the terminal, nor fill it.
fn printable(text: &str) -> String {
    let mut shown: String = harmless(text).chars().take(CELL_CHARS).collect();
    if text.chars().nth(CELL_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// An error and its causes in one line, each cause once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = one_line(&cause.to_string());
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

/// What libraries say over several lines, in one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The terminal's width.
pub(crate) fn width() -> u16 {
    rustix::termios::tcgetwinsize(io::stdout())
        .ok()
        .map(|size| size.ws_col)
        .filter(|columns| *columns > 20)
        .unwrap_or(DEFAULT_WIDTH)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{chain, printable, table};

    #[derive(Debug, thiserror::Error)]
    #[error("a part (\n\n at byte 7\n)\n\n")]
    struct Lengthy;

    #[test]
    fn causes_of_several_lines_are_told_in_one() {
        #[derive(Debug, thiserror::Error)]
        #[error("the store failed")]
        struct Failed(#[source] Lengthy);
        assert_eq!(chain(&Failed(Lengthy)), "the store failed: a part ( at byte 7 )");
    }

    #[test]
    fn a_value_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(printable(&"x".repeat(500)).chars().count(), 81);
    }

    #[test]
    fn numbers_stand_right_and_nulls_are_blank() {
        let rows = [[json!("a"), json!(1)], [json!(null), json!(200)]];
        let text = table(&["name", "n"], rows.iter().map(|row| row.iter()));
        assert!(text.lines().any(|line| line.trim_end().ends_with("  1") && line.contains('a')), "{text}");
    }
}
