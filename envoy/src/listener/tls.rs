//! Owns TLS by server name: which certificate a connection gets. Must not know: HTTP.
//!
//! A wildcard covers one label in APISIX and any depth in Envoy. The difference is that a client that
//! asks for a deeper name gets a certificate that is not for it, instead of none.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::wire::native;
use bellwether::wire::native::certificate::Usage;

use crate::any::Any;
use crate::cluster::{ads, duration};
use crate::made::Made;
use crate::secret;
use crate::translator::View;
use crate::wire::core::{ConfigSource, TransportSocket, transport_socket};
use crate::wire::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use crate::wire::listener::{FilterChain, FilterChainMatch, ListenerFilter, listener_filter};
use crate::wire::tls::common_tls_context::ValidationContextType;
use crate::wire::tls::tls_parameters::TlsProtocol;
use crate::wire::tls::{CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, TlsParameters};

/// The name of the certificate that a client gets that asks for nothing known.
pub(super) const FALLBACK: &str = "*";

/// Characters of a server's name (RFC 1035).
const LONGEST_NAME: usize = 253;

/// A filter chain without its filters, and the secrets that it names.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) message: FilterChain,
    pub(super) refers: Vec<ResourceId>,
    /// The names of the servers it is for; [`FALLBACK`] for all that no other chain is for.
    pub(super) names: Vec<String>,
    /// Clients must show a certificate.
    pub(super) verifies: bool,
}

/// One chain for each certificate's names, and one for the fallback.
pub(super) fn chains(view: &View<'_>, made: &mut Made) -> Vec<Chain> {
    let mut taken: BTreeMap<String, &Name> = BTreeMap::new();
    let mut chains = Vec::new();
    for (name, certificate) in &view.native.certificates {
        if certificate.usage() != Usage::Server || certificate.key_pairs.is_empty() {
            continue;
        }
        let names = server_names(name, certificate, &mut taken, made);
        let (fallback, names): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|server| server == FALLBACK);
        if !names.is_empty() {
            chains.push(chain(name, certificate, names));
        }
        if !fallback.is_empty() {
            chains.push(chain(name, certificate, Vec::new()));
        }
    }
    chains
}

/// The names that are this certificate's. Envoy rejects a listener in which one stands twice.
fn server_names<'a>(
    name: &'a Name,
    certificate: &native::Certificate,
    taken: &mut BTreeMap<String, &'a Name>,
    made: &mut Made,
) -> Vec<String> {
    let id = ResourceId::new(TypeUrl::CERTIFICATE, name.clone());
    let mut names = Vec::new();
    for sni in &certificate.snis {
        let sni = sni.to_ascii_lowercase();
        if !is_server_name(&sni) {
            made.cannot(
                &id,
                format!("is not served for {sni:?}: Envoy has no such pattern"),
            );
            continue;
        }
        match taken.get(&sni) {
            Some(other) if *other != name => {
                made.cannot(&id, format!("is not served for {sni:?}: {other} is"));
            }
            Some(_) => {}
            None => {
                taken.insert(sni.clone(), name);
                names.push(sni);
            }
        }
    }
    names.sort();
    names
}

/// Whether Envoy takes it for the name of a server: `a.com`, `*.a.com`, or everything.
fn is_server_name(sni: &str) -> bool {
    let rest = sni.strip_prefix("*.").unwrap_or(sni);
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    let fits = (1..=LONGEST_NAME).contains(&rest.len());
    sni == FALLBACK || (fits && !rest.starts_with('.') && rest.bytes().all(good))
}

/// Without names it is for everything that no other chain is for.
fn chain(name: &Name, certificate: &native::Certificate, names: Vec<String>) -> Chain {
    let mut refers = Vec::new();
    let mut sds = |secret: String| {
        refers.push(ResourceId::new(TypeUrl::ENVOY_SECRET, secret.as_str()));
        SdsSecretConfig {
            name: secret,
            sds_config: Some(ads()),
        }
    };
    let pairs = certificate.key_pairs.iter().enumerate();
    let mut certificates: Vec<SdsSecretConfig> = pairs
        .filter(|(_, pair)| secret::unfit_of(certificate, pair).is_none())
        .map(|(index, _)| sds(secret::key_pair_name(name.as_str(), index)))
        .collect();
    if certificates.is_empty() {
        certificates.push(nothing(name));
    }
    let clients = certificate.client_validation.as_ref().map(|_| {
        let authority = sds(secret::authority_name(name.as_str()));
        ValidationContextType::ValidationContextSdsSecretConfig(authority)
    });
    let context = DownstreamTlsContext {
        require_client_certificate: clients.is_some().then_some(true),
        common_tls_context: Some(CommonTlsContext {
            tls_params: versions(&certificate.protocols),
            tls_certificate_sds_secret_configs: certificates,
            validation_context_type: clients,
            alpn_protocols: vec!["h2".to_owned(), "http/1.1".to_owned()],
            ..CommonTlsContext::default()
        }),
        ..DownstreamTlsContext::default()
    };
    let served = if names.is_empty() {
        vec![FALLBACK.to_owned()]
    } else {
        names.clone()
    };
    let message = FilterChain {
        name: if names.is_empty() {
            format!("{name} as fallback")
        } else {
            name.to_string()
        },
        filter_chain_match: Some(FilterChainMatch {
            server_names: names,
            transport_protocol: "tls".to_owned(),
            ..FilterChainMatch::default()
        }),
        transport_socket: Some(TransportSocket {
            name: "envoy.transport_sockets.tls".to_owned(),
            config_type: Some(transport_socket::ConfigType::TypedConfig(Any::pack(
                &context,
            ))),
        }),
        ..FilterChain::default()
    };
    Chain {
        message,
        refers,
        names: served,
        verifies: certificate.client_validation.is_some(),
    }
}

/// A certificate that never comes. Its names are still nobody else's: who asks for one is refused, and
/// does not get the chain of a wildcard, which may ask clients for less.
fn nothing(name: &Name) -> SdsSecretConfig {
    SdsSecretConfig {
        name: format!("{name}/none"),
        sds_config: Some(ConfigSource {
            // The listener need not wait for it.
            initial_fetch_timeout: Some(duration(Duration::from_millis(1))),
            ..ads()
        }),
    }
}

/// Both where none is named.
fn versions(protocols: &[String]) -> Option<TlsParameters> {
    let has = |name: &str| protocols.is_empty() || protocols.iter().any(|given| given == name);
    let (old, new) = match (has("TLSv1.2"), has("TLSv1.3")) {
        (true, false) => (TlsProtocol::TlSv12, TlsProtocol::TlSv12),
        (false, true) => (TlsProtocol::TlSv13, TlsProtocol::TlSv13),
        (true, true) | (false, false) => (TlsProtocol::TlSv12, TlsProtocol::TlSv13),
    };
    Some(TlsParameters {
        tls_minimum_protocol_version: old.into(),
        tls_maximum_protocol_version: new.into(),
        ..TlsParameters::default()
    })
}

/// Reads the server name before a chain is chosen.
pub(super) fn inspector() -> ListenerFilter {
    ListenerFilter {
        name: "envoy.filters.listener.tls_inspector".to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(Any::pack(
            &TlsInspector {},
        ))),
    }
}
