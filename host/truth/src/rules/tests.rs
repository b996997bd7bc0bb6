use super::Rules;
use crate::folder::Folder;

fn folder(files: &[(&str, &str)]) -> Folder {
    Folder { files: files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect() }
}

fn rule(id: &str, class: &str) -> String {
    format!("[[rule]]\nid = \"{id}\"\ntask_class = \"{class}\"\ncondition = {{ always = true }}\nactions = [\"allow\"]\n")
}

#[test]
fn the_shipped_rules_are_rules() {
    let shipped = folder(&[("staffing.toml", include_str!("../../../../config/truth/staffing.toml"))]);
    let rules = Rules::parse(&shipped).unwrap();
    assert_eq!(rules.of("fill").count(), rules.all.len());
    assert!(rules.all.len() >= 4 && rules.all.iter().all(|rule| rule.actions.iter().any(|action| action == "allow")));
    let example =
        shipped.files[0].1.replace("\n# [[rule]]", "\n[[rule]]").replace("\n# id", "\nid").replace("\n# task", "\ntask");
    let example = example.replace("\n# condition", "\ncondition").replace("\n# actions", "\nactions");
    assert_eq!(Rules::parse(&folder(&[("a.toml", &example)])).unwrap().all.len(), rules.all.len() + 1, "the example in comments");
}

#[test]
fn rules_keep_the_order_of_files_and_lines() {
    let (one, two) = (rule("z", "fill") + &rule("b", "other"), rule("a", "fill"));
    let rules = Rules::parse(&folder(&[("1.toml", &one), ("2.toml", &two)])).unwrap();
    assert_eq!(rules.of("fill").map(|rule| rule.id.as_str()).collect::<Vec<_>>(), ["z", "a"]);
    assert_eq!(rules.all.len(), 3);
    assert_eq!(rules.of("unknown").count(), 0);
}

#[test]
fn what_is_wrong_is_named_with_file_and_line() {
    let long = format!("{}actions = [\"{}\"]\n", rule("a", "fill").replace("actions = [\"allow\"]\n", ""), "x".repeat(129));
    for (text, expected) in [
        ("[[rule]\n", "b.toml:1: "),
        ("\n[rules]\n", "b.toml:2: unknown field `rules`"),
        ("[[rule]]\nid = \"a\"\n", "b.toml:1: missing field `task_class`"),
        ("[[rule]]\nid = \"A\"\ntask_class = \"fill\"\ncondition = { always = true }\n", "b.toml:2: ids and task classes are"),
        ("[[rule]]\nid = \"a\"\ntask_class = \"f\"\ncondition = { alway = true }\n", "b.toml:4: unknown field `alway`"),
        ("[[rule]]\nid = \"a\"\ntask_class = \"f\"\ncondition = { }\n", "b.toml:4: a condition has exactly one of"),
        (
            "[[rule]]\nid = \"a\"\ntask_class = \"f\"\ncondition = { field_greater = { path = \"a\", value = nan } }\n",
            "b.toml:4: ",
        ),
        (
            "\n\n[[rule]]\nid = \"first\"\ntask_class = \"fill\"\ncondition = { always = true }\n",
            "b.toml:3: rule `first` is already in a.toml",
        ),
        (&long, "b.toml:1: rule `a` has at most 32 actions"),
    ] {
        let first = rule("first", "fill");
        let error = Rules::parse(&folder(&[("a.toml", &first), ("b.toml", text)])).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_date_is_compared_as_its_text() {
    let text =
        "[[rule]]\nid = \"a\"\ntask_class = \"f\"\ncondition = { field_equals = { path = \"day\", value = 2026-01-02 } }\n";
    let rules = Rules::parse(&folder(&[("a.toml", text)])).unwrap();
    let finding = rules.all[0].condition.test.find(&serde_json::json!({"day": "2026-01-02"})).unwrap();
    assert!(finding.holds, "{finding:?}");
}
