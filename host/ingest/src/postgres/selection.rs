//! What is read of a database.

use std::fmt;
use std::str::FromStr;

use lakehouse_types::Digest;
use sha2::{Digest as _, Sha256};

/// Bytes of an identifier; PostgreSQL cuts longer ones silently.
const MAX_IDENTIFIER_BYTES: usize = 63;

/// A table, or the rows of a SELECT.
#[derive(Clone, PartialEq, Eq)]
pub enum Selection {
    Table(TableName),
    Query(String),
}

/// Texts of queries may hold values.
impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(table) => write!(f, "Table({table})"),
            Self::Query(_) => f.write_str("Query(…)"),
        }
    }
}

impl Selection {
    /// The statement that answers the rows.
    pub(super) fn statement(&self) -> String {
        match self {
            Self::Table(table) => format!("SELECT * FROM {table}"),
            Self::Query(query) => {
                let query = query.trim_end();
                query.strip_suffix(';').unwrap_or(query).to_owned()
            }
        }
    }

    /// Tells one selection from another, without its text.
    pub(super) fn digest(&self) -> Digest {
        let (kind, text) = match self {
            Self::Table(table) => (b't', table.to_string()),
            Self::Query(query) => (b'q', query.clone()),
        };
        let mut digest = Sha256::new();
        digest.update([kind]);
        digest.update(text);
        Digest::from_bytes(&digest.finalize().into())
    }
}

/// `table` or `schema.table`, as written: case counts. A part with a dot in it stands in double quotes, doubled inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableName {
    schema: Option<String>,
    table: String,
}

/// Quoted, for a statement.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quoted(schema))?;
        }
        f.write_str(&quoted(&self.table))
    }
}

/// An identifier in a statement.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl FromStr for TableName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "must be table or schema.table, each part of 1 to 63 bytes, in double quotes where it has a dot";
        let mut parts = Vec::new();
        let mut rest = text;
        loop {
            let (part, after) = part(rest).ok_or(EXPECTED)?;
            if !(1..=MAX_IDENTIFIER_BYTES).contains(&part.len()) || part.chars().any(char::is_control) {
                return Err(EXPECTED);
            }
            parts.push(part);
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None if after.is_empty() => break,
                None => return Err(EXPECTED),
            }
        }
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(table), None, None) => Ok(Self { schema: None, table }),
            (Some(schema), Some(table), None) => Ok(Self { schema: Some(schema), table }),
            _ => Err(EXPECTED),
        }
    }
}

/// The first part, without its quotes, and what follows it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find(['.', '"']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut rest = inside;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return Some((name, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Selection, TableName};

    #[test]
    fn names_are_quoted_whatever_they_hold() {
        for (text, expected) in [
            ("people", Some(r#""people""#)),
            ("crm.People", Some(r#""crm"."People""#)),
            (r#""a.b"."c ""d""""#, Some(r#""a.b"."c ""d""""#)),
            ("people; DROP TABLE people", Some(r#""people; DROP TABLE people""#)),
            ("größe", Some(r#""größe""#)),
            ("", None),
            ("a.", None),
            (".a", None),
            ("a.b.c", None),
            (r#""a"#, None),
            (r#"a"b"#, None),
            (r#""a"b"#, None),
            ("a\0b", None),
            (&"a".repeat(64), None),
        ] {
            let parsed = text.parse::<TableName>().ok().map(|table| table.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn one_semicolon_may_end_a_query_and_its_text_is_not_shown() {
        let query = Selection::Query("SELECT 'canary' ; \n".to_owned());
        assert_eq!(query.statement(), "SELECT 'canary' ");
        assert!(!format!("{query:?}").contains("canary"));
        assert_ne!(query.digest(), Selection::Query("SELECT 'other'".to_owned()).digest());
    }
}
