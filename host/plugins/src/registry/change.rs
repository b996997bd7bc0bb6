//! Changes of what is installed: another version, on and off, gone.

use std::sync::Arc;

use lakehouse_catalog::{ComponentRef, Pin};
use lakehouse_journal::{Draft, EventKind, Stamp};
use lakehouse_types::{Digest, PluginName};
use serde_json::json;

use super::{PluginSummary, Registry, detached, record::PluginRecord};
use crate::PluginError;

impl Registry {
    /// Makes another version active: `to` (a version, or `sha256:` and a digest), else the one that was active before.
    ///
    /// # Errors
    /// When there is no such plugin or version, or its code cannot be loaded.
    pub async fn rollback(
        self: &Arc<Self>,
        by: &Stamp,
        name: &PluginName,
        to: Option<String>,
    ) -> Result<PluginSummary, PluginError> {
        let pin = match &to {
            None => None,
            Some(text) => {
                let unknown = || PluginError::UnknownVersion { plugin: name.clone(), version: crate::message::escape(text, 80) };
                let reference: ComponentRef = format!("{name}@{text}").parse().map_err(|_| unknown())?;
                Some(reference.pin)
            }
        };
        let target = self.rollback_target(name, pin.as_ref())?;
        self.version(name, &target)?.code().await?;
        self.edit(by, name, EventKind::PluginRollback, move |record| {
            // The plugin may have been changed, or deleted and uploaded anew, since the target was found.
            let from = record.active.clone();
            match pin {
                None => drop(record.step_back().ok_or_else(|| PluginError::NoEarlierVersion(record.name.clone()))?),
                Some(_) if record.version(&target).is_some() => record.activate(target),
                Some(pin) => return Err(PluginError::UnknownVersion { plugin: record.name.clone(), version: pin_text(&pin) }),
            }
            let version_of = |digest: &Digest| record.version(digest).map(|version| version.version.clone());
            let (left, reached) = (version_of(&from), version_of(&record.active));
            Ok(json!({ "from": left, "from_digest": from, "to": reached, "to_digest": record.active }))
        })
        .await
    }

    fn rollback_target(&self, name: &PluginName, pin: Option<&Pin>) -> Result<Digest, PluginError> {
        let plugin = self.plugin(name)?;
        match pin {
            None => plugin.record.history.last().cloned().ok_or_else(|| PluginError::NoEarlierVersion(name.clone())),
            Some(pin) => match plugin.record.find(pin) {
                Some(version) => Ok(version.digest.clone()),
                None => Err(PluginError::UnknownVersion { plugin: name.clone(), version: pin_text(pin) }),
            },
        }
    }

    /// Lets bindings resolve to the plugin again.
    ///
    /// # Errors
    /// When there is no such plugin, or metadata cannot be written.
    pub async fn enable(self: &Arc<Self>, by: &Stamp, name: &PluginName) -> Result<PluginSummary, PluginError> {
        self.set_enabled(by, name, true, EventKind::PluginEnable).await
    }

    /// Makes every binding to the plugin unresolved, so that what uses it fails closed.
    ///
    /// # Errors
    /// As [`Self::enable`].
    pub async fn disable(self: &Arc<Self>, by: &Stamp, name: &PluginName) -> Result<PluginSummary, PluginError> {
        self.set_enabled(by, name, false, EventKind::PluginDisable).await
    }

    async fn set_enabled(
        self: &Arc<Self>,
        by: &Stamp,
        name: &PluginName,
        enabled: bool,
        kind: EventKind,
    ) -> Result<PluginSummary, PluginError> {
        if self.plugin(name)?.record.enabled == enabled {
            return self.summary(name);
        }
        self.edit(by, name, kind, move |record| {
            record.enabled = enabled;
            Ok(json!({ "active": record.version(&record.active).map(|version| version.version.clone()) }))
        })
        .await
    }

    /// Removes the plugin and the bytes that no other plugin shares. Requests that hold a snapshot finish on it. Whether
    /// something uses the plugin is for the caller to check.
    ///
    /// # Errors
    /// When there is no such plugin, or metadata cannot be written.
    pub async fn delete(self: &Arc<Self>, by: &Stamp, name: &PluginName) -> Result<(), PluginError> {
        let (this, by, name) = (Arc::clone(self), by.clone(), name.clone());
        detached(async move {
            let _turn = this.edits.lock().await;
            let plugin = this.plugin(&name)?;
            // Whoever holds the present snapshot keeps its code after the bytes are gone.
            if let Some(active) = plugin.version(&plugin.record.active) {
                let _ = active.code().await;
            }
            let mut txn = this.meta.begin().await?;
            txn.delete::<PluginRecord>(name.as_str());
            let versions: Vec<_> = plugin.record.versions.iter().map(|version| version.version.clone()).collect();
            let draft = Draft::new(EventKind::PluginDelete, name.as_str()).details(json!({ "versions": versions }));
            this.journal.commit(txn, &by, vec![draft]).await?;
            this.publish(|plugins| drop(plugins.remove(&name)));
            let left = this.snapshot();
            for version in &plugin.record.versions {
                let shared = left.plugins.values().any(|other| other.record.version(&version.digest).is_some());
                if !shared && let Err(error) = this.store.remove(&version.digest).await {
                    tracing::warn!(component = %version.digest, %error, "a deleted component's bytes are left over");
                }
            }
            Ok(())
        })
        .await
    }

    /// One change of one plugin: record, event, publication.
    async fn edit(
        self: &Arc<Self>,
        by: &Stamp,
        name: &PluginName,
        kind: EventKind,
        change: impl FnOnce(&mut PluginRecord) -> Result<serde_json::Value, PluginError> + Send + 'static,
    ) -> Result<PluginSummary, PluginError> {
        let (this, by, name) = (Arc::clone(self), by.clone(), name.clone());
        detached(async move {
            let _turn = this.edits.lock().await;
            let mut record = (*this.plugin(&name)?.record).clone();
            let details = change(&mut record)?;
            let mut txn = this.meta.begin().await?;
            txn.put(name.as_str(), &record)?;
            this.journal.commit(txn, &by, vec![Draft::new(kind, name.as_str()).details(details)]).await?;
            this.replace(record, None);
            this.summary(&name)
        })
        .await
    }
}

pub(super) fn pin_text(pin: &Pin) -> String {
    match pin {
        Pin::Active => "active".to_owned(),
        Pin::Version(version) => version.to_string(),
        Pin::Digest(digest) => format!("sha256:{digest}"),
    }
}
