//! Which format an input has: as the caller says, else by its name, its media type, its first bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::IngestError;

/// The formats, as a parameter's values.
pub(crate) const FORMATS: &str = "csv|tsv|json|ndjson|parquet|arrow";

/// A format that rows come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Csv,
    Tsv,
    /// An array of objects, or objects one after the other.
    Json,
    /// One object a line.
    Ndjson,
    Parquet,
    /// Arrow IPC, file or stream.
    Arrow,
}

/// The parameter's value.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        })
    }
}

impl FromStr for Format {
    type Err = IngestError;

    fn from_str(text: &str) -> Result<Self, IngestError> {
        Self::of_ending(text).ok_or(IngestError::UnknownFormat)
    }
}

impl Format {
    fn of_ending(ending: &str) -> Option<Self> {
        Some(match ending.to_ascii_lowercase().as_str() {
            "csv" => Self::Csv,
            "tsv" | "tab" => Self::Tsv,
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Ndjson,
            "parquet" | "pq" => Self::Parquet,
            "arrow" | "arrows" | "feather" | "ipc" => Self::Arrow,
            _ => return None,
        })
    }

    /// By file name: `people.csv`, `people.csv.gz`.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.rsplit(['/', '\\']).next().unwrap_or(name);
        let mut endings = name.rsplit('.');
        let last = endings.next()?;
        match last.to_ascii_lowercase().as_str() {
            "gz" | "gzip" | "zst" | "zstd" => endings.next().and_then(Self::of_ending),
            _ => Self::of_ending(last),
        }
    }

    /// By media type; types that say nothing, like `application/octet-stream`, are none.
    pub fn of_content_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Some(match essence.as_str() {
            "text/csv" | "application/csv" => Self::Csv,
            "text/tab-separated-values" => Self::Tsv,
            "application/json" | "text/json" => Self::Json,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => Self::Ndjson,
            "application/vnd.apache.parquet" | "application/x-parquet" | "application/parquet" => Self::Parquet,
            "application/vnd.apache.arrow.stream" | "application/vnd.apache.arrow.file" => Self::Arrow,
            _ => return None,
        })
    }

    /// By the first bytes of binary formats.
    pub(crate) fn of_magic(head: &[u8]) -> Option<Self> {
        if head.starts_with(b"PAR1") {
            Some(Self::Parquet)
        } else if head.starts_with(b"ARROW1") || head.starts_with(&[0xff, 0xff, 0xff, 0xff]) {
            Some(Self::Arrow)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FORMATS, Format};

    #[test]
    fn names_and_media_types_tell_the_format() {
        let names = [
            ("a.CSV", Some(Format::Csv)),
            ("dir.csv/a.tsv.gz", Some(Format::Tsv)),
            ("a.b.jsonl.zst", Some(Format::Ndjson)),
            ("a.csv.gzip", Some(Format::Csv)),
            ("a.pq.zstd", Some(Format::Parquet)),
            ("a.gz", None),
            ("csv", Some(Format::Csv)),
            ("", None),
            ("a.txt", None),
        ];
        for (name, expected) in names {
            assert_eq!(Format::of_name(name), expected, "{name}");
        }
        for word in FORMATS.split('|') {
            assert_eq!(word.parse::<Format>().unwrap().to_string(), word);
        }
        assert_eq!(Format::of_content_type("text/csv; charset=utf-8"), Some(Format::Csv));
        assert_eq!(Format::of_content_type("application/octet-stream"), None);
        assert_eq!(Format::of_magic(b"PAR1...."), Some(Format::Parquet));
    }
}
