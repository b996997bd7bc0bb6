//! What an edit may do. Each step checks the definitions as the steps before it left them.

use std::sync::Arc;

use lakehouse_journal::Draft;
use lakehouse_storage::Transaction;
use lakehouse_types::{DatasetName, IndexName, ProfileId, ViewName};

use crate::{CatalogError, CatalogSnapshot, DatasetRecord, DefinitionError, IndexRecord, Profile, ViewRecord, view_version};

/// Changes on their way into one metadata transaction. Handed to the closure of [`crate::Catalog::edit`].
#[derive(Debug)]
pub struct Edit {
    pub(crate) next: CatalogSnapshot,
    pub(crate) txn: Transaction,
    pub(crate) drafts: Vec<Draft>,
    /// Whether anything was staged; an edit that staged nothing commits nothing.
    pub(crate) is_dirty: bool,
}

impl Edit {
    pub(crate) fn new(present: &CatalogSnapshot, txn: Transaction) -> Self {
        Self { next: present.clone(), txn, drafts: Vec::new(), is_dirty: false }
    }

    /// The definitions as this edit has made them so far.
    pub fn definitions(&self) -> &CatalogSnapshot {
        &self.next
    }

    /// Creates a dataset or updates the one with the same id.
    ///
    /// # Errors
    /// When a view, or another dataset, has the name.
    pub fn put_dataset(&mut self, record: DatasetRecord) -> Result<(), CatalogError> {
        let name = &record.name;
        if self.next.views.contains_key(name.as_str()) {
            return Err(CatalogError::NameTaken { name: name.to_string(), holder: "view" });
        }
        if self.next.datasets.get(name).is_some_and(|present| present.id != record.id) {
            return Err(CatalogError::NameTaken { name: name.to_string(), holder: "dataset" });
        }
        self.txn().put(name.as_str(), &record)?;
        self.next.datasets.insert(name.clone(), Arc::new(record));
        Ok(())
    }

    /// # Errors
    /// When it does not exist, or a view, profile or index uses it.
    pub fn remove_dataset(&mut self, name: &DatasetName) -> Result<Arc<DatasetRecord>, CatalogError> {
        let record = self.next.dataset(name)?.clone();
        let used_by = self.next.users_of_dataset(name);
        if !used_by.is_empty() {
            return Err(CatalogError::InUse { what: format!("dataset `{name}`"), used_by });
        }
        self.txn().delete::<DatasetRecord>(name.as_str());
        self.next.datasets.remove(name);
        Ok(record)
    }

    /// Creates or replaces a view. Its version is the next one if it says something else than before, whatever the record holds.
    ///
    /// # Errors
    /// When the definition is invalid, its base does not exist, it or a view above it would stand on itself or too high, or a dataset
    /// has the name.
    pub fn put_view(&mut self, mut record: ViewRecord) -> Result<(), CatalogError> {
        record.validate()?;
        if self.next.datasets.contains_key(record.name.as_str()) {
            return Err(CatalogError::NameTaken { name: record.name.to_string(), holder: "dataset" });
        }
        let previous = self.next.views.get(&record.name).cloned();
        if let Some(previous) = &previous {
            record.version = previous.version + u64::from(!record.says_the_same_as(previous));
        }
        let record = Arc::new(record);
        let next = self.next.with_view(&record)?;
        let txn = self.txn();
        txn.put(record.name.as_str(), record.as_ref())?;
        view_version::keep(txn, &record, previous.as_deref())?;
        self.next = next;
        Ok(())
    }

    /// # Errors
    /// When it does not exist, or a view, profile or index uses it.
    pub fn remove_view(&mut self, name: &ViewName) -> Result<Arc<ViewRecord>, CatalogError> {
        let record = self.next.view(name)?.clone();
        let used_by = self.next.users_of_view(name);
        if !used_by.is_empty() {
            return Err(CatalogError::InUse { what: format!("view `{name}`"), used_by });
        }
        let txn = self.txn();
        txn.delete::<ViewRecord>(name.as_str());
        view_version::forget(txn, &record);
        self.next.views.remove(name);
        Ok(record)
    }

    /// Creates or replaces a profile. Whether its components exist and accept their configs is checked by the engine.
    ///
    /// # Errors
    /// When the definition is invalid, or binds what does not exist.
    pub fn put_profile(&mut self, profile: Profile) -> Result<(), CatalogError> {
        profile.validate()?;
        if let Some(name) = profile.bound_datasets.iter().find(|name| self.next.relation(name).is_none()) {
            return Err(profile.invalid(DefinitionError::UnknownBinding { name: name.clone() }));
        }
        self.txn().put(profile.id.as_str(), &profile)?;
        self.next.profiles.insert(profile.id.clone(), Arc::new(profile));
        Ok(())
    }

    /// # Errors
    /// When it does not exist, or is `default`.
    pub fn remove_profile(&mut self, id: &ProfileId) -> Result<Arc<Profile>, CatalogError> {
        if *id == ProfileId::default_profile() {
            return Err(CatalogError::DefaultProfile);
        }
        let profile = self.next.profile(id)?.clone();
        self.txn().delete::<Profile>(id.as_str());
        self.next.profiles.remove(id);
        Ok(profile)
    }

    /// Creates an index or updates the one with the same id.
    ///
    /// # Errors
    /// When its relation does not exist or stands on another dataset than before, or another index has the name.
    pub fn put_index(&mut self, record: IndexRecord) -> Result<(), CatalogError> {
        let name = &record.name;
        if self.next.indexes.get(name).is_some_and(|present| present.id != record.id) {
            return Err(CatalogError::NameTaken { name: name.to_string(), holder: "index" });
        }
        // One that was made of rows of this dataset still holds them when its view has moved on to another: it can be purged of them.
        let is_as_before = self.next.indexes.get(name).is_some_and(|present| present.base == record.base);
        let ground = self.next.relation(&record.relation).map(|relation| self.next.ground(&relation)).transpose()?;
        if !is_as_before && ground.is_none_or(|ground| ground.name != record.base) {
            return Err(CatalogError::UnknownDataset { name: record.base });
        }
        self.txn().put(name.as_str(), &record)?;
        self.next.indexes.insert(name.clone(), Arc::new(record));
        Ok(())
    }

    /// # Errors
    /// When it does not exist.
    pub fn remove_index(&mut self, name: &IndexName) -> Result<Arc<IndexRecord>, CatalogError> {
        let record = self.next.index(name)?.clone();
        self.txn().delete::<IndexRecord>(name.as_str());
        self.next.indexes.remove(name);
        Ok(record)
    }

    /// Adds a journal event to the transaction.
    pub fn event(&mut self, draft: Draft) {
        self.is_dirty = true;
        self.drafts.push(draft);
    }

    /// Stages records of other crates in the same transaction.
    pub fn txn(&mut self) -> &mut Transaction {
        self.is_dirty = true;
        &mut self.txn
    }
}
