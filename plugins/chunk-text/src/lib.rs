//! Cuts text into chunks of a size, with some overlap, on sentences where that is possible, else between words.
//!
//! **Invariant**: every character that is not white space is in a chunk; a chunk is never longer than `chunk_size`, and neither
//! begins nor ends with white space.

mod cut;
#[cfg(test)]
mod tests;

use lakehouse_sdk::{Chunker, Chunks, Config, Error, export_chunker};

use cut::Cuts;

/// Cuts text into chunks of a size, on sentences where that is possible, else between words. Sizes are characters, not bytes.
#[derive(Clone, Copy, Debug, Config)]
pub struct ChunkText {
    /// The most characters in a chunk.
    #[config(default = 800)]
    pub chunk_size: u32,
    /// The most characters of a chunk that the next one repeats; smaller than `chunk_size`.
    #[config(default = 100)]
    pub overlap: u32,
}

impl Chunker for ChunkText {
    fn prepare(&mut self) -> Result<(), Error> {
        let Self { chunk_size, overlap } = *self;
        if chunk_size == 0 {
            return Err(Error::InvalidConfig("\"chunk_size\" must be at least 1".into()));
        }
        if overlap >= chunk_size {
            let message = format!("\"overlap\" ({overlap}) must be smaller than \"chunk_size\" ({chunk_size}); say both");
            return Err(Error::InvalidConfig(message));
        }
        Ok(())
    }

    fn chunk_document(&self, document: &str, chunks: &mut Chunks<'_>) -> Result<(), Error> {
        Cuts::of(document, self.chunk_size as usize, self.overlap as usize)
            .try_for_each(|chunk| chunks.push(chunk.start, chunk.end))
    }
}

export_chunker!(ChunkText);
