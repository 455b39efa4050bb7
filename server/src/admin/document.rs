//! Owns what the server does to a value before it is checked and stored, and before it is shown: the id, the
//! two times, and private keys. Must not know: the store, or whether the value is valid.

use serde_json::{Map, Value, json};

use super::answer::Problem;
use super::target::{Collection, Entry};
use crate::keys::Kind;
use crate::schema::Subject;

/// Fields that only the server writes.
const TIMES: [&str; 2] = ["create_time", "update_time"];

/// Fields of a certificate that no answer shows.
const PRIVATE: [&str; 2] = ["key", "keys"];

/// The object that a request wants to store.
///
/// # Errors
/// It is not an object, or it brings what only the server writes.
pub(crate) fn object(value: Value) -> Result<Map<String, Value>, Problem> {
    let Value::Object(object) = value else {
        return Err(Problem::invalid("the body must be a JSON object"));
    };
    match TIMES.iter().find(|field| object.contains_key(**field)) {
        Some(field) => Err(Problem::Refused(format!(
            "the property is forbidden: {field}"
        ))),
        None => Ok(object),
    }
}

/// The id of what a PUT stores: from the path or from the value, and the same if it is in both.
///
/// # Errors
/// There is none, or there are two.
pub(crate) fn id(
    collection: &Collection,
    path: Option<&str>,
    object: &Map<String, Value>,
) -> Result<String, Problem> {
    let subject = collection.subject();
    let field = match subject {
        Subject::Item(Kind::Consumer) => "username",
        Subject::Item(_) | Subject::Credential => "id",
    };
    let own = object.get(field).and_then(id_text);
    match (path, own) {
        (Some(path), Some(own)) if path != own => {
            Err(Problem::Refused(format!("wrong {subject} {field}")))
        }
        (Some(path), _) => Ok(path.to_owned()),
        (None, Some(own)) => Ok(own),
        (None, None) => Err(Problem::Refused(format!("missing {subject} {field}"))),
    }
}

/// An id as text. Ids may be written as numbers.
fn id_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Puts the id and the times in. `before`: the value that is replaced; its creation stays.
pub(crate) fn complete(
    entry: &Entry,
    object: &mut Map<String, Value>,
    before: Option<&Value>,
    now_s: u64,
) {
    if entry.subject() != Subject::Item(Kind::Consumer) {
        object.insert("id".to_owned(), json!(entry.id()));
    }
    let created = before
        .and_then(|before| before.get("create_time"))
        .filter(|time| time.is_u64())
        .cloned()
        .unwrap_or_else(|| json!(now_s));
    object.insert("create_time".to_owned(), created);
    object.insert("update_time".to_owned(), json!(now_s));
}

/// What an answer may show of a value.
pub(crate) fn shown(subject: Subject, mut value: Value) -> Value {
    if subject == Subject::Item(Kind::Ssl)
        && let Value::Object(object) = &mut value
    {
        for field in PRIVATE {
            object.shift_remove(field);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Item;

    fn map(value: Value) -> Map<String, Value> {
        object(value).unwrap()
    }

    #[test]
    fn ids_agree() {
        let routes = Collection::Items(Kind::Route);
        let consumers = Collection::Items(Kind::Consumer);
        let id = |collection: &Collection, path: Option<&str>, value: Value| {
            id(collection, path, &map(value)).map_err(|problem| problem.to_string())
        };
        assert_eq!(id(&routes, Some("1"), json!({})), Ok("1".into()));
        assert_eq!(id(&routes, Some("1"), json!({"id": 1})), Ok("1".into()));
        assert_eq!(id(&routes, None, json!({"id": "a"})), Ok("a".into()));
        assert_eq!(id(&routes, None, json!({})), Err("missing route id".into()));
        assert_eq!(
            id(&routes, Some("1"), json!({"id": "2"})),
            Err("wrong route id".into())
        );
        assert_eq!(
            id(&consumers, None, json!({"username": "jack"})),
            Ok("jack".into())
        );
        assert_eq!(
            id(&consumers, Some("jill"), json!({"username": "jack"})),
            Err("wrong consumer username".into())
        );
    }

    #[test]
    fn times_belong_to_the_server() {
        for field in TIMES {
            let problem = object(json!({field: 1})).unwrap_err();
            assert_eq!(
                problem.to_string(),
                format!("the property is forbidden: {field}")
            );
        }
        let entry = Entry::Item(Item::new(Kind::Route, "1"));
        let mut value = map(json!({"uri": "/"}));
        complete(&entry, &mut value, None, 5);
        assert_eq!(
            Value::Object(value.clone()),
            json!({"uri": "/", "id": "1", "create_time": 5, "update_time": 5})
        );
        let mut next = map(json!({"uri": "/b"}));
        complete(&entry, &mut next, Some(&Value::Object(value)), 9);
        assert_eq!(next["create_time"], 5);
        assert_eq!(next["update_time"], 9);
    }

    #[test]
    fn private_keys_are_not_shown() {
        let value = json!({"cert": "c", "key": "k", "keys": ["k"], "certs": ["c"], "sni": "a"});
        let shown_ssl = shown(Subject::Item(Kind::Ssl), value.clone());
        assert_eq!(shown_ssl, json!({"cert": "c", "certs": ["c"], "sni": "a"}));
        assert_eq!(shown(Subject::Item(Kind::Upstream), value.clone()), value);
    }
}
