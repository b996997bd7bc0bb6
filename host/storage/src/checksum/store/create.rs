//! Objects that are made only if they are not there: the one kind that two hosts may write at once.

use std::sync::Arc;

use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult, Result, path::Path};

use super::ChecksumStore;
use crate::{
    checksum::{Contents, Sums, beside},
    meta,
};

impl ChecksumStore {
    /// Creates an object that another host may be creating, too: whoever does says what it is.
    pub(super) async fn create(&self, object: &Path, has_sums: bool, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let beside = beside(object);
        if has_sums {
            // Of one that is gone, or never came to be.
            self.forget(object).await?;
        }
        let contents = Contents::default().with(Sums::of(payload.iter()));
        let bytes: PutPayload = contents.encode().into();
        let claim = self.inner.put_opts(&beside, bytes.clone(), PutOptions::from(PutMode::Create));
        let put = self.inner.put_opts(object, payload, opts);
        let (claimed, put) = if meta::holds(object) {
            // One after the other: the metadata store takes a manifest whose write is said to have failed for another host's.
            match claim.await {
                Err(error) if !matches!(error, Error::AlreadyExists { .. }) => return Err(error),
                claimed => (claimed, put.await),
            }
        } else {
            futures::join!(claim, put)
        };
        match (claimed, put) {
            (Ok(_), Ok(put)) => {
                self.known.lock().put(object, Some(Arc::new(contents)));
                Ok(put)
            }
            // Sums of one that came too late.
            (Err(Error::AlreadyExists { .. }), Ok(put)) => {
                self.forget(object).await?;
                self.inner.put(&beside, bytes).await?;
                self.known.lock().put(object, Some(Arc::new(contents)));
                Ok(put)
            }
            (Ok(_), Err(error @ Error::AlreadyExists { .. })) => {
                // Without sums rather than with those of another content.
                self.forget(object).await?;
                Err(error)
            }
            (Err(error), Ok(_)) | (_, Err(error)) => Err(error),
        }
    }
}
