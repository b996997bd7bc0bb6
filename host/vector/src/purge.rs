//! Segments without the rows that are gone.
//!
//! A refresh only marks rows dead: their texts and vectors stay in the segment. Where they must not, the segment is written anew with
//! the others, from the vectors that it holds: nothing is embedded.
//!
//! **Invariant**: a segment of which every row stays is left as it is; of another one, no byte of a row that goes is in its successor.

use lakehouse_catalog::SegmentRecord;
use lakehouse_storage::Meta;

use crate::{
    Indexes, Loaded, Mask, Result, VectorError,
    draft::Draft,
    index::Segment,
    litter::folder_of_segment,
    refresh::Structure,
    rows::{ContentHash, HASH_BYTES},
};

/// What became of the segments, to be committed.
#[derive(Debug, Default)]
pub struct Purged {
    /// What is to be searched from now on.
    pub segments: Vec<SegmentRecord>,
    /// Those of them that are new; their folders are written down as litter until the commit crosses them out.
    pub written: Vec<SegmentRecord>,
    /// Folders that nothing needs once it is committed.
    pub litter: Vec<String>,
    /// Rows that are gone, those among them that were dead already.
    pub rows_removed: u64,
}

/// Writes every segment anew that has a row outside `keep`.
///
/// # Errors
/// When an object is damaged, or the bucket or the metadata store fails.
pub async fn purge(indexes: &Indexes, meta: &Meta, index: &Loaded, keep: &Mask, structure: Structure) -> Result<Purged> {
    let mut purged = Purged::default();
    for ((record, segment), kept) in index.record.segments.iter().zip(&index.segments).zip(&keep.0) {
        if kept.is_none() && record.files.dead.is_none() && segment.rows.has_chunks_of_all() {
            purged.segments.push(record.clone());
            continue;
        }
        let stays = |ordinal: u32| kept.as_ref().is_none_or(|kept| kept.contains(ordinal));
        let draft = draft_of(segment, index.dimensions(), stays)?;
        purged.rows_removed += record.rows - draft.rows();
        purged.litter.push(folder_of_segment(&index.record.id, &record.id));
        if !draft.is_empty() {
            let written = draft.write(indexes, meta, &index.record, structure).await?;
            purged.segments.push(written.clone());
            purged.written.push(written);
        }
    }
    Ok(purged)
}

/// The rows that stay. One without chunks is not kept: nothing tells whether it is still there, and nothing is lost with it.
fn draft_of(segment: &Segment, dimensions: usize, stays: impl Fn(u32) -> bool) -> Result<Draft> {
    const UNFIT: VectorError = VectorError::Internal("a segment does not fit itself");
    let mut draft = Draft::new(dimensions);
    for row in 0..u32::try_from(segment.rows.len()).map_err(|_| UNFIT)? {
        let ordinals = segment.rows.ordinals_of(row);
        if ordinals.is_empty() || !ordinals.clone().all(&stays) {
            continue;
        }
        let hash: ContentHash = segment.rows.hash(row).try_into().map_err(|_| UNFIT)?;
        debug_assert_eq!(hash.len(), HASH_BYTES);
        let chunks = ordinals.map(|ordinal| {
            let text = segment.texts.as_ref().map(|texts| texts.get(ordinal).ok_or(UNFIT)).transpose()?;
            let from = ordinal as usize * dimensions;
            let vector = segment.vectors.get(from..from + dimensions).ok_or(UNFIT)?;
            Ok((segment.rows.span(ordinal), text, vector))
        });
        let chunks = chunks.collect::<Result<Vec<_>>>()?;
        draft.push_known_row(segment.rows.keys.value(row as usize), segment.rows.doc_ids.value(row as usize), hash, &chunks);
    }
    Ok(draft)
}
