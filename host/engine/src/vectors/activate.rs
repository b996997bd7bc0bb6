//! Activation: what requests under a profile will need is loaded before they come.
//!
//! **Invariant**: changes nothing; one thing that cannot be loaded is reported and stops no other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lakehouse_access::{Action, Caller};
use lakehouse_catalog::{IndexRecord, Profile};
use lakehouse_plugins::Bindings;
use lakehouse_types::{BucketName, Fault, ProfileId};
use lakehouse_vector::Need;

use crate::{Engine, EngineError, profiles::try_rule};

/// What an activation came to.
#[derive(Debug)]
pub struct Activation {
    pub profile: ProfileId,
    pub rules: Vec<ActivatedRule>,
    /// Those of the relations that the profile is bound to, or of all when it is bound to none.
    pub indexes: Vec<ActivatedIndex>,
    /// The bucket of the profile's own, if one is declared.
    pub bucket: Option<BucketName>,
    pub duration: Duration,
}

/// A rule whose component is loaded, or why it is not.
#[derive(Debug)]
pub struct ActivatedRule {
    pub rule: lakehouse_catalog::RuleBinding,
    pub failed: Option<EngineError>,
    pub duration: Duration,
}

/// An index that is in memory, or why it is not.
#[derive(Debug)]
pub struct ActivatedIndex {
    pub index: Arc<IndexRecord>,
    /// Vectors, and bytes of memory that it holds.
    pub loaded: Result<(usize, u64), EngineError>,
    pub duration: Duration,
}

impl Engine {
    /// Loads the profile's components and warms its indexes.
    ///
    /// # Errors
    /// When the caller may not, or the profile does not exist.
    pub async fn activate(self: &Arc<Self>, caller: &Caller, id: &ProfileId) -> Result<Activation, EngineError> {
        self.require(caller, Action::ManageIndexes).await?;
        let begun = Instant::now();
        let present = self.catalog.snapshot();
        let profile = Arc::clone(present.profile(id)?);
        let rules = self.load_rules(&profile).await?;
        let mut indexes = Vec::new();
        for index in present.indexes.values().filter(|index| profile.reaches(&index.relation)) {
            let begun = Instant::now();
            let loaded = self.warm(index).await;
            indexes.push(ActivatedIndex { index: Arc::clone(index), loaded, duration: begun.elapsed() });
        }
        let own = BucketName::new(format!("profile:{id}")).ok().filter(|name| self.buckets.get(name).is_ok());
        Ok(Activation { profile: id.clone(), rules, indexes, bucket: own, duration: begun.elapsed() })
    }

    async fn warm(&self, index: &Arc<IndexRecord>) -> Result<(usize, u64), EngineError> {
        if !index.is_ready() {
            return Err(EngineError::IndexNotReady { index: index.name.clone() });
        }
        match self.vectors.indexes.load(index, Need::Warm).await {
            Ok(loaded) => Ok((loaded.vectors(), loaded.memory_bytes())),
            Err(error) => {
                self.is_damage(index, &error);
                Err(error.into())
            }
        }
    }

    async fn load_rules(&self, profile: &Profile) -> Result<Vec<ActivatedRule>, EngineError> {
        let bindings = Bindings::new(self.registry.snapshot(), profile.effective_rules());
        let rules = profile.effective_rules();
        self.cpu
            .run(async move {
                let mut loaded = Vec::with_capacity(rules.len());
                for rule in rules {
                    let begun = Instant::now();
                    let failed = try_rule(&bindings, &rule).await.err();
                    loaded.push(ActivatedRule { rule, failed, duration: begun.elapsed() });
                }
                loaded
            })
            .await
    }
}

impl ActivatedIndex {
    /// The failure in public words.
    pub fn problem(&self) -> Option<String> {
        self.loaded.as_ref().err().map(Fault::public)
    }
}

impl ActivatedRule {
    /// The failure in public words.
    pub fn problem(&self) -> Option<String> {
        self.failed.as_ref().map(Fault::public)
    }
}
