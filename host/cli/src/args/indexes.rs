//! What can be typed of indexes, search and profiles.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const INDEX: &str = "\
Examples:
  lakehouse index refresh people --index people_notes --id person_id --text note
  lakehouse index refresh people --index people_notes             as before: embeds what is new or changed
  lakehouse index list
  lakehouse index drop people_notes";

#[derive(Debug, Subcommand)]
#[command(after_help = INDEX)]
pub(crate) enum Index {
    /// Indexes: what they are made of, and whether they are behind
    List,
    /// One index
    Show { name: String },
    /// Make an index, or bring it up to date
    Refresh(RefreshIndex),
    /// Remove an index
    Drop { name: String },
    /// Datasets that were embedded, and which of their indexes are behind
    Stale,
}

#[derive(Debug, Args)]
pub(crate) struct RefreshIndex {
    /// The dataset or view
    pub(crate) relation: String,
    /// The index's name
    #[arg(long, short, value_name = "NAME")]
    pub(crate) index: String,
    /// The column that names rows
    #[arg(long, value_name = "COLUMN")]
    pub(crate) id: Option<String>,
    /// The column of text to search
    #[arg(long, value_name = "COLUMN", conflicts_with = "vectors")]
    pub(crate) text: Option<String>,
    /// A column of lists of numbers instead of text
    #[arg(long, value_name = "COLUMN")]
    pub(crate) vectors: Option<String>,
    /// cosine, inner_product or l2
    #[arg(long, value_name = "METRIC")]
    pub(crate) metric: Option<String>,
    /// The most characters of a chunk
    #[arg(long, value_name = "N")]
    pub(crate) chunk_size: Option<u32>,
    /// Characters that a chunk repeats of the one before
    #[arg(long, value_name = "N")]
    pub(crate) overlap: Option<u32>,
    /// What stands before the row key in a document id
    #[arg(long, value_name = "TEXT")]
    pub(crate) id_prefix: Option<String>,
}

const SEARCH: &str = "\
Examples:
  lakehouse search people_notes 'night-shift forklift operator'
  lakehouse search people_notes 'forklift' --filter \"state = 'OH' AND years > 5\" -k 20
  lakehouse search people_notes 'forklift' --profile recruiter --json";

#[derive(Debug, Args)]
#[command(after_help = SEARCH)]
pub(crate) struct Search {
    /// The index
    pub(crate) index: String,
    /// What to look for
    #[arg(value_name = "TEXT", required_unless_present = "vector")]
    pub(crate) query: Option<String>,
    /// A vector instead of a text: a JSON list of numbers
    #[arg(long, value_name = "JSON", conflicts_with = "query")]
    pub(crate) vector: Option<String>,
    /// A SQL condition that every hit satisfies
    #[arg(long, value_name = "SQL")]
    pub(crate) filter: Option<String>,
    /// How many rows
    #[arg(short, default_value_t = 10, value_name = "N")]
    pub(crate) k: usize,
}

const PROFILE: &str = "\
Examples:
  lakehouse profile put recruiter.json                a file as POST /catalog/profiles takes it; `-` is stdin
  lakehouse profile activate recruiter                loads its components and indexes
  lakehouse profile list
  lakehouse profile delete recruiter";

#[derive(Debug, Subcommand)]
#[command(after_help = PROFILE)]
pub(crate) enum Profile {
    /// Profiles: what they are bound to, and their rules
    List,
    /// One profile
    Show { id: String },
    /// Create or replace a profile
    Put {
        /// A JSON file; `-` is stdin
        file: PathBuf,
    },
    /// Load a profile's components and indexes
    Activate { id: String },
    /// Remove a profile
    Delete { id: String },
}
