//! Files → rules, in the order of file names and of the files.

use std::collections::HashMap;

use serde::Deserialize;
use toml::Spanned;

use crate::{Rule, TruthError, folder::Folder};

const MAX_RULES: usize = 10_000;
const MAX_ACTIONS: usize = 32;
const MAX_ACTION_BYTES: usize = 128;

/// The rules of one whole reading.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) all: Vec<Rule>,
    /// Positions in `all`.
    by_class: HashMap<String, Vec<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<Spanned<Rule>>,
}

impl Rules {
    /// # Errors
    /// Naming file and line of the first thing that is wrong.
    pub(crate) fn parse(folder: &Folder) -> Result<Self, TruthError> {
        let mut rules = Self::default();
        let mut homes: HashMap<String, &str> = HashMap::new();
        for (file, text) in &folder.files {
            let invalid =
                |offset: usize, message: String| TruthError::Invalid { file: file.clone(), line: line(text, offset), message };
            let parsed: File = toml::from_str(text).map_err(|error| {
                invalid(error.span().map_or(0, |span| span.start), error.message().trim_end().replace('\n', ", "))
            })?;
            for spanned in parsed.rule {
                let offset = spanned.span().start;
                let rule = spanned.into_inner();
                check_actions(&rule).map_err(|message| invalid(offset, message))?;
                if let Some(first) = homes.insert(rule.id.to_string(), file) {
                    let (line, id, first) = (line(text, offset), rule.id.to_string(), first.to_owned());
                    return Err(TruthError::DuplicateId { file: file.clone(), line, id, first });
                }
                if rules.all.len() == MAX_RULES {
                    return Err(invalid(offset, format!("more than {MAX_RULES} rules")));
                }
                rules.by_class.entry(rule.task_class.to_string()).or_default().push(rules.all.len());
                rules.all.push(rule);
            }
        }
        Ok(rules)
    }

    /// The rules of one task class.
    pub(crate) fn of(&self, task_class: &str) -> impl Iterator<Item = &Rule> {
        self.by_class.get(task_class).into_iter().flatten().map(|at| &self.all[*at])
    }
}

fn check_actions(rule: &Rule) -> Result<(), String> {
    let is_fit = |action: &String| (1..=MAX_ACTION_BYTES).contains(&action.len()) && !action.chars().any(char::is_control);
    if rule.actions.len() > MAX_ACTIONS || !rule.actions.iter().all(is_fit) {
        return Err(format!(
            "rule `{}` has at most {MAX_ACTIONS} actions, each of 1 to {MAX_ACTION_BYTES} bytes without control characters",
            rule.id
        ));
    }
    Ok(())
}

/// The line of a byte offset, from 1.
fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests;
