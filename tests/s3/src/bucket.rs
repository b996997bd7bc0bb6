//! Objects, uploads, and the preconditions of both.
//!
//! **Invariant**: one lock, so that of many conditional writes of a name one wins.

use std::{
    collections::BTreeMap,
    fmt::Write,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use lakehouse_types::{Clock, SystemClock};
use s3s::{
    S3, S3Request, S3Response, S3Result,
    dto::{
        AbortMultipartUploadInput, AbortMultipartUploadOutput, CommonPrefix, CompleteMultipartUploadInput,
        CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, CopySource,
        CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput,
        DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, GetObjectInput, GetObjectOutput, HeadObjectInput,
        HeadObjectOutput, ListObjectsV2Input, ListObjectsV2Output, Metadata, Object, PutObjectInput, PutObjectOutput,
        StreamingBlob, Timestamp, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
    },
    s3_error,
};
use sha2::{Digest, Sha256};

use crate::server::BUCKET;

/// Entries of one page: few, so that listings have pages.
const PAGE: usize = 37;
/// What a part has at least, unless it is the last.
const MIN_PART_BYTES: usize = 5 << 20;

#[derive(Debug, Clone, Default)]
pub(crate) struct Objects(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Stored>,
    uploads: BTreeMap<String, Upload>,
    begun: u64,
    ignores_preconditions: bool,
}

#[derive(Debug, Clone)]
struct Stored {
    bytes: Bytes,
    tag: String,
    metadata: Option<Metadata>,
    written: SystemTime,
}

#[derive(Debug, Default)]
struct Upload {
    metadata: Option<Metadata>,
    parts: BTreeMap<i32, Bytes>,
}

impl Stored {
    fn new(bytes: Bytes, metadata: Option<Metadata>) -> Self {
        Self { tag: tag(&bytes), bytes, metadata, written: SystemClock.now().into() }
    }

    fn e_tag(&self) -> ETag {
        ETag::Strong(self.tag.clone())
    }

    fn size(&self) -> i64 {
        i64::try_from(self.bytes.len()).unwrap_or(i64::MAX)
    }
}

fn tag(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Objects {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.lock().objects.keys().cloned().collect()
    }

    pub(crate) fn open_uploads(&self) -> usize {
        self.lock().uploads.len()
    }

    pub(crate) fn ignore_preconditions(&self) {
        self.lock().ignores_preconditions = true;
    }
}

impl State {
    fn get(&self, key: &str) -> S3Result<Stored> {
        self.objects.get(key).cloned().ok_or_else(|| s3_error!(NoSuchKey))
    }

    /// Whether a write may go ahead.
    fn allow(&self, key: &str, if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> S3Result<()> {
        if self.ignores_preconditions {
            return Ok(());
        }
        let present = self.objects.get(key);
        if if_none_match.is_some_and(ETagCondition::is_any) && present.is_some() {
            return Err(s3_error!(PreconditionFailed));
        }
        match (if_match, present) {
            (None | Some(ETagCondition::Any), _) => Ok(()),
            (Some(_), None) => Err(s3_error!(NoSuchKey)),
            (Some(ETagCondition::ETag(wanted)), Some(stored)) if wanted.value() == stored.tag => Ok(()),
            (Some(ETagCondition::ETag(_)), Some(_)) => Err(s3_error!(PreconditionFailed)),
        }
    }

    fn put(&mut self, key: String, stored: Stored) -> ETag {
        let tag = stored.e_tag();
        self.objects.insert(key, stored);
        tag
    }

    fn source(&self, source: &CopySource) -> S3Result<Stored> {
        match source {
            CopySource::Bucket { key, .. } => self.get(key),
            _ => Err(s3_error!(NotImplemented)),
        }
    }
}

fn known(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
}

async fn read(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let mut bytes = BytesMut::new();
    if let Some(mut body) = body {
        while let Some(part) = body.next().await {
            bytes.extend_from_slice(&part.map_err(|_| s3_error!(IncompleteBody))?);
        }
    }
    Ok(bytes.freeze())
}

fn answer<T>(output: T) -> S3Result<S3Response<T>> {
    Ok(S3Response::new(output))
}

#[async_trait]
impl S3 for Objects {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let bytes = read(input.body).await?;
        let mut state = self.lock();
        state.allow(&input.key, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let e_tag = Some(state.put(input.key, Stored::new(bytes, input.metadata)));
        answer(PutObjectOutput { e_tag, ..PutObjectOutput::default() })
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let stored = self.lock().get(&input.key)?;
        match (&input.if_match, &input.if_none_match) {
            (Some(ETagCondition::ETag(wanted)), _) if wanted.value() != stored.tag => {
                return Err(s3_error!(PreconditionFailed));
            }
            (_, Some(ETagCondition::ETag(known))) if known.value() == stored.tag => return Err(s3_error!(NotModified)),
            _ => {}
        }
        let whole = stored.bytes.len();
        let (range, content_range) = match input.range {
            None => (0..whole, None),
            Some(range) => {
                let found = range.check(whole as u64)?;
                let told = format!("bytes {}-{}/{whole}", found.start, found.end - 1);
                let [start, end] = [found.start, found.end].map(|at| usize::try_from(at).unwrap_or(whole));
                (start..end, Some(told))
            }
        };
        let bytes = stored.bytes.slice(range);
        answer(GetObjectOutput {
            content_length: i64::try_from(bytes.len()).ok(),
            content_range,
            e_tag: Some(stored.e_tag()),
            last_modified: Some(Timestamp::from(stored.written)),
            metadata: stored.metadata,
            body: Some(StreamingBlob::wrap(stream::iter([Ok::<_, std::io::Error>(bytes)]))),
            ..GetObjectOutput::default()
        })
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let stored = self.lock().get(&input.key)?;
        answer(HeadObjectOutput {
            content_length: Some(stored.size()),
            e_tag: Some(stored.e_tag()),
            last_modified: Some(Timestamp::from(stored.written)),
            metadata: stored.metadata,
            ..HeadObjectOutput::default()
        })
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        known(&input.bucket)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let page = usize::try_from(input.max_keys.unwrap_or(i32::MAX)).unwrap_or(PAGE).min(PAGE);
        let after = input.continuation_token.clone().or_else(|| input.start_after.clone()).unwrap_or_default();
        let state = self.lock();
        let (mut contents, mut folders, mut last) = (Vec::new(), Vec::<String>::new(), None);
        let mut is_truncated = false;
        for (key, stored) in state.objects.range::<str, _>((Bound::Excluded(after.as_str()), Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(&prefix) else { continue };
            let folder = input.delimiter.as_deref().and_then(|delimiter| rest.split_once(delimiter)).map(|(name, _)| name);
            let folder = folder.map(|name| format!("{prefix}{name}{}", input.delimiter.as_deref().unwrap_or_default()));
            if folder.as_ref().is_some_and(|folder| folders.last() == Some(folder) || after.starts_with(folder)) {
                last = Some(key.clone());
                continue;
            }
            if contents.len() + folders.len() == page {
                is_truncated = true;
                break;
            }
            last = Some(key.clone());
            match folder {
                Some(folder) => folders.push(folder),
                None => contents.push(Object {
                    e_tag: Some(stored.e_tag()),
                    key: Some(key.clone()),
                    last_modified: Some(Timestamp::from(stored.written)),
                    size: Some(stored.size()),
                    ..Object::default()
                }),
            }
        }
        answer(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            key_count: i32::try_from(contents.len() + folders.len()).ok(),
            max_keys: i32::try_from(page).ok(),
            is_truncated: Some(is_truncated),
            next_continuation_token: last.filter(|_| is_truncated),
            contents: Some(contents),
            common_prefixes: Some(folders.into_iter().map(|folder| CommonPrefix { prefix: Some(folder) }).collect()),
            ..ListObjectsV2Output::default()
        })
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        known(&req.input.bucket)?;
        self.lock().objects.remove(&req.input.key);
        answer(DeleteObjectOutput::default())
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        known(&req.input.bucket)?;
        let mut state = self.lock();
        let gone = req.input.delete.objects.into_iter().map(|object| {
            state.objects.remove(&object.key);
            DeletedObject { key: Some(object.key), ..DeletedObject::default() }
        });
        let deleted = Some(gone.collect());
        answer(DeleteObjectsOutput { deleted, ..DeleteObjectsOutput::default() })
    }

    async fn copy_object(&self, req: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let mut state = self.lock();
        let source = state.source(&input.copy_source)?;
        let e_tag = Some(state.put(input.key, source));
        let copy_object_result = Some(CopyObjectResult { e_tag, ..CopyObjectResult::default() });
        answer(CopyObjectOutput { copy_object_result, ..CopyObjectOutput::default() })
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        known(&input.bucket)?;
        let mut state = self.lock();
        state.begun += 1;
        let id = format!("upload-{}", state.begun);
        state.uploads.insert(id.clone(), Upload { metadata: input.metadata, parts: BTreeMap::new() });
        answer(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            ..CreateMultipartUploadOutput::default()
        })
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let bytes = read(req.input.body).await?;
        let mut state = self.lock();
        let upload = state.uploads.get_mut(&req.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let e_tag = Some(ETag::Strong(tag(&bytes)));
        upload.parts.insert(req.input.part_number, bytes);
        answer(UploadPartOutput { e_tag, ..UploadPartOutput::default() })
    }

    async fn upload_part_copy(&self, req: S3Request<UploadPartCopyInput>) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let mut state = self.lock();
        let source = state.source(&req.input.copy_source)?;
        let upload = state.uploads.get_mut(&req.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let e_tag = Some(source.e_tag());
        upload.parts.insert(req.input.part_number, source.bytes);
        let copy_part_result = Some(CopyPartResult { e_tag, ..CopyPartResult::default() });
        answer(UploadPartCopyOutput { copy_part_result, ..UploadPartCopyOutput::default() })
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        let mut state = self.lock();
        state.allow(&input.key, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let upload = state.uploads.get(&input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        let named = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let mut whole = BytesMut::new();
        for (n, part) in named.iter().enumerate() {
            let bytes = part.part_number.and_then(|number| upload.parts.get(&number)).ok_or_else(|| s3_error!(InvalidPart))?;
            if part.e_tag.as_ref().is_none_or(|told| told.value() != tag(bytes)) {
                return Err(s3_error!(InvalidPart));
            }
            if n + 1 < named.len() && bytes.len() < MIN_PART_BYTES {
                return Err(s3_error!(EntityTooSmall));
            }
            whole.extend_from_slice(bytes);
        }
        let metadata = state.uploads.remove(&input.upload_id).and_then(|upload| upload.metadata);
        let e_tag = Some(state.put(input.key.clone(), Stored::new(whole.freeze(), metadata)));
        answer(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag,
            ..CompleteMultipartUploadOutput::default()
        })
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.lock().uploads.remove(&req.input.upload_id).ok_or_else(|| s3_error!(NoSuchUpload))?;
        answer(AbortMultipartUploadOutput::default())
    }
}
