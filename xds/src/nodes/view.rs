//! Owns how a node is shown to people and other programs. Must not know: where what is shown comes from.

use std::collections::BTreeMap;

use bellwether::name::{Name, TypeUrl};
use bellwether::rejection::Rejected;
use bellwether::session::{Mark, ResourceState, ResourceStatus, TypeStatus};
use serde::{Deserialize, Serialize};

use super::{Identity, StreamState};

/// A connected node, for people and other programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// The id it gave itself.
    pub id: String,
    /// The group it was put in; other programs know it as its fleet.
    #[serde(rename = "fleet")]
    pub group: String,
    /// `bellwether-agent 0.1.0`, `envoy 1.40`.
    pub user_agent: String,
    /// Where it connects from.
    pub address: String,
    /// What vouches for it; empty: nothing does.
    #[serde(default)]
    pub identity: String,
    /// What is known of it by what vouches for it, not by its own word.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Types that it does not get, because nothing vouches for it.
    #[serde(default)]
    pub withheld: Vec<String>,
    /// What it was given last, by the name that its owner gave it: `shop@42`. Empty: it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub release: String,
    /// Unix time in milliseconds.
    pub connected_ms: u64,
    /// Everything subscribed is acknowledged at the newest version and nothing is rejected.
    pub in_sync: bool,
    /// Why nothing is sent to it, or empty: the server knows less than the node does.
    #[serde(default)]
    pub held_back: String,
    /// One for each type it subscribed to.
    pub types: Vec<TypeView>,
}

/// One type of a connected node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeView {
    /// The type.
    pub type_url: String,
    /// Whether it follows everything.
    pub wildcard: bool,
    /// How many names it subscribed to besides.
    pub names: u64,
    /// The newest version sent: revision for people, and the hash of the set.
    pub sent: Option<VersionView>,
    /// The newest version that was answered, with ACK or NACK.
    pub acked: Option<VersionView>,
    /// What it rejected and was not offered anew since.
    pub rejected: Vec<RejectionView>,
    /// Each of its resources, in the order of names. Only where one node was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceView>,
}

/// One resource of a node (R111).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceView {
    /// The resource's name.
    pub name: String,
    /// What became of it.
    pub state: StateView,
    /// The version that is in force there, or empty.
    #[serde(default)]
    pub version: String,
}

/// What became of a resource at a node, by the names that client status gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StateView {
    /// Subscribed, and not sent or not answered yet.
    Requested,
    /// Subscribed, and there is none.
    DoesNotExist,
    /// In force.
    Acked,
    /// Rejected.
    Nacked,
}

/// A version of one type's set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// Revision or release, for people.
    pub revision: String,
    /// Hash of the set, equal on every server that has the same.
    pub version: String,
}

/// One rejected resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectionView {
    /// The resource's name.
    pub name: String,
    /// The version that was rejected.
    pub version: String,
    /// What the node says is wrong, cut and cleaned.
    pub reason: String,
}

impl NodeView {
    pub(super) fn new(identity: &Identity, connected_ms: u64, state: StreamState) -> Self {
        Self {
            id: identity.id.clone(),
            group: identity.group.clone(),
            user_agent: identity.user_agent.clone(),
            address: identity.address.clone(),
            identity: identity.identity.clone(),
            labels: identity.labels.clone(),
            withheld: identity.withheld.iter().map(TypeUrl::to_string).collect(),
            release: release(&state),
            connected_ms,
            in_sync: state.in_sync,
            held_back: state
                .held_back
                .map(|why| why.to_string())
                .unwrap_or_default(),
            types: state.types.into_iter().map(type_view).collect(),
        }
    }

    /// With each of its resources.
    pub(super) fn with(mut self, resources: &[ResourceStatus]) -> Self {
        for view in &mut self.types {
            let of_type = |status: &&ResourceStatus| status.type_url.as_str() == view.type_url;
            let own = resources.iter().filter(of_type);
            view.resources = own.map(resource_view).collect();
        }
        self
    }

    /// Of several streams, one view for each node: a client that follows each type on a stream of its
    /// own has them all on one connection.
    pub(super) fn together(mut views: Vec<Self>) -> Vec<Self> {
        fn place(view: &NodeView) -> (&str, &str, &str) {
            (&view.group, &view.id, &view.address)
        }
        views.sort_by(|a, b| place(a).cmp(&place(b)));
        views.dedup_by(|next, view| {
            let is_one = place(view) == place(next);
            if is_one {
                view.connected_ms = view.connected_ms.min(next.connected_ms);
                view.in_sync &= next.in_sync;
                if view.held_back.is_empty() {
                    view.held_back = std::mem::take(&mut next.held_back);
                }
                view.types.append(&mut next.types);
            }
            is_one
        });
        views
    }
}

/// The words after it are for programs.
fn release(state: &StreamState) -> String {
    let given = state.given.as_deref().unwrap_or_default();
    given.split(' ').next().unwrap_or_default().to_owned()
}

fn resource_view(status: &ResourceStatus) -> ResourceView {
    ResourceView {
        name: status.name.to_string(),
        state: match &status.state {
            ResourceState::Requested => StateView::Requested,
            ResourceState::DoesNotExist => StateView::DoesNotExist,
            ResourceState::Acked => StateView::Acked,
            ResourceState::Nacked(_) => StateView::Nacked,
        },
        version: status
            .version
            .map(|version| version.to_string())
            .unwrap_or_default(),
    }
}

fn type_view(status: TypeStatus) -> TypeView {
    let version = |mark: Mark| VersionView {
        revision: mark.label.to_string(),
        version: mark.version.to_string(),
    };
    let rejection = |(name, why): (Name, Rejected)| RejectionView {
        name: name.to_string(),
        version: why.version.to_string(),
        reason: why.reason.to_string(),
    };
    TypeView {
        type_url: status.type_url.to_string(),
        wildcard: status.wildcard,
        names: status.names as u64,
        sent: status.sent.map(version),
        acked: status.acked.map(version),
        rejected: status.rejected.into_iter().map(rejection).collect(),
        resources: Vec::new(),
    }
}
