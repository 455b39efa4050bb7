//! Owns the way from what a person names to a policy as the Admin API takes it. Must not know: what a
//! policy says.

use serde_json::{Value, json};

use super::super::CliError;
use super::file_of;
use crate::json;

/// A name as it stands, or what is in the file.
pub(super) fn policy(named: &str) -> Result<Value, CliError> {
    let Some(path) = file_of(named) else {
        return Ok(json!(named));
    };
    let name = path.display();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| CliError::Usage(format!("can't read the policy in {name}: {error}")))?;
    let is_json = path.extension().is_some_and(|ext| ext == "json");
    match is_json {
        true => json::strict(text.as_bytes())
            .map_err(|error| CliError::Usage(format!("{name} is not JSON: {error}"))),
        false => toml::from_str(&text)
            .map_err(|error| CliError::Usage(format!("{name} is not TOML: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use bellwether_rollout::policy::Written;

    use super::*;

    /// The one in the documentation.
    fn documented() -> &'static str {
        let docs = include_str!("../../../../docs/rollouts.md");
        let (_, rest) = docs.split_once("```toml\n").unwrap();
        rest.split_once("```").unwrap().0
    }

    #[test]
    fn a_policy_is_the_same_as_toml_and_as_json() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let read = policy(&file("ours.toml", documented())).unwrap();
        let expanded = serde_json::from_value::<Written>(read.clone())
            .unwrap()
            .expanded()
            .unwrap();
        assert_eq!(expanded.stages.len(), 3);
        assert_eq!(expanded.stages[1].gates.len(), 3);
        assert_eq!(crate::rollouts::status::unfit(&expanded), None);
        let again = policy(&file("ours.json", &read.to_string())).unwrap();
        assert_eq!(again, read);
        assert_eq!(policy("safe").unwrap(), json!("safe"));
        assert!(policy("./nowhere.toml").is_err());
        assert!(policy(&file("bad.toml", "name =")).is_err());
    }
}
