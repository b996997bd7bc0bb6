//! Did-you-mean among names that the caller may see; a name that is not passed in can never be suggested.

/// Up to `most` names close to `name`, nearest first.
pub(crate) fn closest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<String> {
    let name = name.to_lowercase();
    let mut scored: Vec<(f64, &str)> = names
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score >= 0.82)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.truncate(most);
    scored.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// `` `a`, `b`, … `` with at most `most` names.
pub(crate) fn listing(names: &[String], most: usize) -> String {
    let mut text = names.iter().take(most).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > most {
        text.push_str(", …");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{closest, listing};

    #[test]
    fn a_slip_of_the_finger_is_recognized() {
        assert_eq!(closest("candidate", ["candidates", "orders"], 3), ["candidates"]);
        assert_eq!(closest("Miles_per_gallon", ["Miles_per_Gallon", "Year"], 1), ["Miles_per_Gallon"]);
        assert!(closest("zebra", ["candidates", "orders"], 3).is_empty());
    }

    #[test]
    fn a_long_list_is_cut() {
        assert_eq!(listing(&["a".into(), "b".into(), "c".into()], 2), "`a`, `b`, …");
    }
}
