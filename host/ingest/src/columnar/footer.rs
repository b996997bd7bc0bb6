//! What is looked at in a Parquet file before the Parquet reader sees it: the lengths that it would allocate.
//!
//! <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use parquet::basic::Type;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};

use super::thrift::Shape::{Binary, Bool, Byte, Double, Int, List, Struct};
use super::thrift::{Fields, Walk};
use super::{BATCH_BYTES, MAX_METADATA_BYTES, broken};
use crate::IngestError;

/// A page, once decompressed. Writers aim at one mebibyte.
const MAX_PAGE_MIB: u64 = 256;
const MAX_PAGE_BYTES: i64 = (MAX_PAGE_MIB << 20).cast_signed();
/// The footer's length and the magic, at the end.
const TAIL_BYTES: u64 = 8;
const MAGIC: &[u8; 4] = b"PAR1";

const EMPTY: Fields = &[];
const KEY_VALUE: Fields = &[(1, Binary), (2, Binary)];
const TIME: Fields = &[(1, Bool), (2, Struct(&[(1, Struct(EMPTY)), (2, Struct(EMPTY)), (3, Struct(EMPTY))]))];
const LOGICAL_TYPE: Fields = &[
    (1, Struct(EMPTY)),
    (2, Struct(EMPTY)),
    (3, Struct(EMPTY)),
    (4, Struct(EMPTY)),
    (5, Struct(&[(1, Int), (2, Int)])),
    (6, Struct(EMPTY)),
    (7, Struct(TIME)),
    (8, Struct(TIME)),
    (10, Struct(&[(1, Byte), (2, Bool)])),
    (11, Struct(EMPTY)),
    (12, Struct(EMPTY)),
    (13, Struct(EMPTY)),
    (14, Struct(EMPTY)),
    (15, Struct(EMPTY)),
    (16, Struct(&[(1, Byte)])),
    (17, Struct(&[(1, Binary)])),
    (18, Struct(&[(1, Binary), (2, Int)])),
];
const SCHEMA_ELEMENT: Fields =
    &[(1, Int), (2, Int), (3, Int), (4, Binary), (5, Int), (6, Int), (7, Int), (8, Int), (9, Int), (10, Struct(LOGICAL_TYPE))];
const STATISTICS: Fields = &[(1, Binary), (2, Binary), (3, Int), (4, Int), (5, Binary), (6, Binary), (7, Bool), (8, Bool)];
const BOX: Fields = &[(1, Double), (2, Double), (3, Double), (4, Double), (5, Double), (6, Double), (7, Double), (8, Double)];
const COLUMN: Fields = &[
    (1, Int),
    (2, List(&Int)),
    (3, List(&Binary)),
    (4, Int),
    (5, Int),
    (6, Int),
    (7, Int),
    (8, List(&Struct(KEY_VALUE))),
    (9, Int),
    (10, Int),
    (11, Int),
    (12, Struct(STATISTICS)),
    (13, List(&Struct(&[(1, Int), (2, Int), (3, Int)]))),
    (14, Int),
    (15, Int),
    (16, Struct(&[(1, Int), (2, List(&Int)), (3, List(&Int))])),
    (17, Struct(&[(1, Struct(BOX)), (2, List(&Int))])),
];
const CHUNK: Fields = &[(1, Binary), (2, Int), (3, Struct(COLUMN)), (4, Int), (5, Int), (6, Int), (7, Int)];
const ROW_GROUP: Fields = &[
    (1, List(&Struct(CHUNK))),
    (2, Int),
    (3, Int),
    (4, List(&Struct(&[(1, Int), (2, Bool), (3, Bool)]))),
    (5, Int),
    (6, Int),
    (7, Int),
];
const FOOTER: Fields = &[
    (1, Int),
    (2, List(&Struct(SCHEMA_ELEMENT))),
    (3, Int),
    (4, List(&Struct(ROW_GROUP))),
    (5, List(&Struct(KEY_VALUE))),
    (6, Binary),
    (7, List(&Struct(&[(1, Struct(EMPTY))]))),
];
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

/// Walks the footer.
pub(super) fn check_footer(mut file: File, bytes: u64) -> Result<(), IngestError> {
    let mut tail = [0; TAIL_BYTES as usize];
    let footer_ends = bytes.checked_sub(TAIL_BYTES).ok_or_else(|| broken("Parquet", "there is no footer"))?;
    file.seek(SeekFrom::Start(footer_ends)).and_then(|_| file.read_exact(&mut tail)).map_err(IngestError::Spool)?;
    let [a, b, c, d, magic @ ..] = tail;
    if magic != *MAGIC {
        return Err(broken("Parquet", "there is no plain footer"));
    }
    let length = u64::from(u32::from_le_bytes([a, b, c, d]));
    let begins = footer_ends.checked_sub(length).ok_or_else(|| broken("Parquet", "the footer is longer than the file"))?;
    if length > MAX_METADATA_BYTES {
        return Err(IngestError::PartTooLarge { part: "the footer of the Parquet file", limit_mib: MAX_METADATA_BYTES >> 20 });
    }
    file.seek(SeekFrom::Start(begins)).map_err(IngestError::Spool)?;
    Walk::new(BufReader::new(file), length).structure(FOOTER, &mut |_, _, _| {}).map_err(|source| broken("Parquet", source))
}

/// Walks the headers of all pages.
pub(super) fn check_pages(file: File, bytes: u64, metadata: &ParquetMetaData) -> Result<(), IngestError> {
    let broken = |source: super::Source| broken("Parquet", source);
    let mut input = BufReader::new(file);
    for column in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
        let begins = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
        let (begins, mut left) = match (u64::try_from(begins), u64::try_from(column.compressed_size())) {
            (Ok(begins), Ok(length)) if begins.checked_add(length).is_some_and(|ends| ends <= bytes) => (begins, length),
            _ => return Err(broken("a column lies outside of the file".into())),
        };
        input.seek(SeekFrom::Start(begins)).map_err(IngestError::Spool)?;
        while left > 0 {
            let (mut plain, mut packed, mut dictionary) = (0, 0, 0);
            let mut header = Walk::new(&mut input, left);
            let heard = header.structure(PAGE, &mut |around, number, value| match (around, number) {
                (0, 2) => plain = value,
                (0, 3) => packed = value,
                (7, 1) => dictionary = value,
                _ => {}
            });
            heard.map_err(broken)?;
            left = header.left();
            if plain > MAX_PAGE_BYTES {
                return Err(IngestError::PartTooLarge { part: "a page of the Parquet file", limit_mib: MAX_PAGE_MIB });
            }
            // A value of a dictionary takes a byte at least.
            if !(0..=plain).contains(&dictionary) {
                return Err(broken("a page claims more than it has".into()));
            }
            let body = u64::try_from(packed).ok().filter(|body| *body <= left);
            let body = body.ok_or_else(|| broken("a page goes beyond its column".into()))?;
            left -= body;
            input.seek_relative(packed).map_err(IngestError::Spool)?;
        }
    }
    Ok(())
}

/// Rows that are decoded at once: `most`, or as many as [`BATCH_BYTES`] hold by the widths that the file tells.
pub(super) fn rows_at_once(metadata: &ParquetMetaData, most: usize) -> Result<usize, IngestError> {
    let mut fixed = 0_u64;
    for column in metadata.file_metadata().schema_descr().columns() {
        if column.physical_type() == Type::FIXED_LEN_BYTE_ARRAY {
            fixed += u64::try_from(column.type_length()).map_err(|_| broken("Parquet", "a value has a negative length"))?;
        }
    }
    if fixed > BATCH_BYTES as u64 {
        return Err(IngestError::PartTooLarge { part: "a row of the Parquet file", limit_mib: BATCH_BYTES as u64 >> 20 });
    }
    let average =
        |bytes: i64, rows: i64| u64::try_from(bytes).unwrap_or_default() / u64::try_from(rows).unwrap_or_default().max(1);
    let widest = metadata.row_groups().iter().map(|group| average(group.total_byte_size(), group.num_rows())).max();
    let row = widest.unwrap_or_default().max(fixed).max(1);
    Ok(usize::try_from(BATCH_BYTES as u64 / row).unwrap_or(most).clamp(1, most.max(1)))
}
