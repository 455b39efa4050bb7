//! Owns the parsed form of each kind of key: what the catalog keeps instead of the raw value.
//! Must not know: JSON, or what other keys hold.
//!
//! Whatever does not depend on other keys is kept as the bytes it has on the wire: they are a third of
//! the size of the messages, and merging decodes them again in about a microsecond.

use std::collections::BTreeMap;
use std::fmt;

use bellwether::wire::native;

use crate::keys::{Item, Kind};

/// A key's value, parsed and checked.
pub(super) enum Spec {
    Route(Box<RouteSpec>),
    Service(Box<ServiceSpec>),
    Upstream(Box<UpstreamSpec>),
    Ssl(Box<SslSpec>),
    Consumer(Box<ConsumerSpec>),
    /// The one plugin of a credential.
    Credential(Plugins),
    ConsumerGroup(Plugins),
    PluginConfig(Plugins),
    GlobalRule(Plugins),
    /// Kinds that have no resource: they are counted, and checked to be an object.
    Counted,
}

/// A route. `own` is an encoded [`native::Route`] without what is merged or known from the key.
pub(super) struct RouteSpec {
    pub(super) own: Box<[u8]>,
    pub(super) enabled: bool,
    /// It names hosts, even if they come to "any host".
    pub(super) has_hosts: bool,
    pub(super) websocket: Option<bool>,
    pub(super) plugins: Plugins,
    pub(super) plugin_config: Option<Box<str>>,
    pub(super) service: Option<Box<str>>,
    pub(super) upstream: Option<Choice>,
    pub(super) code: Option<Code>,
    pub(super) remarks: Vec<Remark>,
}

/// A service.
pub(super) struct ServiceSpec {
    pub(super) name: Box<str>,
    pub(super) hosts: Vec<String>,
    pub(super) websocket: Option<bool>,
    pub(super) plugins: Plugins,
    pub(super) upstream: Option<Choice>,
    pub(super) code: Option<Code>,
    pub(super) remarks: Vec<Remark>,
}

/// Where a route or a service says that its requests go. `upstream_id` wins over `upstream` beside it.
pub(super) enum Choice {
    Shared(Box<str>),
    Inline(Box<UpstreamSpec>),
}

/// An upstream. `cluster` is an encoded [`native::Cluster`] without the names it refers to.
pub(super) struct UpstreamSpec {
    pub(super) cluster: Box<[u8]>,
    pub(super) endpoints: Box<[u8]>,
    /// The service whose instances are the endpoints instead.
    pub(super) service: Option<Box<str>>,
    pub(super) client_certificate: Option<Box<str>>,
    /// A scheme that the contract does not have.
    pub(super) foreign_scheme: Option<&'static str>,
    pub(super) remarks: Vec<Remark>,
}

/// A certificate. `certificate` is an encoded [`native::Certificate`].
pub(super) struct SslSpec {
    pub(super) certificate: Box<[u8]>,
    pub(super) enabled: bool,
    pub(super) client: bool,
    pub(super) remarks: Vec<Remark>,
}

/// A consumer without its credentials, which are keys of their own.
pub(super) struct ConsumerSpec {
    pub(super) plugins: Plugins,
    pub(super) group: Option<Box<str>>,
    pub(super) labels: BTreeMap<String, String>,
}

/// Plugins by name, and the upstreams that their configurations name.
#[derive(Default)]
pub(super) struct Plugins {
    /// Sorted by name. `None`: disabled, which still hides a plugin of the same name beneath.
    pub(super) by_name: Vec<(Box<str>, Option<Box<str>>)>,
    /// Ids in `traffic-split`, sorted, no id twice.
    pub(super) upstreams: Vec<Box<str>>,
}

impl Plugins {
    /// Those that run, by name.
    pub(super) fn enabled(&self) -> impl Iterator<Item = (&str, &str)> {
        self.by_name
            .iter()
            .filter_map(|(name, config)| Some((&**name, config.as_deref()?)))
    }

    fn items(&self) -> impl Iterator<Item = Item> + '_ {
        self.upstreams
            .iter()
            .map(|id| Item::new(Kind::Upstream, &**id))
    }
}

/// Code in the configuration that a thin proxy never runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    FilterFunc,
    Script,
}

impl Code {
    /// The field that holds it.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::FilterFunc => "filter_func",
            Self::Script => "script",
        }
    }
}

/// Something in a value that is in force but not as its author may think.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remark {
    /// `upstream` and `upstream_id` stand beside each other.
    BothUpstreams,
    /// `service_protocol` can't change a shared upstream.
    ServiceProtocol,
    /// A balancing algorithm that is not known; round robin is used.
    Balancing(Box<str>),
    /// Instances come from a discovery system that is not asked yet.
    Discovery(Box<str>),
    /// A TLS version too old for the agent.
    Protocol(Box<str>),
}

/// Says what it is, and nothing that is in it: configurations and keys are secrets.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Route(_) => "Route",
            Self::Service(_) => "Service",
            Self::Upstream(_) => "Upstream",
            Self::Ssl(_) => "Ssl",
            Self::Consumer(_) => "Consumer",
            Self::Credential(_) => "Credential",
            Self::ConsumerGroup(_) => "ConsumerGroup",
            Self::PluginConfig(_) => "PluginConfig",
            Self::GlobalRule(_) => "GlobalRule",
            Self::Counted => "Counted",
        })
    }
}

impl Spec {
    /// What it points at, sorted, no item twice.
    pub(super) fn references(&self) -> Vec<Item> {
        let mut items: Vec<Item> = match self {
            Self::Route(route) => {
                let named = [
                    (Kind::Service, &route.service),
                    (Kind::PluginConfig, &route.plugin_config),
                ];
                named
                    .into_iter()
                    .filter_map(|(kind, id)| Some(Item::new(kind, &**id.as_ref()?)))
                    .chain(chosen(route.upstream.as_ref()))
                    .chain(route.plugins.items())
                    .collect()
            }
            Self::Service(service) => chosen(service.upstream.as_ref())
                .chain(service.plugins.items())
                .collect(),
            Self::Upstream(upstream) => client_certificate(upstream).collect(),
            Self::Consumer(consumer) => consumer
                .group
                .iter()
                .map(|id| Item::new(Kind::ConsumerGroup, &**id))
                .chain(consumer.plugins.items())
                .collect(),
            Self::ConsumerGroup(plugins)
            | Self::PluginConfig(plugins)
            | Self::GlobalRule(plugins) => plugins.items().collect(),
            Self::Ssl(_) | Self::Credential(_) | Self::Counted => Vec::new(),
        };
        items.sort();
        items.dedup();
        items
    }

    /// The plugins it declares itself.
    pub(super) fn plugins(&self) -> Option<&Plugins> {
        match self {
            Self::Route(route) => Some(&route.plugins),
            Self::Service(service) => Some(&service.plugins),
            Self::Consumer(consumer) => Some(&consumer.plugins),
            Self::Credential(plugins)
            | Self::ConsumerGroup(plugins)
            | Self::PluginConfig(plugins)
            | Self::GlobalRule(plugins) => Some(plugins),
            Self::Upstream(_) | Self::Ssl(_) | Self::Counted => None,
        }
    }

    /// The upstream written inside it, or that it is.
    pub(super) fn upstream(&self) -> Option<&UpstreamSpec> {
        let choice = match self {
            Self::Upstream(upstream) => return Some(upstream),
            Self::Route(route) => route.upstream.as_ref(),
            Self::Service(service) => service.upstream.as_ref(),
            Self::Ssl(_)
            | Self::Consumer(_)
            | Self::Credential(_)
            | Self::ConsumerGroup(_)
            | Self::PluginConfig(_)
            | Self::GlobalRule(_)
            | Self::Counted => None,
        };
        match choice {
            Some(Choice::Inline(upstream)) => Some(upstream),
            Some(Choice::Shared(_)) | None => None,
        }
    }

    /// What is remarkable about it, its inline upstream included.
    pub(super) fn remarks(&self) -> impl Iterator<Item = &Remark> {
        let own: &[Remark] = match self {
            Self::Route(route) => &route.remarks,
            Self::Service(service) => &service.remarks,
            Self::Ssl(ssl) => &ssl.remarks,
            Self::Upstream(_)
            | Self::Consumer(_)
            | Self::Credential(_)
            | Self::ConsumerGroup(_)
            | Self::PluginConfig(_)
            | Self::GlobalRule(_)
            | Self::Counted => &[],
        };
        let upstream = self
            .upstream()
            .map_or(&[][..], |upstream| &upstream.remarks);
        own.iter().chain(upstream)
    }

    /// Code that it wants to be run.
    pub(super) fn code(&self) -> Option<Code> {
        match self {
            Self::Route(route) => route.code,
            Self::Service(service) => service.code,
            Self::Upstream(_)
            | Self::Ssl(_)
            | Self::Consumer(_)
            | Self::Credential(_)
            | Self::ConsumerGroup(_)
            | Self::PluginConfig(_)
            | Self::GlobalRule(_)
            | Self::Counted => None,
        }
    }
}

fn chosen(choice: Option<&Choice>) -> impl Iterator<Item = Item> + '_ {
    choice.into_iter().flat_map(|choice| match choice {
        Choice::Shared(id) => Some(Item::new(Kind::Upstream, &**id)),
        Choice::Inline(upstream) => client_certificate(upstream).next(),
    })
}

fn client_certificate(upstream: &UpstreamSpec) -> impl Iterator<Item = Item> + '_ {
    upstream
        .client_certificate
        .iter()
        .map(|id| Item::new(Kind::Ssl, &**id))
}

/// Bytes that an encoder of ours made.
pub(super) fn decode<M: prost::Message + Default>(bytes: &[u8]) -> M {
    M::decode(bytes).expect("the catalog encoded these bytes itself, within the depth it checked")
}

/// A plugin as the contract has it.
pub(super) fn plugin(name: &str, config: &str) -> native::Plugin {
    native::Plugin {
        name: name.to_owned(),
        config: config.to_owned(),
    }
}
