//! The ways a rule can refuse, one for each party who has to act.
//!
//! **Invariant**: mirrors `error` of the WIT package one to one, so that nothing is lost at the boundary.

use std::fmt;

/// Why a rule did not answer. Messages must not repeat a value of the data: the host shows configuration errors to whoever bound
/// the rule and logs the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The configuration is wrong; the message says what to change.
    InvalidConfig(String),
    /// A value cannot be handled.
    InvalidInput {
        /// The row, counted from 0 within the call, where it is known.
        row: Option<u32>,
        /// What is wrong with it, without the value.
        message: String,
    },
    /// This kind of input is not supported, for example a type of column.
    Unsupported(String),
    /// The rule's own fault.
    Internal(String),
}

impl Error {
    /// An [`Error::InvalidInput`] that names a row.
    pub fn at_row(row: usize, message: impl Into<String>) -> Self {
        Self::InvalidInput { row: u32::try_from(row).ok(), message: message.into() }
    }

    /// An [`Error::InvalidInput`] that concerns the column as a whole.
    pub fn input(message: impl Into<String>) -> Self {
        Self::InvalidInput { row: None, message: message.into() }
    }

    /// The same error, naming the row unless it names one already.
    #[must_use]
    pub fn in_row(self, row: usize) -> Self {
        match self {
            Self::InvalidInput { row: None, message } => Self::at_row(row, message),
            other => other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidConfig(message) => write!(f, "invalid configuration: {message}"),
            Self::InvalidInput { row: Some(row), message } => write!(f, "invalid input in row {row}: {message}"),
            Self::InvalidInput { row: None, message } => write!(f, "invalid input: {message}"),
            Self::Unsupported(what) => write!(f, "unsupported: {what}"),
            Self::Internal(message) => write!(f, "internal error: {message}"),
        }
    }
}

impl std::error::Error for Error {}
