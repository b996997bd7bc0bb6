//! What can be typed of datasets, compaction, erasure, jobs, queries and the journal.

use clap::{Args, Subcommand};
use lakehouse_types::Digest;

const DESCRIBE: &str = "\
Examples:
  lakehouse describe people          columns, version, files, tombstones, and the indexes over it
  lakehouse describe people --json";

#[derive(Debug, Args)]
#[command(after_help = DESCRIBE)]
pub(crate) struct Describe {
    /// The dataset
    pub(crate) name: String,
}

const COMPACT: &str = "\
Examples:
  lakehouse compact people           merges small files; rows that tombstones hide are gone for good
  lakehouse compact --all            every dataset that it brings something to

It runs as a job: after Ctrl-C it goes on, and `lakehouse jobs` tells what became of it.";

#[derive(Debug, Args)]
#[command(after_help = COMPACT)]
pub(crate) struct Compact {
    /// The dataset
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) dataset: Option<String>,
    /// Every dataset with hidden rows or many small files
    #[arg(long)]
    pub(crate) all: bool,
}

const ERASE: &str = "\
Examples:
  lakehouse erase people --column person_id P-17 P-18
  lakehouse erase people --column person_id --yes --json P-17 > certificate.json
  lakehouse certificates

What is erased does not come back: not from earlier versions, nor from older copies of a bucket. It runs as a job.";

#[derive(Debug, Args)]
#[command(after_help = ERASE)]
pub(crate) struct Erase {
    /// The dataset
    pub(crate) dataset: String,
    /// The column that names rows
    #[arg(long, short, value_name = "COLUMN")]
    pub(crate) column: String,
    /// Keys of rows: whole numbers and texts alike
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

const JOBS: &str = "\
Examples:
  lakehouse jobs                     what runs, and what ended in the last day
  lakehouse jobs wait 01k...         follows a job to its end
  lakehouse jobs cancel 01k...";

#[derive(Debug, Args)]
#[command(after_help = JOBS)]
pub(crate) struct Jobs {
    #[command(subcommand)]
    pub(crate) command: Option<JobCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// All jobs that the key may see
    List,
    /// One job, with its report
    Show { id: String },
    /// Follow a job to its end, and print its report
    Wait { id: String },
    /// Tell a job to stop before it changes anything
    Cancel { id: String },
}

const QUERIES: &str = "\
Examples:
  lakehouse queries                  what runs now
  lakehouse queries cancel 01k...    ends it, and its client is told
  lakehouse sql 'SELECT * FROM system.queries ORDER BY duration_ms DESC LIMIT 10'   what ran, literals left out";

#[derive(Debug, Args)]
#[command(after_help = QUERIES)]
pub(crate) struct Queries {
    #[command(subcommand)]
    pub(crate) command: Option<QueryCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueryCommand {
    /// All queries that run now and that the key may see
    List,
    /// One query, running or ended
    Show { id: String },
    /// End a query
    Cancel { id: String },
}

const JOURNAL: &str = "\
Examples:
  lakehouse journal verify           follows the chain from its first event, here, not on the server
  lakehouse journal verify --head 3f6c...   and compares the end with one that was kept
  lakehouse journal list --kind erasure --json";

#[derive(Debug, Subcommand)]
#[command(after_help = JOURNAL)]
pub(crate) enum Journal {
    /// Events in order
    List {
        /// Of this kind: ingest, tombstone, compact, erasure, …
        #[arg(long)]
        kind: Option<String>,
        /// Of this dataset
        #[arg(long, value_name = "NAME")]
        dataset: Option<String>,
        /// Of this actor
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,
    },
    /// Check that no event was changed, left out or put in between
    Verify {
        /// The end of the chain as it was kept, to see that it is still in it
        #[arg(long, value_name = "HASH")]
        head: Option<Digest>,
    },
}
