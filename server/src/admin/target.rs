//! Owns what a path of the Admin API means: which collection, which id, which part of the value; and which
//! verbs a collection takes. Must not know: the store.

use http::Method;
use percent_encoding::percent_decode_str;

use super::answer::Problem;
use crate::keys::{Item, Kind, Prefix};
use crate::schema::Subject;

/// A set of things of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Collection {
    Items(Kind),
    Credentials { consumer: String },
}

/// One thing that has a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Item(Item),
    Credential { consumer: String, id: String },
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) collection: Collection,
    pub(crate) id: Option<String>,
    /// The rest of the path: the part of the value that a PATCH replaces.
    pub(crate) sub_path: Vec<String>,
}

impl Collection {
    pub(crate) fn subject(&self) -> Subject {
        match self {
            Self::Items(kind) => Subject::Item(*kind),
            Self::Credentials { .. } => Subject::Credential,
        }
    }

    /// The entry with this id.
    pub(crate) fn entry(&self, id: &str) -> Entry {
        match self {
            Self::Items(kind) => Entry::Item(Item::new(*kind, id)),
            Self::Credentials { consumer } => Entry::Credential {
                consumer: consumer.clone(),
                id: id.to_owned(),
            },
        }
    }

    /// Whether the verb is one that the collection takes.
    ///
    /// # Errors
    /// [`Problem::Method`].
    pub(crate) fn allows(&self, method: &Method) -> Result<(), Problem> {
        let (post, patch) = match self {
            Self::Items(Kind::Route | Kind::Service | Kind::Upstream | Kind::Ssl) => (true, true),
            Self::Items(Kind::StreamRoute | Kind::Proto) => (true, false),
            Self::Items(
                Kind::ConsumerGroup | Kind::GlobalRule | Kind::PluginConfig | Kind::Secret,
            ) => (false, true),
            Self::Items(Kind::Consumer | Kind::PluginMetadata) | Self::Credentials { .. } => {
                (false, false)
            }
        };
        let allowed = match *method {
            Method::GET | Method::HEAD | Method::PUT | Method::DELETE => true,
            Method::POST => post,
            Method::PATCH => patch,
            _ => false,
        };
        if allowed {
            return Ok(());
        }
        Err(Problem::Method {
            method: method.to_string(),
            subject: self.subject().to_string(),
        })
    }
}

impl Entry {
    /// Its key in the 3.x layout.
    pub(crate) fn key(&self, prefix: &Prefix) -> String {
        match self {
            Self::Item(item) => prefix.key(item),
            Self::Credential { consumer, id } => prefix.credentials(consumer) + id,
        }
    }

    /// Its key in the 2.x layout, where that is another one.
    pub(crate) fn old_key(&self, prefix: &Prefix) -> Option<String> {
        match self {
            Self::Item(item) => prefix.old_key(item),
            Self::Credential { .. } => None,
        }
    }

    pub(crate) fn subject(&self) -> Subject {
        match self {
            Self::Item(item) => Subject::Item(item.kind),
            Self::Credential { .. } => Subject::Credential,
        }
    }

    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Item(item) => &item.id,
            Self::Credential { id, .. } => id,
        }
    }
}

impl Target {
    /// Reads the part of the path after `…/apisix/admin/`.
    ///
    /// # Errors
    /// Unknown collection; an id that can't be one.
    pub(crate) fn parse(path: &str) -> Result<Self, Problem> {
        let mut segments: Vec<String> = path
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        if segments.last().is_some_and(String::is_empty) {
            segments.pop();
        }
        let mut segments = segments.into_iter();
        let name = segments.next().unwrap_or_default();
        let kind = Kind::ALL.into_iter().find(|kind| kind.directory() == name);
        let Some(kind) = kind else {
            return Err(Problem::Unknown(format!(
                "Unsupported resource type: {name}"
            )));
        };
        let mut rest: Vec<String> = segments.collect();
        let mut collection = Collection::Items(kind);
        if kind == Kind::Consumer && rest.get(1).is_some_and(|part| part == "credentials") {
            let consumer = checked(Subject::Item(kind), rest.remove(0))?;
            rest.remove(0);
            collection = Collection::Credentials { consumer };
        }
        let subject = collection.subject();
        let id_segments = if kind == Kind::Secret { 2 } else { 1 };
        if rest.is_empty() {
            return Ok(Self {
                collection,
                id: None,
                sub_path: Vec::new(),
            });
        }
        if rest.len() < id_segments {
            return Err(Problem::Refused(format!("missing {subject} id")));
        }
        let sub_path = rest.split_off(id_segments);
        let parts: Result<Vec<String>, Problem> = rest
            .into_iter()
            .map(|part| checked(subject, part))
            .collect();
        Ok(Self {
            collection,
            id: Some(parts?.join("/")),
            sub_path,
        })
    }

    /// The entry it names.
    ///
    /// # Errors
    /// It names a whole collection.
    pub(crate) fn entry(&self) -> Result<Entry, Problem> {
        let Some(id) = &self.id else {
            let subject = self.collection.subject();
            return Err(Problem::Refused(format!("missing {subject} id")));
        };
        Ok(self.collection.entry(id))
    }
}

/// A decoded segment becomes a part of a key: it must not reach beyond its place in it.
fn checked(subject: Subject, part: String) -> Result<String, Problem> {
    if part.is_empty() || part.contains('/') || part.chars().any(char::is_control) {
        return Err(Problem::Refused(format!("wrong {subject} id")));
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_entries() {
        let prefix = Prefix::new("/apisix").unwrap();
        let key = |path: &str| Target::parse(path).unwrap().entry().unwrap().key(&prefix);
        assert_eq!(key("routes/1"), "/apisix/routes/1");
        assert_eq!(key("routes/1/"), "/apisix/routes/1");
        assert_eq!(key("ssls/a%2Db"), "/apisix/ssls/a-b");
        assert_eq!(key("secrets/vault/1"), "/apisix/secrets/vault/1");
        assert_eq!(
            key("consumers/jack/credentials/c"),
            "/apisix/consumers/jack/credentials/c"
        );
        let patch = Target::parse("routes/1/upstream/nodes").unwrap();
        assert_eq!(patch.sub_path, ["upstream", "nodes"]);
        assert!(Target::parse("routes").unwrap().id.is_none());
        let all = Target::parse("consumers/jack/credentials").unwrap();
        assert_eq!(all.id, None);
        assert_eq!(all.collection.subject(), Subject::Credential);
    }

    #[test]
    fn bad_paths_say_so() {
        for (path, text) in [
            ("nothing/1", "Unsupported resource type: nothing"),
            ("ssl/1", "Unsupported resource type: ssl"),
            ("", "Unsupported resource type: "),
            ("routes/a%2Fb", "wrong route id"),
            ("routes//x", "wrong route id"),
            ("routes/%00", "wrong route id"),
            ("consumers/a%2Fb/credentials/1", "wrong consumer id"),
            ("secrets/vault", "missing secret id"),
        ] {
            assert_eq!(Target::parse(path).unwrap_err().to_string(), text, "{path}");
        }
    }

    #[test]
    fn verbs_are_those_of_the_matrix() {
        let row = |path: &str| -> String {
            let collection = Target::parse(path).unwrap().collection;
            ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"]
                .map(|verb| Method::from_bytes(verb.as_bytes()).unwrap())
                .iter()
                .map(|method| {
                    if collection.allows(method).is_ok() {
                        '+'
                    } else {
                        '-'
                    }
                })
                .collect()
        };
        for (path, verbs) in [
            ("routes", "+++++-"),
            ("services", "+++++-"),
            ("upstreams", "+++++-"),
            ("ssls", "+++++-"),
            ("stream_routes", "+++-+-"),
            ("protos", "+++-+-"),
            ("consumers", "+-+-+-"),
            ("consumers/a/credentials", "+-+-+-"),
            ("consumer_groups", "+-+++-"),
            ("global_rules", "+-+++-"),
            ("plugin_configs", "+-+++-"),
            ("plugin_metadata", "+-+-+-"),
            ("secrets", "+-+++-"),
        ] {
            assert_eq!(row(path), verbs, "{path}");
        }
        let refused = Collection::Items(Kind::Proto).allows(&Method::PATCH);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "not supported `PATCH` method for proto"
        );
    }
}
