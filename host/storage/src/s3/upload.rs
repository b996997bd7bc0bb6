//! An upload by parts.
//!
//! **Invariant**: a part is repeated under its own number, and a completion whose answer was lost is recognized by the id that the
//! upload began with. One that is dropped is aborted, as far as that is possible: the service keeps, and charges for, what is left.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use object_store::{
    Error, MultipartUpload, PutMultipartOptions, PutPayload, PutResult, Result, UploadPart,
    multipart::{MultipartStore, PartId},
    path::Path,
};
use tokio::runtime::Handle;

use super::store::{PutId, S3Store};
use crate::retry::Attempts;

#[derive(Debug)]
pub(super) struct S3Upload {
    target: Arc<Target>,
    next: usize,
    is_over: bool,
}

#[derive(Debug)]
struct Target {
    store: S3Store,
    location: Path,
    upload: String,
    id: PutId,
    parts: Mutex<BTreeMap<usize, PartId>>,
}

impl S3Upload {
    pub(super) async fn begin(store: S3Store, location: &Path, mut opts: PutMultipartOptions) -> Result<Self> {
        let id = PutId::fresh();
        let (key, value) = id.attribute();
        opts.attributes.insert(key, value);
        // A second beginning leaves the first without parts.
        let begin = || store.client.create_multipart_opts(location, opts.clone());
        let upload = store.retry.run(&store.counters, begin).await?;
        let target = Target { store, location: location.clone(), upload, id, parts: Mutex::default() };
        Ok(Self { target: Arc::new(target), next: 0, is_over: false })
    }
}

impl Target {
    async fn put(&self, number: usize, data: PutPayload) -> Result<()> {
        let S3Store { client, retry, counters, .. } = &self.store;
        let put = || client.put_part(&self.location, &self.upload, number, data.clone());
        let part = retry.run(counters, put).await?;
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(number, part);
        Ok(())
    }

    async fn complete(&self, parts: Vec<PartId>) -> Result<PutResult> {
        let store = &self.store;
        let mut attempts = Attempts::new(store.retry, Arc::clone(&store.counters));
        let mut is_first = true;
        loop {
            match store.client.complete_multipart(&self.location, &self.upload, parts.clone()).await {
                // The upload is gone after a call whose outcome is unknown: that one may have completed it.
                Err(error @ Error::NotFound { .. }) if !is_first => {
                    return store.written_by(&self.location, &self.id).await?.ok_or(error);
                }
                Err(error) if attempts.again(&error).await => is_first = false,
                outcome => return outcome,
            }
        }
    }

    async fn abort(&self) -> Result<()> {
        let S3Store { client, retry, counters, .. } = &self.store;
        match retry.run(counters, || client.abort_multipart(&self.location, &self.upload)).await {
            Err(Error::NotFound { .. }) => Ok(()),
            outcome => outcome,
        }
    }
}

#[async_trait]
impl MultipartUpload for S3Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (target, number) = (Arc::clone(&self.target), self.next);
        self.next += 1;
        Box::pin(async move { target.put(number, data).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let parts: Vec<PartId> = {
            let parts = self.target.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.values().cloned().collect()
        };
        if parts.len() != self.next {
            return Err(Error::Generic { store: "S3", source: "not every part of the upload was written".into() });
        }
        let completed = self.target.complete(parts).await?;
        self.is_over = true;
        Ok(completed)
    }

    async fn abort(&mut self) -> Result<()> {
        self.target.abort().await?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.is_over {
            let target = Arc::clone(&self.target);
            runtime.spawn(async move {
                if let Err(error) = target.abort().await {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "an abandoned upload stays until the service expires it"
                    );
                }
            });
        }
    }
}
