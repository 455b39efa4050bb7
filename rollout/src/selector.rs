//! Owns the choice of nodes by their trusted labels. Must not know: how many nodes there are, or how
//! large a part of those chosen takes part.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Requirements in one selector, values in one requirement. More is a list of nodes, not a choice.
const MAX_REQUIREMENTS: usize = 20;
const MAX_VALUES: usize = 200;

/// Which nodes: those that meet every requirement; without any, all. Written as Kubernetes writes label
/// selectors: `tier=edge,region in (eu,us),!legacy`. The label `node` is the node's own id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Requirement {
    label: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Test {
    In(BTreeSet<String>),
    /// Also true without the label, as in Kubernetes.
    NotIn(BTreeSet<String>),
    Exists,
    Absent,
}

/// The label that every node has: its id.
pub const NODE: &str = "node";

/// Not a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("selector {text:?}: {reason}")]
pub struct NotASelector {
    text: String,
    reason: String,
}

impl Selector {
    /// One node.
    #[must_use]
    pub fn node(id: &str) -> Self {
        Self(vec![Requirement {
            label: NODE.to_owned(),
            test: Test::In([id.to_owned()].into()),
        }])
    }

    /// Whether a node is chosen.
    #[must_use]
    pub fn matches(&self, id: &str, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|one| {
            let value = match one.label.as_str() {
                NODE => Some(id),
                label => labels.get(label).map(String::as_str),
            };
            match &one.test {
                Test::In(values) => value.is_some_and(|value| values.contains(value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Test::Exists => value.is_some(),
                Test::Absent => value.is_none(),
            }
        })
    }

    /// How exactly it says whom it means: one that names nodes before any that does not, then by the
    /// number of requirements.
    #[must_use]
    pub fn precision(&self) -> (bool, usize) {
        let names = self
            .0
            .iter()
            .any(|one| one.label == NODE && matches!(one.test, Test::In(_)));
        (names, self.0.len())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { label, test }) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let list = |values: &BTreeSet<String>| {
                values
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(",")
            };
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{label}={}", list(values))?,
                Test::NotIn(values) if values.len() == 1 => write!(f, "{label}!={}", list(values))?,
                Test::In(values) => write!(f, "{label} in ({})", list(values))?,
                Test::NotIn(values) => write!(f, "{label} notin ({})", list(values))?,
                Test::Exists => write!(f, "{label}")?,
                Test::Absent => write!(f, "!{label}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Selector {
    type Err = NotASelector;

    fn from_str(text: &str) -> Result<Self, NotASelector> {
        let wrong = |reason: String| NotASelector {
            text: text.chars().take(200).collect(),
            reason,
        };
        let mut all = Vec::new();
        for part in parts(text) {
            all.push(requirement(part.trim()).map_err(wrong)?);
        }
        if all.len() > MAX_REQUIREMENTS {
            return Err(wrong(format!("more than {MAX_REQUIREMENTS} requirements")));
        }
        Ok(Self(all))
    }
}

/// Split at the commas that are not within brackets.
fn parts(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let split = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    match text.trim() {
        "" => Vec::new(),
        text => text.split(split).collect(),
    }
}

fn requirement(text: &str) -> Result<Requirement, String> {
    let one = |value: &str| {
        let value = word(value)?;
        Ok::<_, String>(BTreeSet::from([value]))
    };
    let (label, test) = if let Some((label, value)) = text.split_once("!=") {
        (label, Test::NotIn(one(value)?))
    } else if let Some((label, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (label, Test::In(one(value)?))
    } else if let Some((label, rest)) = text.split_once(" notin ") {
        (label, Test::NotIn(set(rest)?))
    } else if let Some((label, rest)) = text.split_once(" in ") {
        (label, Test::In(set(rest)?))
    } else if let Some(label) = text.strip_prefix('!') {
        (label, Test::Absent)
    } else {
        (text, Test::Exists)
    };
    Ok(Requirement {
        label: word(label)?,
        test,
    })
}

fn set(text: &str) -> Result<BTreeSet<String>, String> {
    let inner = text
        .trim()
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| format!("{text:?} is not a list in brackets"))?;
    let values: BTreeSet<String> = inner.split(',').map(word).collect::<Result<_, _>>()?;
    if values.len() > MAX_VALUES {
        return Err(format!("more than {MAX_VALUES} values"));
    }
    Ok(values)
}

/// A label or a value: what is left must be readable again from its own text.
fn word(text: &str) -> Result<String, String> {
    let text = text.trim();
    let odd = |c: char| c.is_whitespace() || c.is_control() || "=!(),".contains(c);
    if text.is_empty() {
        return Err("a label or a value is empty".to_owned());
    }
    match text.find(odd) {
        Some(_) => Err(format!("{text:?} is neither a label nor a value")),
        None => Ok(text.to_owned()),
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, id: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        selector.parse::<Selector>().unwrap().matches(id, &labels)
    }

    #[test]
    fn as_kubernetes_selects() {
        let eu = [("region", "eu"), ("tier", "edge")];
        for (selector, want) in [
            ("", true),
            ("region=eu", true),
            ("region == eu , tier=edge", true),
            ("region=us", false),
            ("region in (eu, us)", true),
            ("region notin (eu,us)", false),
            ("region!=us", true),
            ("zone!=a", true),
            ("zone", false),
            ("!zone", true),
            ("region,!tier", false),
            ("node=n1", true),
            ("node in (n2,n3)", false),
        ] {
            assert_eq!(matches(selector, "n1", &eu), want, "{selector}");
        }
    }

    #[test]
    fn text_and_back() {
        for text in [
            "",
            "a=b",
            "a!=b",
            "a in (b,c)",
            "a notin (b,c),d",
            "!a,b=c",
            "node=n-1",
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_selector_is_told_why() {
        for (text, reason) in [
            ("=a", "empty"),
            ("a=", "empty"),
            ("a=b c", "neither"),
            ("a in b", "brackets"),
            ("a in ()", "empty"),
            ("a,,b", "empty"),
            ("a b", "neither"),
            ("a=b=c", "neither"),
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let many = vec!["a"; MAX_REQUIREMENTS + 1].join(",");
        assert!(many.parse::<Selector>().is_err());
    }

    #[test]
    fn who_names_nodes_is_more_precise() {
        let precision = |text: &str| text.parse::<Selector>().unwrap().precision();
        assert!(precision("node=a") > precision("a=b,c=d,e=f"));
        assert!(precision("a=b,c=d") > precision("a=b"));
        assert!(precision("a") > precision(""));
    }
}
