//! What a view stands on: other views, and below them all a dataset.
//!
//! **Invariant**: a stack ends in a dataset that exists, has at most [`MAX_STACKED_VIEWS`] views, and none of them twice.

use std::sync::Arc;

use lakehouse_types::ViewName;

use crate::{CatalogError, CatalogSnapshot, DatasetRecord, DefinitionError, Relation, ViewRecord};

/// Views upon each other, the one that is read included.
pub const MAX_STACKED_VIEWS: usize = 8;

/// A view with all that it stands on.
#[derive(Debug, Clone)]
pub struct ViewStack {
    /// Never empty.
    views: Vec<Arc<ViewRecord>>,
    dataset: Arc<DatasetRecord>,
}

impl ViewStack {
    /// The view that is read.
    pub fn top(&self) -> &Arc<ViewRecord> {
        &self.views[0]
    }

    /// From the one that is read down to the one that stands on the dataset.
    pub fn views(&self) -> &[Arc<ViewRecord>] {
        &self.views
    }

    /// The views that the top stands on; none where its base is the dataset.
    pub fn below(&self) -> &[Arc<ViewRecord>] {
        &self.views[1..]
    }

    /// What all of them stand on.
    pub fn dataset(&self) -> &Arc<DatasetRecord> {
        &self.dataset
    }

    /// Whether a row may be missing because of a filter, of the top or of any view below it.
    pub fn filters_rows(&self) -> bool {
        self.views.iter().any(|view| view.row_filter.is_some())
    }
}

impl CatalogSnapshot {
    /// What `top` stands on, be it one of these definitions or one that is to become one.
    ///
    /// # Errors
    /// When a base does not exist, the view would stand on itself, or there are too many views upon each other.
    pub fn stack(&self, top: Arc<ViewRecord>) -> Result<ViewStack, CatalogError> {
        let mut views = vec![top];
        loop {
            let lowest = &views[views.len() - 1];
            if let Some(dataset) = self.datasets.get(&lowest.base_dataset) {
                return Ok(ViewStack { dataset: Arc::clone(dataset), views });
            }
            let Some(below) = self.views.get(lowest.base_dataset.as_str()) else {
                return Err(CatalogError::UnknownDataset { name: lowest.base_dataset.clone() });
            };
            let invalid = |reason| Err(CatalogError::Definition { what: format!("view `{}`", views[0].name), reason });
            if views.iter().any(|view| view.name == below.name) {
                return invalid(DefinitionError::StandsOnItself { through: lowest.name.clone() });
            }
            if views.len() == MAX_STACKED_VIEWS {
                return invalid(DefinitionError::TooDeep { limit: MAX_STACKED_VIEWS });
            }
            views.push(Arc::clone(below));
        }
    }

    /// The dataset that a relation is, or stands on.
    ///
    /// # Errors
    /// As [`Self::stack`].
    pub fn ground(&self, relation: &Relation) -> Result<Arc<DatasetRecord>, CatalogError> {
        match relation {
            Relation::Dataset(record) => Ok(Arc::clone(record)),
            Relation::View(record) => Ok(Arc::clone(self.stack(Arc::clone(record))?.dataset())),
        }
    }

    /// The views that stand on this one, at any height, by name.
    pub fn views_above(&self, name: &ViewName) -> Vec<Arc<ViewRecord>> {
        let stands_on = |view: &&Arc<ViewRecord>| {
            self.stack(Arc::clone(view)).is_ok_and(|stack| stack.below().iter().any(|below| below.name == *name))
        };
        self.views.values().filter(stands_on).cloned().collect()
    }

    /// The definitions with this view among them, if all views would then stand on something.
    ///
    /// # Errors
    /// As [`Self::stack`], of the view or of one that stands on it.
    pub fn with_view(&self, view: &Arc<ViewRecord>) -> Result<Self, CatalogError> {
        let mut next = self.clone();
        next.views.insert(view.name.clone(), Arc::clone(view));
        // The others first stood without it: what goes wrong with them now is of its making, and a circle leads through it.
        next.stack(Arc::clone(view))?;
        for other in self.views_above(&view.name) {
            next.stack(other)?;
        }
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lakehouse_types::{Actor, BucketName, Code, DatasetName, Fault, ViewName};
    use serde_json::json;

    use super::MAX_STACKED_VIEWS;
    use crate::{CatalogSnapshot, DatasetRecord, Relation, ViewInput, ViewRecord};

    fn view(name: &str, base: &str) -> Arc<ViewRecord> {
        let input = json!({"name": name, "base_dataset": base, "columns": ["a"]});
        let input: ViewInput = serde_json::from_value(input).unwrap();
        Arc::new(input.into_record(&Actor::new("ada").unwrap(), "2026-01-03T03:04:05Z".parse().unwrap(), None))
    }

    /// `d`, and `v1` on it, `v2` on that, …
    fn tower(views: usize) -> CatalogSnapshot {
        let mut snapshot = CatalogSnapshot::default();
        let by = Actor::new("ada").unwrap();
        let dataset = DatasetRecord::new(
            DatasetName::new("d").unwrap(),
            BucketName::primary(),
            by,
            "2026-01-02T03:04:05Z".parse().unwrap(),
        );
        snapshot.datasets.insert(dataset.name.clone(), Arc::new(dataset));
        for n in 1..=views {
            let base = if n == 1 { "d".to_owned() } else { format!("v{}", n - 1) };
            snapshot = snapshot.with_view(&view(&format!("v{n}"), &base)).unwrap();
        }
        snapshot
    }

    fn names(views: &[Arc<ViewRecord>]) -> Vec<&str> {
        views.iter().map(|view| view.name.as_str()).collect()
    }

    #[test]
    fn a_stack_ends_in_its_dataset() {
        let snapshot = tower(3);
        let top = Arc::clone(&snapshot.views["v3"]);
        let stack = snapshot.stack(Arc::clone(&top)).unwrap();
        assert_eq!((names(stack.views()), names(stack.below())), (vec!["v3", "v2", "v1"], vec!["v2", "v1"]));
        assert_eq!((stack.top().name.as_str(), stack.dataset().name.as_str()), ("v3", "d"));
        assert_eq!(snapshot.ground(&Relation::View(top)).unwrap().name.as_str(), "d");
        assert_eq!(names(&snapshot.views_above(&ViewName::new("v1").unwrap())), ["v2", "v3"]);
        assert_eq!(names(&snapshot.views_above(&ViewName::new("v3").unwrap())), [""; 0]);
    }

    #[test]
    fn there_are_no_circles_and_no_towers_without_end() {
        let snapshot = tower(MAX_STACKED_VIEWS);
        let highest = format!("v{MAX_STACKED_VIEWS}");
        for (name, base, code, words) in [
            ("v1", "v1", Code::InvalidDefinition, "stand on itself"),
            ("v1", "v2", Code::InvalidDefinition, "stand on itself"),
            ("v1", highest.as_str(), Code::InvalidDefinition, "stand on itself"),
            ("w", highest.as_str(), Code::InvalidDefinition, "at most 8 views"),
            ("w", "nothing", Code::UnknownDataset, "nothing"),
        ] {
            let error = snapshot.with_view(&view(name, base)).unwrap_err();
            assert_eq!(error.code(), code, "{name} on {base}: {error}");
            assert!(error.public().contains(words), "{name} on {base}: {error}");
        }
        // Those above a view get deeper with it.
        let snapshot = snapshot.with_view(&view("w", "d")).unwrap();
        let error = snapshot.with_view(&view("v1", "w")).unwrap_err();
        assert!(error.public().contains("at most 8 views"), "{error}");
        assert!(snapshot.with_view(&view("v2", "w")).is_ok());
    }
}
