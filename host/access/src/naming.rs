//! Names that keys cannot choose: those that the server acts under, and those of the keys that it makes for the first admin.

use lakehouse_journal::SystemActor;
use lakehouse_types::KeyName;

use crate::principal::LOCAL;

/// Callers that no key stands behind.
const CALLERS: [&str; 2] = ["anonymous", LOCAL];

/// The first admin key that the server makes; later ones are `admin-2`, `admin-3`, …
const ADMIN: &str = "admin";

pub(crate) fn is_reserved(name: &KeyName) -> bool {
    let name_of_host = || SystemActor::ALL.iter().any(|actor| actor.as_str() == name.as_str());
    CALLERS.contains(&name.as_str()) || name_of_host() || admin_number(name).is_some()
}

/// A name that no admin key of the server has or had. It counts on from the highest number, not into gaps: a key of the
/// environment takes the place, and with it the name, of the spent one before it.
pub(crate) fn next_admin<'n>(names: impl Iterator<Item = &'n KeyName>) -> KeyName {
    let name = match names.filter_map(admin_number).max() {
        Some(highest) => format!("{ADMIN}-{}", highest.saturating_add(1)),
        None => ADMIN.to_owned(),
    };
    KeyName::new(name).expect("a plain word and a number make a slug")
}

fn admin_number(name: &KeyName) -> Option<u64> {
    match name.as_str().strip_prefix(ADMIN)? {
        "" => Some(1),
        rest => rest.strip_prefix('-')?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use lakehouse_types::KeyName;

    use crate::principal::LOCAL;

    use super::{is_reserved, next_admin};

    fn name(text: &str) -> KeyName {
        KeyName::new(text).unwrap()
    }

    #[test]
    fn the_servers_own_names_are_reserved_and_others_are_not() {
        for own in [
            "anonymous",
            "lakehouse",
            LOCAL,
            "plugin-folder",
            "truth-folder",
            "access-file",
            "distribution",
            "schedule",
            "compaction",
            "erasure",
            "admin",
            "admin-2",
        ] {
            assert!(is_reserved(&name(own)), "{own}");
        }
        for free in ["admins", "admin-", "admin-two", "localhost", "truth"] {
            assert!(!is_reserved(&name(free)), "{free}");
        }
    }

    #[test]
    fn an_admin_key_is_numbered_past_all_that_were() {
        for (present, next) in
            [(vec![], "admin"), (vec!["ada"], "admin"), (vec!["admin"], "admin-2"), (vec!["admin-3", "ada"], "admin-4")]
        {
            let present: Vec<KeyName> = present.into_iter().map(name).collect();
            assert_eq!(next_admin(present.iter()).as_str(), next, "{present:?}");
        }
    }
}
