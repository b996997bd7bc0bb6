//! Databases that may be ingested from: `[sources.NAME]`.
//!
//! **Invariant**: settings say where a password is, never what it is, so that neither a log nor an error can show one.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use lakehouse_types::SourceName;

use crate::section::Section;

/// `[sources.NAME]`: a PostgreSQL database. Callers name it, and can say neither host nor user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// A host name or address, or the folder of a Unix socket.
    pub host: String,
    /// Default 5432.
    pub port: u16,
    pub database: String,
    pub user: String,
    /// Absent where the database asks for none.
    pub password: Option<SourcePassword>,
    /// Default `verify-full`.
    pub tls: SourceTls,
    /// PEM certificates that the server's own must come from, instead of the machine's.
    pub ca_file: Option<PathBuf>,
    /// Until the database has let us in. Default 10 s.
    pub connect_timeout: Duration,
    /// How long one read may take, from its first row to its last. Default 10 min.
    pub statement_timeout: Duration,
    /// Reads at once; more wait up to 30 s, then are refused. Default 2.
    pub connections: usize,
}

/// Where a password is; looked up at every connection, so that a new one needs no restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourcePassword {
    /// The name of an environment variable.
    Env(String),
    /// A file that holds nothing else; a line end after it does not count.
    File(PathBuf),
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceTls {
    /// Not at all.
    Disable,
    /// Encrypted; whoever answers is believed to be the database.
    Require,
    /// Encrypted, with a certificate for the host's name from an authority that is trusted.
    VerifyFull,
}

impl SourceSettings {
    /// Reads `[sources]`.
    pub(crate) fn read(section: Section<'_, '_>) -> BTreeMap<SourceName, Self> {
        let mut sources = BTreeMap::new();
        for (name, mut table) in section.into_named() {
            let source = Self::read_one(&mut table, &name);
            match SourceName::new(&name) {
                Ok(name) => sources.extend(source.map(|source| (name, source))),
                Err(error) => table.report(format!("[sources.{name:?}]: {error}")),
            }
            table.finish();
        }
        sources
    }

    fn read_one(table: &mut Section<'_, '_>, name: &str) -> Option<Self> {
        let missing: Vec<_> = ["host", "database", "user"].into_iter().filter(|key| !table.has(key)).collect();
        table.choice("kind", (), &[("postgres", ())]);
        let host = table.text("host", String::new(), "a host name, an address, or the folder of a Unix socket", parse_text);
        let port = table.integer("port", 5432, 1..=65_535);
        let database = table.text("database", String::new(), "the name of a database", parse_text);
        let user = table.text("user", String::new(), "the name of a user", parse_text);
        let variable = table.text("password_env", None, "the name of an environment variable", parse_variable);
        let file = table.optional_path("password_file");
        let words = [("disable", SourceTls::Disable), ("require", SourceTls::Require), ("verify-full", SourceTls::VerifyFull)];
        let tls = table.choice("tls", SourceTls::VerifyFull, &words);
        let ca_file = table.optional_path("ca_file");
        let connect_timeout = table.millis("connect_timeout_ms", 10_000, 100..=600_000);
        let statement_timeout = table.millis("statement_timeout_ms", 600_000, 100..=86_400_000);
        let connections = table.count("connections", 2, 1..=64);
        let password = match (variable, file) {
            (Some(_), Some(_)) => {
                table.report(format!("[sources.{name}] has both \"password_env\" and \"password_file\"; give one"));
                return None;
            }
            (Some(variable), None) => Some(SourcePassword::Env(variable)),
            (None, file) => file.map(SourcePassword::File),
        };
        if !missing.is_empty() {
            let listed: Vec<_> = missing.iter().map(|key| format!("\"{key}\"")).collect();
            table.report(format!("[sources.{name}] needs {}", listed.join(" and ")));
            return None;
        }
        if tls != SourceTls::VerifyFull && ca_file.is_some() {
            table.report(format!("\"ca_file\" in [sources.{name}] has a meaning only for tls = \"verify-full\""));
        }
        if tls != SourceTls::Disable && host.starts_with('/') {
            table.report(format!("[sources.{name}] has a Unix socket for \"host\", which goes with tls = \"disable\" only"));
        }
        let port = u16::try_from(port).unwrap_or(u16::MAX);
        Some(Self { host, port, database, user, password, tls, ca_file, connect_timeout, statement_timeout, connections })
    }
}

fn parse_text(text: &str) -> Option<String> {
    ((1..=255).contains(&text.len()) && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn parse_variable(text: &str) -> Option<Option<String>> {
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then(|| Some(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::{SourcePassword, SourceTls};
    use crate::Settings;

    const CRM: &str = "[sources.crm]\nkind='postgres'\nhost='db.example.com'\ndatabase='crm'\nuser='lake'\n";

    #[test]
    fn a_source_needs_little_and_is_careful_by_default() {
        let settings = Settings::parse(CRM, Path::new("lakehouse.toml")).unwrap();
        let source = &settings.sources["crm"];
        assert_eq!((source.host.as_str(), source.port, source.tls), ("db.example.com", 5432, SourceTls::VerifyFull));
        assert_eq!((source.statement_timeout, &source.password), (Duration::from_mins(10), &None));

        let text = format!("{CRM}password_env='CRM_PASSWORD'\nport=6432\ntls='require'\nconnections=4\n");
        let settings = Settings::parse(&text, Path::new("lakehouse.toml")).unwrap();
        let source = &settings.sources["crm"];
        assert_eq!(source.password, Some(SourcePassword::Env("CRM_PASSWORD".into())));
        assert_eq!((source.port, source.tls, source.connections), (6432, SourceTls::Require, 4));
    }

    #[test]
    fn what_is_wrong_with_a_source_is_said() {
        for (text, expected) in [
            ("[sources.crm]\nkind='mysql'", "\"kind\" in [sources.crm] must be one of \"postgres\""),
            ("[sources.crm]\nhost='x'", "[sources.crm] needs \"database\" and \"user\""),
            ("[sources.CRM]\nhost='x'\ndatabase='x'\nuser='x'", "[sources.\"CRM\"]: a source name must be"),
            (&format!("{CRM}password='secret'"), "unknown key \"password\" in [sources.crm]"),
            (&format!("{CRM}password_env='a b'"), "\"password_env\" in [sources.crm] must be the name of an environment"),
            (&format!("{CRM}password_env='A'\npassword_file='b'"), "has both \"password_env\" and \"password_file\""),
            (&format!("{CRM}tls='off'"), "\"tls\" in [sources.crm] must be one of \"disable\", \"require\", \"verify-full\""),
            (&format!("{CRM}tls='require'\nca_file='ca.pem'"), "only for tls = \"verify-full\""),
            (&CRM.replace("db.example.com", "/run/postgresql"), "which goes with tls = \"disable\" only"),
        ] {
            let refusal = Settings::parse(text, Path::new("lakehouse.toml")).expect_err(text).to_string();
            assert!(refusal.contains(expected), "{text}: {refusal}");
            assert!(!refusal.contains("secret"), "{refusal}");
        }
    }
}
