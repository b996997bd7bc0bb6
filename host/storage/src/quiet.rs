//! Errors of libraries that may quote what is stored.
//!
//! **Invariant**: neither the text of [`Quiet`] nor that of its source quotes a value: errors of Arrow, Parquet, Delta and of JSON name the
//! value that they choke on, so only their kinds are told. What below them comes of the storage or the system says what is wrong with these.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io;

use crate::checksum::Damaged;

/// Kinds that are told of one error: its own and those of its causes, as in `ArrowError: CastError`.
const MAX_KINDS: usize = 8;

/// An error whose text is not told, only of which kind it and its causes are.
pub struct Quiet(Box<dyn Error + Send + Sync>);

impl Quiet {
    /// Around an error of a library.
    pub fn of(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        kinds(self.0.as_ref(), f)
    }
}

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Quiet({self})")
    }
}

impl Error for Quiet {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        speaking(self.0.as_ref())
    }
}

/// The same in one line, of an error that somebody else needs: kinds, and what the storage or the system says.
pub fn quietly(error: &(dyn Error + 'static)) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        kinds(error, f)?;
        speaking(error).map_or(Ok(()), |cause| write!(f, ": {cause}"))
    })
}

fn kinds(error: &(dyn Error + 'static), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let quiet = causes(error).take_while(|cause| !speaks(*cause));
    for (at, cause) in quiet.take(MAX_KINDS).enumerate() {
        f.write_str(if at == 0 { "" } else { ": " })?;
        let mut kind = Kind(f);
        // It ends where the kind does.
        let _ = write!(kind, "{cause:?}");
    }
    Ok(())
}

/// The error itself first.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'e (dyn Error + 'static)| error.source())
}

/// The first cause that may be told.
fn speaking<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    causes(error).find(|cause| speaks(*cause))
}

/// Whether the error says what is wrong with a file, a disk or a network.
fn speaks(error: &(dyn Error + 'static)) -> bool {
    // One that was made of another error says what that does.
    let is_of_the_system = |error: &io::Error| error.get_ref().is_none();
    error.is::<Damaged>()
        || error.is::<object_store::Error>()
        || error.is::<object_store_13::Error>()
        || error.downcast_ref::<io::Error>().is_some_and(is_of_the_system)
}

/// Takes the first word of what is written: `External` of `External(Io("…"))`. The rest is not even formatted.
struct Kind<'f, 'a>(&'f mut fmt::Formatter<'a>);

impl fmt::Write for Kind<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
        self.0.write_str(&text[..end])?;
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io;

    use super::{Quiet, quietly};

    #[derive(Debug, thiserror::Error)]
    enum Library {
        #[error("cannot cast `{0}`")]
        Cast(String),
        #[error("row `{row}` is broken")]
        Row { row: String, source: Box<Library> },
        #[error("the store failed at `{0}`")]
        Store(String, #[source] object_store::Error),
        #[error("the disk failed")]
        Disk(#[source] io::Error),
    }

    fn lines(error: &Quiet) -> String {
        let source = error.source().map(ToString::to_string).unwrap_or_default();
        format!("{error} {error:?} {source}")
    }

    #[test]
    fn no_text_of_a_library_is_told_and_what_the_storage_says_is() {
        let cast = || Library::Cast("HUSH".into());
        let row = || Library::Row { row: "HUSH".into(), source: Box::new(cast()) };
        assert_eq!(lines(&Quiet::of(row())), "Row: Cast Quiet(Row: Cast) ");
        assert_eq!(quietly(&row()).to_string(), "Row: Cast");
        let absent = object_store::Error::NotFound { path: "a/b".into(), source: "gone".into() };
        let store = Quiet::of(Library::Store("HUSH".into(), absent));
        assert_eq!(store.to_string(), "Store");
        assert!(store.source().is_some_and(|source| source.to_string().contains("a/b")));
        let absent = object_store::Error::NotFound { path: "a/b".into(), source: "gone".into() };
        let line = quietly(&Library::Store("HUSH".into(), absent)).to_string();
        assert!(line.starts_with("Store: ") && line.contains("a/b") && !line.contains("HUSH"), "{line}");
        let full = Quiet::of(Library::Disk(io::ErrorKind::StorageFull.into()));
        assert!(lines(&full).ends_with("no storage space"), "{}", lines(&full));
        let custom = Quiet::of(Library::Disk(io::Error::other(cast())));
        assert!(!lines(&custom).contains("HUSH"), "{}", lines(&custom));
    }
}
