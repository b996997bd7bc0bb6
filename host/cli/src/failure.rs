//! What went wrong, said kindly: a title, what happened, what to do, and the request id to quote.
//!
//! **Invariant**: every failure has one exit code, listed in `lakehouse --help`.

use std::{
    io,
    path::{Path, PathBuf},
};

use lakehouse_types::Code;
use serde::Deserialize;
use serde_json::{Map, Value};

/// Exit codes, as `--help` lists them.
pub(crate) mod exit {
    pub(crate) const REFUSED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const NOT_PERMITTED: u8 = 3;
    pub(crate) const SERVER_FAILED: u8 = 4;
    pub(crate) const UNREACHABLE: u8 = 5;
    /// A second Ctrl-C or SIGTERM ended a server that still drained.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// A problem as the server says it (RFC 9457).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Problem {
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) detail: String,
    #[serde(default)]
    pub(crate) action: Option<String>,
    #[serde(default)]
    pub(crate) request_id: Option<String>,
    /// Members of this kind of problem only, for example `valid_buckets`.
    #[serde(flatten)]
    pub(crate) members: Map<String, Value>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{}: {}", .0.title, .0.detail)]
    Problem(Box<Problem>),
    #[error("no server answers at {url}")]
    Unreachable {
        url: String,
        #[source]
        source: reqwest::Error,
    },
    #[error("the connection to the server broke")]
    Broken(#[source] reqwest::Error),
    /// After a 2xx: a form of answer that cannot say why.
    #[error("the answer was broken off after {bytes} bytes: row limit, deadline or a rule")]
    BrokenOff {
        bytes: u64,
        #[source]
        source: reqwest::Error,
    },
    #[error("the server's answer is not what this client expects: {0}")]
    Answer(String),
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    /// One of several files.
    #[error("{}: {failure}", path.display())]
    OfFile {
        path: PathBuf,
        #[source]
        failure: Box<Failure>,
    },
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// A start of the server that failed, in its own words.
    #[error("{0}")]
    Start(String),
    #[error("the demo did not hold ({failed} failed)")]
    Demo { failed: usize },
}

impl Failure {
    /// The failure, with the file that it is about.
    pub(crate) fn of(self, file: &Path) -> Self {
        match self {
            Self::File { .. } => self,
            failure => Self::OfFile { path: file.to_owned(), failure: Box::new(failure) },
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Problem(problem) => match problem.status {
                401 | 403 => exit::NOT_PERMITTED,
                500.. => exit::SERVER_FAILED,
                _ => exit::REFUSED,
            },
            Self::Usage(_) | Self::File { .. } => exit::USAGE,
            Self::Unreachable { .. } | Self::Broken(_) => exit::UNREACHABLE,
            Self::BrokenOff { .. } | Self::Answer(_) | Self::Start(_) => exit::SERVER_FAILED,
            Self::OfFile { failure, .. } => failure.exit_code(),
            Self::Output(_) | Self::Demo { .. } => exit::REFUSED,
        }
    }

    /// A reader that went away (`| head`) is no failure.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        match self {
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Self::OfFile { failure, .. } => failure.is_closed_pipe(),
            _ => false,
        }
    }

    /// The lines for a person.
    pub(crate) fn explain(&self) -> Vec<String> {
        match self {
            Self::Problem(problem) => problem.explain(),
            Self::Unreachable { url, source } => vec![
                format!("error: no server answers at {url} ({})", innermost(source)),
                "  what to do: start one with `lakehouse serve`, or name another with --url or LAKEHOUSE_URL".into(),
            ],
            Self::Broken(source) => vec![format!("error: {self} ({})", innermost(source))],
            Self::BrokenOff { .. } => vec![
                format!("error: {self}"),
                "  what to do: --format ndjson says which, in its last line; with LIMIT or a WHERE there are fewer rows".into(),
            ],
            Self::OfFile { path, failure } => {
                let mut lines = failure.explain();
                if let Some(first) = lines.first_mut() {
                    *first = format!("error: {}: {}", path.display(), first.trim_start_matches("error: "));
                }
                lines
            }
            Self::File { path, source } => vec![format!("error: {}: {source}", path.display())],
            other => vec![format!("error: {other}")],
        }
    }
}

impl Problem {
    fn explain(&self) -> Vec<String> {
        let title = if self.title.is_empty() { "The server refused" } else { &self.title };
        let mut lines = vec![format!("error: {title} ({} {})", self.status, self.code)];
        if !self.detail.is_empty() {
            lines.push(format!("  {}", self.detail));
        }
        for (name, value) in &self.members {
            if matches!(name.as_str(), "type" | "instance" | "kind" | "retry") {
                continue;
            }
            if name == "checks" {
                lines.extend(checks(value).into_iter().map(|line| format!("  {line}")));
            } else {
                lines.push(format!("  {name}: {}", plain(value)));
            }
        }
        if let Some(advice) = self.advice() {
            lines.push(format!("  what to do: {advice}"));
        }
        if let Some(id) = &self.request_id {
            lines.push(format!("  request id: {id}"));
        }
        lines
    }
}

impl Problem {
    /// The advice of a code that this client knows, else the action that the server names.
    fn advice(&self) -> Option<String> {
        let known = Code::ALL.iter().find(|code| code.as_str() == self.code).map(|code| code.advice().to_owned());
        known.or_else(|| self.action.as_deref().filter(|action| !action.is_empty()).map(|action| action.replace('_', " ")))
    }
}

/// The `checks[]` of an upload, a line each.
pub(crate) fn checks(value: &Value) -> Vec<String> {
    let Some(list) = value.as_array() else { return vec![plain(value)] };
    list.iter()
        .map(|check| {
            let Some(object) = check.as_object() else { return plain(check) };
            let name = object.get("name").or_else(|| object.get("check")).map_or_else(String::new, plain);
            let passed = object.get("passed").or_else(|| object.get("ok")).and_then(Value::as_bool);
            let why = object.get("detail").or_else(|| object.get("message")).map_or_else(String::new, plain);
            let mark = match passed {
                Some(true) => "passed ",
                Some(false) => "FAILED ",
                None => "",
            };
            if why.is_empty() { format!("{mark}{name}") } else { format!("{mark}{name}: {why}") }
        })
        .collect()
}

/// A JSON value as a person would write it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
            items.iter().map(plain).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn innermost(error: &reqwest::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Failure, Path, Problem, exit};

    fn problem(status: u16) -> Problem {
        serde_json::from_value(json!({
            "type": "/problems/unknown-bucket", "title": "Unknown bucket", "status": status, "code": "unknown_bucket",
            "detail": "bucket `testin` does not exist", "valid_buckets": ["primary", "testing"],
            "action": "fix_request", "request_id": "01J",
        }))
        .unwrap()
    }

    #[test]
    fn a_problem_is_told_with_what_helps_and_what_to_do() {
        let lines = Failure::Problem(Box::new(problem(404))).explain();
        assert_eq!(
            lines,
            [
                "error: Unknown bucket (404 unknown_bucket)",
                "  bucket `testin` does not exist",
                "  valid_buckets: primary, testing",
                "  what to do: Use one of valid_buckets.",
                "  request id: 01J",
            ]
        );
    }

    #[test]
    fn a_failure_names_the_file_of_several_that_it_is_about() {
        let failure = Failure::Problem(Box::new(problem(403))).of(Path::new("b.csv"));
        assert_eq!(
            failure.explain()[..2],
            ["error: b.csv: Unknown bucket (403 unknown_bucket)", "  bucket `testin` does not exist"]
        );
        assert_eq!(failure.exit_code(), exit::NOT_PERMITTED);
        let missing = || Failure::File { path: "b.csv".into(), source: std::io::ErrorKind::NotFound.into() };
        assert_eq!(missing().of(Path::new("b.csv")).explain(), missing().explain(), "once is enough");
    }

    #[test]
    fn exit_codes_tell_refusal_permission_and_failure_apart() {
        for (status, code) in
            [(404, exit::REFUSED), (401, exit::NOT_PERMITTED), (403, exit::NOT_PERMITTED), (504, exit::SERVER_FAILED)]
        {
            assert_eq!(Failure::Problem(Box::new(problem(status))).exit_code(), code, "{status}");
        }
    }

    #[test]
    fn an_answer_that_is_no_problem_document_is_still_told() {
        let problem: Problem = serde_json::from_value(json!({"status": 502})).unwrap();
        assert_eq!(Failure::Problem(Box::new(problem)).explain(), ["error: The server refused (502 )"]);
    }
}
