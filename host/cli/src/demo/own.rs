//! A subject out of any file: which columns a reader may see, which are hidden, which rows are filtered.
//!
//! **Invariant**: choices are made by looking through SQL at what was ingested; nothing is known about the file beforehand.

use serde_json::Value;

use super::{
    ask::{literal, quoted},
    subject::Subject,
};
use crate::{
    client::Client,
    failure::{Failure, plain},
};

/// Columns of the view, as in the story of the candidates.
const SHOWN: usize = 8;
/// Columns looked at; a file may have thousands.
const LOOKED_AT: usize = 60;
/// A column of text with at most this many values can filter.
const CATEGORIES: u64 = 50;
/// Text of this average length is prose rather than a label.
const PROSE_CHARS: f64 = 24.0;
/// Parts of names that say that a column is about a person.
const PERSONAL: [&str; 14] = [
    "email",
    "e-mail",
    "mail",
    "phone",
    "mobile",
    "address",
    "street",
    "birth",
    "dob",
    "ssn",
    "passport",
    "iban",
    "surname",
    "last_name",
];

/// What one column holds.
#[derive(Debug, Clone)]
struct Column {
    name: String,
    text: bool,
    distinct: u64,
    average_chars: f64,
}

/// Looks at the dataset and chooses.
///
/// # Errors
/// When the id column is not among the columns, or the rows are too few for a story.
pub(super) async fn choose(
    client: &Client,
    dataset: &str,
    id: &str,
    text: Option<&str>,
    report: &Value,
) -> Result<Subject, Failure> {
    let declared: Vec<(String, String)> = report
        .get("columns")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|column| (member(column, "name"), member(column, "type")))
        .collect();
    let names: Vec<&str> = declared.iter().map(|(name, _)| name.as_str()).collect();
    let text = text.map(|text| column_of(&names, "--text", text)).transpose()?;
    if let Some(text) = text.as_ref().filter(|text| !declared.iter().any(|(name, kind)| name == *text && is_text(kind))) {
        return Err(Failure::Usage(format!("--text {text}: this column holds no text; choose another")));
    }
    let id = column_of(&names, "--id", id)?;
    if !declared.iter().any(|(name, kind)| *name == id && names_rows(kind)) {
        return Err(Failure::Usage(format!("--id {id}: a row key is a column of text or of whole numbers; choose another")));
    }
    let base = quoted(dataset);
    let mut columns = Vec::new();
    for (name, kind) in declared.iter().filter(|(name, _)| *name != id).take(LOOKED_AT) {
        columns.push(look(client, &base, name, is_text(kind)).await?);
    }

    let key = quoted(&id);
    let keys = client.number(&format!("SELECT count(DISTINCT {key}) AS n FROM {base}")).await?;
    if keys < 2 {
        return Err(Failure::Usage(format!(
            "--id {id}: {keys} distinct values; the story needs at least two rows with a key each"
        )));
    }
    let prose = columns
        .iter()
        .filter(|column| column.text && column.average_chars >= PROSE_CHARS)
        .max_by(|a, b| a.average_chars.total_cmp(&b.average_chars))
        .or_else(|| columns.iter().filter(|column| column.text).max_by(|a, b| a.average_chars.total_cmp(&b.average_chars)))
        .map(|column| column.name.clone());
    let prose = text.or(prose);
    let filter = filter(client, &base, &id, &columns).await?;
    let keep = keep(client, &base, &key).await?;
    let buried = buried(client, &base, &key, &filter, keys).await?;
    let (shown, withheld, hashed) = divide(&id, &columns, prose.as_deref());
    Ok(Subject { own: true, dataset: dataset.to_owned(), id, shown, withheld, filter, keep, hashed, prose, buried })
}

/// What was chosen, for the reader of the story.
pub(super) fn describe(subject: &Subject) -> Vec<String> {
    let mut lines = vec![
        format!("row key: {} (masked {}/{})", subject.id, subject.keep.0, subject.keep.1),
        format!("a reader sees: {}", subject.shown.join(", ")),
        format!("of rows where: {}", subject.filter),
    ];
    if let Some(withheld) = &subject.withheld {
        lines.push(format!("left out: {withheld}"));
    }
    if !subject.hashed.is_empty() {
        lines.push(format!("hashed: {}", subject.hashed.join(", ")));
    }
    if let Some(prose) = &subject.prose {
        lines.push(format!("searched for contact data: {prose}"));
    }
    lines
}

/// The column that is meant, exactly or but for case and punctuation.
fn column_of(names: &[&str], option: &str, asked: &str) -> Result<String, Failure> {
    let bare = |name: &str| name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    let exact = names.iter().find(|name| **name == asked);
    let meant = exact.or_else(|| names.iter().find(|name| bare(name) == bare(asked)));
    meant
        .map(|name| (*name).to_owned())
        .ok_or_else(|| Failure::Usage(format!("{option} {asked}: no such column; the file has: {}", names.join(", "))))
}

async fn look(client: &Client, base: &str, name: &str, text: bool) -> Result<Column, Failure> {
    let column = quoted(name);
    if !text {
        return Ok(Column { name: name.to_owned(), text, distinct: 0, average_chars: 0.0 });
    }
    let sql = format!(
        "SELECT count(DISTINCT {column}) AS n, coalesce(avg(CAST(character_length({column}) AS DOUBLE)), 0.0) AS chars FROM {base}"
    );
    let rows = client.rows(&sql).await?;
    let row = rows.first().cloned().unwrap_or_default();
    Ok(Column {
        name: name.to_owned(),
        text,
        distinct: row.get("n").and_then(Value::as_u64).unwrap_or(0),
        average_chars: row.get("chars").and_then(Value::as_f64).unwrap_or(0.0),
    })
}

/// Leaves out the rarest value of a column with few values; without such a column, rows without a key.
async fn filter(client: &Client, base: &str, id: &str, columns: &[Column]) -> Result<String, Failure> {
    let candidate =
        columns.iter().filter(|column| column.text && (2..=CATEGORIES).contains(&column.distinct)).min_by_key(|c| c.distinct);
    if let Some(column) = candidate {
        let name = quoted(&column.name);
        let sql = format!(
            "SELECT {name} AS v, count(*) AS n FROM {base} WHERE {name} IS NOT NULL GROUP BY {name} ORDER BY n, v LIMIT 1"
        );
        let rarest = client.rows(&sql).await?;
        if let Some(value) = rarest.first().and_then(|row| row.get("v")).and_then(Value::as_str) {
            let filter = format!("{name} <> {}", literal(value));
            let keys = client.number(&format!("SELECT count(DISTINCT {}) AS n FROM {base} WHERE {filter}", quoted(id))).await?;
            if keys >= 2 {
                return Ok(filter);
            }
        }
    }
    Ok(format!("{} IS NOT NULL", quoted(id)))
}

/// How much of a key can be shown and still leave something to hide.
async fn keep(client: &Client, base: &str, key: &str) -> Result<(u32, u32), Failure> {
    let text = format!("CAST({key} AS VARCHAR)");
    // The swap tells its two versions apart by their masking characters.
    let marked = client.number(&format!("SELECT count(*) AS n FROM {base} WHERE {text} LIKE '%*%' OR {text} LIKE '%#%'")).await?;
    let shortest =
        client.number(&format!("SELECT min(character_length({text})) AS n FROM {base} WHERE {key} IS NOT NULL")).await?;
    Ok(match shortest {
        _ if marked > 0 => (0, 0),
        0..=1 => (0, 0),
        2..=5 => (1, 0),
        _ => (3, 2),
    })
}

/// Up to three keys that the view shows, never all of them.
async fn buried(client: &Client, base: &str, key: &str, filter: &str, keys: u64) -> Result<Vec<Value>, Failure> {
    let wanted = (keys - 1).min(3);
    let sql = format!(
        "SELECT {key} AS k FROM {base} WHERE ({filter}) AND {key} IS NOT NULL GROUP BY {key} ORDER BY {key} LIMIT {wanted}"
    );
    let mut found: Vec<Value> = client.rows(&sql).await?.iter().filter_map(|row| row.get("k").cloned()).collect();
    let visible = client.number(&format!("SELECT count(DISTINCT {key}) AS n FROM {base} WHERE ({filter})")).await?;
    found.truncate(usize::try_from(visible.saturating_sub(1)).unwrap_or(usize::MAX));
    Ok(found)
}

/// Shown, left out, hashed. Whatever is about a person is left out first, and hashed when it must be shown.
fn divide(id: &str, columns: &[Column], prose: Option<&str>) -> (Vec<String>, Option<String>, Vec<String>) {
    let personal = |column: &Column| PERSONAL.iter().any(|part| column.name.to_lowercase().contains(part));
    let mut ordered: Vec<&Column> = columns.iter().collect();
    ordered.sort_by_key(|column| (personal(column), Some(column.name.as_str()) == prose));
    let room = (SHOWN - 1).min(ordered.len().saturating_sub(1).max(1));
    let (seen, rest) = ordered.split_at(room.min(ordered.len()));
    let shown = std::iter::once(id.to_owned()).chain(seen.iter().map(|column| column.name.clone())).collect();
    let withheld = rest.iter().max_by_key(|column| personal(column)).map(|column| column.name.clone());
    let hashed = seen.iter().filter(|column| personal(column)).map(|column| column.name.clone()).collect();
    (shown, withheld, hashed)
}

/// Lists and objects of text are none.
fn is_text(kind: &str) -> bool {
    kind == "text"
}

fn names_rows(kind: &str) -> bool {
    matches!(kind, "text" | "integer")
}

fn member(value: &Value, name: &str) -> String {
    value.get(name).map(plain).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Column, column_of, divide, is_text, names_rows};

    fn column(name: &str) -> Column {
        Column { name: name.into(), text: true, distinct: 9, average_chars: 9.0 }
    }

    #[test]
    fn an_id_is_found_but_for_case_and_punctuation() {
        assert_eq!(column_of(&["a", "Flight No."], "--id", "flight_no").unwrap(), "Flight No.");
        assert!(column_of(&["a", "b"], "--id", "c").unwrap_err().to_string().contains("a, b"));
    }

    #[test]
    fn what_holds_text_inside_is_no_text() {
        for kind in ["list of text", "object(city: text)", "map of text", "integer", "timestamp without zone"] {
            assert!(!is_text(kind), "{kind}");
        }
        assert!(is_text("text"));
        assert!(names_rows("integer") && names_rows("text") && !names_rows("float") && !names_rows("list of integer"));
    }

    #[test]
    fn what_is_about_a_person_is_left_out_first() {
        let columns: Vec<Column> = ["email", "city", "role"].map(column).to_vec();
        let (shown, withheld, hashed) = divide("id", &columns, None);
        assert_eq!(
            (shown, withheld, hashed),
            (vec!["id".to_owned(), "city".into(), "role".into()], Some("email".into()), vec![])
        );
    }

    #[test]
    fn a_file_of_two_columns_still_has_a_view() {
        let (shown, withheld, hashed) = divide("id", &[column("phone")], None);
        assert_eq!((shown.len(), withheld, hashed), (2, None, vec!["phone".to_owned()]));
        assert_eq!(divide("id", &[], None).0, ["id"]);
    }
}
