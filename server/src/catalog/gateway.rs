//! Owns what the keys of hand-written Go gateways ask for: `route@<lease>@<method>@<path>`, whose value is
//! a service. Must not know: the instances of services, which are not configuration.
//!
//! Such gateways register what they serve under a lease each, so one route has several keys. It is there
//! while one of them is, and goes to the service that was named last.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::Problem;
use super::invalid::{Invalid, quoted};
use super::parse::{self, Shape};
use super::spec::{Choice, Spec};
use crate::keys::{GatewayKey, Item, Kind, is_service};
use crate::store::{Change, KeyValue, Revision};

/// Characters of a path that such gateways' routers give a meaning of their own.
const PATTERN: &[char] = &[':', '{', '}', '*'];

/// The routes of Go gateways.
#[derive(Debug, Default)]
pub(super) struct Gateway {
    routes: BTreeMap<Item, BTreeMap<i64, Named>>,
    /// The routes that go to each service.
    users: BTreeMap<String, BTreeSet<Item>>,
}

/// What one key says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    service: String,
    revision: Revision,
}

/// An item that is now otherwise, or gone.
pub(super) struct Touched {
    pub(super) item: Item,
    pub(super) spec: Option<Spec>,
}

impl Gateway {
    /// Applies the change of a key. Registrations of services touch nothing here.
    pub(super) fn apply(
        &mut self,
        key: GatewayKey,
        change: &Change,
    ) -> Result<Vec<Touched>, Problem> {
        let bad = |reason: String, last_good| Problem {
            reason,
            revision: match change {
                Change::Put(entry) => entry.mod_revision,
                Change::Delete { .. } => Revision(0),
            },
            last_good,
        };
        let (lease, method, path) = match (key, change) {
            (
                GatewayKey::Route {
                    lease,
                    method,
                    path,
                },
                _,
            ) => (lease, method, path),
            // The lane says so.
            (GatewayKey::Service { .. }, _) | (GatewayKey::Bad(_), Change::Delete { .. }) => {
                return Ok(Vec::new());
            }
            (GatewayKey::Bad(reason), Change::Put(_)) => return Err(bad(reason.to_owned(), false)),
        };
        let item = Item::new(Kind::Route, format!("{method}@{path}"));
        let before = self.service(&item).map(str::to_owned);
        match change {
            Change::Put(entry) => {
                let read = service_of(entry).and_then(|service| {
                    // Nothing of it depends on the service.
                    route(&method, &path, &service).map(|_| service)
                });
                let keys = self.routes.entry(item.clone()).or_default();
                let service =
                    read.map_err(|invalid| bad(invalid.to_string(), keys.contains_key(&lease)));
                if let Ok(service) = &service {
                    let (service, revision) = (service.clone(), entry.mod_revision);
                    keys.insert(lease, Named { service, revision });
                }
                if keys.is_empty() {
                    self.routes.remove(&item);
                }
                service?;
            }
            Change::Delete { .. } => {
                if let Some(keys) = self.routes.get_mut(&item) {
                    keys.remove(&lease);
                    if keys.is_empty() {
                        self.routes.remove(&item);
                    }
                }
            }
        }
        let after = self.service(&item).map(str::to_owned);
        if before == after {
            return Ok(Vec::new());
        }
        Ok(self.redirect(item, &method, &path, before, after))
    }

    /// The service that was named last.
    fn service(&self, route: &Item) -> Option<&str> {
        let named = self.routes.get(route)?.values();
        let last = named.max_by_key(|named| named.revision)?;
        Some(&last.service)
    }

    fn redirect(
        &mut self,
        item: Item,
        method: &str,
        path: &str,
        before: Option<String>,
        after: Option<String>,
    ) -> Vec<Touched> {
        let mut touched = Vec::new();
        if let Some(service) = &after {
            let users = self.users.entry(service.clone()).or_default();
            if users.is_empty() {
                touched.push(Touched {
                    item: upstream_of(service),
                    spec: upstream(service).ok(),
                });
            }
            users.insert(item.clone());
        }
        if let Some(service) = before
            && let Some(users) = self.users.get_mut(&service)
        {
            users.remove(&item);
            if users.is_empty() {
                self.users.remove(&service);
                touched.push(Touched {
                    item: upstream_of(&service),
                    spec: None,
                });
            }
        }
        let spec = after.and_then(|service| route(method, path, &service).ok());
        touched.push(Touched { item, spec });
        touched
    }
}

fn service_of(entry: &KeyValue) -> Result<String, Invalid> {
    let text = String::from_utf8_lossy(&entry.value);
    let name = text.trim();
    match is_service(name) {
        true => Ok(name.to_owned()),
        false => Err(Invalid::new(format!(
            "{} is no service's name: letters, digits and -_.: are, no dot first",
            quoted(name)
        ))),
    }
}

/// No upstream of APISIX's has an `@` in its id.
fn upstream_of(service: &str) -> Item {
    Item::new(Kind::Upstream, format!("service@{service}"))
}

fn upstream(service: &str) -> Result<Spec, Invalid> {
    let value = json!({ "discovery_type": "bellwether", "service_name": service });
    parse::value(Shape::Item(Kind::Upstream, service), &value)
}

/// A path is exact, or ends in `/*` and stands for everything below. What else routers know, none means
/// the same as another.
fn route(method: &str, path: &str, service: &str) -> Result<Spec, Invalid> {
    let exact = path.strip_suffix("/*").unwrap_or(path);
    if exact.contains(PATTERN) {
        return Err(Invalid::new(format!(
            "path {} is neither exact nor ends in /*",
            quoted(path)
        )));
    }
    let methods: &[&str] = match method {
        "*" | "ANY" => &[],
        one => &[one],
    };
    let value = json!({ "uri": path, "methods": methods, "plugins": {} });
    let mut spec = parse::value(Shape::Item(Kind::Route, path), &value)?;
    if let Spec::Route(route) = &mut spec {
        route.upstream = Some(Choice::Shared(upstream_of(service).id.into()));
    }
    Ok(spec)
}
