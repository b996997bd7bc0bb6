//! What the Parquet reader will hold of a row group, found in its pages before the reader sees them.
//!
//! Of each column the reader holds the dictionary and the page at hand; a batch holds its values, and of text and binary, which
//! are read as views, all pages that it lies in. What the file says of its own sizes is not asked: a page of a few bytes can
//! stand for any number of values.
//!
//! **Invariant**: a row group is read only if one row at a time takes no more than [`MAX_HELD_BYTES`], and then with batches that
//! take no more than twice of what one row takes, or [`BATCH_HELD_BYTES`].

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use parquet::basic::{Compression, ConvertedType, Encoding, LogicalType, Type};
use parquet::column::page::{Page, PageReader};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;

use super::packed::{lengths, width_of, zeros};
use super::thrift::Shape::{Bool, Int, Struct};
use super::thrift::{Fields, Walk};
use super::{broken, caught};
use crate::IngestError;

/// A page, decompressed or not. Writers aim at one mebibyte.
const MAX_PAGE_MIB: u64 = 256;
const MAX_PAGE_BYTES: u64 = MAX_PAGE_MIB << 20;
/// What reading one row at a time takes, of all columns together.
const MAX_HELD_MIB: u64 = 1024;
const MAX_HELD_BYTES: u64 = MAX_HELD_MIB << 20;
/// What a batch may take, though one row takes less.
const BATCH_HELD_BYTES: u64 = 256 << 20;
/// A value in memory, beside its bytes: its levels, as it is read, as it is handed on.
const SLOT_BYTES: u64 = 40;
/// An entry of a dictionary in memory, beside its bytes.
const ENTRY_BYTES: u64 = 16;
/// A length of a delta-encoded value in memory: a prefix and a suffix.
const LENGTH_BYTES: u64 = 8;
/// Stands before LZ4 frames, which some writers took for Hadoop's format; how much their bytes can stand for.
const LZ4_FRAME: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const LZ4_RATIO: u64 = 255;

const EMPTY: Fields = &[];
const PAGE: Fields = &[
    (1, Int),
    (2, Int),
    (3, Int),
    (4, Int),
    (5, Struct(&[(1, Int), (2, Int), (3, Int), (4, Int)])),
    (6, Struct(EMPTY)),
    (7, Struct(&[(1, Int), (2, Int), (3, Bool)])),
    (8, Struct(&[(1, Int), (2, Int), (3, Int), (4, Int), (5, Int), (6, Int), (7, Bool)])),
];
/// Kinds of pages.
const DATA: u64 = 0;
const DICTIONARY: u64 = 2;
const DATA_V2: u64 = 3;
/// Encodings with lengths of their own.
const DELTA_LENGTHS: u64 = 6;
const DELTA_BYTES: u64 = 7;

/// Rows of the group that are read at once, at most `most`.
pub(super) fn rows_at_once(file: &File, bytes: u64, group: &RowGroupMetaData, most: usize) -> Result<usize, IngestError> {
    let halved = |span: &u64| (*span > 1).then_some(span / 2);
    let spans: Vec<u64> = std::iter::successors(Some(most.max(1) as u64), halved).collect();
    let mut held = vec![0_u64; spans.len()];
    for column in group.columns() {
        let mut chunk = Chunk::new(column, &spans)?;
        if chunk.walk(file, bytes)? {
            chunk.measure(file, group.num_rows())?;
        }
        for (sum, window) in held.iter_mut().zip(&chunk.windows) {
            *sum = sum.saturating_add(chunk.held(window));
        }
    }
    let least = held.last().copied().unwrap_or_default();
    if least > MAX_HELD_BYTES {
        return Err(too_large("a page and the dictionary of each column of the Parquet file, all together,", MAX_HELD_MIB));
    }
    let bound = BATCH_HELD_BYTES.max(2 * least);
    let span = spans.iter().zip(held).find(|(_, held)| *held <= bound).map_or(1, |(span, _)| *span);
    Ok(usize::try_from(span).unwrap_or(1))
}

/// A column of a row group.
struct Chunk<'a> {
    column: &'a ColumnChunkMetaData,
    /// A value in memory, beside its page.
    slot: u64,
    dictionary: Option<u64>,
    largest_page: u64,
    windows: Vec<Window>,
}

/// The most that pages with `span` successive rows take. They lie in at most two buckets, each of so many rows or more.
struct Window {
    span: u64,
    rows: u64,
    bytes: u64,
    before: u64,
    most: u64,
}

impl Window {
    fn add(&mut self, rows: u64, bytes: u64, is_one_page: bool) {
        // A page in which no row begins goes on with the row before it.
        if rows > 0 && self.rows >= self.span {
            (self.before, self.bytes, self.rows) = (self.bytes, 0, 0);
        }
        self.rows = self.rows.saturating_add(rows);
        self.bytes = self.bytes.saturating_add(bytes);
        let before = if is_one_page { 0 } else { self.before };
        self.most = self.most.max(before.saturating_add(self.bytes));
    }
}

impl<'a> Chunk<'a> {
    fn new(column: &'a ColumnChunkMetaData, spans: &[u64]) -> Result<Self, IngestError> {
        let length = match column.column_type() {
            Type::FIXED_LEN_BYTE_ARRAY => u64::try_from(column.column_descr().type_length()),
            _ => Ok(0),
        };
        let length = length.map_err(|_| broken("Parquet", "a value has a negative length"))?;
        let window = |span: &u64| Window { span: *span, rows: 0, bytes: 0, before: 0, most: 0 };
        let windows = spans.iter().map(window).collect();
        Ok(Self { column, slot: SLOT_BYTES + 2 * length, dictionary: None, largest_page: 0, windows })
    }

    fn repeats(&self) -> bool {
        self.column.column_descr().max_rep_level() > 0
    }

    fn is_bytes(&self) -> bool {
        self.column.column_type() == Type::BYTE_ARRAY
    }

    /// Decimals in bytes are not read as views: each gets its bytes anew.
    fn is_decimal(&self) -> bool {
        let descriptor = self.column.column_descr();
        descriptor.converted_type() == ConvertedType::DECIMAL
            || matches!(descriptor.logical_type_ref(), Some(LogicalType::Decimal(_)))
    }

    /// What reading `window.span` rows at once takes.
    fn held(&self, window: &Window) -> u64 {
        let page = if self.is_bytes() { 0 } else { self.largest_page };
        let values = if self.repeats() { 0 } else { window.span.saturating_mul(self.slot) };
        self.dictionary.unwrap_or_default().saturating_add(page).saturating_add(window.most).saturating_add(values)
    }

    fn add_page(&mut self, rows: u64, values: u64, bytes: u64, longest: u64) {
        self.largest_page = self.largest_page.max(bytes);
        let kept = if self.is_bytes() { bytes } else { 0 };
        let repeats = self.repeats();
        let slots = if repeats { values.saturating_mul(self.slot.saturating_add(longest)) } else { 0 };
        if !repeats {
            self.slot = self.slot.max(SLOT_BYTES.saturating_add(longest));
        }
        for window in &mut self.windows {
            let is_one_page = window.span == 1 && !repeats;
            window.add(rows, kept.saturating_add(slots), is_one_page);
        }
    }

    /// Walks the page headers; answers whether they do not tell enough.
    fn walk(&mut self, file: &File, bytes: u64) -> Result<bool, IngestError> {
        let broken = |source: super::Source| broken("Parquet", source);
        let begins = self.column.dictionary_page_offset().unwrap_or_else(|| self.column.data_page_offset());
        let (begins, mut left) = match (u64::try_from(begins), u64::try_from(self.column.compressed_size())) {
            (Ok(begins), Ok(length)) if begins.checked_add(length).is_some_and(|ends| ends <= bytes) => (begins, length),
            _ => return Err(broken("a column lies outside of the file".into())),
        };
        let mut input = BufReader::new(file);
        input.seek(SeekFrom::Start(begins)).map_err(IngestError::Spool)?;
        let mut tells_little = self.repeats();
        while left > 0 {
            let mut walk = Walk::new(&mut input, left);
            let header = Header::read(&mut walk).map_err(broken)?;
            left = walk.left().checked_sub(header.packed).ok_or_else(|| broken("a page goes beyond its column".into()))?;
            if header.plain.max(header.packed) > MAX_PAGE_BYTES {
                return Err(too_large("a page of the Parquet file", MAX_PAGE_MIB));
            }
            let body = self.body(&mut input, &header).map_err(IngestError::Spool)?;
            let body = body.ok_or_else(|| broken("a page holds more than it claims".into()))?;
            if body > MAX_HELD_BYTES {
                return Err(too_large("a page of the Parquet file", MAX_HELD_MIB));
            }
            match header.kind {
                // A value of a dictionary takes a byte at least.
                DICTIONARY if header.entries > header.plain => return Err(broken("a page claims more than it has".into())),
                DICTIONARY if self.dictionary.is_some() => return Err(broken("a column has two dictionaries".into())),
                DICTIONARY => {
                    self.dictionary = Some(body + ENTRY_BYTES * header.entries);
                    self.slot += if self.is_bytes() && self.is_decimal() { body } else { 0 };
                }
                DATA | DATA_V2 => {
                    tells_little |= matches!(header.encoding, DELTA_LENGTHS | DELTA_BYTES);
                    if !tells_little {
                        self.add_page(header.values, header.values, body, 0);
                    }
                }
                _ => {}
            }
        }
        Ok(tells_little)
    }

    /// Passes a page by; answers the bytes that it takes once it is read, or `None` where the decompressor would not stop at its
    /// claim.
    fn body(&self, input: &mut BufReader<&File>, header: &Header) -> io::Result<Option<u64>> {
        let claimed = header.plain.max(header.packed);
        let mut body = input.by_ref().take(header.packed);
        let taken = match self.column.compression() {
            Compression::GZIP(_) => {
                io::copy(&mut body.by_ref().take(header.levels), &mut io::sink())?;
                let mut plain = MultiGzDecoder::new(&mut body).take(header.plain + 1);
                let (mut counted, mut chunk) = (header.levels, [0; 8 << 10]);
                // An error ends the reader too, at the same place.
                while let Ok(read @ 1..) = plain.read(&mut chunk) {
                    counted += read as u64;
                }
                (counted <= header.plain).then_some(claimed)
            }
            Compression::LZ4 => {
                io::copy(&mut body.by_ref().take(header.levels), &mut io::sink())?;
                let mut magic = Vec::new();
                body.by_ref().take(LZ4_FRAME.len() as u64).read_to_end(&mut magic)?;
                Some(if magic == LZ4_FRAME { claimed.max(LZ4_RATIO * header.packed) } else { claimed })
            }
            _ => Some(claimed),
        };
        let rest = body.limit();
        input.seek_relative(rest.cast_signed())?;
        Ok(taken)
    }

    /// Looks into the pages, since their headers do not tell how many rows begin in them, or how long values are once put together.
    fn measure(&mut self, file: &File, rows: i64) -> Result<(), IngestError> {
        let damaged = || broken("Parquet", "a page is damaged");
        let file = Arc::new(file.try_clone().map_err(IngestError::Spool)?);
        let rows = usize::try_from(rows).map_err(|_| damaged())?;
        self.windows.iter_mut().for_each(|window| (window.rows, window.bytes, window.before, window.most) = (0, 0, 0, 0));
        let mut pages = SerializedPageReader::new(file, self.column, rows, None).map_err(|error| broken("Parquet", error))?;
        while let Some(page) = caught("Parquet", || pages.get_next_page())?.map_err(|error| broken("Parquet", error))? {
            if !page.is_dictionary_page() {
                self.look_into(&page).ok_or_else(damaged)?;
            }
        }
        Ok(())
    }

    fn look_into(&mut self, page: &Page) -> Option<()> {
        let descriptor = self.column.column_descr();
        let (repetition, definition) = (descriptor.max_rep_level(), descriptor.max_def_level());
        let (bytes, values) = (page.buffer(), u64::from(page.num_values()));
        let (repetitions, rest) = match page {
            Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
                let (repetitions, rest) = bytes.split_at_checked(*rep_levels_byte_len as usize)?;
                (Some(repetitions), rest.get(*def_levels_byte_len as usize..)?)
            }
            Page::DataPage { rep_level_encoding, def_level_encoding, .. } => {
                let (repetitions, rest) = levels(bytes, repetition, values, *rep_level_encoding)?;
                (repetitions, levels(rest, definition, values, *def_level_encoding)?.1)
            }
            Page::DictionaryPage { .. } => return None,
        };
        let rows = match repetitions {
            _ if repetition == 0 => values,
            Some(levels) => zeros(levels, repetition, values)?,
            None => 0,
        };
        let most = values.min(MAX_HELD_BYTES / LENGTH_BYTES);
        let (counted, longest) = match page.encoding() {
            Encoding::DELTA_LENGTH_BYTE_ARRAY => (lengths(rest, most)?.count, 0),
            Encoding::DELTA_BYTE_ARRAY => {
                let prefixes = lengths(rest, most)?;
                let suffixes = lengths(rest.get(prefixes.end..)?, most)?;
                (prefixes.count.max(suffixes.count), prefixes.longest + suffixes.longest)
            }
            _ => (0, 0),
        };
        self.add_page(rows, values, bytes.len() as u64 + LENGTH_BYTES * counted, longest);
        Some(())
    }
}

/// What a page header says.
#[derive(Default)]
struct Header {
    kind: u64,
    plain: u64,
    packed: u64,
    /// Values of a dictionary.
    entries: u64,
    values: u64,
    encoding: u64,
    /// Bytes before those that are compressed.
    levels: u64,
}

impl Header {
    fn read(walk: &mut Walk<impl Read>) -> Result<Self, super::Source> {
        let mut heard = [[0_i64; 10]; 9];
        walk.structure(PAGE, &mut |around, number, value| {
            let place = heard.get_mut(usize::try_from(around).unwrap_or(usize::MAX));
            if let Some(place) = place.and_then(|fields| fields.get_mut(usize::try_from(number).unwrap_or(usize::MAX))) {
                *place = value;
            }
        })?;
        let number = |around: usize, number: usize| u64::try_from(heard[around][number]).map_err(|_| "a length is negative");
        let kind = number(0, 1)?;
        let (values, encoding) = if kind == DATA_V2 { ((8, 1), (8, 4)) } else { ((5, 1), (5, 2)) };
        let (plain, levels) = (number(0, 2)?, number(8, 5)? + number(8, 6)?);
        if levels > plain {
            return Err("a page has more levels than bytes".into());
        }
        Ok(Self {
            kind,
            plain,
            packed: number(0, 3)?,
            entries: number(7, 1)?,
            values: number(values.0, values.1)?,
            encoding: number(encoding.0, encoding.1)?,
            levels,
        })
    }
}

/// The levels at the start of a page of the first version, and the bytes after them. The bits of the old encoding are not counted.
fn levels(bytes: &[u8], max_level: i16, values: u64, encoding: Encoding) -> Option<(Option<&[u8]>, &[u8])> {
    const PREFIX_BYTES: usize = 4;
    if max_level == 0 {
        return Some((None, bytes));
    }
    if encoding != Encoding::RLE {
        let length = values.checked_mul(width_of(max_level) as u64)?.div_ceil(8);
        return Some((None, bytes.get(usize::try_from(length).ok()?..)?));
    }
    let (length, rest) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
    let (levels, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((Some(levels), rest))
}

fn too_large(part: &'static str, limit_mib: u64) -> IngestError {
    IngestError::PartTooLarge { part, limit_mib }
}
