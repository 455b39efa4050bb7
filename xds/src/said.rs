//! Owns what a node says of itself that may matter to whoever chooses for it. Must not know: what comes
//! of it, or whether it is true.

use std::collections::BTreeMap;

use bellwether::content::{CONTENT_KEY, Content};
use bellwether::rejection::clean;
use bellwether::wire::core::Node;
use bellwether::wire::google::protobuf::value::Kind;

/// Labels of one node. What is more is left out, in the order of keys.
const MAX_LABELS: usize = 64;

/// Bytes of a label's key or value.
const MAX_LABEL_BYTES: usize = 256;

/// What our own keys in a node's metadata begin with. They are no labels.
const OURS: &str = "bellwether.";

/// By a node's own word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The group that it says it belongs to: `node.cluster`.
    pub cluster: String,
    /// Texts in its metadata, and where it runs: `region`, `zone`, `sub_zone`.
    pub labels: BTreeMap<String, String>,
    /// What it had in force when it connected.
    pub content: Option<Content>,
}

/// What this node says.
pub(crate) fn of(node: &Node) -> Said {
    let mut said = Said {
        cluster: clean(&node.cluster),
        ..Said::default()
    };
    if let Some(locality) = &node.locality {
        let places = [
            ("region", &locality.region),
            ("zone", &locality.zone),
            ("sub_zone", &locality.sub_zone),
        ];
        let named = places.into_iter().filter(|(_, place)| !place.is_empty());
        said.labels
            .extend(named.map(|(key, place)| (key.to_owned(), clean(place))));
    }
    let metadata = node.metadata.iter().flat_map(|metadata| &metadata.fields);
    for (key, value) in metadata {
        let Some(Kind::StringValue(value)) = &value.kind else {
            continue;
        };
        if key == CONTENT_KEY {
            said.content = Content::parse(value);
        }
        let is_label = !key.starts_with(OURS)
            && key.len().max(value.len()) <= MAX_LABEL_BYTES
            && said.labels.len() < MAX_LABELS;
        if is_label {
            said.labels.insert(clean(key), clean(value));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use bellwether::wire::core::Locality;
    use bellwether::wire::google::protobuf::{ListValue, Struct, Value};

    use super::*;

    fn text(text: &str) -> Value {
        Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        }
    }

    #[test]
    fn labels_are_texts_of_a_bounded_size() {
        let long = "x".repeat(MAX_LABEL_BYTES + 1);
        let list = Value {
            kind: Some(Kind::ListValue(ListValue::default())),
        };
        let content = "00000000000000000000000000000001";
        let mut fields = BTreeMap::from([
            ("canary".to_owned(), text("yes")),
            ("zone".to_owned(), text("b")),
            ("long".to_owned(), text(&long)),
            ("list".to_owned(), list),
            (CONTENT_KEY.to_owned(), text(content)),
        ]);
        let node = |fields: &BTreeMap<String, Value>| Node {
            locality: Some(Locality {
                region: "eu".into(),
                zone: "a".into(),
                ..Locality::default()
            }),
            metadata: Some(Struct {
                fields: fields.clone(),
            }),
            ..Node::default()
        };
        let said = of(&node(&fields));
        let labels: Vec<_> = said
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        // What a node says in so many words outranks where it says that it runs.
        assert_eq!(labels, ["canary=yes", "region=eu", "zone=b"]);
        assert_eq!(said.content, Content::parse(content));
        fields.extend((0..100).map(|n| (format!("label{n}"), text("x"))));
        assert_eq!(of(&node(&fields)).labels.len(), MAX_LABELS);
    }
}
