//! A database that an operator declared.

use std::path::PathBuf;
use std::time::Duration;

use lakehouse_types::SourceName;

/// Where a database is, and as whom it is read.
#[derive(Debug, Clone)]
pub struct PostgresSource {
    pub name: SourceName,
    /// A host name or address; beginning with `/`, the folder of a Unix socket.
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: Option<PasswordFrom>,
    pub tls: Tls,
    /// Until the session is ready.
    pub connect_timeout: Duration,
    /// For one read, from its first row to its last.
    pub statement_timeout: Duration,
}

/// Where a password is. It is looked up at every connection and kept nowhere.
#[derive(Debug, Clone)]
pub enum PasswordFrom {
    /// An environment variable.
    Env(String),
    /// A file that holds nothing else; a line end after it does not count.
    File(PathBuf),
}

/// How a connection is protected.
#[derive(Debug, Clone)]
pub enum Tls {
    Disable,
    /// Encrypted; whoever answers is believed.
    Require,
    /// Encrypted, with a certificate for the host's name from an authority of the PEM file, or of the machine.
    VerifyFull {
        ca_file: Option<PathBuf>,
    },
}

impl PasswordFrom {
    /// # Errors
    /// When it is not there, or no text.
    pub(super) async fn read(&self) -> Result<String, std::io::Error> {
        match self {
            Self::Env(variable) => {
                std::env::var(variable).map_err(|error| std::io::Error::other(format!("variable {variable}: {}", unset(&error))))
            }
            Self::File(path) => {
                let text = tokio::fs::read_to_string(path).await?;
                let line = text.strip_suffix('\n').unwrap_or(&text);
                Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
            }
        }
    }
}

/// The library's own words repeat the value.
fn unset(error: &std::env::VarError) -> &'static str {
    match error {
        std::env::VarError::NotPresent => "it is not set",
        std::env::VarError::NotUnicode(_) => "it is no text",
    }
}
