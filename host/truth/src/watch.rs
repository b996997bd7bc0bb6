//! When a change of the folder is ready to be applied.
//!
//! **Invariant**: a reading is applied once, and only after two looks in a row found it the same. A file that an editor has
//! emptied and not yet written again is thus not taken for a file without rules.

use std::sync::Arc;

use crate::folder::Folder;

/// What one look at the folder found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Reading {
    #[default]
    Missing,
    Found(Arc<Folder>),
    Failed(String),
}

/// Remembers the look before.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    before: Option<Reading>,
}

impl Watch {
    /// Takes a look's result; gives it back when it is new and has settled.
    pub(crate) fn settle(&mut self, now: Reading, handled: &Reading) -> Option<Reading> {
        if now == *handled {
            self.before = None;
            return None;
        }
        if self.before.as_ref() == Some(&now) {
            self.before = None;
            return Some(now);
        }
        self.before = Some(now);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Folder, Reading, Watch};

    fn found(text: &str) -> Reading {
        Reading::Found(Arc::new(Folder { files: vec![("a.toml".into(), text.into())] }))
    }

    #[test]
    fn a_change_is_applied_when_it_has_stood_still_and_only_once() {
        let mut watch = Watch::default();
        let old = found("old");
        assert_eq!(watch.settle(old.clone(), &old), None);
        assert_eq!(watch.settle(found(""), &old), None, "half written");
        assert_eq!(watch.settle(found("new"), &old), None);
        assert_eq!(watch.settle(found("new"), &old), Some(found("new")));
        assert_eq!(watch.settle(found("new"), &found("new")), None);
        assert_eq!(watch.settle(Reading::Missing, &found("new")), None);
        assert_eq!(watch.settle(found("new"), &found("new")), None, "it came back");
        assert_eq!(watch.settle(Reading::Missing, &found("new")), None, "counted afresh");
    }
}
