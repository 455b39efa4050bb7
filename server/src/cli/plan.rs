//! Owns the difference between what files want and what a server has, as an ordered list of steps.
//! Must not know: how it is read or carried out.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};
use similar::TextDiff;

use super::documents::Documents;
use super::output::clean;
use super::redact::redact;
use crate::keys::{Item, Kind};

/// What a server has of one item.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    /// Its entity tag.
    pub(super) etag: String,
    pub(super) value: Value,
}

/// What to do with one item.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// It is not there.
    Create { value: Value, source: String },
    /// It is there and differs.
    Update { value: Value, held: Held },
    /// It is there and no file wants it.
    Delete { held: Held },
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) item: Item,
    pub(super) action: Action,
}

/// All steps, in an order in which every reference resolves at every moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) unchanged: usize,
}

impl Plan {
    /// Compares. With `prune`, what the server has of the documents' kinds and no document wants goes.
    pub(super) fn new(wanted: Documents, held: BTreeMap<Item, Held>, prune: bool) -> Self {
        let mut plan = Self::default();
        let mut held = held;
        for (item, document) in wanted.by_item {
            let action = match held.remove(&item) {
                None => Action::Create {
                    value: document.value,
                    source: document.source,
                },
                Some(held) if is_same(&item, &document.value, &held.value) => {
                    plan.unchanged += 1;
                    continue;
                }
                Some(held) => Action::Update {
                    value: document.value,
                    held,
                },
            };
            plan.steps.push(Step { item, action });
        }
        if prune {
            let gone = held.into_iter().map(|(item, held)| Step {
                item,
                action: Action::Delete { held },
            });
            plan.steps.extend(gone);
        }
        plan.steps
            .sort_by_key(|step| (step.stage(), step.item.clone()));
        plan
    }

    /// How many steps create, change and delete.
    pub(super) fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for step in &self.steps {
            match step.action {
                Action::Create { .. } => counts[0] += 1,
                Action::Update { .. } => counts[1] += 1,
                Action::Delete { .. } => counts[2] += 1,
            }
        }
        counts
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| {
                json!({
                    "action": step.verb(),
                    "kind": step.item.kind.directory(),
                    "id": step.item.id,
                    "diff": step.diff(),
                })
            })
            .collect();
        json!({ "steps": steps, "unchanged": self.unchanged })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.steps.is_empty() {
            return write!(f, "nothing to do, {} unchanged", self.unchanged);
        }
        for step in &self.steps {
            writeln!(f, "{step}")?;
            for line in step.diff().lines() {
                writeln!(f, "    {line}")?;
            }
        }
        let [create, change, delete] = self.counts();
        write!(
            f,
            "{create} to create, {change} to change, {delete} to delete, {} unchanged",
            self.unchanged
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb(), clean(&self.item.to_string()))
    }
}

impl Step {
    /// `create`, `change` or `delete`.
    pub(super) fn verb(&self) -> &'static str {
        match self.action {
            Action::Create { .. } => "create",
            Action::Update { .. } => "change",
            Action::Delete { .. } => "delete",
        }
    }

    /// What is referred to is written before and deleted after what refers to it. Steps of one stage do not
    /// depend on each other.
    pub(super) fn stage(&self) -> (bool, i8, bool) {
        let rank = rank(self.item.kind);
        match &self.action {
            Action::Create { value, .. } | Action::Update { value, .. } => {
                (false, rank, has_superior(value))
            }
            Action::Delete { held } => (true, -rank, !has_superior(&held.value)),
        }
    }

    /// The lines that differ, without secrets.
    pub(super) fn diff(&self) -> String {
        let (before, after) = match &self.action {
            Action::Create { value, .. } => (None, Some(value)),
            Action::Update { value, held } => (Some(&held.value), Some(value)),
            Action::Delete { held } => (Some(&held.value), None),
        };
        let plain = |value: Option<&Value>| value.map(|value| comparable(&self.item, value));
        let (before, after) = (plain(before), plain(after));
        let old = before
            .as_ref()
            .map(|value| redact(value, after.as_ref(), "old"));
        let new = after
            .as_ref()
            .map(|value| redact(value, before.as_ref(), "new"));
        let (old, new) = (lines(old), lines(new));
        TextDiff::from_lines(old.as_str(), new.as_str())
            .unified_diff()
            .context_radius(2)
            .to_string()
    }
}

fn has_superior(value: &Value) -> bool {
    !value["protocol"]["superior_id"].is_null()
}

/// Kinds in the order in which they are written.
fn rank(kind: Kind) -> i8 {
    match kind {
        Kind::Secret | Kind::PluginMetadata | Kind::Proto | Kind::Ssl => 0,
        Kind::Upstream => 1,
        Kind::Service | Kind::PluginConfig | Kind::ConsumerGroup => 2,
        Kind::Consumer | Kind::GlobalRule => 3,
        Kind::StreamRoute | Kind::Route => 4,
    }
}

fn lines(value: Option<Value>) -> String {
    value.map_or_else(String::new, |value| {
        let text = serde_json::to_string_pretty(&value).expect("a JSON value can be printed");
        text + "\n"
    })
}

fn is_same(item: &Item, wanted: &Value, held: &Value) -> bool {
    comparable(item, wanted) == comparable(item, held)
}

/// What counts when two values are compared: no times, ids as text, no private keys (the server does not
/// show them; a certificate changes with its key), names in order.
fn comparable(item: &Item, value: &Value) -> Value {
    let mut value = sorted(value);
    if let Value::Object(object) = &mut value {
        object.shift_remove("create_time");
        object.shift_remove("update_time");
        if item.kind == Kind::Ssl {
            object.shift_remove("key");
            object.shift_remove("keys");
        }
        if item.kind != Kind::Consumer {
            object.shift_remove("id");
        }
    }
    value
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut names: Vec<&String> = object.keys().collect();
            names.sort();
            let parts = names
                .into_iter()
                .map(|name| (name.clone(), sorted(&object[name])));
            Value::Object(parts.collect::<Map<String, Value>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::documents::Document;
    use super::*;

    fn documents(items: &[(Kind, &str, Value)]) -> Documents {
        let mut documents = Documents::default();
        for (kind, id, value) in items {
            let item = Item::new(*kind, *id);
            documents.by_item.insert(
                item.clone(),
                Document {
                    item,
                    value: value.clone(),
                    source: "f.json".into(),
                },
            );
        }
        documents
    }

    fn held(items: &[(Kind, &str, Value)]) -> BTreeMap<Item, Held> {
        let held = |value: &Value| Held {
            etag: "\"1\"".into(),
            value: value.clone(),
        };
        items
            .iter()
            .map(|(kind, id, value)| (Item::new(*kind, *id), held(value)))
            .collect()
    }

    #[test]
    fn only_differences_are_steps() {
        let wanted = documents(&[
            (
                Kind::Route,
                "1",
                json!({"id": 1, "uri": "/", "upstream_id": "u"}),
            ),
            (Kind::Route, "2", json!({"id": "2", "uri": "/new"})),
            (Kind::Upstream, "u", json!({"id": "u", "nodes": {}})),
        ]);
        let has = held(&[
            (
                Kind::Route,
                "1",
                json!({"upstream_id": "u", "uri": "/", "id": "1", "create_time": 5, "update_time": 6}),
            ),
            (Kind::Route, "2", json!({"id": "2", "uri": "/old"})),
            (Kind::Route, "3", json!({"id": "3"})),
        ]);
        let plan = Plan::new(wanted, has, false);
        assert_eq!(
            plan.to_string(),
            "create upstreams/u\n    @@ -0,0 +1,3 @@\n    +{\n    +  \"nodes\": {}\n    +}\n\
             change routes/2\n    @@ -1,3 +1,3 @@\n     {\n    -  \"uri\": \"/old\"\n    +  \"uri\": \"/new\"\n     }\n\
             1 to create, 1 to change, 0 to delete, 1 unchanged"
        );
        assert_eq!(plan.to_json()["steps"][1]["action"], "change");
    }

    #[test]
    fn references_resolve_at_every_step() {
        let route = json!({"uri": "/"});
        let wanted = documents(&[
            (Kind::Route, "1", route.clone()),
            (Kind::Service, "1", json!({})),
            (Kind::Upstream, "1", json!({})),
            (Kind::Ssl, "1", json!({})),
            (
                Kind::StreamRoute,
                "a",
                json!({"protocol": {"superior_id": "b"}}),
            ),
            (Kind::StreamRoute, "b", json!({})),
        ]);
        let has = held(&[
            (Kind::Upstream, "9", json!({})),
            (Kind::Route, "9", route),
            (Kind::Service, "9", json!({})),
        ]);
        let plan = Plan::new(wanted, has, true);
        let order: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
        assert_eq!(
            order,
            [
                "create ssls/1",
                "create upstreams/1",
                "create services/1",
                "create routes/1",
                "create stream_routes/b",
                "create stream_routes/a",
                "delete routes/9",
                "delete services/9",
                "delete upstreams/9",
            ]
        );
    }

    #[test]
    fn a_private_key_is_neither_compared_nor_shown() {
        let wanted = json!({"cert": "c", "key": "hush", "sni": "a", "id": "1"});
        let has = json!({"cert": "c", "sni": "a", "id": "1"});
        let plan = Plan::new(
            documents(&[(Kind::Ssl, "1", wanted.clone())]),
            held(&[(Kind::Ssl, "1", has)]),
            false,
        );
        assert_eq!(plan.to_string(), "nothing to do, 1 unchanged");
        let plan = Plan::new(
            documents(&[(Kind::Ssl, "1", wanted)]),
            BTreeMap::new(),
            false,
        );
        assert!(!plan.to_string().contains("hush"), "{plan}");
    }
}
