//! Owns the merge of a route with its plugin config, its service and its upstream, in the order of
//! APISIX 3 (in 2.x a plugin config lay above its route). Must not know: how a request is matched.
//!
//! A route always answers, even when what it needs is missing; it must not fall through to another one.
//! What APISIX refuses before plugins run (code, a missing plugin config, a missing service) is answered
//! without plugins here too. What it refuses when it looks for the upstream comes after them, so a route
//! that only redirects needs no upstream.

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::wire::native;
use bellwether::wire::native::route::Action;

use super::{Work, merged};
use crate::catalog::entry::{Face, Refusal};
use crate::catalog::spec::{Choice, Code, Plugins, RouteSpec, ServiceSpec, Spec, decode};
use crate::keys::{Item, Kind};

/// What a route names, looked up.
struct Found<'a> {
    plugin_config: Option<&'a Plugins>,
    service: Option<&'a ServiceSpec>,
    /// Why plugins don't run at all.
    stop: Option<Refusal>,
}

impl<'a> Work<'a> {
    /// A service has no resource of its own, but for its inline upstream.
    pub(super) fn service(&mut self, spec: &ServiceSpec) -> Face {
        match &spec.upstream {
            Some(Choice::Inline(upstream)) => self.cluster(upstream),
            Some(Choice::Shared(id)) => {
                self.warn_of_upstream(&Item::new(Kind::Upstream, &**id));
                Face::Usable
            }
            None => Face::Usable,
        }
    }

    pub(super) fn route(&mut self, item: &Item, created: u64, spec: &RouteSpec) {
        if !spec.enabled {
            return;
        }
        let own = match &spec.upstream {
            Some(Choice::Inline(upstream)) => Some(self.cluster(upstream)),
            Some(Choice::Shared(id)) => {
                self.warn_of_upstream(&Item::new(Kind::Upstream, &**id));
                None
            }
            None => None,
        };
        let found = self.find(spec);
        let mut route: native::Route = decode(&spec.own);
        route.id.clone_from(&item.id);
        route.created = created;
        route.websocket = spec.websocket.unwrap_or(false);
        if let Some(service) = found.service {
            route.service_name = service.name.to_string();
            route.websocket = spec.websocket.or(service.websocket).unwrap_or(false);
            if !spec.has_hosts {
                route.hosts.clone_from(&service.hosts);
            }
        }
        route.service_id = spec.service.as_deref().unwrap_or_default().to_owned();
        let action = match found.stop {
            Some(refusal) => Err(refusal),
            None => {
                let beneath = found.service.map(|service| &service.plugins);
                route.plugins = merged([beneath, found.plugin_config, Some(&spec.plugins)]);
                self.target(item, spec, found.service, own)
            }
        };
        let (action, refers) = match action {
            Ok(cluster) => {
                let name = cluster.to_string();
                let refers = vec![ResourceId::new(TypeUrl::CLUSTER, name.as_str())];
                (Action::Cluster(name), refers)
            }
            Err(Refusal { status, reason }) => {
                let respond = native::DirectResponse { status, reason };
                (Action::Respond(respond), Vec::new())
            }
        };
        route.action = Some(action);
        self.add_referring(TypeUrl::ROUTE, &route, refers);
    }

    /// Looks up the plugin config and the service; the first that is missing is the answer.
    fn find(&mut self, spec: &RouteSpec) -> Found<'a> {
        let entries = self.entries;
        let mut stop = None;
        let mut refuse = |status: u32, reason: String| {
            stop.get_or_insert(Refusal { status, reason });
        };
        if spec.code == Some(Code::FilterFunc) {
            refuse(503, "filter_func is never run".to_owned());
        }
        let plugin_config = spec.plugin_config.as_deref().and_then(|id| {
            match entries.spec(Kind::PluginConfig, id) {
                Some(Spec::PluginConfig(plugins)) => Some(plugins),
                _ => {
                    let item = Item::new(Kind::PluginConfig, id);
                    refuse(503, format!("plugin config {item} does not exist"));
                    self.warn(format!("answers 503: plugin config {item} does not exist"));
                    None
                }
            }
        });
        let service =
            spec.service
                .as_deref()
                .and_then(|id| match entries.spec(Kind::Service, id) {
                    Some(Spec::Service(service)) => Some(&**service),
                    _ => {
                        let item = Item::new(Kind::Service, id);
                        refuse(404, format!("service {item} does not exist"));
                        self.warn(format!("answers 404: service {item} does not exist"));
                        None
                    }
                });
        let code = spec.code.or(service.and_then(|service| service.code));
        if let Some(code) = code {
            refuse(503, format!("{} is never run", code.field()));
        }
        Found {
            plugin_config,
            service,
            stop,
        }
    }

    /// The item whose cluster the requests go to. The route's own choice hides its service's, whole.
    fn target(
        &self,
        route: &Item,
        spec: &RouteSpec,
        service: Option<&ServiceSpec>,
        own: Option<Face>,
    ) -> Result<Item, Refusal> {
        let inherited = service.and_then(|service| service.upstream.as_ref());
        let item = match (&spec.upstream, inherited) {
            (Some(Choice::Inline(_)), _) => route.clone(),
            (Some(Choice::Shared(id)), _) | (None, Some(Choice::Shared(id))) => {
                Item::new(Kind::Upstream, &**id)
            }
            (None, Some(Choice::Inline(_))) => {
                Item::new(Kind::Service, spec.service.as_deref().unwrap_or_default())
            }
            (None, None) => {
                return Err(Refusal {
                    status: 503,
                    reason: "neither the route nor its service has an upstream".to_owned(),
                });
            }
        };
        match own.unwrap_or_else(|| self.entries.face(&item).clone()) {
            Face::Usable => Ok(item),
            Face::Refused(refusal) => Err(*refusal),
            Face::Absent => Err(Refusal {
                status: 502,
                reason: format!("upstream {item} does not exist"),
            }),
        }
    }

    /// Says what requests are answered if a shared upstream can't be used.
    fn warn_of_upstream(&mut self, item: &Item) {
        match self.entries.face(item) {
            Face::Usable => {}
            Face::Absent => {
                self.warn(format!(
                    "requests are answered with 502: upstream {item} does not exist"
                ));
            }
            Face::Refused(refusal) => {
                let Refusal { status, reason } = &**refusal;
                self.warn(format!("requests are answered with {status}: {reason}"));
            }
        }
    }
}
