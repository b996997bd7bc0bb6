//! What is wrong with a config file, with the place to mend.

use std::{fmt, path::PathBuf};

use lakehouse_types::{Code, Fault};

/// Why settings could not be read. Every problem of a file is reported at once.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file that was looked for.
        file: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}:{line}: {message}", file.display())]
    Syntax {
        file: PathBuf,
        /// From 1.
        line: usize,
        message: String,
    },
    /// The file is TOML, but not settings.
    #[error("{}", Listing(file, problems))]
    Invalid {
        file: PathBuf,
        /// In the order of the file's lines; never empty.
        problems: Vec<Problem>,
    },
}

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line of the key, or of the section where a key is missing; from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

struct Listing<'a>(&'a PathBuf, &'a [Problem]);

impl fmt::Display for Listing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.1.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{}: {}", self.0.display(), problem.line, problem.message)?;
        }
        Ok(())
    }
}

impl Fault for SettingsError {
    fn code(&self) -> Code {
        match self {
            Self::Read { .. } => Code::StorageUnavailable,
            Self::Syntax { .. } | Self::Invalid { .. } => Code::InvalidDefinition,
        }
    }

    fn public(&self) -> String {
        self.to_string()
    }
}
