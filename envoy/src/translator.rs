//! Owns the translation of a fleet's native snapshots for one kind of client, step by step: a change
//! makes anew only what it touches. Must not know: how each resource is translated.

use std::collections::{BTreeMap, BTreeSet};

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::snapshot::{Changes, Snapshot};

use crate::made::{Made, Unsupported};
use crate::native::{Native, Touched};
use crate::settings::Settings;
use crate::{cluster, listener, route, secret};

/// Who reads what is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Client {
    /// Envoy.
    Envoy,
    /// Programs with gRPC's own xDS client: they accept less (A27, A30, A36, A74), and are rather
    /// told nothing than something that they reject.
    Grpc,
}

/// What everything is made from.
#[derive(Debug)]
pub(crate) struct View<'a> {
    /// Who reads it.
    pub(crate) client: Client,
    /// The fleet's settings.
    pub(crate) settings: &'a Settings,
    /// The fleet's native resources.
    pub(crate) native: &'a Native,
}

/// Translates a fleet's native snapshots for one kind of client.
#[derive(Debug)]
pub struct Translator {
    client: Client,
    settings: Settings,
    seen: Snapshot,
    native: Native,
    routes: route::Compiler,
    made: BTreeMap<Origin, Made>,
    /// The clusters that use endpoints or a certificate.
    used_by: BTreeMap<ResourceId, BTreeSet<Name>>,
    uses: BTreeMap<Name, Vec<ResourceId>>,
}

/// What resources are made of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    /// One cluster, with its endpoints.
    Cluster(Name),
    /// One certificate.
    Certificate(Name),
    /// All routes together, with consumers and global rules.
    Routes,
    /// The settings, with the names of all server certificates.
    Listeners,
}

impl Translator {
    /// One that has seen nothing yet.
    #[must_use]
    pub fn new(client: Client, settings: Settings) -> Self {
        Self {
            client,
            settings,
            seen: Snapshot::default(),
            native: Native::default(),
            routes: route::Compiler::default(),
            made: BTreeMap::new(),
            used_by: BTreeMap::new(),
            uses: BTreeMap::new(),
        }
    }

    /// What is different for the client now that `native` is in force.
    pub fn update(&mut self, native: &Snapshot) -> Changes {
        let touched = self.native.update(&self.seen, native);
        self.seen = native.clone();
        // A fleet without any resource has listeners all the same.
        if touched.is_empty() && !self.made.is_empty() {
            return Changes::default();
        }
        // Routes look at nothing of a certificate, and at endpoints least of all: they change all day.
        let routes = Touched {
            certificates: BTreeSet::new(),
            endpoints: BTreeSet::new(),
            ..touched.clone()
        };
        let first = !self.made.contains_key(&Origin::Routes);
        self.make(&touched, first || !routes.is_empty())
    }

    /// What is different for the client now that the fleet has these settings.
    pub fn configure(&mut self, settings: Settings) -> Changes {
        if settings == self.settings {
            return Changes::default();
        }
        self.settings = settings;
        self.routes = route::Compiler::default();
        let all = self.native.all();
        self.make(&all, true)
    }

    /// What of the native resources can't be expressed for this kind of client.
    pub fn unsupported(&self) -> impl Iterator<Item = &Unsupported> {
        self.made.values().flat_map(Made::unsupported)
    }

    /// How many resources there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.made.values().map(Made::len).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn make(&mut self, touched: &Touched, with_routes: bool) -> Changes {
        let mut changes = Changes::default();
        for name in self.clusters_of(touched) {
            let made = self.cluster(&name);
            self.replace(Origin::Cluster(name), made, &mut changes);
        }
        for name in &touched.certificates {
            let view = self.view();
            let made = view
                .native
                .certificates
                .get(name)
                .map(|certificate| secret::certificate(&view, name, certificate));
            self.replace(Origin::Certificate(name.clone()), made, &mut changes);
        }
        if with_routes {
            let view = View {
                client: self.client,
                settings: &self.settings,
                native: &self.native,
            };
            let routes = self.routes.compile(&view, touched);
            self.replace(Origin::Routes, Some(routes.into_made()), &mut changes);
        }
        let listeners = listener::compile(&self.view(), self.routes.names());
        self.replace(Origin::Listeners, Some(listeners), &mut changes);
        changes
    }

    fn view(&self) -> View<'_> {
        View {
            client: self.client,
            settings: &self.settings,
            native: &self.native,
        }
    }

    fn replace(&mut self, origin: Origin, made: Option<Made>, changes: &mut Changes) {
        let old = self.made.remove(&origin).unwrap_or_default();
        let new = made.unwrap_or_default();
        new.changes_from(&old, changes);
        if new.len() > 0 || !new.unsupported().is_empty() || origin == Origin::Routes {
            self.made.insert(origin, new);
        }
    }

    /// The clusters that must be made anew: those that changed, and those whose endpoints or client
    /// certificate did.
    fn clusters_of(&self, touched: &Touched) -> BTreeSet<Name> {
        let mut clusters = touched.clusters.clone();
        let of_type = |names: &BTreeSet<Name>, type_url: TypeUrl| {
            names
                .iter()
                .filter_map(|name| {
                    let id = ResourceId::new(type_url.clone(), name.clone());
                    self.used_by.get(&id)
                })
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
        };
        clusters.extend(of_type(&touched.endpoints, TypeUrl::ENDPOINTS));
        clusters.extend(of_type(&touched.certificates, TypeUrl::CERTIFICATE));
        clusters
    }

    fn cluster(&mut self, name: &Name) -> Option<Made> {
        for used in self.uses.remove(name).unwrap_or_default() {
            if let Some(users) = self.used_by.get_mut(&used) {
                users.remove(name);
                if users.is_empty() {
                    self.used_by.remove(&used);
                }
            }
        }
        let message = self.native.clusters.get(name)?;
        let uses = cluster::uses(message);
        for used in &uses {
            let users = self.used_by.entry(used.clone()).or_default();
            users.insert(name.clone());
        }
        self.uses.insert(name.clone(), uses);
        Some(cluster::compile(&self.view(), name, message))
    }
}
