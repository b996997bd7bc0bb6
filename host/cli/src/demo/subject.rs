//! What the story is about: a dataset, its row key, and what a reader of its view may see.

use serde_json::{Map, Value, json};

use super::ask::{literal, quoted};

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
