//! What can be typed of views.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const VIEW: &str = "\
Examples:
  lakehouse view put people_safe.json                 a file as POST /catalog/views takes it; `-` is stdin
  lakehouse view put people_safe.json --if-version 3  only if nobody has changed it since
  lakehouse view validate people_safe.json            on rows of its base, which the key must be able to read
  lakehouse view validate people_safe.json --rows '[{\"id\": 1, \"name\": \"Ana\"}]'
  lakehouse view versions people_safe                 what it said before
  lakehouse view delete people_safe";

#[derive(Debug, Subcommand)]
#[command(after_help = VIEW)]
pub(crate) enum View {
    /// Views: what they stand on and show
    List,
    /// One view, with the types that its readers get
    Show { name: String },
    /// Create or replace a view
    Put {
        /// A JSON file; `-` is stdin
        file: PathBuf,
        /// Replace this version and no other
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
    /// Try a definition on a few rows; nothing is stored
    Validate(ValidateView),
    /// The last definitions of a view
    Versions { name: String },
    /// Remove a view that nothing uses
    Delete { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct ValidateView {
    /// A JSON file; `-` is stdin
    pub(crate) file: PathBuf,
    /// Rows of your own: a JSON list of objects with columns of the base
    #[arg(long, value_name = "JSON")]
    pub(crate) rows: Option<String>,
    /// How many rows of the base
    #[arg(long, value_name = "N", conflicts_with = "rows")]
    pub(crate) limit: Option<usize>,
}
