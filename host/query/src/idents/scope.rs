//! What a place of a statement can see.

use std::collections::{BTreeSet, HashMap};

use datafusion::sql::sqlparser::ast::Ident;

use super::normalized;
use crate::names::{CATALOG, SCHEMA};

/// Names of columns by their lower case.
#[derive(Default)]
pub(super) struct Columns(HashMap<String, BTreeSet<String>>);

impl Columns {
    fn add(&mut self, name: String) {
        self.0.entry(name.to_lowercase()).or_default().insert(name);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = String> {
        self.0.values().flatten().cloned()
    }

    /// What a name finds; none where there is nothing of the kind.
    pub(super) fn find(&self, ident: &Ident) -> Option<String> {
        let folded = ident.value.to_lowercase();
        let candidates = self.0.get(&folded)?;
        if candidates.contains(&ident.value) {
            return Some(ident.value.clone());
        }
        match candidates.first() {
            _ if ident.quote_style.is_some() => None,
            Some(only) if candidates.len() == 1 => Some(only.clone()),
            _ => Some(folded),
        }
    }
}

/// The columns of a query or of a select, and which of them each relation gives.
#[derive(Default)]
pub(super) struct Scope {
    pub(super) columns: Columns,
    pub(super) relations: HashMap<String, Columns>,
}

impl Scope {
    pub(super) fn of(names: impl IntoIterator<Item = String>) -> Self {
        let mut scope = Self::default();
        scope.add(None, names);
        scope
    }

    /// Adds what a relation gives, under its name if it has one.
    pub(super) fn add(&mut self, relation: Option<String>, names: impl IntoIterator<Item = String>) {
        let mut own = Columns::default();
        for name in names {
            self.columns.add(name.clone());
            own.add(name);
        }
        if let Some(relation) = relation {
            self.relations.insert(relation, own);
        }
    }

    /// The place of the column in a compound name, and what it finds: after the name of a relation, else the first part. Nothing
    /// where this scope has neither.
    pub(super) fn find_in(&self, parts: &[Ident]) -> Option<(usize, Option<String>)> {
        let names: Vec<String> = parts.iter().map(normalized).collect();
        let relation = match names.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [CATALOG, SCHEMA, table, _, ..] if self.relations.contains_key(*table) => 2,
            [SCHEMA, table, _, ..] if self.relations.contains_key(*table) => 1,
            [table, _, ..] if self.relations.contains_key(*table) => 0,
            [_, _, ..] => return self.columns.find(&parts[0]).map(|found| (0, Some(found))),
            _ => return None,
        };
        let columns = self.relations.get(&names[relation])?;
        Some((relation + 1, columns.find(&parts[relation + 1])))
    }
}
