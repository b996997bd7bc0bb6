//! The statements of TPC-H, as a crate that is made for DataFusion has them. They are looked up, never kept here.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::host::Failure;

/// The variable that names a folder with `q1.sql` to `q22.sql`.
const FOLDER: &str = "LAKEHOUSE_BENCH_TPCH_QUERIES";
const CRATE: &str = "datafusion-distributed";
const VERSION: &str = "4.0.0";
const QUERIES: usize = 22;

/// One statement.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) number: usize,
    /// Between WITH and the statement itself.
    with: Vec<String>,
    body: String,
}

/// A relation that takes a table's place.
#[derive(Debug)]
pub(crate) struct Substitute {
    pub(crate) table: &'static str,
    pub(crate) name: &'static str,
    /// What it is; none where the server knows the name.
    pub(crate) select: Option<String>,
}

impl Query {
    /// All of them, in order.
    pub(super) fn all() -> Result<Vec<Self>, Failure> {
        let folder = folder()?;
        (1..=QUERIES)
            .map(|number| {
                let path = folder.join(format!("q{number}.sql"));
                let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                Self::parse(number, &text)
            })
            .collect()
    }

    /// One text is written with a view that is made before and dropped afterwards: that becomes a WITH.
    fn parse(number: usize, text: &str) -> Result<Self, Failure> {
        let mut statements = text.split(';').map(str::trim).filter(|statement| !statement.is_empty());
        let first = statements.next().ok_or_else(|| format!("q{number} is empty"))?;
        let (with, body) = match first.strip_prefix("create view ") {
            None => (Vec::new(), first),
            Some(view) => {
                let (head, select) =
                    view.split_once(") as").ok_or_else(|| format!("q{number} makes no view that is known here"))?;
                let body = statements.next().ok_or_else(|| format!("q{number} asks nothing"))?;
                (vec![format!("{head}) as ({select})")], body)
            }
        };
        Ok(Self { number, with, body: body.to_owned() })
    }

    /// The statement.
    pub(crate) fn sql(&self) -> String {
        let with = self.with.join(",\n");
        match (with.as_str(), self.body.strip_prefix("with ")) {
            ("", _) => self.body.clone(),
            (_, Some(rest)) => format!("with {with},\n{rest}"),
            (_, None) => format!("with {with}\n{}", self.body),
        }
    }

    /// The same over other relations.
    pub(crate) fn over(&self, substitutes: &[Substitute]) -> Self {
        let mut over = self.clone();
        let mut used = Vec::new();
        for Substitute { table, name, select } in substitutes {
            let mut is_used = false;
            for text in over.with.iter_mut().chain([&mut over.body]) {
                let replaced = replaced(text, table, name);
                is_used |= replaced != *text;
                *text = replaced;
            }
            let definition = select.as_ref().filter(|_| is_used).map(|select| format!("{name} as ({select})"));
            used.extend(definition);
        }
        used.append(&mut over.with);
        over.with = used;
        over
    }
}

/// The text with another word wherever this one stands alone and outside quotes.
fn replaced(sql: &str, word: &str, with: &str) -> String {
    let of_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(sql.len());
    for (number, part) in sql.split('\'').enumerate() {
        if number > 0 {
            out.push('\'');
        }
        let mut from = 0;
        let is_quoted = number % 2 == 1;
        for (at, _) in part.match_indices(word).filter(|_| !is_quoted) {
            let end = at + word.len();
            if !part[..at].ends_with(of_word) && !part[end..].starts_with(of_word) {
                out.push_str(&part[from..at]);
                out.push_str(with);
                from = end;
            }
        }
        out.push_str(&part[from..]);
    }
    out
}

/// Where the texts are: where the variable says, else in the sources of the crate, which cargo fetches when it has none.
fn folder() -> Result<PathBuf, Failure> {
    if let Some(named) = env::var_os(FOLDER) {
        return Ok(named.into());
    }
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let sources = home.ok_or("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    if let Some(found) = in_sources(&sources) {
        return Ok(found);
    }
    // Outside of this workspace, whose lock file names other crates.
    let told =
        Command::new("cargo").args(["info", "--quiet", &format!("{CRATE}@{VERSION}")]).current_dir(env::temp_dir()).output()?;
    in_sources(&sources).ok_or_else(|| {
        let told = String::from_utf8_lossy(&told.stderr);
        format!("no sources of {CRATE} {VERSION} ({}): let {FOLDER} name a folder with q1.sql to q22.sql", told.trim()).into()
    })
}

fn in_sources(sources: &Path) -> Option<PathBuf> {
    let within = format!("{CRATE}-{VERSION}/testdata/tpch/queries");
    fs::read_dir(sources).ok()?.flatten().map(|registry| registry.path().join(&within)).find(|folder| folder.is_dir())
}
