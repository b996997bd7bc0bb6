//! Bytes of an object, checked by the blocks that cover them.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use object_store::{Error, Result, path::Path};

use super::{BLOCK, Contents, Sums, damaged};

/// Read and checked at once.
const CHUNK: u64 = 4 << 20;

/// Ranges in order, those that touch as one.
pub(super) fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The bytes of `range` among those of the covers.
pub(super) fn part(covers: &[Range<u64>], found: &[Bytes], range: &Range<u64>) -> Bytes {
    if range.is_empty() {
        return Bytes::new();
    }
    let at = covers.partition_point(|cover| cover.start <= range.start) - 1;
    let offset = |position: u64| usize::try_from(position - covers[at].start).unwrap_or(usize::MAX);
    found[at].slice(offset(range.start)..offset(range.end))
}

/// Reads `range` of an open file.
fn read_at(mut file: &File, range: &Range<u64>) -> io::Result<Bytes> {
    let length = range.end - range.start;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.seek(SeekFrom::Start(range.start))?;
    let got = file.take(length).read_to_end(&mut bytes)? as u64;
    if got == length { Ok(bytes.into()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

fn local(error: io::Error) -> Error {
    Error::Generic { store: "local", source: Box::new(error) }
}

/// The sums among these that an open file has. Those of the only content are taken at their word: each piece is checked anyway.
pub(super) fn which(contents: &Contents, file: &File, length: u64) -> Result<Option<Sums>> {
    let mut fitting = contents.0.iter().rev().filter(|sums| sums.length == length).peekable();
    if contents.0.len() == 1 || fitting.peek().is_none() {
        return Ok(fitting.next().cloned());
    }
    let bytes = read_at(file, &(0..length)).map_err(local)?;
    Ok(fitting.find(|sums| sums.fit(0, &bytes)).cloned())
}

/// The checked bytes of an open file, piece by piece.
pub(super) fn pieces(object: Path, file: File, sums: Sums, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    let (file, sums) = (Arc::new(file), Arc::new(sums));
    futures::stream::try_unfold(range, move |rest| {
        let (object, file, sums) = (object.clone(), Arc::clone(&file), Arc::clone(&sums));
        async move {
            if rest.is_empty() {
                return Ok(None);
            }
            let piece = rest.start..rest.end.min((rest.start / BLOCK * BLOCK).saturating_add(CHUNK));
            let cover = sums.cover(&piece);
            let bytes = blocking(move || {
                let bytes = read_at(&file, &cover).map_err(local)?;
                if sums.fit(cover.start, &bytes) {
                    let covers = [cover];
                    Ok(part(&covers, &[bytes], &piece))
                } else {
                    Err(damaged(&object, "its bytes are not those that were written"))
                }
            })
            .await?;
            let next = rest.start + bytes.len() as u64..rest.end;
            Ok(Some((bytes, next)))
        }
    })
    .boxed()
}
