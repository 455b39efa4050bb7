//! Owns the answers of the client status discovery service: what each node was sent and what became of
//! it, as this server sees it (R111, R112). Must not know: how nodes are asked, gRPC.
//!
//! Bodies of resources are never in it: they may hold secrets.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bellwether::rejection::clean;
use bellwether::session::{ResourceState, ResourceStatus};
use bellwether::wire::core::Node;
use bellwether::wire::envoy::admin::v3::{ClientResourceStatus, UpdateFailureState};
use bellwether::wire::envoy::r#type::matcher::v3::StringMatcher;
use bellwether::wire::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use bellwether::wire::google::protobuf::Timestamp;
use bellwether::wire::status::client_config::GenericXdsConfig;
use bellwether::wire::status::{
    ClientConfig, ClientStatusRequest, ClientStatusResponse, ConfigStatus,
};
use prost::Message;
use tonic::Status;

use crate::nodes::Identity;

/// Bytes of one answer. Clients refuse messages over 4 MiB unless told otherwise (R11).
pub(crate) const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Which nodes a request is about. None named: all.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    ids: Vec<StringMatcher>,
}

impl Selection {
    /// Matchers by node id; anything else would have to be ignored, which would say too much.
    pub(crate) fn of(request: &ClientStatusRequest) -> Result<Self, Status> {
        let mut ids = Vec::new();
        for matcher in &request.node_matchers {
            if !matcher.node_metadatas.is_empty() {
                return Err(Status::invalid_argument(
                    "nodes can't be selected by metadata, only by node_id",
                ));
            }
            let Some(id) = &matcher.node_id else {
                continue;
            };
            if !matches!(
                id.match_pattern,
                Some(
                    MatchPattern::Exact(_)
                        | MatchPattern::Prefix(_)
                        | MatchPattern::Suffix(_)
                        | MatchPattern::Contains(_)
                )
            ) {
                return Err(Status::invalid_argument(
                    "a node_id is matched by exact, prefix, suffix or contains",
                ));
            }
            ids.push(id.clone());
        }
        Ok(Self { ids })
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.ids.is_empty() || self.ids.iter().any(|matcher| fits(matcher, id))
    }
}

fn fits(matcher: &StringMatcher, id: &str) -> bool {
    let lower = |text: &str| match matcher.ignore_case {
        true => text.to_lowercase(),
        false => text.to_owned(),
    };
    let id = lower(id);
    match &matcher.match_pattern {
        Some(MatchPattern::Exact(text)) => id == lower(text),
        Some(MatchPattern::Prefix(text)) => id.starts_with(&lower(text)),
        Some(MatchPattern::Suffix(text)) => id.ends_with(&lower(text)),
        Some(MatchPattern::Contains(text)) => id.contains(&lower(text)),
        Some(MatchPattern::SafeRegex(_)) | None => false,
    }
}

/// Collects what is said of nodes, and cuts it into answers. A node with very many resources is in
/// several, each with a part of them.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    full: Vec<ClientStatusResponse>,
    open: ClientStatusResponse,
    bytes: usize,
}

impl Answers {
    pub(crate) fn add(&mut self, node: &Identity, resources: &[ResourceStatus]) {
        let about = Node {
            id: node.id.clone(),
            cluster: node.group.clone(),
            user_agent_name: node.user_agent.clone(),
            ..Node::default()
        };
        // A client's streams, if it has several, stand one after the other.
        let is_new = self.open.config.last().and_then(|last| last.node.as_ref()) != Some(&about);
        if is_new {
            self.begin(&about);
        }
        for resource in resources {
            let said = said(resource);
            let bytes = said.encoded_len() + 8;
            if self.bytes + bytes > MAX_ANSWER_BYTES {
                self.cut();
                self.begin(&about);
            }
            self.bytes += bytes;
            if let Some(config) = self.open.config.last_mut() {
                config.generic_xds_configs.push(said);
            }
        }
    }

    /// Answers that are full already.
    pub(crate) fn take_full(&mut self) -> Vec<ClientStatusResponse> {
        std::mem::take(&mut self.full)
    }

    /// What is left: at least one answer, even if there is nothing to say.
    pub(crate) fn finish(mut self) -> Vec<ClientStatusResponse> {
        self.full.push(self.open);
        self.full
    }

    fn begin(&mut self, about: &Node) {
        let config = ClientConfig {
            node: Some(about.clone()),
            ..ClientConfig::default()
        };
        let bytes = config.encoded_len() + 8;
        if self.bytes + bytes > MAX_ANSWER_BYTES {
            self.cut();
        }
        self.bytes += bytes;
        self.open.config.push(config);
    }

    fn cut(&mut self) {
        self.full.push(std::mem::take(&mut self.open));
        self.bytes = 0;
    }
}

fn said(resource: &ResourceStatus) -> GenericXdsConfig {
    let (client, server, error) = match &resource.state {
        ResourceState::Requested => (ClientResourceStatus::Requested, ConfigStatus::Stale, None),
        ResourceState::DoesNotExist => (
            ClientResourceStatus::DoesNotExist,
            ConfigStatus::NotSent,
            None,
        ),
        ResourceState::Acked => (ClientResourceStatus::Acked, ConfigStatus::Synced, None),
        ResourceState::Nacked(rejected) => (
            ClientResourceStatus::Nacked,
            ConfigStatus::Error,
            Some(UpdateFailureState {
                details: clean(&rejected.reason),
                version_info: rejected.version.to_string(),
                last_update_attempt: resource.answered.and_then(timestamp),
                ..UpdateFailureState::default()
            }),
        ),
    };
    GenericXdsConfig {
        type_url: resource.type_url.to_string(),
        name: resource.name.to_string(),
        version_info: resource
            .version
            .map(|version| version.to_string())
            .unwrap_or_default(),
        config_status: server.into(),
        client_status: client.into(),
        error_state: error,
        last_updated: resource.answered.and_then(timestamp),
        ..GenericXdsConfig::default()
    }
}

/// What the clock of the wall showed then.
fn timestamp(then: Instant) -> Option<Timestamp> {
    let time = SystemTime::now().checked_sub(then.elapsed())?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp {
        seconds: i64::try_from(since.as_secs()).ok()?,
        nanos: i32::try_from(since.subsec_nanos()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use bellwether::name::{Name, TypeUrl, Version};
    use bellwether::rejection::Rejected;
    use bellwether::wire::envoy::r#type::matcher::v3::{NodeMatcher, StructMatcher};

    use super::*;

    fn resource(name: &str, state: ResourceState) -> ResourceStatus {
        ResourceStatus {
            type_url: TypeUrl::ROUTE,
            name: Name::from(name),
            version: matches!(state, ResourceState::Acked).then(|| Version::of(b"1")),
            state,
            answered: None,
        }
    }

    fn node(id: &str) -> Identity {
        Identity {
            id: id.into(),
            group: "shop".into(),
            ..Identity::default()
        }
    }

    fn by_id(pattern: MatchPattern, ignore_case: bool) -> NodeMatcher {
        NodeMatcher {
            node_id: Some(StringMatcher {
                match_pattern: Some(pattern),
                ignore_case,
            }),
            node_metadatas: Vec::new(),
        }
    }

    #[test]
    fn nodes_are_selected_by_id() {
        let select = |matchers: Vec<NodeMatcher>| {
            Selection::of(&ClientStatusRequest {
                node_matchers: matchers,
                ..ClientStatusRequest::default()
            })
        };
        assert!(select(Vec::new()).unwrap().has("any"));
        let exact = by_id(MatchPattern::Exact("a".into()), false);
        let prefix = by_id(MatchPattern::Prefix("GW-".into()), true);
        let both = select(vec![exact, prefix]).unwrap();
        for (id, expected) in [("a", true), ("A", false), ("ab", false), ("gw-1", true)] {
            assert_eq!(both.has(id), expected, "{id}");
        }
        let metadata = NodeMatcher {
            node_id: None,
            node_metadatas: vec![StructMatcher {}],
        };
        assert!(select(vec![metadata]).is_err());
        let regex = by_id(MatchPattern::SafeRegex(Default::default()), false);
        assert!(select(vec![regex]).is_err());
    }

    /// R111.
    #[test]
    fn each_resource_has_its_status() {
        let rejected = Rejected {
            version: Version::of(b"2"),
            reason: "bad\nregex".into(),
        };
        let resources = [
            resource("a", ResourceState::Acked),
            resource("b", ResourceState::Nacked(rejected)),
            resource("c", ResourceState::Requested),
            resource("d", ResourceState::DoesNotExist),
        ];
        let mut answers = Answers::default();
        answers.add(&node("n"), &resources[..2]);
        answers.add(&node("n"), &resources[2..]);
        answers.add(&node("m"), &[]);
        let answers = answers.finish();
        assert_eq!(answers.len(), 1);
        let [n, m] = &answers[0].config[..] else {
            panic!("{answers:?}");
        };
        assert_eq!(n.node.as_ref().unwrap().id, "n");
        assert!(m.generic_xds_configs.is_empty());
        let status: Vec<_> = n
            .generic_xds_configs
            .iter()
            .map(|said| (said.name.as_str(), said.client_status()))
            .collect();
        assert_eq!(
            status,
            [
                ("a", ClientResourceStatus::Acked),
                ("b", ClientResourceStatus::Nacked),
                ("c", ClientResourceStatus::Requested),
                ("d", ClientResourceStatus::DoesNotExist),
            ]
        );
        let [a, b, ..] = &n.generic_xds_configs[..] else {
            panic!("{n:?}");
        };
        assert_eq!(a.version_info, Version::of(b"1").to_string());
        let error = b.error_state.as_ref().unwrap();
        assert_eq!(error.details, "bad regex");
        assert_eq!(error.version_info, Version::of(b"2").to_string());
    }

    /// R11: none is larger than clients accept, and nothing is lost by cutting.
    #[test]
    fn many_resources_are_cut_into_several_answers() {
        let names: Vec<String> = (0..20_000).map(|n| format!("routes/{n}")).collect();
        let resources: Vec<_> = names
            .iter()
            .map(|name| resource(name, ResourceState::Acked))
            .collect();
        let mut answers = Answers::default();
        answers.add(&node("n"), &resources);
        let mut all = answers.take_full();
        all.extend(answers.finish());
        assert!(all.len() > 1);
        let mut said = 0;
        for answer in &all {
            assert!(
                answer.encoded_len() <= MAX_ANSWER_BYTES,
                "{}",
                answer.encoded_len()
            );
            let parts = answer.config.iter();
            said += parts
                .map(|config| config.generic_xds_configs.len())
                .sum::<usize>();
        }
        assert_eq!(said, names.len());
    }
}
