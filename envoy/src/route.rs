//! Owns Envoy's route configurations. Must not know: sockets, endpoints.

use std::collections::BTreeSet;

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::resource::Resource;

use crate::made::Made;
use crate::native::Touched;
use crate::translator::{Client, View};
use crate::wire::route::RouteConfiguration;

/// The route configuration of all of Envoy's listeners.
pub(crate) const EVERYTHING: &str = "routes";

/// Makes route configurations, and keeps what it needs to make the next ones quickly.
#[derive(Debug, Default)]
pub(crate) struct Compiler {
    names: BTreeSet<Name>,
}

/// What was made of all routes.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// For [`Client::Envoy`] one with the name [`EVERYTHING`]. For [`Client::Grpc`] one for each
    /// exact host of the routes and each name in the settings, with that name: there will be an API
    /// listener of the same name.
    pub(crate) configurations: Vec<Configuration>,
    /// What of which native resource can't be expressed.
    pub(crate) unsupported: Vec<(ResourceId, String)>,
}

/// A route configuration, and the clusters that it names.
#[derive(Debug, Default)]
pub(crate) struct Configuration {
    pub(crate) message: RouteConfiguration,
    pub(crate) clusters: BTreeSet<Name>,
}

impl Compiler {
    /// Makes all route configurations. `touched` is what is different since the last call.
    pub(crate) fn compile(&mut self, view: &View<'_>, _touched: &Touched) -> Output {
        let names: BTreeSet<Name> = match view.client {
            Client::Envoy => [Name::from(EVERYTHING)].into(),
            Client::Grpc => view
                .settings
                .grpc_listeners
                .iter()
                .map(|name| Name::from(name.as_str()))
                .collect(),
        };
        let configurations = names
            .iter()
            .map(|name| Configuration {
                message: RouteConfiguration {
                    name: name.to_string(),
                    ..RouteConfiguration::default()
                },
                clusters: BTreeSet::new(),
            })
            .collect();
        self.names = names;
        Output {
            configurations,
            unsupported: Vec::new(),
        }
    }

    /// The names of all route configurations.
    pub(crate) fn names(&self) -> &BTreeSet<Name> {
        &self.names
    }
}

impl Output {
    /// As resources.
    pub(crate) fn into_made(self) -> Made {
        let mut made = Made::default();
        for Configuration { message, clusters } in self.configurations {
            let id = ResourceId::new(TypeUrl::ENVOY_ROUTES, message.name.as_str());
            let refers = clusters
                .into_iter()
                .map(|name| ResourceId::new(TypeUrl::ENVOY_CLUSTER, name))
                .collect();
            made.add(Resource::new(id, &message, refers));
        }
        for (resource, what) in self.unsupported {
            made.cannot(&resource, what);
        }
        made
    }
}
