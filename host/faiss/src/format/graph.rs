//! Graphs of near neighbours. FAISS follows their links without looking.
//!
//! ```text
//! graph = ("IHNf" | "IHNs") header
//!         chances:[f64] slots_below:[i32] levels:[i32] offsets:[u64] links:[i32]
//!         entry:i32 top:i32 ef_construction:i32 ef_search:i32 unused:i32 codes
//! ```
//!
//! A node of `levels[i]` levels owns the links from `offsets[i]`: those of level `l` are the slots from `slots_below[l]` to
//! `slots_below[l + 1]`, filled from the front, -1 after.

use super::{Shape, codes, cursor::Cursor, header};
use crate::Result;

/// FAISS makes levels down to a chance of one in a billion: 30 of them with two links a node.
const MAX_LEVELS: usize = 64;

/// All slots of a node of every level.
const MAX_SLOTS: usize = 1 << 16;

struct Graph<'a> {
    slots_below: Vec<usize>,
    levels: &'a [[u8; 4]],
    offsets: &'a [[u8; 8]],
    links: &'a [[u8; 4]],
}

pub(super) fn index(cursor: &mut Cursor<'_>, tag: [u8; 4]) -> Result<Shape> {
    let shape = header(cursor)?;
    let graph = Graph::read(cursor)?;
    graph.check_nodes(cursor, shape.len)?;
    graph.check_links(cursor)?;
    let (entry, top) = (cursor.i32()?, cursor.i32()?);
    cursor.expect(graph.starts_at(entry, top), "a search that starts nowhere")?;
    for _unused in 0..3 {
        cursor.i32()?;
    }
    let storage_tag = cursor.tag()?;
    cursor.expect((tag == *b"IHNs") == (storage_tag == *b"IxSQ"), "vectors that the tag denies")?;
    let storage = codes::index(cursor, storage_tag)?;
    cursor.expect(storage.shape == shape, "the vectors of another graph")?;
    cursor.expect(storage.bounded, "a value that is not finite or too large")?;
    Ok(shape)
}

impl<'a> Graph<'a> {
    fn read(cursor: &mut Cursor<'a>) -> Result<Self> {
        let levels = cursor.vector::<8>()?.len();
        cursor.expect((1..=MAX_LEVELS).contains(&levels), "an impossible number of levels")?;
        let slots = cursor.vector::<4>()?;
        let slots_below: Option<Vec<usize>> =
            slots.iter().map(|bytes| usize::try_from(i32::from_le_bytes(*bytes)).ok()).collect();
        let slots_below = slots_below.filter(|slots| {
            let ends = (slots.first(), slots.last());
            slots.len() == levels + 1 && slots.is_sorted() && matches!(ends, (Some(0), Some(last)) if *last <= MAX_SLOTS)
        });
        let slots_below = slots_below.ok_or_else(|| cursor.damaged("impossible slots"))?;
        Ok(Self { slots_below, levels: cursor.vector()?, offsets: cursor.vector()?, links: cursor.vector()? })
    }

    /// Levels, each node's share of the links, and that the shares follow one another to the end.
    fn check_nodes(&self, cursor: &Cursor<'_>, len: usize) -> Result<()> {
        cursor.expect(self.levels.len() == len && self.offsets.len() == len + 1, "nodes that are not the vectors")?;
        let mut end = 0;
        for (level, offset) in self.levels.iter().zip(self.offsets) {
            let slots = usize::try_from(i32::from_le_bytes(*level)).ok().filter(|level| *level > 0);
            let slots = slots.and_then(|level| self.slots_below.get(level));
            let slots = slots.ok_or_else(|| cursor.damaged("a node of an impossible level"))?;
            cursor.expect(u64::from_le_bytes(*offset) == end as u64, "a node in another's place")?;
            end += slots;
        }
        let stated = self.offsets.last().map(|offset| u64::from_le_bytes(*offset));
        cursor.expect(stated == Some(end as u64) && end == self.links.len(), "links of no node")
    }

    /// Every link leads to a node that has the link's level. Relies on `check_nodes`.
    fn check_links(&self, cursor: &Cursor<'_>) -> Result<()> {
        let len = self.levels.len();
        let mut rest = self.links;
        for level in self.levels {
            let level = i32::from_le_bytes(*level);
            let (own, others) = rest.split_at(self.slots_below[level as usize]);
            let (lowest, upper) = own.split_at(self.slots_below[1]);
            // -1 becomes 0 and passes; no early exit, so that it becomes vector instructions.
            let exists = |link: &[u8; 4]| (i32::from_le_bytes(*link).wrapping_add(1).cast_unsigned() as usize) <= len;
            let mut good = lowest.iter().fold(true, |all, link| all & exists(link));
            for (above, slots) in (1..level).zip(self.slots_below[1..].windows(2)) {
                let links = &upper[slots[0] - lowest.len()..slots[1] - lowest.len()];
                good &= links.iter().all(|link| exists(link) && self.reaches(i32::from_le_bytes(*link), above));
            }
            cursor.expect(good, "a link to no node")?;
            rest = others;
        }
        Ok(())
    }

    /// Whether a node is on a level; no node is.
    fn reaches(&self, node: i32, level: i32) -> bool {
        let Ok(node) = usize::try_from(node) else { return true };
        self.levels.get(node).is_some_and(|levels| i32::from_le_bytes(*levels) > level)
    }

    /// The entry is a node whose highest level is the top; there is none in an empty graph.
    fn starts_at(&self, entry: i32, top: i32) -> bool {
        match usize::try_from(entry) {
            Err(_) => self.levels.is_empty() && entry == -1 && top == -1,
            Ok(entry) => self.levels.get(entry).is_some_and(|levels| i32::from_le_bytes(*levels).checked_sub(1) == Some(top)),
        }
    }
}
