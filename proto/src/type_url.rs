//! Owns the types of resources: their URLs, and what the protocol says of each.
//! Must not know: what a resource holds.

use std::borrow::Cow;
use std::fmt;

/// The type of a resource, as it stands in `type_url` and in `Any`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeUrl(Cow<'static, str>);

impl TypeUrl {
    /// [`crate::wire::native::Cluster`]
    pub const CLUSTER: Self = Self::known("type.googleapis.com/bellwether.v1.Cluster");
    /// [`crate::wire::native::Endpoints`]
    pub const ENDPOINTS: Self = Self::known("type.googleapis.com/bellwether.v1.Endpoints");
    /// [`crate::wire::native::Certificate`]
    pub const CERTIFICATE: Self = Self::known("type.googleapis.com/bellwether.v1.Certificate");
    /// [`crate::wire::native::Consumer`]
    pub const CONSUMER: Self = Self::known("type.googleapis.com/bellwether.v1.Consumer");
    /// [`crate::wire::native::GlobalRule`]
    pub const GLOBAL_RULE: Self = Self::known("type.googleapis.com/bellwether.v1.GlobalRule");
    /// [`crate::wire::native::Route`]
    pub const ROUTE: Self = Self::known("type.googleapis.com/bellwether.v1.Route");

    /// What SDS serves: certificates and keys.
    pub const ENVOY_SECRET: Self =
        Self::known("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret");
    /// What CDS serves.
    pub const ENVOY_CLUSTER: Self =
        Self::known("type.googleapis.com/envoy.config.cluster.v3.Cluster");
    /// What EDS serves: `ClusterLoadAssignment`.
    pub const ENVOY_ENDPOINTS: Self =
        Self::known("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment");
    /// What LDS serves.
    pub const ENVOY_LISTENER: Self =
        Self::known("type.googleapis.com/envoy.config.listener.v3.Listener");
    /// What RDS serves: `RouteConfiguration`.
    pub const ENVOY_ROUTES: Self =
        Self::known("type.googleapis.com/envoy.config.route.v3.RouteConfiguration");

    /// The native types in make-before-break order: what is referred to stands before what refers (R84).
    pub const NATIVE: [Self; 6] = [
        Self::ENDPOINTS,
        Self::CLUSTER,
        Self::CERTIFICATE,
        Self::CONSUMER,
        Self::GLOBAL_RULE,
        Self::ROUTE,
    ];

    /// Envoy's types in make-before-break order (R84). Endpoints follow their cluster and routes their
    /// listener, because a client warms the parent first and asks for the child then.
    pub const ENVOY: [Self; 5] = [
        Self::ENVOY_SECRET,
        Self::ENVOY_CLUSTER,
        Self::ENVOY_ENDPOINTS,
        Self::ENVOY_LISTENER,
        Self::ENVOY_ROUTES,
    ];

    /// In the order in which they are removed: what refers before what is referred to (R84).
    const REMOVAL: [Self; 11] = [
        Self::ROUTE,
        Self::GLOBAL_RULE,
        Self::CONSUMER,
        Self::CERTIFICATE,
        Self::CLUSTER,
        Self::ENDPOINTS,
        Self::ENVOY_LISTENER,
        Self::ENVOY_ROUTES,
        Self::ENVOY_CLUSTER,
        Self::ENVOY_ENDPOINTS,
        Self::ENVOY_SECRET,
    ];

    const fn known(url: &'static str) -> Self {
        Self(Cow::Borrowed(url))
    }

    /// The whole URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the type stands in make-before-break order (R84). Types we do not know come last.
    #[must_use]
    pub fn rank(&self) -> usize {
        let mut known = Self::NATIVE.into_iter().chain(Self::ENVOY);
        let rank = known.position(|known| known == *self);
        rank.unwrap_or(Self::REMOVAL.len())
    }

    /// Where the type stands in the order of removals (R84). Types we do not know come first.
    #[must_use]
    pub fn removal_rank(&self) -> usize {
        let rank = Self::REMOVAL.iter().position(|known| known == self);
        rank.map_or(0, |rank| rank + 1)
    }

    /// Whether resources of another type may refer to this type's.
    #[must_use]
    pub fn is_referred_to(&self) -> bool {
        [Self::ENDPOINTS, Self::CLUSTER, Self::CERTIFICATE].contains(self)
            || (Self::ENVOY.contains(self) && *self != Self::ENVOY_LISTENER)
    }

    /// Whether resources of this type must not be on the wire before what they refer to (R85). A type
    /// that refers to nothing, or only to its own children, never waits (R86).
    #[must_use]
    pub fn waits(&self) -> bool {
        [
            Self::CLUSTER,
            Self::ROUTE,
            Self::ENVOY_CLUSTER,
            Self::ENVOY_LISTENER,
            Self::ENVOY_ROUTES,
        ]
        .contains(self)
    }

    /// Whether a client that has received one of these still needs time, and answers only when it can
    /// be used: Envoy acknowledges clusters once all of them are warm.
    #[must_use]
    pub fn is_warmed(&self) -> bool {
        *self == Self::ENVOY_CLUSTER
    }

    /// The type whose resources must be sent again after one of this type that refers to them has
    /// changed, because a client warms the new version with what comes after it (R83).
    #[must_use]
    pub fn children(&self) -> Option<Self> {
        if *self == Self::ENVOY_CLUSTER {
            Some(Self::ENVOY_ENDPOINTS)
        } else if *self == Self::ENVOY_LISTENER {
            Some(Self::ENVOY_ROUTES)
        } else {
            None
        }
    }

    /// Whether traffic enters here: what nothing else refers to, and what keeps clusters in use.
    #[must_use]
    pub fn is_entry(&self) -> bool {
        *self == Self::ROUTE || *self == Self::ENVOY_LISTENER
    }

    /// Whether a first request that names nothing means "everything" (R48, R49): for LDS and CDS, and
    /// for the native types.
    #[must_use]
    pub fn has_legacy_wildcard(&self) -> bool {
        Self::NATIVE.contains(self) || self.is_listed_whole_by_xds()
    }

    /// Whether a state-of-the-world response holds everything the client needs, so that absence is
    /// removal (R42, R44): LDS and CDS, and the native types, which have no other way to go.
    #[must_use]
    pub fn is_listed_whole(&self) -> bool {
        Self::NATIVE.contains(self) || self.is_listed_whole_by_xds()
    }

    fn is_listed_whole_by_xds(&self) -> bool {
        *self == Self::ENVOY_CLUSTER || *self == Self::ENVOY_LISTENER
    }

    /// The last part, for people: `Route`.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or(&self.0)
    }
}

impl From<String> for TypeUrl {
    fn from(url: String) -> Self {
        Self::REMOVAL
            .into_iter()
            .find(|known| known.as_str() == url)
            .unwrap_or(Self(Cow::Owned(url)))
    }
}

impl From<&str> for TypeUrl {
    fn from(url: &str) -> Self {
        Self::from(url.to_owned())
    }
}

impl fmt::Debug for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R84: clusters, endpoints, listeners, routes; and away in an order that leaves no reference hanging.
    #[test]
    fn what_is_referred_to_comes_first_and_goes_last() {
        let rank = TypeUrl::rank;
        assert!(rank(&TypeUrl::ENVOY_CLUSTER) < rank(&TypeUrl::ENVOY_ENDPOINTS));
        assert!(rank(&TypeUrl::ENVOY_ENDPOINTS) < rank(&TypeUrl::ENVOY_LISTENER));
        assert!(rank(&TypeUrl::ENVOY_LISTENER) < rank(&TypeUrl::ENVOY_ROUTES));
        let gone = TypeUrl::removal_rank;
        assert!(gone(&TypeUrl::ENVOY_LISTENER) < gone(&TypeUrl::ENVOY_ROUTES));
        assert!(gone(&TypeUrl::ENVOY_ROUTES) < gone(&TypeUrl::ENVOY_CLUSTER));
        assert!(gone(&TypeUrl::ENVOY_CLUSTER) < gone(&TypeUrl::ENVOY_ENDPOINTS));
        assert!(gone(&TypeUrl::ROUTE) < gone(&TypeUrl::CLUSTER));
        assert!(gone(&TypeUrl::CLUSTER) < gone(&TypeUrl::ENDPOINTS));
    }

    /// R48: endpoints, routes and secrets of Envoy are only ever named.
    #[test]
    fn an_unnamed_subscription_means_everything_for_listeners_and_clusters_only() {
        let whole = |url: &TypeUrl| url.has_legacy_wildcard();
        let of_envoy: Vec<_> = TypeUrl::ENVOY.into_iter().filter(whole).collect();
        assert_eq!(of_envoy, [TypeUrl::ENVOY_CLUSTER, TypeUrl::ENVOY_LISTENER]);
        assert!(!whole(&TypeUrl::from("type.googleapis.com/example.Thing")));
    }
}
