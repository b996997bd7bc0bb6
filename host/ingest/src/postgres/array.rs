//! The binary form of arrays.
//!
//! **Invariant**: a broken form is an error, never a panic, and yields no more items than it has bytes for.

use super::column::{BROKEN, fixed};

/// Dimensions, flags, item type; then length and lower bound of the one dimension.
const HEADER_BYTES: usize = 12;
const DIMENSION_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;

/// The items of an array with at most one dimension.
pub(super) fn items(raw: &[u8]) -> Result<Vec<Option<&[u8]>>, &'static str> {
    let (header, rest) = raw.split_at_checked(HEADER_BYTES).ok_or(BROKEN)?;
    match i32::from_be_bytes(fixed(&header[..4])?) {
        0 if rest.is_empty() => return Ok(Vec::new()),
        1 => {}
        2.. => return Err("an array of more than one dimension"),
        _ => return Err(BROKEN),
    }
    let (dimension, mut rest) = rest.split_at_checked(DIMENSION_BYTES).ok_or(BROKEN)?;
    let count = u32::from_be_bytes(fixed(&dimension[..4])?) as usize;
    if count > rest.len() / LENGTH_BYTES {
        return Err(BROKEN);
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, after) = rest.split_at_checked(LENGTH_BYTES).ok_or(BROKEN)?;
        match i32::from_be_bytes(fixed(length)?) {
            -1 => {
                items.push(None);
                rest = after;
            }
            length => {
                let length = usize::try_from(length).map_err(|_| BROKEN)?;
                let (item, after) = after.split_at_checked(length).ok_or(BROKEN)?;
                items.push(Some(item));
                rest = after;
            }
        }
    }
    if rest.is_empty() { Ok(items) } else { Err(BROKEN) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::items;

    fn words(words: &[i32]) -> Vec<u8> {
        words.iter().copied().flat_map(i32::to_be_bytes).collect()
    }

    #[test]
    fn one_dimension_is_read_and_more_are_refused() {
        assert_eq!(items(&words(&[0, 0, 23])), Ok(Vec::new()));
        let two = words(&[1, 1, 23, 2, 1, 4, 7, -1]);
        assert_eq!(items(&two), Ok(vec![Some([0, 0, 0, 7].as_slice()), None]));
        assert_eq!(items(&words(&[2, 0, 23, 1, 1, 1, 1, 4, 7])), Err("an array of more than one dimension"));
        for broken in [&two[..two.len() - 1], &two[..10], &words(&[1, 0, 23, i32::MAX, 1]), &words(&[1, 0, 23, 1, 1, -2])] {
            assert!(items(broken).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, dimensions in 0..2_u8) {
            let _ = items(&bytes);
            let mut like = vec![0, 0, 0, dimensions, 0, 0, 0, 0, 0, 0, 0, 23];
            like.extend(bytes);
            let _ = items(&like);
        }
    }
}
