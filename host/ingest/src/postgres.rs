//! Rows of a PostgreSQL table or query become rows of a dataset.
//!
//! **Invariants**: one statement is run, wrapped so that it can only be a SELECT, in a transaction that can only read; memory is
//! bounded by a batch and a row, whatever the result's size; nothing is committed before the last row has come; whoever stops
//! waiting stops the query too; no value, password or text of the database's own messages is in an error.
//!
//! | PostgreSQL | here | and |
//! |---|---|---|
//! | `boolean` | boolean | |
//! | `smallint`, `integer`, `bigint` | integers of 16, 32, 64 bits | |
//! | `oid` | integer of 64 bits | |
//! | `real`, `double precision` | floats of 32, 64 bits | NaN and infinities are kept |
//! | `numeric(p, s)` | decimal(p, s) | up to 38 digits; NaN is refused with its row |
//! | `numeric` without precision, or beyond 38 digits | text | every digit is kept; `::numeric(p, s)` in a query makes it a decimal |
//! | `text`, `varchar`, `name`, `"char"`, `citext`, enums, `json`, `xml` | text | |
//! | `char(n)` | text | without the blanks that fill it, as PostgreSQL makes it text |
//! | `bytea` | binary | |
//! | `date` | date | `infinity`, and years beyond 1 to 9999, are refused with their row |
//! | `timestamp` | timestamp without zone, microseconds | the same |
//! | `timestamptz` | timestamp, microseconds in UTC | the same |
//! | arrays of these | list of these | more than one dimension is refused with its row |
//! | domains | as the type they stand on | |
//! | `interval` | text | ISO 8601: `P1DT2H` |
//! | `time`, `timetz`, `uuid`, `jsonb`, `inet`, `cidr`, `macaddr`, `money`, `bit`, ranges, geometry, composites, all others | text | as PostgreSQL writes it, times in UTC; arrays of these are lists of text |
//! | `void` and other pseudo-types | refused | |
//!
//! A column has the type that its declaration gives it, whatever its values: NULLs alone, or no row at all, change nothing.

mod array; // the binary form of arrays
mod column; // binary values → Arrow arrays
mod error;
mod kind; // which type becomes which
mod numeric; // the binary form of numerics
mod plan; // a statement and its columns
mod pull; // one read
mod selection; // a table, or a query
mod session; // a connection, signed in
mod socket; // bytes, with rows of bounded length
mod source; // a database that an operator declared
mod tls;

#[cfg(test)]
mod tests;

pub use error::SourceError;
pub use pull::PullRequest;
pub use selection::{Selection, TableName};
pub use source::{PasswordFrom, PostgresSource, Tls};
