//! The files of a scan in pieces, each of which one reader reads.
//!
//! **Invariant**: the pieces one after the other are the rows of the scan in the order of its files, and no piece is read by another's reader.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;

/// Rows of a piece: at least so many that they are worth the opening of a file, at most as many as two row groups have, so that what is read
/// ahead of its turn is little.
const LEAST_ROWS: usize = 16_384;
const MOST_ROWS: usize = 262_144;
/// Pieces for each partition, where there are rows for them.
const PIECES_PER_PARTITION: usize = 2;

/// The scan in pieces; `None` of what reads no Parquet files.
pub(super) fn of_files(node: &Arc<dyn ExecutionPlan>, partitions: usize) -> Option<Arc<dyn ExecutionPlan>> {
    let (config, _) = node.downcast_ref::<DataSourceExec>()?.downcast_to_file_source::<ParquetSource>()?;
    let files = whole(config.file_groups.iter().flat_map(FileGroup::iter));
    let rows = files.iter().map(rows_of).fold(0, usize::saturating_add);
    let rows = rows.div_ceil(partitions.max(1) * PIECES_PER_PARTITION).clamp(LEAST_ROWS, MOST_ROWS);
    let pieces = FileScanConfigBuilder::from(config.clone()).with_file_groups(cut(files, rows)).with_preserve_order(true);
    Some(DataSourceExec::from_data_source(pieces.build()))
}

/// Files that were cut into ranges, whole again.
fn whole<'a>(parts: impl Iterator<Item = &'a PartitionedFile>) -> Vec<PartitionedFile> {
    let mut files: Vec<PartitionedFile> = Vec::new();
    for part in parts {
        if files.last().is_none_or(|last| last.object_meta.location != part.object_meta.location) {
            files.push(PartitionedFile { range: None, ..part.clone() });
        }
    }
    files
}

fn rows_of(file: &PartitionedFile) -> usize {
    let rows = file.statistics.as_ref().map_or(Precision::Absent, |statistics| statistics.num_rows);
    rows.get_value().copied().unwrap_or(MOST_ROWS)
}

/// Small files together, large ones in ranges, about `rows` in each piece.
fn cut(files: Vec<PartitionedFile>, rows: usize) -> Vec<FileGroup> {
    let mut pieces = Vec::new();
    let (mut small, mut small_rows) = (Vec::new(), 0);
    for file in files {
        let own = rows_of(&file);
        if !small.is_empty() && small_rows + own > rows {
            pieces.push(FileGroup::new(std::mem::take(&mut small)));
            small_rows = 0;
        }
        if own <= rows {
            small.push(file);
            small_rows += own;
            continue;
        }
        let (count, size) = (own.div_ceil(rows) as u64, file.object_meta.size);
        let bound = |at: u64| i64::try_from(u128::from(size) * u128::from(at) / u128::from(count)).unwrap_or(i64::MAX);
        for at in 0..count {
            let range = FileRange { start: bound(at), end: bound(at + 1) };
            pieces.push(FileGroup::new(vec![PartitionedFile { range: Some(range), ..file.clone() }]));
        }
    }
    if !small.is_empty() {
        pieces.push(FileGroup::new(small));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::common::{Statistics, stats::Precision};
    use datafusion::datasource::listing::PartitionedFile;
    use datafusion::datasource::physical_plan::FileGroup;

    use super::{cut, whole};

    fn file(name: &str, rows: usize) -> PartitionedFile {
        let statistics = Statistics { num_rows: Precision::Exact(rows), ..Statistics::default() };
        PartitionedFile::new(name, 10 * rows as u64).with_statistics(Arc::new(statistics))
    }

    fn told(pieces: &[FileGroup]) -> Vec<Vec<String>> {
        let name = |file: &PartitionedFile| match &file.range {
            Some(range) => format!("{} {}..{}", file.object_meta.location, range.start, range.end),
            None => file.object_meta.location.to_string(),
        };
        pieces.iter().map(|piece| piece.iter().map(name).collect()).collect()
    }

    #[test]
    fn the_order_of_the_files_stays_and_every_byte_is_in_one_piece() {
        let files = vec![file("a", 40), file("b", 50), file("c", 20), file("d", 250), file("e", 1), file("f", 100)];
        let pieces = cut(files.clone(), 100);
        let expected =
            [vec!["a", "b"], vec!["c"], vec!["d 0..833"], vec!["d 833..1666"], vec!["d 1666..2500"], vec!["e"], vec!["f"]];
        assert_eq!(told(&pieces), expected);
        let again = whole(pieces.iter().flat_map(FileGroup::iter));
        let locations = |files: &[PartitionedFile]| -> Vec<String> {
            files.iter().map(|file| format!("{} {:?}", file.object_meta.location, file.range)).collect()
        };
        assert_eq!(locations(&again), locations(&files));
    }
}
