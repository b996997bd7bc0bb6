//! Buckets by name.

use lakehouse_access::Caller;
use lakehouse_types::BucketName;

use crate::Engine;

impl Engine {
    /// All buckets, sorted. Names of buckets are no secret: an unknown one is answered with the list.
    pub fn buckets(&self, _: &Caller) -> Vec<BucketName> {
        self.buckets.names()
    }
}
