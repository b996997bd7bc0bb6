//! Who comes in, and what they may do.
//!
//! **Invariant**: every refusal of this file is journaled before it is answered (the journal gathers them by actor and minute);
//! a journal that fails never turns a refusal into leave.

use std::sync::Arc;

use lakehouse_access::{Action, Caller, Principal};
use lakehouse_journal::Stamp;
use lakehouse_types::{Actor, Code, Fault, ProfileId, RequestId};

use crate::{Engine, EngineError};

/// The actor of denials that no key stands behind.
const NOBODY: &str = "anonymous";

impl Engine {
    /// Who presents this key, under which profile. With keys switched off, everybody is a local admin.
    ///
    /// # Errors
    /// When there is no valid key, the key asks too fast, may not name the profile, or the profile does not exist.
    pub async fn admit(
        &self,
        key: Option<&str>,
        profile: Option<&ProfileId>,
        request_id: RequestId,
    ) -> Result<Caller, EngineError> {
        let principal = match (self.settings.auth.enabled, key) {
            (false, _) => Arc::new(Principal::local_admin()),
            (true, key) => match self.keys.authenticate(key.unwrap_or_default()) {
                Ok(principal) => principal,
                Err(refusal) => {
                    self.journal_denial(&self.stamp_of_nobody(request_id), "authenticate", refusal.code()).await;
                    return Err(refusal.into());
                }
            },
        };
        if !principal.is_local() {
            self.pace.ask(&principal.key_id).map_err(|wait| EngineError::TooFast { wait })?;
        }
        let profile = match principal.choose_profile(profile) {
            Ok(chosen) => chosen,
            Err(refusal) => {
                let caller = Caller { principal, profile: ProfileId::default_profile(), request_id };
                return Err(self.denied(&caller, "choose a profile", refusal).await);
            }
        };
        self.catalog.snapshot().profile(&profile)?;
        Ok(Caller { principal, profile, request_id })
    }

    /// Journals that somebody sent what cannot be read as a key.
    pub async fn journal_unreadable_key(&self, request_id: RequestId) {
        self.journal_denial(&self.stamp_of_nobody(request_id), "authenticate", Code::Unauthenticated).await;
    }

    /// Journals that a request came from a foreign web page.
    pub async fn journal_foreign_page(&self, request_id: RequestId) {
        self.journal_denial(&self.stamp_of_nobody(request_id), "come from a web page", Code::Forbidden).await;
    }

    /// Refuses who may not do this at all, or not any more: a body may take its time, and a key end or lose a grant meanwhile. Grants are
    /// asked for where the object is known.
    ///
    /// # Errors
    /// The refusal.
    pub async fn require(&self, caller: &Caller, action: Action) -> Result<(), EngineError> {
        match self.keys.readmit(&caller.principal).and_then(|()| caller.principal.require(action)) {
            Ok(()) => Ok(()),
            Err(refusal) => Err(self.denied(caller, action.words(), refusal).await),
        }
    }

    /// Journals a refusal and passes it on.
    pub(crate) async fn denied(&self, caller: &Caller, what: &str, refusal: impl Into<EngineError>) -> EngineError {
        let refusal = refusal.into();
        self.journal_denial(&self.stamp(caller), what, refusal.code()).await;
        refusal
    }

    pub(crate) async fn journal_denial(&self, by: &Stamp, what: &str, code: Code) {
        if let Err(error) = self.journal.deny(by, what, code).await {
            tracing::warn!(%error, "a denial could not be journaled");
        }
    }

    /// Who, in which request, now.
    pub(crate) fn stamp(&self, caller: &Caller) -> Stamp {
        caller.stamp(&*self.clock)
    }

    fn stamp_of_nobody(&self, request_id: RequestId) -> Stamp {
        let actor = Actor::new(NOBODY).expect("a plain word is an actor");
        Stamp { actor, role: "none".into(), profile: None, request_id, at: self.clock.now() }
    }
}
