//! Holds when every named field of a context is present and filled.
//!
//! **Invariant**: the reason names fields, which come from the configuration, and never a value of the context.

use lakehouse_sdk::{Condition, Config, Context, Error, Value, Verdict, export_condition};

/// Holds when every named field is there, is not null and is not an empty text.
#[derive(Clone, Debug, Config)]
pub struct RequiredFields {
    /// Dot paths into the context, such as `client.id`; a number is a position in a list.
    #[config(example = ["client.id"])]
    pub fields: Vec<String>,
}

impl Condition for RequiredFields {
    fn prepare(&mut self) -> Result<(), Error> {
        if self.fields.is_empty() {
            return Err(Error::InvalidConfig("\"fields\" must name at least one field".into()));
        }
        match self.fields.iter().position(|path| path.split('.').any(str::is_empty)) {
            Some(index) => Err(Error::InvalidConfig(format!("\"fields[{index}]\" must be a dot path such as \"client.id\""))),
            None => Ok(()),
        }
    }

    fn evaluate(&self, context: &Context) -> Result<Verdict, Error> {
        let missing: Vec<&str> = self.fields.iter().map(String::as_str).filter(|path| !is_filled(context.get(path))).collect();
        Ok(match missing.as_slice() {
            [] => Verdict::Holds,
            [one] => Verdict::Fails(format!("required field `{one}` is missing or empty")),
            several => Verdict::Fails(format!("required fields `{}` are missing or empty", several.join("`, `"))),
        })
    }
}

fn is_filled(found: Option<&Value>) -> bool {
    match found {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(_) => true,
    }
}

export_condition!(RequiredFields);

#[cfg(test)]
mod tests {
    use lakehouse_sdk::{json, testing};

    use super::*;

    fn verdict(fields: &Value, context: &Value) -> Verdict {
        let rule = RequiredFields::open(&json!({ "fields": fields }).to_string()).unwrap();
        testing::evaluate(&rule, context).unwrap()
    }

    #[test]
    fn holds_when_all_are_there_even_if_false_or_zero() {
        let context = json!({"client": {"id": "C-1"}, "count": 0, "urgent": false, "crew": [{"name": "x"}], "notes": {}});
        assert_eq!(verdict(&json!(["client.id", "count", "urgent", "crew.0.name", "notes"]), &context), Verdict::Holds);
    }

    #[test]
    fn missing_null_and_empty_fail_and_only_names_are_said() {
        let context = json!({"client": {"id": null, "name": "", "city": "Secretville"}});
        let Verdict::Fails(why) =
            verdict(&json!(["client.id", "client.name", "client.city", "client.city.zip", "gone"]), &context)
        else {
            panic!("holds")
        };
        assert_eq!(why, "required fields `client.id`, `client.name`, `client.city.zip`, `gone` are missing or empty");
        assert_eq!(verdict(&json!(["a"]), &json!({})), Verdict::Fails("required field `a` is missing or empty".into()));
    }

    #[test]
    fn a_configuration_that_says_nothing_is_refused() {
        let error = |config: &str| RequiredFields::open(config).unwrap_err().to_string();
        assert!(error("{}").contains("missing key \"fields\""));
        assert!(error(r#"{"fields": []}"#).contains("at least one"));
        assert!(error(r#"{"fields": ["a", "b..c"]}"#).contains("fields[1]"));
        assert!(error(r#"{"fields": ["a", 7]}"#).contains(r#""fields[1]" must be a string, not this number"#));
        assert!(error(r#"{"fields": ["a"], "feilds": []}"#).contains(r#"unknown key "feilds"; known keys: "fields""#));
    }
}
