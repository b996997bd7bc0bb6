//! Keys, and what they may name.

use std::str::FromStr;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

const KEY: &str = "\
Examples:
  lakehouse key create analyst --role reader --grant view:candidates_safe
  lakehouse key create loader --role writer --grant 'dataset:*:read,write'
  lakehouse key list
  lakehouse key revoke kmzxw6ytboi                    an id of `key list`";

#[derive(Debug, Subcommand)]
#[command(after_help = KEY)]
pub(crate) enum Key {
    /// Create a key; its secret is shown once
    Create(CreateKey),
    /// Keys, without their secrets: what they may name, and when they were last used
    List,
    /// Refuse a key from now on; its name is never used again
    Revoke {
        /// `k` and ten letters or digits, as `key list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateKey {
    pub(crate) name: String,
    /// admin, operator, writer or reader
    #[arg(long)]
    pub(crate) role: String,
    /// dataset|view|index|profile|source:NAME[:read,write]; NAME may be `*`; read is meant when no verb is named, and only datasets can be
    /// written
    #[arg(long = "grant", value_name = "GRANT")]
    pub(crate) grants: Vec<GrantSpec>,
    /// A profile that the key may name
    #[arg(long = "may-use", value_name = "PROFILE")]
    pub(crate) profiles: Vec<String>,
    /// The profile it asks under when it names none
    #[arg(long, value_name = "PROFILE")]
    pub(crate) default_profile: Option<String>,
    /// RFC 3339, for example 2027-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<String>,
}

const GRANT: &str = "\
Examples:
  lakehouse grant list                                what all keys may name, and where it is written down
  lakehouse grant list --of analyst
  lakehouse grant add analyst view:candidates_safe index:resumes
  lakehouse grant add loader 'dataset:*:read,write'
  lakehouse grant remove analyst view:candidates_safe
  lakehouse grant remove kmzxw6ytboi.0f3a9c51d2e4b678  an id of `grant list`

A GRANT is dataset|view|index|profile|source:NAME[:read,write]. NAME may be `*`; read is meant when no verb is named, and only datasets
can be written. Grants of the server's access.toml are listed too, and taken back there.";

#[derive(Debug, Subcommand)]
#[command(after_help = GRANT)]
pub(crate) enum Grant {
    /// What keys may name
    List {
        /// Of this key alone, by its id or name
        #[arg(long, value_name = "KEY")]
        of: Option<String>,
    },
    /// Let a key name more, from its next request on
    Add {
        /// The key's id or name
        #[arg(value_name = "KEY")]
        of: String,
        #[arg(required = true, value_name = "GRANT")]
        grants: Vec<GrantSpec>,
    },
    /// Take grants back; answers that run for the key end
    Remove {
        /// The key's id or name; or a grant's id, and nothing else
        #[arg(value_name = "KEY|ID")]
        of: String,
        #[arg(value_name = "GRANT")]
        grants: Vec<GrantSpec>,
    },
}

/// `view:candidates_safe` or `dataset:*:read,write`, as the API writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GrantSpec(pub(crate) Value);

impl FromStr for GrantSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (target, name, verbs) = (parts.next().unwrap_or_default(), parts.next(), parts.next().unwrap_or("read"));
        let (Some(name), true) = (name, matches!(target, "dataset" | "view" | "index" | "profile" | "source")) else {
            return Err("write dataset|view|index|profile|source:NAME[:read,write]".to_owned());
        };
        let mut verbs: Vec<&str> = verbs.split(',').map(str::trim).collect();
        if let Some(other) = verbs.iter().find(|verb| !matches!(**verb, "read" | "write")) {
            return Err(format!("{other:?} is no verb: write read, write, or read,write"));
        }
        // As the server lists them.
        verbs.sort_unstable();
        verbs.dedup();
        Ok(Self(json!({ target: name, "verbs": verbs })))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::GrantSpec;
    use crate::args::Arguments;

    #[test]
    fn a_grant_reads_by_default() {
        let parse = |text: &str| text.parse::<GrantSpec>().map(|grant| grant.0);
        assert_eq!(parse("view:candidates_safe").unwrap(), json!({"view": "candidates_safe", "verbs": ["read"]}));
        assert_eq!(parse("dataset:*:write, read").unwrap(), json!({"dataset": "*", "verbs": ["read", "write"]}));
        for bad in ["candidates", "bucket:x", "dataset:x:own", "dataset:x:"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_grant_that_is_none_is_wrong_usage_and_says_what_is_one() {
        for line in [["lakehouse", "grant", "add", "ada", "candidates"], ["lakehouse", "grant", "remove", "ada", "view:v:own"]] {
            let error = Arguments::try_parse_from(line).unwrap_err();
            assert!(error.use_stderr() && error.to_string().contains("write "), "{error}");
        }
        assert!(Arguments::try_parse_from(["lakehouse", "grant", "add", "ada"]).is_err());
        assert!(Arguments::try_parse_from(["lakehouse", "grant", "remove", "k1.0f3a9c51d2e4b678"]).is_ok());
    }
}
