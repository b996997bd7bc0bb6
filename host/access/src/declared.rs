//! The access file's text → grants by the name of their key.
//!
//! **Invariant**: a file is taken whole or not at all; what is refused is named with its line. It holds names of keys and what they may
//! name, never a secret.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lakehouse_types::{GroupName, KeyName};
use serde::Deserialize;
use toml::Spanned;

use crate::{AccessFileError, Grant, Origin, key::MAX_GRANTS, wire::Wire};

/// Grants of all keys together, those of groups counted once for each of their keys.
const MAX_DECLARED: usize = 100_000;

/// A grant as a key gets it from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeclaredGrant {
    pub(crate) grant: Grant,
    pub(crate) group: Option<GroupName>,
}

impl DeclaredGrant {
    pub(crate) fn origin(&self) -> Origin {
        Origin::File { group: self.group.clone() }
    }
}

/// What one whole reading of the file grants.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// The file's name, for messages.
    pub(crate) file: Box<str>,
    by_key: BTreeMap<KeyName, Arc<[DeclaredGrant]>>,
    pub(crate) grants: usize,
    pub(crate) groups: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    grant: Vec<Spanned<Line>>,
    #[serde(default)]
    group: Vec<Spanned<Group>>,
}

/// One `[[grant]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: KeyName,
    dataset: Option<String>,
    view: Option<String>,
    index: Option<String>,
    profile: Option<String>,
    source: Option<String>,
    verbs: Vec<crate::Verb>,
}

/// One `[[group]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: GroupName,
    keys: Vec<KeyName>,
    grants: Vec<Spanned<Grant>>,
}

impl Line {
    fn into_grant(self) -> Result<(KeyName, Grant), String> {
        let Self { key, dataset, view, index, profile, source, verbs } = self;
        let wire = Wire { dataset, view, index, profile, source, verbs };
        Ok((key, Grant::try_from(wire).map_err(|error| error.to_string())?))
    }
}

impl Declared {
    /// # Errors
    /// Naming file and line of the first thing that is wrong.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Self, AccessFileError> {
        let invalid =
            |offset: usize, message: String| AccessFileError::Invalid { file: file.into(), line: line(text, offset), message };
        let parsed: File = toml::from_str(text).map_err(|error| {
            invalid(error.span().map_or(0, |span| span.start), error.message().trim_end().replace('\n', ", "))
        })?;
        let mut gathered = Gathered::default();
        for spanned in parsed.grant {
            let offset = spanned.span().start;
            let (key, grant) = spanned.into_inner().into_grant().map_err(|message| invalid(offset, message))?;
            gathered.give(&key, grant, None).map_err(|message| invalid(offset, message))?;
        }
        let mut names = BTreeSet::new();
        for spanned in parsed.group {
            let offset = spanned.span().start;
            let Group { name, keys, grants } = spanned.into_inner();
            if !names.insert(name.clone()) {
                return Err(invalid(offset, format!("there are two groups `{name}`")));
            }
            for grant in grants {
                let offset = grant.span().start;
                let grant = grant.into_inner();
                for key in &keys {
                    gathered.give(key, grant.clone(), Some(&name)).map_err(|message| invalid(offset, message))?;
                }
            }
        }
        let by_key = gathered.by_key.into_iter().map(|(key, grants)| (key, grants.into())).collect();
        Ok(Self { file: file.into(), by_key, grants: gathered.count, groups: names.len() })
    }

    /// What the key of this name gets, in the order of the file.
    pub(crate) fn of(&self, name: &KeyName) -> Arc<[DeclaredGrant]> {
        self.by_key.get(name).cloned().unwrap_or_default()
    }

    /// The keys that it names, where they get something.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &KeyName> {
        self.by_key.keys()
    }
}

#[derive(Default)]
struct Gathered {
    by_key: BTreeMap<KeyName, Vec<DeclaredGrant>>,
    count: usize,
}

impl Gathered {
    /// Once, however often the file says it.
    fn give(&mut self, key: &KeyName, grant: Grant, group: Option<&GroupName>) -> Result<(), String> {
        grant.validate().map_err(|error| error.to_string())?;
        let given = DeclaredGrant { grant, group: group.cloned() };
        let mine = self.by_key.entry(key.clone()).or_default();
        if mine.contains(&given) {
            return Ok(());
        }
        if mine.len() == MAX_GRANTS {
            return Err(format!("key `{key}` gets more than {MAX_GRANTS} grants"));
        }
        if self.count == MAX_DECLARED {
            return Err(format!("more than {MAX_DECLARED} grants, those of a group counted once for each of its keys"));
        }
        self.count += 1;
        mine.push(given);
        Ok(())
    }
}

/// The line of a byte offset, from 1.
fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Declared;
    use crate::Origin;

    const SHIPPED: &str = include_str!("../../../config/access.toml");

    fn of(declared: &Declared, key: &str) -> Value {
        let grants = declared.of(&key.parse().unwrap());
        let shown = grants.iter().map(|given| {
            let Origin::File { group } = given.origin() else { panic!("it comes from the file") };
            json!([given.grant, group])
        });
        shown.collect()
    }

    #[test]
    fn keys_get_what_they_and_their_groups_are_granted() {
        let text = r#"
            [[grant]]
            key = "ada"
            dataset = "candidates"
            verbs = ["write", "read"]

            [[grant]]
            key = "ada"
            dataset = "candidates"
            verbs = ["read", "write"]

            [[group]]
            name = "analysts"
            keys = ["ada", "bob", "bob"]
            grants = [
                { view = "safe", verbs = ["read"] },
                { index = "*", verbs = ["read"] },
            ]

            [[group]]
            name = "nobody-yet"
            keys = []
            grants = [{ view = "safe", verbs = ["read"] }]
        "#;
        let declared = Declared::parse("access.toml", text).unwrap();
        let group =
            [json!([{"view": "safe", "verbs": ["read"]}, "analysts"]), json!([{"index": "*", "verbs": ["read"]}, "analysts"])];
        let own = json!([{"dataset": "candidates", "verbs": ["read", "write"]}, null]);
        assert_eq!(of(&declared, "ada"), json!([own, group[0], group[1]]));
        assert_eq!(of(&declared, "bob"), json!(group));
        assert_eq!(of(&declared, "eve"), json!([]));
        assert_eq!((declared.grants, declared.groups, declared.keys().count()), (5, 2, 2));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, expected) in [
            ("[[grant]]\nkey = \"ada\"\ndatset = \"a\"\nverbs = [\"read\"]\n", "access.toml:3: unknown field `datset`"),
            ("[[grants]]\nkey = \"ada\"\n", "access.toml:1: unknown field `grants`"),
            ("\n[[grant]]\nkey = \"ada\"\nverbs = [\"read\"]\n", "access.toml:2: a grant names exactly one of `dataset`"),
            ("[[grant]]\nkey = \"ada\"\ndataset = \"a\"\n", "access.toml:1: missing field `verbs`"),
            ("[[grant]]\nkey = \"ada\"\ndataset = \"a\"\nverbs = []\n", "access.toml:1: a grant names the verbs"),
            ("[[grant]]\nkey = \"ada\"\ndataset = \"a\"\nverbs = [\"own\"]\n", "access.toml:4: unknown variant `own`"),
            ("[[grant]]\nkey = \"ada\"\nview = \"a\"\nverbs = [\"write\"]\n", "access.toml:1: `view` grants can only read"),
            ("[[grant]]\nkey = \"Ada\"\nview = \"a\"\nverbs = [\"read\"]\n", "access.toml:2: a key name must be"),
            ("[[grant]]\nkey = \"ada\"\ndataset = \"__raw__a\"\nverbs = [\"read\"]\n", "access.toml:1: a dataset name must be"),
            (
                "[[group]]\nname = \"a\"\nkeys = [\"ada\"]\ngrants = [\n  { view = \"v\", verb = [\"read\"] }\n]\n",
                "access.toml:5: unknown field `verb`",
            ),
            (
                "[[group]]\nname = \"a\"\nkeys = [\"ada\"]\ngrants = [\n\n  { source = \"v\", verbs = [\"write\"] }\n]\n",
                "access.toml:6: `source` grants",
            ),
            (
                "[[group]]\nname = \"a\"\nkeys = []\ngrants = []\n[[group]]\nname = \"a\"\nkeys = []\ngrants = []\n",
                "access.toml:5: there are two groups `a`",
            ),
            ("[[group]]\nname = \"a\"\nkey = [\"ada\"]\n", "access.toml:3: unknown field `key`"),
            ("[[grant]\n", "access.toml:1: "),
        ] {
            let error = Declared::parse("access.toml", text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}{error}");
        }
    }

    #[test]
    fn a_key_gets_no_more_than_it_may_hold() {
        let line = |n: usize| format!("[[grant]]\nkey = \"ada\"\ndataset = \"d{n}\"\nverbs = [\"read\"]\n");
        let text: String = (0..1000).map(line).collect();
        assert_eq!(Declared::parse("access.toml", &text).unwrap().grants, 1000);
        let error = Declared::parse("access.toml", &(text + &line(1000))).unwrap_err().to_string();
        assert!(error.contains("access.toml:4001: key `ada` gets more than 1000 grants"), "{error}");
    }

    #[test]
    fn the_shipped_file_grants_nothing_and_its_examples_hold() {
        assert_eq!(Declared::parse("access.toml", SHIPPED).unwrap().grants, 0);
        let examples: String = SHIPPED
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| is_toml(line))
            .fold(String::new(), |text, line| text + line + "\n");
        let declared = Declared::parse("access.toml", &examples).unwrap();
        assert!(declared.grants > 2 && declared.groups == 1, "{examples}");
    }

    /// Of the comments, those that are a part of an example.
    fn is_toml(line: &str) -> bool {
        line.starts_with("[[") || line.starts_with(']') || line.starts_with("  {") || line.contains(" = ")
    }
}
