//! Parameters of prepared statements: what is asked for, and the one row that comes.

use std::{panic::AssertUnwindSafe, time::Duration};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::{decode::FlightRecordBatchStream, sql::server::PeekableFlightDataStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use tonic::Status;

use crate::sound::is_plain;

/// Rows of parameters that are read before they are found to be too many.
const MAX_BOUND_ROWS: usize = 1_000;

/// The parameters' names and types; text where the statement does not tell.
pub(super) fn schema(types: &[Option<DataType>]) -> Schema {
    let field = |(at, data_type): (usize, &Option<DataType>)| {
        Field::new(format!("${}", at + 1), data_type.clone().unwrap_or(DataType::Utf8), true)
    };
    Schema::new(types.iter().enumerate().map(field).collect::<Vec<_>>())
}

/// The one row of parameters that a client sends; `None` of a statement that has none.
pub(super) async fn read(stream: PeekableFlightDataStream, within: Duration) -> Result<Option<RecordBatch>, Status> {
    let read = async {
        let unreadable = |_| Status::invalid_argument("the parameters are no Arrow record batches");
        let plain = stream.map(|data| match data {
            Ok(data) if !data.data_header.is_empty() && !is_plain(&data.data_header) => {
                Err(Status::invalid_argument("the parameters are no plain Arrow record batches; send them uncompressed"))
            }
            data => data,
        });
        let mut batches = FlightRecordBatchStream::new_from_flight_data(plain.map_err(Into::into));
        let mut bound: Option<RecordBatch> = None;
        while let Some(batch) = batches.try_next().await.map_err(unreadable)? {
            let rows = bound.as_ref().map_or(0, RecordBatch::num_rows) + batch.num_rows();
            if rows > MAX_BOUND_ROWS {
                return Err(Status::invalid_argument("one row of parameters is bound at a time"));
            }
            bound = Some(match bound {
                None => batch,
                Some(before) => concat_batches(&before.schema(), [&before, &batch])
                    .map_err(|_| Status::invalid_argument("the parameters' batches have different columns"))?,
            });
        }
        match bound {
            Some(row) if row.num_columns() == 0 => Ok(None),
            Some(row) if row.num_rows() == 1 => Ok(Some(row)),
            Some(rows) => {
                let message = format!("one row of parameters is bound at a time, {} were sent", rows.num_rows());
                Err(Status::invalid_argument(message))
            }
            None => Ok(None),
        }
    };
    // Arrow's reader panics on some schemas that nobody wrote.
    match tokio::time::timeout(within, AssertUnwindSafe(read).catch_unwind()).await {
        Ok(Ok(read)) => read,
        Ok(Err(_)) => Err(Status::invalid_argument("the parameters are no Arrow record batches")),
        Err(_) => Err(Status::deadline_exceeded("the parameters did not arrive in time")),
    }
}
