//! Owns the grammar of every key in the store: the APISIX layout under a fleet's prefix, and in its own
//! files Bellwether's own keys and those of Go gateways. Must not know: values.

mod gateway;
mod own;

use std::fmt;

use serde::{Deserialize, Serialize};

use gateway::decimal;
pub use gateway::{GatewayKey, Layout};
pub use own::*;

/// What Bellwether writes for itself stays under this prefix, outside of any fleet's.
pub const OWN_PREFIX: &str = "/bellwether/";

/// The value that `apisix init_etcd` writes to mark a directory. It is not configuration.
pub const INIT_DIR: &[u8] = b"init_dir";

/// A kind of configuration in the APISIX layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `/routes/{id}`
    Route,
    /// `/services/{id}`
    Service,
    /// `/upstreams/{id}`
    Upstream,
    /// `/ssls/{id}`; `/ssl/{id}` in 2.x
    Ssl,
    /// `/consumers/{username}`
    Consumer,
    /// `/consumer_groups/{id}`
    ConsumerGroup,
    /// `/plugin_configs/{id}`
    PluginConfig,
    /// `/global_rules/{id}`
    GlobalRule,
    /// `/plugin_metadata/{plugin}`
    PluginMetadata,
    /// `/stream_routes/{id}`
    StreamRoute,
    /// `/protos/{id}`; `/proto/{id}` in 2.x
    Proto,
    /// `/secrets/{manager}/{id}`
    Secret,
}

impl Kind {
    /// Every kind, in the order of the APISIX documentation.
    pub const ALL: [Self; 12] = [
        Self::Route,
        Self::Service,
        Self::Upstream,
        Self::Ssl,
        Self::Consumer,
        Self::ConsumerGroup,
        Self::PluginConfig,
        Self::GlobalRule,
        Self::PluginMetadata,
        Self::StreamRoute,
        Self::Proto,
        Self::Secret,
    ];

    /// The directory in the 3.x layout, which is also the name in the Admin API.
    #[must_use]
    pub fn directory(self) -> &'static str {
        match self {
            Self::Route => "routes",
            Self::Service => "services",
            Self::Upstream => "upstreams",
            Self::Ssl => "ssls",
            Self::Consumer => "consumers",
            Self::ConsumerGroup => "consumer_groups",
            Self::PluginConfig => "plugin_configs",
            Self::GlobalRule => "global_rules",
            Self::PluginMetadata => "plugin_metadata",
            Self::StreamRoute => "stream_routes",
            Self::Proto => "protos",
            Self::Secret => "secrets",
        }
    }

    /// The directory in the 2.x layout, where it had another name.
    #[must_use]
    pub fn old_directory(self) -> Option<&'static str> {
        match self {
            Self::Ssl => Some("ssl"),
            Self::Proto => Some("proto"),
            Self::Route
            | Self::Service
            | Self::Upstream
            | Self::Consumer
            | Self::ConsumerGroup
            | Self::PluginConfig
            | Self::GlobalRule
            | Self::PluginMetadata
            | Self::StreamRoute
            | Self::Secret => None,
        }
    }

    /// What one of them is called in messages: `route`, `plugin config`.
    #[must_use]
    pub fn singular(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Service => "service",
            Self::Upstream => "upstream",
            Self::Ssl => "ssl",
            Self::Consumer => "consumer",
            Self::ConsumerGroup => "consumer group",
            Self::PluginConfig => "plugin config",
            Self::GlobalRule => "global rule",
            Self::PluginMetadata => "plugin metadata",
            Self::StreamRoute => "stream route",
            Self::Proto => "proto",
            Self::Secret => "secret",
        }
    }

    /// The kind that lives in a directory, in its 3.x or its 2.x spelling.
    #[must_use]
    pub fn of_directory(directory: &str) -> Option<Self> {
        match directory {
            "ssl" => Some(Self::Ssl),
            "proto" => Some(Self::Proto),
            other => Self::ALL.into_iter().find(|kind| kind.directory() == other),
        }
    }

    /// How many segments the id of this kind has.
    fn id_segments(self) -> usize {
        match self {
            Self::Secret => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.singular())
    }
}

/// One item of configuration: its kind and its id. Displayed as `routes/1`, which is also the name of
/// the resources made from it, whichever spelling the key has in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// The rest of its key.
    pub id: String,
}

impl Item {
    /// Puts the two together.
    pub fn new(kind: Kind, id: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.into(),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.directory(), self.id)
    }
}

/// What a key under a fleet's prefix is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Configuration.
    Item(Item),
    /// `/consumers/{username}/credentials/{id}`
    Credential {
        /// Whose it is.
        consumer: String,
        /// Its id.
        id: String,
    },
    /// A directory's own key, written by `apisix init_etcd`.
    Directory,
    /// A key that proxies have no use for: the plugin list, scratch keys, node reports, sub-keys of services.
    Ignored,
}

/// A fleet's prefix: starts with a slash, does not end with one, is not under `/bellwether`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

/// Why a prefix can't be a fleet's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("prefix {prefix:?} {reason}")]
pub struct BadPrefix {
    prefix: String,
    reason: &'static str,
}

impl Prefix {
    /// Checks a prefix.
    ///
    /// # Errors
    /// It is empty, does not start with a slash, or lies where Bellwether keeps its own keys.
    pub fn new(prefix: &str) -> Result<Self, BadPrefix> {
        let bad = |reason| BadPrefix {
            prefix: prefix.to_owned(),
            reason,
        };
        let trimmed = prefix.trim_end_matches('/');
        if trimmed.is_empty() {
            return Err(bad("is empty"));
        }
        if !trimmed.starts_with('/') {
            return Err(bad("must start with a slash"));
        }
        if format!("{trimmed}/").starts_with(OWN_PREFIX) {
            return Err(bad(
                "lies under /bellwether, which is kept for the server's own keys",
            ));
        }
        Ok(Self(trimmed.to_owned()))
    }

    /// Without a slash at the end: `/apisix`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether one of the two holds keys of the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.range(), other.range());
        a.starts_with(&b) || b.starts_with(&a)
    }

    /// What every key of the fleet starts with: `/apisix/`.
    #[must_use]
    pub fn range(&self) -> String {
        format!("{}/", self.0)
    }

    /// The key of an item in the 3.x layout.
    #[must_use]
    pub fn key(&self, item: &Item) -> String {
        format!("{}/{item}", self.0)
    }

    /// The key of an item in the 2.x layout, where its directory had another name.
    #[must_use]
    pub fn old_key(&self, item: &Item) -> Option<String> {
        let directory = item.kind.old_directory()?;
        Some(format!("{}/{directory}/{}", self.0, item.id))
    }

    /// What the keys of a consumer's credentials start with.
    #[must_use]
    pub fn credentials(&self, consumer: &str) -> String {
        format!("{}/consumers/{consumer}/credentials/", self.0)
    }

    /// What the keys of a directory, in either spelling, start with.
    #[must_use]
    pub fn directory(&self, directory: &str) -> String {
        format!("{}/{directory}/", self.0)
    }

    /// What the keys start with under which Go gateways register addresses of services.
    #[must_use]
    pub fn gateway_services(&self) -> String {
        format!("{}/service@", self.0)
    }

    /// The key under which a Go gateway registers an address of a service.
    #[must_use]
    pub fn gateway_service(&self, lease: i64, name: &str) -> String {
        format!("{}{lease}@{name}", self.gateway_services())
    }

    /// Reads a key of a Go gateway. `None`: it is none.
    #[must_use]
    pub fn parse_gateway(&self, key: &str) -> Option<GatewayKey> {
        let rest = key.strip_prefix(&self.0)?.strip_prefix('/')?;
        let (what, rest) = rest.split_once('@')?;
        if what != "service" && what != "route" {
            return None;
        }
        let Some((lease, rest)) = rest.split_once('@') else {
            return Some(GatewayKey::Bad("has no second @"));
        };
        let Some(lease) = decimal(lease) else {
            return Some(GatewayKey::Bad("names no lease in decimal"));
        };
        if what == "service" {
            return Some(match is_service(rest) {
                true => GatewayKey::Service {
                    lease,
                    name: rest.to_owned(),
                },
                false => GatewayKey::Bad("names no service: letters, digits and -_.: are"),
            });
        }
        Some(match rest.split_once('@') {
            Some((method, path)) => GatewayKey::Route {
                lease,
                method: method.to_owned(),
                path: path.to_owned(),
            },
            None => GatewayKey::Bad("has a method or a path, not both"),
        })
    }

    /// A key that is written only to learn a revision nobody else has; ids are minted from it.
    #[must_use]
    pub fn scratch(&self) -> String {
        format!("{}/gen_id", self.0)
    }

    /// The key of an item in the 2.x layout, whether its directory had another name or not.
    #[must_use]
    pub fn legacy_key(&self, item: &Item) -> String {
        self.old_key(item).unwrap_or_else(|| self.key(item))
    }

    /// The key of a consumer's credential.
    #[must_use]
    pub fn credential_key(&self, consumer: &str, id: &str) -> String {
        format!("{}{id}", self.credentials(consumer))
    }

    /// Reads a key. `None` when it is not under this prefix.
    #[must_use]
    pub fn parse(&self, key: &str) -> Option<Key> {
        let path = key.strip_prefix(&self.0)?.strip_prefix('/')?;
        Some(parse(path))
    }
}

/// That of APISIX.
impl Default for Prefix {
    fn default() -> Self {
        Self("/apisix".to_owned())
    }
}

impl TryFrom<String> for Prefix {
    type Error = BadPrefix;

    fn try_from(text: String) -> Result<Self, BadPrefix> {
        Self::new(&text)
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse(path: &str) -> Key {
    if path.is_empty() || path.ends_with('/') {
        return Key::Directory;
    }
    let segments: Vec<&str> = path.split('/').collect();
    let Some((kind, id)) = segments
        .split_first()
        .and_then(|(directory, id)| Some((Kind::of_directory(directory)?, id)))
    else {
        return Key::Ignored;
    };
    match (kind, id) {
        (_, []) => Key::Directory,
        (Kind::Consumer, [consumer, "credentials", id]) => Key::Credential {
            consumer: (*consumer).to_owned(),
            id: (*id).to_owned(),
        },
        (kind, id) if id.len() == kind.id_segments() && id.iter().all(|part| !part.is_empty()) => {
            Key::Item(Item::new(kind, id.join("/")))
        }
        _ => Key::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_both_spellings() {
        let prefix = Prefix::new("/apisix/").unwrap();
        let read = |key: &str| prefix.parse(key).unwrap();
        let item = |kind, id: &str| Key::Item(Item::new(kind, id));
        assert_eq!(read("/apisix/routes/1"), item(Kind::Route, "1"));
        assert_eq!(read("/apisix/ssl/1"), item(Kind::Ssl, "1"));
        assert_eq!(read("/apisix/ssls/1"), item(Kind::Ssl, "1"));
        assert_eq!(read("/apisix/proto/p"), item(Kind::Proto, "p"));
        assert_eq!(
            read("/apisix/secrets/vault/1"),
            item(Kind::Secret, "vault/1")
        );
        assert_eq!(
            read("/apisix/consumers/jack/credentials/c1"),
            Key::Credential {
                consumer: "jack".into(),
                id: "c1".into()
            }
        );
        for directory in ["/apisix/", "/apisix/routes/", "/apisix/routes"] {
            assert_eq!(read(directory), Key::Directory, "{directory}");
        }
        for ignored in [
            "/apisix/plugins",
            "/apisix/gen_id",
            "/apisix/data_plane/server_info/u",
            "/apisix/services/1/graphql_cost_decorations/2",
            "/apisix/secrets/vault",
            "/apisix/routes//x",
        ] {
            assert_eq!(read(ignored), Key::Ignored, "{ignored}");
        }
        assert_eq!(prefix.parse("/apisix2/routes/1"), None);
        for kind in Kind::ALL {
            let id = if kind == Kind::Secret { "vault/1" } else { "1" };
            let one = Item::new(kind, id);
            for key in [prefix.key(&one), prefix.legacy_key(&one)] {
                assert_eq!(prefix.parse(&key), Some(Key::Item(one.clone())), "{key}");
            }
        }
        let credential = Key::Credential {
            consumer: "jack".into(),
            id: "c1".into(),
        };
        let key = prefix.credential_key("jack", "c1");
        assert_eq!(prefix.parse(&key), Some(credential));
    }

    #[test]
    fn a_prefix_never_touches_our_own_keys() {
        for bad in ["", "/", "apisix", "/bellwether", "/bellwether/x"] {
            assert!(Prefix::new(bad).is_err(), "{bad}");
        }
        assert!(Prefix::new("/bellwether2").is_ok());
    }

    #[test]
    fn instances_are_found_in_their_keys() {
        let read = |key: &str| InstanceKey::parse("shop", key);
        for known in [false, true] {
            let key = match known {
                false => instance("shop", "users", "10.0.0.1:80"),
                true => known_instance("shop", "users", "10.0.0.1:80"),
            };
            let wanted = InstanceKey {
                service: "users".into(),
                id: "10.0.0.1:80".into(),
                known,
            };
            assert_eq!(read(&key), Some(wanted), "{key}");
        }
        for none in [
            "/bellwether/shop/instances/",
            "/bellwether/shop/instances/users",
            "/bellwether/shop/instances/users/",
            "/bellwether/shop/instances/users/a/b",
            "/bellwether/shop/instances/.users/a",
            "/bellwether/shop/instances/us ers/a",
            "/bellwether/other/instances/users/a",
        ] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn keys_of_go_gateways_are_read_as_they_are_written() {
        let prefix = Prefix::new("/gw").unwrap();
        let read = |key: &str| prefix.parse_gateway(key);
        let route = |method: &str, path: &str| {
            Some(GatewayKey::Route {
                lease: 7587,
                method: method.into(),
                path: path.into(),
            })
        };
        let service = GatewayKey::Service {
            lease: 7587,
            name: "users".into(),
        };
        assert_eq!(
            prefix.gateway_service(7587, "users"),
            "/gw/service@7587@users"
        );
        assert_eq!(read("/gw/service@7587@users"), Some(service));
        assert_eq!(read("/gw/route@7587@GET@/a/b"), route("GET", "/a/b"));
        assert_eq!(read("/gw/route@7587@GET@/a@b"), route("GET", "/a@b"));
        for none in [
            "/gw/routes/1",
            "/gw2/service@1@a",
            "/gw/x@1@a",
            "/gw/service",
        ] {
            assert_eq!(read(none), None, "{none}");
        }
        for bad in [
            "/gw/service@users",
            "/gw/service@-1@users",
            "/gw/service@+1@users",
            "/gw/service@1f@users",
            "/gw/service@1@a/b",
            "/gw/route@1@GET",
            "/gw/service@99999999999999999999@a",
        ] {
            assert!(matches!(read(bad), Some(GatewayKey::Bad(_))), "{bad}");
        }
        assert_eq!(GatewayKey::lease(&GatewayKey::instance(7)), Some(7));
        assert_eq!(GatewayKey::lease("10.0.0.1:80"), None);
    }
}
