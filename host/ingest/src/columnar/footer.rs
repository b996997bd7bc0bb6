//! What is looked at in a Parquet file before the Parquet reader sees it: the lengths that its footer claims.
//!
//! <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};

use super::thrift::Shape::{Binary, Bool, Byte, Double, Int, List, Struct};
use super::thrift::{Fields, Walk};
use super::{MAX_METADATA_BYTES, broken};
use crate::IngestError;

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
