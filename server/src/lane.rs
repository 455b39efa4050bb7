//! Owns the lane of endpoints: which instances the services of a fleet have, as of now. It waits for no
//! release and no rollout, so it carries a closed set of fields and never an empty set that nobody asked
//! for. Must not know: upstreams, routes, who is told.

mod follow;
mod instance;
mod overlay;
pub mod registry;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bellwether::wire::native;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

pub use self::follow::{InstancesFeed, follow_instances};
pub use self::instance::{BadInstance, Instance};
pub(crate) use self::overlay::endpoints;
pub use self::overlay::{Overlay, without_instances};
pub use self::service::{Event, Service};

use crate::fleet::KeyProblem;
use crate::keys::{GatewayKey, InstanceKey, Prefix, instances_range};
use crate::store::{Batch, Change, KeyValue};

/// The instances of every service at one moment. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances(OrdMap<Arc<str>, Arc<Service>>);

/// What operators see of the lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstancesStatus {
    /// Services that have instances.
    pub services: u64,
    /// Instances that live.
    pub instances: u64,
    /// Instances that have gone without being drained, and are known still.
    pub lost: u64,
    /// Services whose instances have gone, nearly all and without being drained; those that are known
    /// stay in force.
    pub kept: Vec<String>,
}

impl Instances {
    /// One service.
    #[must_use]
    pub fn get(&self, service: &str) -> Option<&Service> {
        self.0.get(service).map(Arc::as_ref)
    }

    /// Every service, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.0.iter().map(|(name, service)| (&**name, &**service))
    }

    /// The endpoints that a service has now; none if it is not known.
    #[must_use]
    pub fn endpoints(&self, service: &str) -> Vec<native::Endpoint> {
        self.get(service)
            .map(Service::endpoints)
            .unwrap_or_default()
    }

    /// The services that are not as they were. Costs what differs.
    pub fn changed_since<'a>(&'a self, old: &'a Self) -> impl Iterator<Item = &'a str> {
        old.0.diff(&self.0).map(|item| match item {
            DiffItem::Add(name, _) | DiffItem::Remove(name, _) => &**name,
            DiffItem::Update { new: (name, _), .. } => &**name,
        })
    }

    /// For the status.
    #[must_use]
    pub fn status(&self) -> InstancesStatus {
        let kept = |(name, service): (&str, &Service)| {
            (!service.believes_the_living()).then(|| name.to_owned())
        };
        let alive = self.iter().map(|(_, service)| service.alive() as u64);
        InstancesStatus {
            services: self.iter().filter(|(_, one)| one.known() > 0).count() as u64,
            instances: alive.sum(),
            lost: self
                .iter()
                .map(|(_, one)| (one.known() - one.alive()) as u64)
                .sum(),
            kept: self.iter().filter_map(kept).collect(),
        }
    }

    /// One service with something that became of one of its instances.
    pub fn on(&mut self, service: &str, id: &str, event: Event, now: Instant) {
        let mut next = self.get(service).cloned().unwrap_or_default();
        next.on(id, event, now);
        if next.is_empty() {
            self.0.remove(service);
        } else {
            self.0.insert(service.into(), Arc::new(next));
        }
    }
}

/// What there is to know of the lane of one fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneView {
    /// The instances.
    pub instances: Instances,
    /// Keys that are not in force as they stand, in key order.
    pub problems: Vec<KeyProblem>,
    /// Services that are not as somebody may think.
    pub warnings: Vec<KeyProblem>,
}

/// Turns what the store says into the instances of a fleet. Pure.
#[derive(Debug)]
pub struct Lane {
    fleet: String,
    prefix: Prefix,
    instances: Instances,
    problems: BTreeMap<String, KeyProblem>,
}

/// What the value of a key that says that an instance is known says instead when it was drained.
pub const DRAINED: &[u8] = br#"{"drained":true}"#;

impl Lane {
    /// Of this fleet, whose configuration is under `prefix`. Nothing is known yet.
    #[must_use]
    pub fn new(fleet: &str, prefix: &Prefix) -> Self {
        Self {
            fleet: fleet.to_owned(),
            prefix: prefix.clone(),
            instances: Instances::default(),
            problems: BTreeMap::new(),
        }
    }

    /// Applies changes of keys of instances, and of those of Go gateways if they are read.
    pub fn apply(&mut self, batch: &Batch, now: Instant) {
        for change in &batch.changes {
            match change {
                Change::Put(entry) => match self.put(entry, now) {
                    Ok(()) => drop(self.problems.remove(&entry.key)),
                    Err(reason) => self.refuse(entry, reason),
                },
                Change::Delete { key } => {
                    self.problems.remove(key);
                    if let Ok((service, id, known)) = self.place(key) {
                        let event = if known { Event::Forgotten } else { Event::Down };
                        self.instances.on(&service, &id, event, now);
                    }
                }
            }
        }
    }

    fn put(&mut self, entry: &KeyValue, now: Instant) -> Result<(), String> {
        let (service, id, known) = self.place(&entry.key)?;
        let event = if known && entry.value == DRAINED {
            Event::Drained
        } else if GatewayKey::lease(&id).is_some() && !entry.key.starts_with(&self.range()) {
            let text = String::from_utf8_lossy(&entry.value);
            let instance = Instance::at(text.trim()).map_err(|error| error.to_string())?;
            Event::Up(instance)
        } else {
            let instance = Instance::parse(&entry.value).map_err(|error| error.to_string())?;
            match known {
                true => Event::Known(instance),
                false => Event::Up(instance),
            }
        };
        self.instances.on(&service, &id, event, now);
        Ok(())
    }

    /// Whose key it is, and whether it says only that the instance is known.
    fn place(&self, key: &str) -> Result<(String, String, bool), String> {
        if key.starts_with(&self.range()) {
            return match InstanceKey::parse(&self.fleet, key) {
                Some(found) => Ok((found.service, found.id, found.known)),
                None => Err("is no key of an instance: <service>/<id>".to_owned()),
            };
        }
        match self.prefix.parse_gateway(key) {
            Some(GatewayKey::Service { lease, name }) => {
                Ok((name, GatewayKey::instance(lease), false))
            }
            Some(GatewayKey::Bad(reason)) => Err(reason.to_owned()),
            Some(GatewayKey::Route { .. }) | None => Err("is no key of an instance".to_owned()),
        }
    }

    fn range(&self) -> String {
        instances_range(&self.fleet)
    }

    /// A bad value changes nothing: the last good one stays, as everywhere.
    fn refuse(&mut self, entry: &KeyValue, reason: String) {
        let last_good = self.place(&entry.key).is_ok_and(|(service, id, _)| {
            let service = self.instances.get(&service);
            service.is_some_and(|service| service.in_force().any(|(known, ..)| known == id))
        });
        let problem = KeyProblem {
            key: entry.key.clone(),
            reason,
            revision: entry.mod_revision.0,
            last_good,
        };
        self.problems.insert(entry.key.clone(), problem);
    }

    /// All of it as of now.
    #[must_use]
    pub fn view(&self) -> LaneView {
        let kept = self.instances.iter().filter_map(|(name, service)| {
            let (alive, known) = (service.alive(), service.known());
            (!service.believes_the_living()).then(|| KeyProblem {
                key: format!("{}{name}", self.range()),
                reason: format!(
                    "{} of {known} instances have gone without being drained; all {known} stay in force",
                    known - alive
                ),
                revision: 0,
                last_good: true,
            })
        });
        LaneView {
            instances: self.instances.clone(),
            problems: self.problems.values().cloned().collect(),
            warnings: kept.collect(),
        }
    }
}
