//! How fast each key may ask: `[auth] requests_per_second` and `burst`.
//!
//! **Invariant**: only keys that open are counted, so that what is kept is bounded by the keys that there are; a key that asks too fast costs
//! the others nothing.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use lakehouse_settings::AuthSettings;
use lakehouse_types::KeyId;

type Limiter = RateLimiter<KeyId, DefaultKeyedStateStore<KeyId>, DefaultClock>;

/// The pace of all keys.
#[derive(Clone)]
pub(crate) struct Pace(Option<Arc<Limiter>>);

impl Pace {
    pub(crate) fn new(settings: &AuthSettings) -> Self {
        let number = |count: usize| NonZeroU32::new(u32::try_from(count).unwrap_or(u32::MAX));
        let limiter = number(settings.requests_per_second)
            .zip(number(settings.burst))
            .map(|(rate, burst)| Arc::new(RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst))));
        Self(limiter)
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long the key has to wait, when this one comes too soon.
    pub(crate) fn ask(&self, key: &KeyId) -> Result<(), Duration> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(key).map_err(|early| early.wait_time_from(DefaultClock::default().now()))
    }

    /// Lets go of the keys that have been quiet for long enough to be as good as new.
    pub(crate) fn forget_the_quiet(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use lakehouse_settings::{AuthSettings, Settings};
    use lakehouse_types::KeyId;

    use super::Pace;

    fn pace(requests_per_second: usize, burst: usize) -> Pace {
        Pace::new(&AuthSettings { requests_per_second, burst, ..Settings::default().auth })
    }

    #[test]
    fn a_burst_passes_and_then_each_key_waits_for_itself() {
        let (pace, ada, bob) = (pace(1, 3), KeyId::new("ada").unwrap(), KeyId::new("bob").unwrap());
        for _ in 0..3 {
            pace.ask(&ada).unwrap();
        }
        let wait = pace.ask(&ada).unwrap_err();
        assert!(wait.as_millis() > 0 && wait.as_millis() <= 1_000, "{wait:?}");
        pace.ask(&bob).unwrap();
        pace.forget_the_quiet();
        assert!(pace.ask(&ada).is_err());
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let (pace, ada) = (pace(0, 1), KeyId::new("ada").unwrap());
        assert!((0..10_000).all(|_| pace.ask(&ada).is_ok()));
    }
}
