//! The body on disk: decompressed, digested, read as often as needed. A small one stays in memory, where a file costs nothing to make.
//!
//! **Invariant**: the file has no name, so that it goes with the process; it never grows past its limit, however well a body is
//! compressed; a compressed body that was cut short is refused.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures::{Stream, StreamExt};
use lakehouse_types::Digest;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::IngestError;

/// Pieces of the body that wait for the disk.
const QUEUE: usize = 8;
/// Bytes that are looked at to recognize a compression or a format.
const HEAD_BYTES: u64 = 8;
/// Bytes that are copied at once.
const COPY_BYTES: usize = 256 << 10;

/// Bodies up to this size stay in memory.
const SMALL_BYTES: u64 = 256 << 10;

/// A body, plain.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    /// Digest of the body as it came.
    pub(crate) digest: Digest,
}

impl Spool {
    /// Takes the whole body.
    pub(crate) async fn take(
        folder: &Path,
        limit_bytes: u64,
        body: impl Stream<Item = io::Result<Bytes>> + Send,
    ) -> Result<Self, IngestError> {
        let folder = folder.to_owned();
        let (pieces, incoming) = mpsc::channel(QUEUE);
        let writing = tokio::task::spawn_blocking(move || spool(&folder, limit_bytes, incoming));
        let mut body = std::pin::pin!(body);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(IngestError::Body)?;
            // The writer stops early only with an error, which it tells below.
            if pieces.send(piece).await.is_err() {
                break;
            }
        }
        drop(pieces);
        writing.await?
    }

    /// A reader from the start. Readers share one position: use one at a time.
    pub(crate) fn reader(&self) -> Result<File, IngestError> {
        rewound(&self.file).map_err(IngestError::Spool)
    }

    /// The first bytes.
    pub(crate) fn head(&self) -> Result<Vec<u8>, IngestError> {
        head(&self.file).map_err(IngestError::Spool)
    }
}

fn rewound(file: &File) -> io::Result<File> {
    let mut file = file.try_clone()?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    rewound(file)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

fn spool(folder: &Path, limit_bytes: u64, mut incoming: mpsc::Receiver<Bytes>) -> Result<Spool, IngestError> {
    let mut raw = Growing::new(folder, limit_bytes)?;
    let mut digest = Sha256::new();
    while let Some(piece) = incoming.blocking_recv() {
        digest.update(&piece);
        raw.write(&piece)?;
    }
    let raw = raw.file;
    let source = || Ok(BufReader::with_capacity(COPY_BYTES, rewound(&raw)?));
    let file = match head(&raw).map_err(IngestError::Spool)?.as_slice() {
        [0x1f, 0x8b, ..] => {
            let decoder = MultiGzDecoder::new(source().map_err(IngestError::Spool)?);
            Some(expand(folder, limit_bytes, decoder, "gzip")?)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = source().and_then(zstd::stream::read::Decoder::with_buffer).map_err(IngestError::Spool)?;
            Some(expand(folder, limit_bytes, decoder, "zstd")?)
        }
        _ => None,
    };
    Ok(Spool { file: file.unwrap_or(raw), digest: Digest::from_bytes(&digest.finalize().into()) })
}

fn expand(folder: &Path, limit_bytes: u64, mut decoder: impl Read, what: &'static str) -> Result<File, IngestError> {
    let mut plain = Growing::new(folder, limit_bytes)?;
    let mut chunk = vec![0; COPY_BYTES];
    loop {
        let read = match decoder.read(&mut chunk) {
            Ok(0) => return Ok(plain.file),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(IngestError::Broken { what, source: Box::new(source) }),
        };
        plain.write(&chunk[..read])?;
    }
}

/// A file without a name, in memory while it is small.
struct Growing<'f> {
    folder: &'f Path,
    limit_bytes: u64,
    file: File,
    is_in_memory: bool,
    bytes: u64,
}

impl<'f> Growing<'f> {
    fn new(folder: &'f Path, limit_bytes: u64) -> Result<Self, IngestError> {
        let in_memory = in_memory();
        let is_in_memory = in_memory.is_some();
        let file = match in_memory {
            Some(file) => file,
            None => on_disk(folder)?,
        };
        Ok(Self { folder, limit_bytes, file, is_in_memory, bytes: 0 })
    }

    fn write(&mut self, piece: &[u8]) -> Result<(), IngestError> {
        self.bytes += piece.len() as u64;
        if self.bytes > self.limit_bytes {
            return Err(IngestError::TooLarge { limit_mib: self.limit_bytes >> 20 });
        }
        if self.is_in_memory && self.bytes > SMALL_BYTES {
            let mut file = on_disk(self.folder)?;
            rewound(&self.file).and_then(|mut small| io::copy(&mut small, &mut file)).map_err(IngestError::Spool)?;
            self.file = file;
            self.is_in_memory = false;
        }
        self.file.write_all(piece).map_err(IngestError::Spool)
    }
}

fn on_disk(folder: &Path) -> Result<File, IngestError> {
    std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder)).map_err(IngestError::Spool)
}

/// `None` where the system has no such files.
#[cfg(target_os = "linux")]
fn in_memory() -> Option<File> {
    rustix::fs::memfd_create("spool", rustix::fs::MemfdFlags::CLOEXEC).ok().map(File::from)
}

#[cfg(not(target_os = "linux"))]
fn in_memory() -> Option<File> {
    None
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use bytes::Bytes;

    use super::Spool;
    use crate::IngestError;

    async fn take(limit: u64, bytes: &[u8]) -> Result<Vec<u8>, IngestError> {
        let folder = tempfile::tempdir().unwrap();
        let pieces: Vec<_> = bytes.chunks(3).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let spool = Spool::take(folder.path(), limit, futures::stream::iter(pieces)).await?;
        let mut plain = Vec::new();
        spool.reader().unwrap().read_to_end(&mut plain).unwrap();
        Ok(plain)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[tokio::test]
    async fn bodies_come_out_plain_and_bounded() {
        let text = b"a,b\n1,2\n".repeat(100);
        let zstd = zstd::encode_all(text.as_slice(), 3).unwrap();
        for body in [text.clone(), gzip(&text), zstd.clone()] {
            assert_eq!(take(10_000, &body).await.unwrap(), text);
            assert!(matches!(take(799, &body).await, Err(IngestError::TooLarge { .. })), "a bomb is stopped at the limit");
        }
        for cut in [&gzip(&text)[..20], &zstd[..zstd.len() - 3]] {
            assert!(matches!(take(10_000, cut).await, Err(IngestError::Broken { .. })), "a cut body is no shorter body");
        }
        assert!(take(10, b"").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_grows_out_of_memory_is_whole() {
        let rows: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        for bytes in [super::SMALL_BYTES - 1, super::SMALL_BYTES, super::SMALL_BYTES + 1, rows.len() as u64] {
            let body = &rows[..bytes as usize];
            assert!(take(1 << 20, body).await.unwrap() == body, "{bytes}");
            assert!(take(1 << 20, &gzip(body)).await.unwrap() == body, "{bytes}, packed");
            assert!(matches!(take(bytes - 1, body).await, Err(IngestError::TooLarge { .. })), "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let pieces = [Ok(Bytes::from_static(b"a\n")), Err(std::io::Error::other("reset"))];
        let taken = Spool::take(folder.path(), 10, futures::stream::iter(pieces)).await;
        assert!(matches!(taken, Err(IngestError::Body(_))));
    }
}
