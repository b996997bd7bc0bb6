//! Components by content: bytes in the primary bucket, code in the cache and, while it is used, in memory.
//!
//! **Invariant**: an object's name is the SHA-256 of its bytes, and bytes are used only when they still have it.

use std::sync::Arc;

use bytes::Bytes;
use lakehouse_storage::{
    Bucket,
    object_store::{Error as ObjectError, ObjectStoreExt, path::Path},
};
use lakehouse_types::Digest;
use sha2::{Digest as _, Sha256};

use crate::{
    Compiler, PluginError,
    cache::CodeCache,
    error::Check,
    runtime::{Loaded, Runtime},
    shelf::Shelf,
};

/// Where a component's bytes are.
fn object(digest: &Digest) -> Path {
    Path::from(format!("_plugins/sha256/{digest}.wasm"))
}

/// The SHA-256 of `bytes`.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(&Sha256::digest(bytes).into())
}

pub(crate) struct ComponentStore {
    bucket: Bucket,
    cache: CodeCache,
    compiler: Compiler,
    runtime: Arc<Runtime>,
    shelf: Arc<Shelf<Loaded>>,
}

impl ComponentStore {
    pub(crate) fn new(bucket: Bucket, cache: CodeCache, compiler: Compiler, runtime: Arc<Runtime>) -> Self {
        Self { bucket, cache, compiler, runtime, shelf: Arc::new(Shelf::new()) }
    }

    /// The component's code, if it is in memory.
    pub(crate) fn at_hand(&self, digest: &Digest) -> Option<Arc<Loaded>> {
        self.shelf.get(digest)
    }

    /// How many components have their code in memory.
    #[cfg(test)]
    pub(crate) fn in_memory(&self) -> usize {
        self.shelf.len()
    }

    /// Stores the bytes, durably when it returns. Storing them twice is the same as once.
    pub(crate) async fn put(&self, digest: &Digest, wasm: Bytes) -> Result<(), PluginError> {
        let put = self.bucket.store().put(&object(digest), wasm.into()).await;
        put.map(drop).map_err(|error| self.bucket.error(error).into())
    }

    /// Drops the bytes and the code.
    pub(crate) async fn remove(&self, digest: &Digest) -> Result<(), PluginError> {
        self.cache.forget(digest);
        self.shelf.forget(digest);
        match self.bucket.store().delete(&object(digest)).await {
            Ok(()) | Err(ObjectError::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.bucket.error(error).into()),
        }
    }

    async fn get(&self, digest: &Digest) -> Result<Bytes, PluginError> {
        let damaged = || PluginError::Damaged { digest: digest.to_string() };
        let bytes = match self.bucket.store().get(&object(digest)).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(ObjectError::NotFound { .. }) => return Err(damaged()),
            Err(error) => return Err(self.bucket.error(error).into()),
        };
        let (bytes, found) = on_blocking(move || (digest_of(&bytes), bytes)).await.map(|(found, bytes)| (bytes, found))?;
        if found == *digest { Ok(bytes) } else { Err(damaged()) }
    }

    /// The component's code, from memory, the cache, or compiled from the store.
    pub(crate) async fn load(&self, digest: &Digest) -> Result<Arc<Loaded>, PluginError> {
        if let Some(loaded) = self.cached(digest).await? {
            return Ok(loaded);
        }
        let wasm = self.get(digest).await?;
        self.compile(digest, wasm).await
    }

    /// Compiles (unless cached) and loads `wasm`.
    pub(crate) async fn compile(&self, digest: &Digest, wasm: Bytes) -> Result<Arc<Loaded>, PluginError> {
        if let Some(loaded) = self.cached(digest).await? {
            return Ok(loaded);
        }
        let code = self.compiler.compile(wasm).await?;
        let (cache, runtime, digest) = (self.cache.clone(), Arc::clone(&self.runtime), digest.clone());
        let shelf = Arc::clone(&self.shelf);
        on_blocking(move || {
            if let Err(error) = cache.put(&digest, &code) {
                tracing::warn!(component = %digest, %error, "compiled code cannot be cached");
            }
            runtime.load(&code).map(|loaded| shelf.put(&digest, loaded, code.len()))
        })
        .await?
        .map_err(|error| {
            let check = Check::failed("link", crate::message::escape(&format!("{error:#}"), 500));
            PluginError::Refused { checks: vec![check] }
        })
    }

    async fn cached(&self, digest: &Digest) -> Result<Option<Arc<Loaded>>, PluginError> {
        if let Some(loaded) = self.at_hand(digest) {
            return Ok(Some(loaded));
        }
        let (cache, runtime, digest) = (self.cache.clone(), Arc::clone(&self.runtime), digest.clone());
        let shelf = Arc::clone(&self.shelf);
        on_blocking(move || {
            let code = cache.get(&digest)?;
            match runtime.load(&code) {
                Ok(loaded) => Some(shelf.put(&digest, loaded, code.len())),
                Err(error) => {
                    tracing::warn!(component = %digest, %error, "cached code does not load; compiling it again");
                    None
                }
            }
        })
        .await
    }
}

impl std::fmt::Debug for ComponentStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComponentStore").field("bucket", self.bucket.name()).finish_non_exhaustive()
    }
}

/// Runs `work` where blocking is allowed.
pub(crate) async fn on_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PluginError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| PluginError::host("a blocking task ended early", error))
}
