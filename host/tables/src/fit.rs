//! Whether a data file has exactly the columns of a scan, so that it can be opened without reading its own schema.
//!
//! A file says what Arrow types its columns had, which takes as long to read as a thousand of its rows. A footer that was read once
//! tells whether that is needed.
//!
//! **Invariant**: a file is read under a schema only once its footer was found to agree with it.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::Result;
use parquet::file::metadata::ParquetMetaData;

/// What is known of a file; clones know it, too.
#[derive(Clone, Default)]
pub(crate) struct Fit {
    /// The schema that fits, or `None` where that of the first scan did not.
    known: Arc<OnceLock<Option<SchemaRef>>>,
}

/// What was learned of a file is nothing that it is.
impl fmt::Debug for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fit")
    }
}

impl Fit {
    pub(crate) fn is_known(&self) -> bool {
        self.known.get().is_some()
    }

    /// Whether the file can be opened under this very schema.
    pub(crate) fn is(&self, schema: &SchemaRef) -> bool {
        matches!(self.known.get(), Some(Some(known)) if Arc::ptr_eq(known, schema))
    }

    fn learn(&self, schema: &SchemaRef, footer: &Arc<ParquetMetaData>) {
        self.known.get_or_init(|| {
            let options = ArrowReaderOptions::new().with_schema(Arc::clone(schema));
            ArrowReaderMetadata::try_new(Arc::clone(footer), options).is_ok().then(|| Arc::clone(schema))
        });
    }
}

/// A reader that learns from the footer as it comes by.
pub(crate) struct Learning {
    pub(crate) reader: Box<dyn AsyncFileReader + Send>,
    pub(crate) fit: Fit,
    pub(crate) schema: SchemaRef,
}

impl AsyncFileReader for Learning {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.reader.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.reader.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(&'a mut self, options: Option<&'a ArrowReaderOptions>) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let footer = self.reader.get_metadata(options).await?;
            self.fit.learn(&self.schema, &footer);
            Ok(footer)
        }
        .boxed()
    }
}
