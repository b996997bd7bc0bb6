//! One request's principal, profile and id: what every use case is asked with.

use std::sync::Arc;

use lakehouse_journal::Stamp;
use lakehouse_types::{Clock, ProfileId, RequestId};

use crate::Principal;

/// Who asks, under which profile, in which request.
#[derive(Debug, Clone)]
pub struct Caller {
    pub principal: Arc<Principal>,
    pub profile: ProfileId,
    pub request_id: RequestId,
}

impl Caller {
    /// How the journal names this request, at this moment.
    pub fn stamp(&self, clock: &dyn Clock) -> Stamp {
        Stamp {
            actor: self.principal.name.clone(),
            role: self.principal.role.as_str().into(),
            profile: Some(self.profile.clone()),
            request_id: self.request_id.clone(),
            at: clock.now(),
        }
    }
}
