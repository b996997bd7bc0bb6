//! The definitions at one moment.

use std::{collections::BTreeMap, sync::Arc};

use lakehouse_types::{DatasetName, IndexName, PluginName, ProfileId, RuleName, ViewName};

use crate::{CatalogError, DatasetRecord, IndexRecord, Profile, UsedBy, ViewRecord};

/// Immutable; a request holds one throughout.
#[derive(Debug, Clone, Default)]
pub struct CatalogSnapshot {
    pub datasets: BTreeMap<DatasetName, Arc<DatasetRecord>>,
    pub views: BTreeMap<ViewName, Arc<ViewRecord>>,
    /// Never without `default`.
    pub profiles: BTreeMap<ProfileId, Arc<Profile>>,
    pub indexes: BTreeMap<IndexName, Arc<IndexRecord>>,
}

/// What a name in SQL or in a binding stands for.
#[derive(Debug, Clone)]
pub enum Relation {
    Dataset(Arc<DatasetRecord>),
    View(Arc<ViewRecord>),
}

impl CatalogSnapshot {
    /// # Errors
    /// [`CatalogError::UnknownDataset`].
    pub fn dataset(&self, name: &DatasetName) -> Result<&Arc<DatasetRecord>, CatalogError> {
        self.datasets.get(name).ok_or_else(|| CatalogError::UnknownDataset { name: name.clone() })
    }

    /// # Errors
    /// [`CatalogError::UnknownView`].
    pub fn view(&self, name: &ViewName) -> Result<&Arc<ViewRecord>, CatalogError> {
        self.views.get(name).ok_or_else(|| CatalogError::UnknownView { name: name.clone() })
    }

    /// # Errors
    /// [`CatalogError::UnknownProfile`].
    pub fn profile(&self, id: &ProfileId) -> Result<&Arc<Profile>, CatalogError> {
        self.profiles.get(id).ok_or_else(|| CatalogError::UnknownProfile { id: id.clone() })
    }

    /// # Errors
    /// [`CatalogError::UnknownIndex`].
    pub fn index(&self, name: &IndexName) -> Result<&Arc<IndexRecord>, CatalogError> {
        self.indexes.get(name).ok_or_else(|| CatalogError::UnknownIndex { name: name.clone() })
    }

    /// The dataset or view of this name.
    pub fn relation(&self, name: &str) -> Option<Relation> {
        let dataset = self.datasets.get(name).map(|record| Relation::Dataset(record.clone()));
        dataset.or_else(|| self.views.get(name).map(|record| Relation::View(record.clone())))
    }

    /// What would break if the dataset went.
    pub fn users_of_dataset(&self, name: &DatasetName) -> Vec<UsedBy> {
        self.users_of(name.as_str())
    }

    /// What would break if the view went.
    pub fn users_of_view(&self, name: &ViewName) -> Vec<UsedBy> {
        self.users_of(name.as_str())
    }

    fn users_of(&self, relation: &str) -> Vec<UsedBy> {
        let views = self.views.values().filter(|view| view.base_dataset.as_str() == relation);
        let views = views.map(|view| UsedBy::View(view.name.clone()));
        views.chain(self.profiles_binding(relation)).chain(self.indexes_of(relation)).collect()
    }

    /// Which rules of which profiles run this plugin, the default rules included.
    pub fn users_of_plugin(&self, plugin: &PluginName) -> Vec<(ProfileId, RuleName)> {
        let mut users = Vec::new();
        for (id, profile) in &self.profiles {
            let rules = profile.effective_rules().into_iter().filter(|rule| rule.component.plugin == *plugin);
            users.extend(rules.map(|rule| (id.clone(), rule.name)));
        }
        users
    }

    /// The indexes that pin a version of this plugin.
    pub fn indexes_by_plugin(&self, plugin: &PluginName) -> Vec<UsedBy> {
        let pinning = self.indexes.values().filter(|index| index.recipe.rules.plugins().contains(plugin));
        pinning.map(|index| UsedBy::Index(index.name.clone())).collect()
    }

    fn indexes_of<'s>(&'s self, relation: &'s str) -> impl Iterator<Item = UsedBy> + 's {
        let of_it = self.indexes.values().filter(move |index| index.relation == relation);
        of_it.map(|index| UsedBy::Index(index.name.clone()))
    }

    fn profiles_binding<'s>(&'s self, relation: &'s str) -> impl Iterator<Item = UsedBy> + 's {
        let binding = self.profiles.values().filter(move |profile| profile.bound_datasets.iter().any(|bound| bound == relation));
        binding.map(|profile| UsedBy::Profile(profile.id.clone()))
    }
}
