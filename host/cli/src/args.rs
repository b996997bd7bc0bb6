//! What can be typed. Each command's help ends with examples that work as they stand.

mod access; // key, grant
mod indexes; // index, search, profile
mod storage; // datasets, compaction, erasure, jobs, queries, journal
mod views;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::{
    access::{CreateKey, Grant, GrantSpec, Key},
    indexes::{Index, Profile, RefreshIndex, Search},
    storage::{Compact, Describe, Erase, JobCommand, Jobs, Journal, Queries, QueryCommand},
    views::{ValidateView, View},
};

const START: &str = "\
Start:
  lakehouse demo                                  see everything work, in a folder of its own
  lakehouse serve                                 a server on 127.0.0.1:3100; prints the first admin key once
  export LAKEHOUSE_KEY=lk_...                     the key that it printed
  lakehouse ingest people.csv                     a dataset named `people`
  lakehouse sql 'SELECT count(*) FROM people'

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not permitted, 4 the server or a rule failed, 5 no server answers,
130 interrupted";

/// A lakehouse whose rules are WebAssembly components, swapped while it runs.
#[derive(Debug, Parser)]
#[command(name = "lakehouse", version, after_help = START, max_term_width = 110, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the server is and who asks.
#[derive(Debug, Clone, Args)]
pub(crate) struct Connection {
    /// The server's address
    #[arg(long, global = true, env = "LAKEHOUSE_URL", default_value = "http://127.0.0.1:3100", value_name = "URL")]
    pub(crate) url: String,
    /// The API key
    #[arg(long, global = true, env = "LAKEHOUSE_KEY", hide_env_values = true, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// The profile to ask under; without it, the key's own
    #[arg(long, global = true, env = "LAKEHOUSE_PROFILE", value_name = "ID")]
    pub(crate) profile: Option<String>,
    /// JSON instead of tables (as when the output is piped)
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a server
    Serve(Serve),
    /// Ask in SQL
    Sql(Sql),
    /// Send files, or tables of a database, into datasets
    Ingest(Ingest),
    /// List, upload, roll back and try components
    #[command(subcommand)]
    Plugin(Plugin),
    /// Make, refresh, list and drop indexes
    #[command(subcommand)]
    Index(Index),
    /// Search an index by text
    Search(Search),
    /// Put, try, list, show and delete views
    #[command(subcommand)]
    View(View),
    /// Put, list, show, activate and delete profiles
    #[command(subcommand)]
    Profile(Profile),
    /// Datasets: where they are, how many rows and files they have
    Datasets,
    /// One dataset, with the indexes over it
    Describe(Describe),
    /// Merge small files and drop hidden rows for good
    Compact(Compact),
    /// Erase subjects from everything that holds them, with a certificate
    Erase(Erase),
    /// Certificates of erasures
    Certificates,
    /// Long work on the server: list, follow, cancel
    Jobs(Jobs),
    /// Queries on the server: what runs, and its end
    Queries(Queries),
    /// Events, and the check of their chain
    #[command(subcommand)]
    Journal(Journal),
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Key(Key),
    /// List, add and remove what a key may name
    #[command(subcommand)]
    Grant(Grant),
    /// Tell the whole story on made-up candidates, or on a file of yours
    Demo(Demo),
    /// Compile a component from stdin to stdout: what the server runs as its limited child
    #[command(hide = true, name = "compile-component")]
    CompileComponent,
}

const SERVE: &str = "\
Examples:
  lakehouse serve                                       data in the current folder, port 3100, loopback only
  lakehouse serve --data /srv/lake --config /etc/lakehouse
  LAKEHOUSE_ADMIN_KEY=... lakehouse serve --listen 0.0.0.0:3100
  lakehouse serve --data /srv/lake --flight 127.0.0.1:3200        with Arrow Flight SQL, for ADBC and JDBC drivers
  lakehouse serve --data /srv/lake --listen 127.0.0.1:3101        beside the first: reads, and writes when that one is gone

One server writes to a storage. Another one on the same storage reads; it takes over when the first has ended, or has given no
sign of life for 10 s.
SIGTERM or Ctrl-C stops it: running requests may finish for `[server] drain_ms`, a second signal stops it at once.";

#[derive(Debug, Clone, Args)]
#[command(after_help = SERVE)]
pub(crate) struct Serve {
    /// The folder with lakehouse.toml; without it, built-in defaults
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// The folder that relative paths of the settings start from
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) data: PathBuf,
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
    /// Address and port of Arrow Flight SQL; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    pub(crate) flight: Option<String>,
    /// The folder of shipped components; those that were never installed here are installed at each start
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<PathBuf>,
    /// Only read what another server writes to this storage, and never write in its place
    #[arg(long, conflicts_with = "take_over")]
    pub(crate) read_only: bool,
    /// Write at once in the place of the server that holds the storage; that one may then only read
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Stop when stdin closes: for a server that must not outlive whoever started it
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

const SQL: &str = "\
Examples:
  lakehouse sql 'SELECT city, count(*) AS n FROM candidates GROUP BY city ORDER BY n DESC LIMIT 5'
  lakehouse sql --file report.sql --format csv --output report.csv
  echo 'SELECT 1 AS one' | lakehouse sql --json
  lakehouse sql --param 42 'SELECT * FROM people WHERE id = $1'";

#[derive(Debug, Args)]
#[command(after_help = SQL)]
pub(crate) struct Sql {
    /// The statement; `-` or nothing reads it from stdin
    #[arg(value_name = "SQL")]
    pub(crate) statement: Option<String>,
    /// Read the statement from a file
    #[arg(long, short, value_name = "FILE", conflicts_with = "statement")]
    pub(crate) file: Option<PathBuf>,
    /// A value for $1, $2, …: JSON where it parses, else text
    #[arg(long = "param", short, value_name = "VALUE")]
    pub(crate) params: Vec<String>,
    /// The form of the answer; table on a terminal, else json
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<SqlFormat>,
    /// Write the answer to a file
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SqlFormat {
    Table,
    Json,
    Csv,
    Ndjson,
    Arrow,
    Parquet,
}

const INGEST: &str = "\
Examples:
  lakehouse ingest people.csv                                   dataset `people`, appended
  lakehouse ingest --dataset people --mode replace 2026/*.parquet
  lakehouse ingest --dataset people --mode upsert --row-key id changes.ndjson
  gzip -dc big.csv.gz | lakehouse ingest --dataset big --format csv -
  lakehouse ingest --from crm --table public.customers          dataset `customers`, from a database of the server's config
  lakehouse ingest --from crm --query 'SELECT id, city FROM customers' --dataset cities --mode replace";

#[derive(Debug, Args)]
#[command(after_help = INGEST)]
pub(crate) struct Ingest {
    /// Files to send, one request each; `-` is stdin
    #[arg(required_unless_present = "from", conflicts_with = "from", value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Read a database instead: a source of the server's config
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["format", "on_error"])]
    pub(crate) from: Option<String>,
    /// The table of the source: TABLE or SCHEMA.TABLE, as written there
    #[arg(long, value_name = "TABLE", requires = "from", conflicts_with = "query")]
    pub(crate) table: Option<String>,
    /// A SELECT to run there instead; `-` reads it from stdin
    #[arg(long, value_name = "SQL", requires = "from", required_unless_present_any = ["files", "table"])]
    pub(crate) query: Option<String>,
    /// The dataset; without it, the file's or the table's name
    #[arg(long, short, value_name = "NAME")]
    pub(crate) dataset: Option<String>,
    /// `replace` replaces each dataset with the first file that goes into it and appends the others
    #[arg(long, value_enum, default_value = "append")]
    pub(crate) mode: IngestMode,
    /// csv, tsv, json, ndjson, parquet or arrow; without it, by the file's name
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// The column that identifies a row
    #[arg(long = "row-key", value_name = "COLUMN")]
    pub(crate) row_key: Option<String>,
    /// What a row that cannot be read does
    #[arg(long, value_enum, default_value = "fail")]
    pub(crate) on_error: OnError,
    /// The bucket of a new dataset
    #[arg(long, value_name = "NAME")]
    pub(crate) bucket: Option<String>,
    /// Makes a repeated request harmless
    #[arg(long, value_name = "TEXT")]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IngestMode {
    Append,
    Replace,
    /// Rows take the place of those with the same --row-key
    Upsert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    Fail,
    Skip,
}

const PLUGIN: &str = "\
Examples:
  lakehouse plugin list
  lakehouse plugin push redact-mask.wasm              the file's name is the component's, or say --name
  lakehouse plugin rollback redact-mask               back to the version before
  lakehouse plugin dry-run redact-mask --config '{\"keep_prefix\":3,\"keep_suffix\":2}' CAND-000001
  lakehouse plugin dry-run redact-null --json 42 true null
  lakehouse plugin dry-run chunk-text --config '{\"chunk_size\":200,\"overlap\":20}' \"$(cat resume.txt)\"
  lakehouse plugin dry-run id-prefix --config '{\"prefix\":\"W-\"}' --doc-ids W-7
  lakehouse plugin dry-run model-openai '{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'";

#[derive(Debug, Subcommand)]
#[command(after_help = PLUGIN)]
pub(crate) enum Plugin {
    /// Components, their active versions and kinds
    List,
    /// One component: versions, who uses it, counts
    Show { name: String },
    /// Upload a component; it serves once it is compiled and checked
    Push {
        /// The .wasm file
        file: PathBuf,
        /// The component's own name; without it, the file's
        #[arg(long)]
        name: Option<String>,
    },
    /// Back to an earlier version
    Rollback {
        name: String,
        /// The version; without it, the one before
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
    },
    /// Run a component on sample values; nothing is stored
    DryRun(DryRun),
    /// Let a disabled component serve again
    Enable { name: String },
    /// Stop a component: what binds it fails closed
    Disable { name: String },
    /// Remove a component that nothing uses
    Delete { name: String },
}

#[derive(Debug, Args)]
pub(crate) struct DryRun {
    pub(crate) name: String,
    /// What to try: values, documents, keys or texts (for values and keys with --json, JSON where it parses), JSON objects for a
    /// condition; for a model adapter a chat request and perhaps a response, both JSON; without any, a line of stdin each
    pub(crate) values: Vec<String>,
    /// redactor, condition, chunker, id-mapper, embedder or model-adapter; without it, what the component is
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// For an id mapper: the values are document ids, to be mapped back
    #[arg(long)]
    pub(crate) doc_ids: bool,
    /// The rule's configuration, a JSON object
    #[arg(long, default_value = "{}", value_name = "JSON")]
    pub(crate) config: String,
    /// A version other than the active one
    #[arg(long, value_name = "VERSION")]
    pub(crate) at: Option<String>,
}

const DEMO: &str = "\
Examples:
  lakehouse demo                                      100,000 made-up candidates
  lakehouse demo --file flights.csv --id flight_id    the same story on your rows
  lakehouse demo --file jobs.csv --id job --text ad   and this column made searchable
  lakehouse demo --keep                               leave the server's folder for a look

It starts a server of its own on a free port in a temporary folder, checks each step, and exits 0 only if all hold.";

#[derive(Debug, Clone, Args)]
#[command(after_help = DEMO)]
pub(crate) struct Demo {
    /// A file of yours instead of made-up candidates
    #[arg(long, value_name = "FILE", requires = "id")]
    pub(crate) file: Option<PathBuf>,
    /// The column of that file that identifies a row
    #[arg(long, value_name = "COLUMN", requires = "file")]
    pub(crate) id: Option<String>,
    /// The column of that file to search; without it, the one that looks most like prose
    #[arg(long, value_name = "COLUMN", requires = "file")]
    pub(crate) text: Option<String>,
    /// How many candidates to make up
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(crate) rows: u64,
    /// Keep the temporary folder at the end
    #[arg(long)]
    pub(crate) keep: bool,
    /// The folder of built components; without it, beside this program
    #[arg(long, value_name = "DIR")]
    pub(crate) plugins: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Arguments, START};
    use crate::failure::exit;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_lists_every_exit_code() {
        let codes = [exit::REFUSED, exit::USAGE, exit::NOT_PERMITTED, exit::SERVER_FAILED, exit::UNREACHABLE, exit::INTERRUPTED];
        let listed = START.split("Exit codes:").nth(1).unwrap();
        for code in codes {
            assert!(listed.split([' ', '\n']).any(|word| word == code.to_string()), "{code}");
        }
    }

    #[test]
    fn global_options_stand_on_either_side_of_the_command() {
        for line in [["lakehouse", "--json", "plugin", "list"], ["lakehouse", "plugin", "list", "--json"]] {
            assert!(Arguments::try_parse_from(line).unwrap().connection.json, "{line:?}");
        }
    }
}
