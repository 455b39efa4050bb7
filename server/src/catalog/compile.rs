//! Owns making resources of an item, with everything that it refers to merged in. A pure function of
//! the entries. Must not know: what was served before.

mod route;

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::plugins::is_run_by_agent;
use bellwether::resource::Resource;
use bellwether::wire::native;

use super::entry::{Entries, Entry, Face, Part, Refusal};
use super::invalid::quoted;
use super::spec::{ConsumerSpec, Plugins, Remark, Spec, SslSpec, UpstreamSpec, decode, plugin};
use crate::keys::{Item, Kind};
use crate::lane::{self, Instances};

/// What was made of an item.
#[derive(Debug, Default)]
pub(super) struct Compiled {
    /// No type twice; all have the item's name.
    pub(super) resources: Vec<Resource>,
    /// What those that refer to it see.
    pub(super) face: Face,
    /// What the authors of its keys should know.
    pub(super) warnings: Vec<(Part, String)>,
}

/// Makes everything that is served of an item. Whatever it refers to must be up to date in `entries`.
pub(super) fn compile(
    entries: &Entries,
    instances: &Instances,
    item: &Item,
    entry: &Entry,
) -> Compiled {
    let mut work = Work {
        entries,
        instances,
        name: Name::from(item.to_string()),
        part: Part::Current,
        compiled: Compiled::default(),
    };
    if let Some((part, source)) = entry.in_force() {
        work.part = part;
        let spec = entry.spec().expect("a source in force has a value");
        work.remarks(spec);
        work.compiled.face = match spec {
            Spec::Route(route) => {
                work.route(item, source.created.0, route);
                Face::Usable
            }
            Spec::Service(service) => work.service(service),
            Spec::Upstream(upstream) => work.cluster(upstream),
            Spec::Ssl(ssl) => work.certificate(ssl),
            Spec::Consumer(consumer) => {
                work.consumer(&item.id, entry, consumer);
                Face::Usable
            }
            Spec::GlobalRule(rule) => {
                work.add(
                    TypeUrl::GLOBAL_RULE,
                    &native::GlobalRule {
                        plugins: rule
                            .enabled()
                            .map(|(name, config)| plugin(name, config))
                            .collect(),
                    },
                );
                Face::Usable
            }
            Spec::ConsumerGroup(_)
            | Spec::PluginConfig(_)
            | Spec::Credential(_)
            | Spec::Counted => Face::Usable,
        };
    }
    work.credentials(entry);
    if entry.hides_legacy() {
        let hidden = format!(
            "is hidden by {item}, the same {} in the 3.x layout",
            item.kind
        );
        work.compiled.warnings.push((Part::Legacy, hidden));
    }
    work.compiled
}

/// One compilation under way.
struct Work<'a> {
    entries: &'a Entries,
    instances: &'a Instances,
    name: Name,
    part: Part,
    compiled: Compiled,
}

impl Work<'_> {
    fn warn(&mut self, text: impl Into<String>) {
        self.compiled
            .warnings
            .push((self.part.clone(), text.into()));
    }

    /// Adds a resource that refers to nothing.
    fn add(&mut self, type_url: TypeUrl, message: &impl prost::Message) {
        self.add_referring(type_url, message, Vec::new());
    }

    /// `refers` must follow from the message alone: two resources with the same bytes are the same.
    fn add_referring(
        &mut self,
        type_url: TypeUrl,
        message: &impl prost::Message,
        refers: Vec<ResourceId>,
    ) {
        let id = ResourceId::new(type_url, self.name.clone());
        self.compiled
            .resources
            .push(Resource::new(id, message, refers));
    }

    /// The cluster and the endpoints of an upstream, or why there are none.
    fn cluster(&mut self, spec: &UpstreamSpec) -> Face {
        let refused = |reason: String| {
            Face::Refused(Box::new(Refusal {
                status: 503,
                reason,
            }))
        };
        if let Some(scheme) = spec.foreign_scheme {
            let reason = format!(
                "upstream of {} speaks {scheme}, which is not proxied",
                self.name
            );
            self.warn(format!("requests are answered with 503: {reason}"));
            return refused(reason);
        }
        let mut cluster: native::Cluster = decode(&spec.cluster);
        let endpoints = ResourceId::new(TypeUrl::ENDPOINTS, self.name.clone());
        let mut refers = vec![endpoints.clone()];
        if let Some(id) = &spec.client_certificate {
            let item = Item::new(Kind::Ssl, &**id);
            let problem = match self.entries.face(&item) {
                Face::Usable => None,
                Face::Absent => Some("does not exist"),
                Face::Refused(refusal) => Some(refusal.reason.as_str()),
            };
            if let Some(problem) = problem {
                let reason = format!(
                    "client certificate {item} of the upstream of {} {problem}",
                    self.name
                );
                self.warn(format!("requests are answered with 503: {reason}"));
                return refused(reason);
            }
            let name = item.to_string();
            cluster
                .tls
                .get_or_insert_default()
                .client_certificate
                .clone_from(&name);
            refers.push(ResourceId::new(TypeUrl::CERTIFICATE, name));
        }
        cluster.endpoints = self.name.as_str().to_owned();
        let endpoints = match &spec.service {
            None => Resource::from_encoded(endpoints, &spec.endpoints, Vec::new()),
            Some(service) => {
                let message = lane::endpoints(service, self.instances);
                if message.endpoints.is_empty() {
                    self.warn(format!(
                        "service {service:?} has no instance, so requests are answered with 503"
                    ));
                }
                Resource::new(endpoints, &message, Vec::new())
            }
        };
        self.compiled.resources.push(endpoints);
        self.add_referring(TypeUrl::CLUSTER, &cluster, refers);
        Face::Usable
    }

    fn certificate(&mut self, spec: &SslSpec) -> Face {
        let refused = |reason: &str| {
            Face::Refused(Box::new(Refusal {
                status: 503,
                reason: reason.to_owned(),
            }))
        };
        if !spec.enabled {
            return refused("is switched off");
        }
        let id = ResourceId::new(TypeUrl::CERTIFICATE, self.name.clone());
        let resource = Resource::from_encoded(id, &spec.certificate, Vec::new());
        self.compiled.resources.push(resource);
        if spec.client {
            Face::Usable
        } else {
            refused("is not of type client")
        }
    }

    /// A consumer; its group's plugins lie beneath its own.
    fn consumer(&mut self, username: &str, entry: &Entry, spec: &ConsumerSpec) {
        let entries = self.entries;
        let group = spec.group.as_deref();
        let beneath = match group.map(|id| (id, entries.spec(Kind::ConsumerGroup, id))) {
            Some((_, Some(Spec::ConsumerGroup(plugins)))) => Some(plugins),
            Some((id, _)) => {
                let group = Item::new(Kind::ConsumerGroup, id);
                self.warn(format!("consumer group {group} does not exist"));
                None
            }
            None => None,
        };
        let credentials = entry
            .credentials()
            .filter_map(|(id, source)| {
                let Some(Spec::Credential(plugins)) = &source.spec else {
                    return None;
                };
                let (name, config) = plugins.enabled().next()?;
                Some(native::Credential {
                    id: id.clone(),
                    plugin: Some(plugin(name, config)),
                })
            })
            .collect();
        let message = native::Consumer {
            username: username.to_owned(),
            plugins: merged([beneath, Some(&spec.plugins)]),
            credentials,
            group_id: group.unwrap_or_default().to_owned(),
            labels: spec.labels.clone(),
        };
        self.add(TypeUrl::CONSUMER, &message);
    }

    /// What the authors of credentials should know.
    fn credentials(&mut self, entry: &Entry) {
        let orphan = entry.in_force().is_none();
        for (id, source) in entry.credentials() {
            let Some(spec) = &source.spec else { continue };
            self.part = Part::Credential(id.clone());
            if orphan {
                self.warn("its consumer does not exist");
            }
            self.remarks(spec);
        }
    }

    /// What can be said about a value without looking at what refers to it.
    fn remarks(&mut self, spec: &Spec) {
        for remark in spec.remarks() {
            self.warn(say(remark));
        }
        if let Some(code) = spec.code() {
            self.warn(format!(
                "{} is never run; requests are answered with 503",
                code.field()
            ));
        }
        if let Some(plugins) = spec.plugins() {
            self.plugins(plugins);
        }
    }

    fn plugins(&mut self, plugins: &Plugins) {
        let foreign: Vec<&str> = plugins
            .enabled()
            .map(|(name, _)| name)
            .filter(|name| !is_run_by_agent(name))
            .collect();
        if !foreign.is_empty() {
            let names: Vec<String> = foreign.into_iter().map(quoted).collect();
            self.warn(format!(
                "the agent does not run {} and answers 503 where it should",
                names.join(", ")
            ));
        }
        for id in &plugins.upstreams {
            let item = Item::new(Kind::Upstream, &**id);
            if *self.entries.face(&item) != Face::Usable {
                self.warn(format!("traffic-split names {item}, which can't be used"));
            }
        }
    }
}

/// Layers of plugins as one list by name; each layer hides those of the same name before it, even
/// with one that is disabled. Configurations are never merged with each other.
fn merged<const N: usize>(layers: [Option<&Plugins>; N]) -> Vec<native::Plugin> {
    let mut all = std::collections::BTreeMap::new();
    for layer in layers.into_iter().flatten() {
        for (name, config) in &layer.by_name {
            all.insert(&**name, config.as_deref());
        }
    }
    all.into_iter()
        .filter_map(|(name, config)| Some(plugin(name, config?)))
        .collect()
}

fn say(remark: &Remark) -> String {
    match remark {
        Remark::BothUpstreams => "upstream_id is used, and upstream beside it is not".to_owned(),
        Remark::ServiceProtocol => {
            "service_protocol can't change a shared upstream; set the upstream's scheme".to_owned()
        }
        Remark::Balancing(name) => {
            format!("balancing algorithm {name} is not known; round robin is used")
        }
        Remark::Discovery(system) => format!(
            "instances from {} are not looked up yet, so there are no endpoints",
            quoted(system)
        ),
        Remark::Protocol(name) => format!("the agent does not speak {name}"),
    }
}
