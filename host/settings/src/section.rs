//! One TOML table, read key by key: the name, the default and the limits of a key stand together in the line that reads it.
//!
//! **Invariant**: a key is either asked for or reported by [`Section::finish`]. A wrong value is reported and its default used, so
//! that one pass finds every problem.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use lakehouse_types::Secret;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::error::Problem;

/// Names closer than this are worth suggesting.
const CLOSE: f64 = 0.75;

/// Collects what is wrong with one file.
#[derive(Debug)]
pub(crate) struct Problems<'t> {
    text: &'t str,
    found: RefCell<Vec<Problem>>,
}

impl<'t> Problems<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// The line of a byte offset, from 1.
    pub(crate) fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
    }

    pub(crate) fn report(&self, line: usize, message: String) {
        self.found.borrow_mut().push(Problem { line, message });
    }

    pub(crate) fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort();
        found
    }
}

struct Entry<'t> {
    line: usize,
    value: DeValue<'t>,
}

/// A table on its way to a settings struct.
pub(crate) struct Section<'t, 'p> {
    name: String,
    line: usize,
    entries: BTreeMap<String, Entry<'t>>,
    asked: Vec<&'static str>,
    problems: &'p Problems<'t>,
}

impl<'t, 'p> Section<'t, 'p> {
    /// The whole file.
    pub(crate) fn root(table: DeTable<'t>, problems: &'p Problems<'t>) -> Self {
        Self::new(String::new(), 1, table, problems)
    }

    fn new(name: String, line: usize, table: DeTable<'t>, problems: &'p Problems<'t>) -> Self {
        let entries = table
            .into_iter()
            .map(|(key, value)| {
                let line = problems.line(key.span().start);
                (key.into_inner().into_owned(), Entry { line, value: value.into_inner() })
            })
            .collect();
        Self { name, line, entries, asked: Vec::new(), problems }
    }

    /// The table `[key]` inside this one; empty when absent.
    pub(crate) fn section(&mut self, key: &'static str) -> Section<'t, 'p> {
        let name = self.path_of(key);
        let (line, table) = match self.take(key) {
            None => (self.line, DeTable::new()),
            Some(Entry { line, value: DeValue::Table(table) }) => (line, table),
            Some(Entry { line, value }) => {
                self.problems.report(line, format!("[{name}] must be a table, not {}", kind(&value)));
                (line, DeTable::new())
            }
        };
        Section::new(name, line, table, self.problems)
    }

    /// The tables inside this one, by name, for sections whose keys the operator chooses.
    pub(crate) fn into_named(self) -> impl Iterator<Item = (String, Section<'t, 'p>)> {
        let Self { name, entries, problems, .. } = self;
        entries.into_iter().filter_map(move |(key, entry)| {
            let path = format!("{name}.{key}");
            match entry.value {
                DeValue::Table(table) => Some((key, Section::new(path, entry.line, table, problems))),
                other => {
                    problems.report(entry.line, format!("[{path}] must be a table, not {}", kind(&other)));
                    None
                }
            }
        })
    }

    pub(crate) fn problems(&self) -> &'p Problems<'t> {
        self.problems
    }

    /// The line of the section's header.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// Reports something about the section as a whole.
    pub(crate) fn report(&self, message: String) {
        self.problems.report(self.line, message);
    }

    /// Whether the file states `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn integer(&mut self, key: &'static str, default: u64, limits: RangeInclusive<u64>) -> u64 {
        debug_assert!(limits.contains(&default));
        let expected = format!("a whole number from {} to {}", limits.start(), limits.end());
        self.read(key, default, &expected, |value| {
            let DeValue::Integer(number) = value else { return None };
            let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
            limits.contains(&number).then_some(number)
        })
    }

    /// Like [`Section::integer`], for counts.
    pub(crate) fn count(&mut self, key: &'static str, default: u64, limits: RangeInclusive<u64>) -> usize {
        usize::try_from(self.integer(key, default, limits)).unwrap_or(usize::MAX)
    }

    /// Milliseconds.
    pub(crate) fn millis(&mut self, key: &'static str, default: u64, limits: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.integer(key, default, limits))
    }

    /// Mebibytes, as bytes.
    pub(crate) fn mib(&mut self, key: &'static str, default: u64, limits: RangeInclusive<u64>) -> u64 {
        self.integer(key, default, limits) << 20
    }

    /// Kibibytes, as bytes.
    pub(crate) fn kib(&mut self, key: &'static str, default: u64, limits: RangeInclusive<u64>) -> u64 {
        self.integer(key, default, limits) << 10
    }

    pub(crate) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, default, "true or false", |value| match value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => None,
        })
    }

    /// A text that `parse` accepts; `expected` says in words what it accepts.
    pub(crate) fn text<T>(&mut self, key: &'static str, default: T, expected: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        self.read(key, default, expected, |value| match value {
            DeValue::String(text) => parse(text),
            _ => None,
        })
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&mut self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        let listed: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let expected = format!("one of {}", listed.join(", "));
        self.text(key, default, &expected, |text| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value))
    }

    pub(crate) fn path(&mut self, key: &'static str, default: &str) -> PathBuf {
        self.text(key, PathBuf::from(default), PATH, parse_path)
    }

    pub(crate) fn optional_path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.text(key, None, PATH, |text| parse_path(text).map(Some))
    }

    /// A text that no message repeats.
    pub(crate) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        let Entry { line, value } = self.take(key)?;
        match value {
            DeValue::String(text) if !text.is_empty() => Some(Secret::new(text.as_ref())),
            _ => {
                self.problems.report(line, format!("\"{key}\" in [{}] must be a text that is not empty", self.name));
                None
            }
        }
    }

    /// A list of texts that `parse` accepts.
    pub(crate) fn list<T>(&mut self, key: &'static str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
        let expected = format!("a list of {expected}");
        self.read(key, Vec::new(), &expected, |value| match value {
            DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_str().and_then(&parse)).collect(),
            _ => None,
        })
    }

    /// Reports the keys that nobody asked for, each with the closest that somebody did.
    pub(crate) fn finish(self) {
        for (key, entry) in &self.entries {
            let hint = closest(key, self.asked.iter().copied());
            let message = if self.name.is_empty() {
                let hint = hint.map_or(String::new(), |hint| format!("; did you mean [{hint}]?"));
                format!("unknown section [{key}]{hint}")
            } else {
                let hint = hint.map_or(String::new(), |hint| format!("; did you mean \"{hint}\"?"));
                format!("unknown key \"{key}\" in [{}]{hint}", self.name)
            };
            self.problems.report(entry.line, message);
        }
    }

    fn read<T>(&mut self, key: &'static str, default: T, expected: &str, parse: impl Fn(&DeValue<'t>) -> Option<T>) -> T {
        let Some(entry) = self.take(key) else { return default };
        parse(&entry.value).unwrap_or_else(|| {
            let message = format!("\"{key}\" in [{}] must be {expected}, not {}", self.name, shown(&entry.value));
            self.problems.report(entry.line, message);
            default
        })
    }

    fn take(&mut self, key: &'static str) -> Option<Entry<'t>> {
        self.asked.push(key);
        self.entries.remove(key)
    }

    fn path_of(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// The candidate closest to `name`, if one is close at all.
pub(crate) fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= CLOSE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Parses a file into its root table.
pub(crate) fn parse<'t>(text: &'t str, problems: &Problems<'t>) -> Result<DeTable<'t>, Problem> {
    DeTable::parse(text).map(Spanned::into_inner).map_err(|error| Problem {
        line: problems.line(error.span().map_or(0, |span| span.start)),
        message: error.message().trim_end().replace('\n', ", "),
    })
}

const PATH: &str = "a path";

fn parse_path(text: &str) -> Option<PathBuf> {
    (!text.is_empty() && !text.contains('\0')).then(|| Path::new(text).to_owned())
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A value as an error repeats it: it may be long. For secrets see [`Section::secret`].
fn shown(value: &DeValue<'_>) -> String {
    fn quoted(text: &str) -> String {
        format!("{:?}", text.chars().take(64).collect::<String>())
    }
    fn number(number: &impl Display) -> String {
        number.to_string()
    }
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(integer) => number(integer),
        DeValue::Boolean(flag) => flag.to_string(),
        other => kind(other).to_owned(),
    }
}
