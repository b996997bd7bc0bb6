//! The body of an object that is read, asked for again from where it broke off.
//!
//! **Invariant**: all bytes are of the object that was begun, by its tag; only progress renews the patience.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use object_store::{Error, GetOptions, GetRange, GetResult, GetResultPayload, ObjectStore, Result, path::Path};

use super::store::S3Store;
use crate::retry::Attempts;

/// The same answer, with a body that goes on after a failure.
pub(super) fn resuming(store: &S3Store, location: &Path, options: GetOptions, found: GetResult) -> GetResult {
    let GetResult { payload, meta, range, attributes, extensions } = found;
    let body = match payload {
        GetResultPayload::Stream(body) => body,
        payload @ GetResultPayload::File(..) => return GetResult { payload, meta, range, attributes, extensions },
    };
    let options = GetOptions { if_match: meta.e_tag.clone(), if_none_match: None, ..options };
    let attempts = Attempts::new(store.retry, Arc::clone(&store.counters));
    let rest = Rest { store: store.clone(), location: location.clone(), options, attempts, body, range: range.clone() };
    let body = stream::try_unfold(rest, |mut rest| async move { Ok(rest.next().await?.map(|bytes| (bytes, rest))) });
    GetResult { payload: GetResultPayload::Stream(body.boxed()), meta, range, attributes, extensions }
}

/// What is left of a body.
struct Rest {
    store: S3Store,
    location: Path,
    options: GetOptions,
    attempts: Attempts,
    body: BoxStream<'static, Result<Bytes>>,
    range: Range<u64>,
}

impl Rest {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.body.next().await {
                None => return Ok(None),
                Some(Ok(bytes)) => {
                    self.range.start += bytes.len() as u64;
                    self.attempts.renew();
                    return Ok(Some(bytes));
                }
                Some(Err(_)) if self.range.is_empty() => return Ok(None),
                Some(Err(error)) => self.body = self.resume(error).await?,
            }
        }
    }

    async fn resume(&mut self, mut failure: Error) -> Result<BoxStream<'static, Result<Bytes>>> {
        while self.options.if_match.is_some() && self.attempts.again(&failure).await {
            let options = GetOptions { range: Some(GetRange::Bounded(self.range.clone())), ..self.options.clone() };
            match self.store.client.get_opts(&self.location, options).await {
                Ok(found) => return Ok(found.into_stream()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}
