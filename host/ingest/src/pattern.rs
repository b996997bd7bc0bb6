//! Names of objects, with wildcards.
//!
//! **Invariant**: what a pattern matches stands below its [`PathPattern::literal`], whatever its wildcards; matching takes time
//! linear in pattern times name.

use std::fmt;
use std::str::FromStr;

/// Bytes of a pattern.
const MAX_BYTES: usize = 1024;
/// Stands for any number of folders.
const ANY_FOLDERS: &str = "**";

/// A path of a bucket: `incoming/2026/*.csv`. `*` stands for anything within a name, `?` for one character of it, and the name
/// `**` for any number of folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPattern(Vec<String>);

impl PathPattern {
    /// The path up to the first wildcard: whole, or a folder with the `/` after it.
    pub fn literal(&self) -> String {
        let mut literal = String::new();
        for (index, part) in self.0.iter().enumerate() {
            if part.contains(['*', '?']) {
                return literal;
            }
            literal.push_str(part);
            if index + 1 < self.0.len() {
                literal.push('/');
            }
        }
        literal
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').collect();
        // Whether the parts so far match the first so many names.
        let mut reached = vec![false; names.len() + 1];
        reached[0] = true;
        for part in &self.0 {
            let mut next = vec![false; names.len() + 1];
            for (count, is_reached) in reached.iter().enumerate() {
                next[count] |= part == ANY_FOLDERS && (*is_reached || count > 0 && next[count - 1]);
                if count < names.len() && *is_reached && part != ANY_FOLDERS && name_matches(part, names[count]) {
                    next[count + 1] = true;
                }
            }
            reached = next;
        }
        reached[names.len()]
    }
}

/// One name against one part: back to the last `*` wherever it fails.
fn name_matches(part: &str, name: &str) -> bool {
    let (part, name): (Vec<char>, Vec<char>) = (part.chars().collect(), name.chars().collect());
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < name.len() {
        match part.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(&c) if c == '?' || c == name[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match &mut star {
                Some((back, taken)) => {
                    *taken += 1;
                    at = *back + 1;
                    seen = *taken;
                }
                None => return false,
            },
        }
    }
    part[at..].iter().all(|c| *c == '*')
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

impl FromStr for PathPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<String> = text.split('/').map(str::to_owned).collect();
        let is_part = |part: &String| {
            let is_wild = part.contains(ANY_FOLDERS) && part != ANY_FOLDERS;
            !part.is_empty() && part != "." && part != ".." && !is_wild && !part.chars().any(char::is_control)
        };
        let ends_in_a_name = parts.last().is_some_and(|last| last != ANY_FOLDERS);
        if text.len() <= MAX_BYTES && parts.iter().all(is_part) && ends_in_a_name {
            Ok(Self(parts))
        } else {
            Err("must be the path of an object, or one with *, ? and ** in it, like incoming/2026/*.csv")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PathPattern;

    #[test]
    fn wildcards_stay_where_they_stand() {
        for (pattern, path, expected) in [
            ("in/a.csv", "in/a.csv", true),
            ("in/a.csv", "in/b.csv", false),
            ("in/*.csv", "in/a.csv", true),
            ("in/*.csv", "in/.csv", true),
            ("in/*.csv", "in/x/a.csv", false),
            ("in/*.csv", "in/a.csv.gz", false),
            ("in/a?c*", "in/abcdef", true),
            ("in/a?c*", "in/ac", false),
            ("in/*a*b*", "in/xxaxxabxx", true),
            ("in/**/*.csv", "in/a.csv", true),
            ("in/**/*.csv", "in/x/y/a.csv", true),
            ("in/**/y/*.csv", "in/x/y/a.csv", true),
            ("in/**/y/*.csv", "in/y/x/a.csv", false),
            ("in/größe-?.csv", "in/größe-ß.csv", true),
        ] {
            assert_eq!(pattern.parse::<PathPattern>().unwrap().matches(path), expected, "{pattern} {path}");
        }
        let slow = format!("in/{}b", "*a".repeat(400));
        assert!(!slow.parse::<PathPattern>().unwrap().matches(&format!("in/{}", "a".repeat(1000))));
    }

    #[test]
    fn a_pattern_stays_below_its_literal_part() {
        for (pattern, literal) in [
            ("in/a.csv", Some("in/a.csv")),
            ("in/2026/*.csv", Some("in/2026/")),
            ("in/**/a.csv", Some("in/")),
            ("i*/a.csv", Some("")),
            ("", None),
            ("/in/a", None),
            ("in//a", None),
            ("in/../_meta/1", None),
            ("in/./a", None),
            ("in/", None),
            ("in/**", None),
            ("in/x**/a", None),
        ] {
            assert_eq!(pattern.parse::<PathPattern>().ok().map(|pattern| pattern.literal()).as_deref(), literal, "{pattern}");
        }
    }
}
