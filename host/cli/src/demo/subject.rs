//! What the story is about: a dataset, its row key, and what a reader of its view may see.

use serde_json::{Map, Value, json};

use super::ask::{literal, quoted};
use crate::{
    client::Client,
    failure::{Failure, plain},
};

/// Rows of a file of one's own that are indexed.
const MOST_INDEXED: usize = 20_000;

/// Chosen for the candidates, found out for a file of one's own.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    /// Rows of the reader's own, about which nothing is known beforehand.
    pub(super) own: bool,
    pub(super) dataset: String,
    /// The row key.
    pub(super) id: String,
    /// The columns of the view.
    pub(super) shown: Vec<String>,
    /// A column that the view leaves out.
    pub(super) withheld: Option<String>,
    /// The view's row filter.
    pub(super) filter: String,
    /// Characters of the id that the mask keeps, in front and behind.
    pub(super) keep: (u32, u32),
    /// Columns of the view that are hashed.
    pub(super) hashed: Vec<String>,
    /// A column of free text for `redact-pii`.
    pub(super) prose: Option<String>,
    /// The keys that are tombstoned.
    pub(super) buried: Vec<Value>,
}

impl Subject {
    pub(super) fn candidates() -> Self {
        let shown = ["candidate_id", "first_name", "city", "state", "vertical", "years_experience", "hourly_rate", "status"];
        Self {
            own: false,
            dataset: "candidates".into(),
            id: "candidate_id".into(),
            shown: shown.map(String::from).to_vec(),
            withheld: Some("email".into()),
            filter: "status <> 'do_not_contact'".into(),
            keep: (3, 2),
            hashed: Vec::new(),
            prose: Some("resume_text".into()),
            buried: ["CAND-000001", "CAND-000002", "CAND-000003"].map(|id| json!(id)).to_vec(),
        }
    }

    pub(super) fn view(&self) -> String {
        self.beside("safe")
    }

    pub(super) fn prose_view(&self) -> String {
        self.beside("texts")
    }

    pub(super) fn hostile_view(&self) -> String {
        self.beside("hostile")
    }

    pub(super) fn search_view(&self) -> String {
        self.beside("search")
    }

    /// A view of one row.
    pub(super) fn few_view(&self) -> String {
        self.beside("few")
    }

    /// The name of the index over [`Self::search_view`].
    pub(super) fn index(&self) -> String {
        self.beside("text")
    }

    /// The columns of the view that is searched.
    pub(super) fn searched(&self, prose: &str) -> Vec<String> {
        let beside = if self.own { &[][..] } else { &["city", "state", "vertical", "years_experience"] };
        [self.id.as_str()].into_iter().chain(beside.iter().copied()).chain([prose]).map(str::to_owned).collect()
    }

    /// Which rows are indexed: as many as a story has time for.
    pub(super) async fn search_filter(&self, admin: &Client) -> Result<Option<String>, Failure> {
        if !self.own {
            return Ok(Some("vertical = 'logistics'".to_owned()));
        }
        let (id, base) = (quoted(&self.id), quoted(&self.dataset));
        let sql = format!("SELECT {id} AS k FROM {base} WHERE {id} IS NOT NULL ORDER BY {id} OFFSET {MOST_INDEXED} LIMIT 1");
        let beyond = admin.rows(&sql).await?.first().and_then(|row| row.get("k")).cloned();
        Ok(beyond.map(|key| format!("{id} < {}", key.as_str().map_or_else(|| key.to_string(), literal))))
    }

    /// What to search for.
    pub(super) async fn sought(&self, client: &Client, view: &str, prose: &str) -> Result<String, Failure> {
        if !self.own {
            return Ok("night-shift forklift operator".to_owned());
        }
        let (column, view) = (quoted(prose), quoted(view));
        let sql = format!("SELECT {column} AS t FROM {view} WHERE {column} IS NOT NULL ORDER BY length({column}) DESC LIMIT 1");
        let text = client.rows(&sql).await?.first().and_then(|row| row.get("t")).map(plain).unwrap_or_default();
        Ok(text.split_whitespace().take(8).collect::<Vec<_>>().join(" "))
    }

    /// A name of at most 63 characters.
    fn beside(&self, ending: &str) -> String {
        let stem: String = self.dataset.chars().take(62 - ending.len()).collect();
        format!("{stem}_{ending}")
    }

    pub(super) fn mask(&self) -> Value {
        json!({ "mask": { "keep_prefix": self.keep.0, "keep_suffix": self.keep.1 } })
    }

    pub(super) fn redactions(&self) -> Value {
        let mut redactions = Map::new();
        redactions.insert(self.id.clone(), self.mask());
        for column in &self.hashed {
            redactions.insert(column.clone(), json!("hash"));
        }
        Value::Object(redactions)
    }

    /// What the mask makes of a value: the words of SPEC, in a line.
    pub(super) fn masked(&self, value: &str, with: char) -> String {
        let length = value.chars().count();
        let (front, behind) = (self.keep.0 as usize, self.keep.1 as usize);
        let hidden = |at: usize| length <= front + behind || (at >= front && at < length - behind);
        value.chars().enumerate().map(|(at, c)| if hidden(at) { with } else { c }).collect()
    }

    /// `id IN (…)` for the keys that are tombstoned.
    pub(super) fn is_buried(&self) -> String {
        let keys: Vec<String> = self
            .buried
            .iter()
            .map(|key| match key {
                Value::String(text) => literal(text),
                number => number.to_string(),
            })
            .collect();
        format!("{} IN ({})", quoted(&self.id), keys.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::Subject;

    #[test]
    fn the_mask_is_the_one_of_the_specification() {
        let subject = Subject::candidates();
        assert_eq!(subject.masked("CAND-000001", '*'), "CAN******01");
        assert_eq!(subject.masked("12345", '*'), "*****");
        assert_eq!(subject.masked("", '*'), "");
    }

    #[test]
    fn names_of_views_stay_within_their_length() {
        let subject = Subject { dataset: "d".repeat(63), ..Subject::candidates() };
        assert_eq!(subject.view().len(), 63);
        assert_eq!(subject.is_buried(), "\"candidate_id\" IN ('CAND-000001', 'CAND-000002', 'CAND-000003')");
    }
}
