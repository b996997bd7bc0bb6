//! Which role may do what: the one table. `API.md`'s matrix is checked against it.

use std::fmt;

use crate::Role::{self, Admin, Operator, Reader, Writer};

macro_rules! matrix {
    ($($(#[doc = $doc:literal])* $action:ident, $words:literal => $roles:expr;)*) => {
        /// Something a request asks to do. What it may do it to is a matter of grants.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action { $($(#[doc = $doc])* $action,)* }

        impl Action {
            /// Every action, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$action,)*];

            /// The roles that may do it.
            pub const fn roles(self) -> &'static [Role] {
                match self { $(Self::$action => $roles,)* }
            }

            /// Completes "may not …".
            pub const fn words(self) -> &'static str {
                match self { $(Self::$action => $words,)* }
            }
        }
    };
}

matrix! {
    ManageKeys, "manage keys" => &[Admin];
    /// Set, change or remove the row filter of a view, or delete a view that has one.
    SetRowFilter, "set row filters" => &[Admin];
    /// `__raw__NAME`: tombstoned rows included.
    ReadRaw, "read raw tables" => &[Admin];

    /// Subjects, from everything that holds them.
    Erase, "erase subjects" => &[Admin];

    ManageViews, "manage views" => &[Admin, Operator];
    ManagePlugins, "manage plugins" => &[Admin, Operator];
    ManageProfiles, "manage profiles" => &[Admin, Operator];
    /// List truth rules and their state.
    ManageTruth, "manage truth rules" => &[Admin, Operator];

    /// Refresh and drop indexes, activate profiles.
    ManageIndexes, "manage indexes" => &[Admin, Operator];

    /// Compact datasets. No grant on the dataset: it shows no row.
    Compact, "compact datasets" => &[Admin, Operator];
    /// Where buckets are and what they did; rename them in records.
    ManageBuckets, "manage buckets" => &[Admin, Operator];

    /// On sample rows of the caller's own.
    DryRun, "dry-run plugins" => &[Admin, Operator];
    /// Versions, statistics and logs.
    ReadPlugins, "see plugins" => &[Admin, Operator];
    ReadMetrics, "read metrics" => &[Admin, Operator];

    /// Needs a write grant on the dataset, and a read grant on the source where a database is read.
    Ingest, "ingest" => &[Admin, Writer];
    /// Needs a write grant on the dataset. The undo too.
    Tombstone, "bury or restore rows" => &[Admin, Writer];
    /// Needs a write grant on the dataset.
    DeleteDataset, "delete datasets" => &[Admin, Writer];

    /// Needs read grants on what the statement names.
    Query, "run queries" => &[Admin, Operator, Writer, Reader];
    /// Needs a read grant on the index's relation.
    Search, "search" => &[Admin, Operator, Writer, Reader];
    EvaluateTruth, "evaluate truth rules" => &[Admin, Operator, Writer, Reader];
    /// Names and schemas of what the grants reach.
    ReadCatalog, "read the catalog" => &[Admin, Operator, Writer, Reader];

    /// Everybody's events.
    ReadJournal, "read everybody's journal events" => &[Admin, Operator];
    /// The caller's own events.
    ReadOwnJournal, "read their own journal events" => &[Admin, Operator, Writer, Reader];
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Action::{self, *};
    use crate::Role;

    /// The matrix of `API.md`, row by row, with the actions that each row stands for. A blank cell permits nothing; `with grant`
    /// and `own events` permit the action and leave the names to the grants.
    const API: &str = "
        | keys, grants, row filters, `__raw__*`, erasure                           | ✓ |            |            |            |
        | views, plugins, profiles, truth rules, indexes, compaction, schedules    | ✓ | ✓          |            |            |
        | dry-run on own sample rows, plugin stats and logs                        | ✓ | ✓          |            |            |
        | ingest, tombstone and its undo, delete a dataset (write grant)           | ✓ |            | ✓          |            |
        | SQL, search, chat, truth evaluate (read grant)                           | ✓ | with grant | with grant | with grant |
        | journal, `system.*`                                                      | ✓ | ✓          | own events | own events |
    ";
    const ROWS: [&[Action]; 6] = [
        &[ManageKeys, SetRowFilter, ReadRaw, Erase],
        &[ManageViews, ManagePlugins, ManageProfiles, ManageTruth, ManageIndexes, Compact, ManageBuckets],
        &[DryRun, ReadPlugins, ReadMetrics],
        &[Ingest, Tombstone, DeleteDataset],
        &[Query, Search, EvaluateTruth, ReadCatalog],
        &[ReadOwnJournal],
    ];

    #[test]
    fn the_table_is_the_one_of_the_api() {
        let rows: Vec<Vec<&str>> = API
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| line.trim().trim_matches('|').split('|').skip(1).map(str::trim).collect())
            .collect();
        assert_eq!(rows.len(), ROWS.len());
        let mut covered = BTreeSet::from([ReadJournal]);
        for (cells, actions) in rows.iter().zip(ROWS) {
            for action in actions {
                covered.insert(*action);
                for (role, cell) in Role::ALL.iter().zip(cells) {
                    assert_eq!(action.roles().contains(role), !cell.is_empty(), "{role} {action:?}");
                }
            }
        }
        let all_events: Vec<&Role> =
            Role::ALL.iter().zip(&rows[5]).filter(|(_, cell)| **cell == "✓").map(|(role, _)| role).collect();
        assert_eq!(ReadJournal.roles().iter().collect::<Vec<_>>(), all_events);
        assert_eq!(covered.into_iter().collect::<Vec<_>>(), Action::ALL, "each action stands in one row");
    }
}
