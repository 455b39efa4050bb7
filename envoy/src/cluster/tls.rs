//! Owns TLS towards endpoints: the name that is asked for, what is presented, who is trusted.
//! Must not know: how endpoints are found.

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::wire::native;
use bellwether::wire::native::cluster::PassHost;

use super::endpoints::{ip, names};
use super::{Work, ads};
use crate::any::Any;
use crate::secret;
use crate::translator::View;
use crate::wire::core::data_source::Specifier;
use crate::wire::core::transport_socket::ConfigType;
use crate::wire::core::{DataSource, TransportSocket};
use crate::wire::matcher::StringMatcher;
use crate::wire::matcher::string_matcher::MatchPattern;
use crate::wire::tls::common_tls_context::ValidationContextType;
use crate::wire::tls::subject_alt_name_matcher::SanType;
use crate::wire::tls::{
    CertificateValidationContext, CommonTlsContext, SdsSecretConfig, SubjectAltNameMatcher,
    UpstreamTlsContext,
};

/// Bytes of a server name (RFC 6066); Envoy rejects a longer one.
const LONGEST_NAME: usize = 255;

/// A transport socket, and the secrets that it names.
pub(super) struct Tls {
    pub(super) socket: TransportSocket,
    pub(super) refers: Vec<ResourceId>,
}

impl Work<'_> {
    /// TLS towards the endpoints; `None` if the scheme has none, or if it can't be had as it is asked
    /// for: then nothing may be sent there.
    pub(super) fn tls(&mut self, view: &View<'_>, endpoints: &native::Endpoints) -> Option<Tls> {
        if !self.encrypts() {
            return None;
        }
        let asked = self.native.tls.clone().unwrap_or_default();
        let sni = self.server_name(endpoints);
        let mut refers = Vec::new();
        let mut common = CommonTlsContext::default();
        if asked.verify {
            let Some(file) = &view.settings.trusted_ca_file else {
                let what = "answers 503: its endpoints are to be verified, and the fleet's settings \
                    don't say where Envoys find the authorities they trust (trusted_ca_file)";
                self.made.cannot(&self.id, what);
                return None;
            };
            common.validation_context_type = Some(ValidationContextType::ValidationContext(
                trusting(file, sni.as_deref()),
            ));
        }
        let pair = presented_pair(view, &asked);
        if let Some(why) = pair.and_then(|pair| secret::unfit(&pair.certificate)) {
            let what = format!("answers 503: Envoy rejects its client certificate: {why}");
            self.made.cannot(&self.id, what);
            return None;
        }
        if let Some(name) = self.presented(view, &asked) {
            refers.push(ResourceId::new(TypeUrl::ENVOY_SECRET, name.as_str()));
            common.tls_certificate_sds_secret_configs = vec![SdsSecretConfig {
                name,
                sds_config: Some(ads()),
            }];
        }
        let context = UpstreamTlsContext {
            common_tls_context: Some(common),
            auto_host_sni: self.asks_by_endpoint,
            auto_sni_san_validation: self.asks_by_endpoint && asked.verify,
            sni: sni.unwrap_or_default(),
        };
        Some(Tls {
            socket: socket(&context),
            refers,
        })
    }

    /// The name of the secret to present, if any.
    fn presented(&mut self, view: &View<'_>, asked: &native::UpstreamTls) -> Option<String> {
        if let Some(pair) = &asked.client_key_pair {
            let name = format!("{}/client", self.name);
            let id = ResourceId::new(TypeUrl::ENVOY_SECRET, name.as_str());
            let message = secret::key_pair(&name, pair);
            self.made.add(Resource::new(id, &message, Vec::new()));
            return Some(name);
        }
        let certificate = view
            .native
            .certificates
            .get(asked.client_certificate.as_str())?;
        // A client presents one certificate, whatever kinds of keys there are.
        certificate.key_pairs.first()?;
        Some(secret::key_pair_name(&asked.client_certificate, 0))
    }

    /// The name to ask for, if it is the same for all requests: APISIX asks for the Host that is sent.
    fn server_name(&self, endpoints: &native::Endpoints) -> Option<String> {
        let name = match self.pass_host {
            PassHost::Pass => None,
            PassHost::Rewrite => Some(without_port(&self.native.upstream_host).to_owned()),
            PassHost::Node => {
                let names = names(endpoints);
                let only = names.first().filter(|_| names.len() == 1);
                only.map(|name| (*name).to_owned())
            }
        };
        name.filter(|name| ip(name).is_none() && name.len() <= LONGEST_NAME)
    }

    /// Whether the name that is asked for is the Host of each request.
    pub(super) fn takes_name_from_host(&self) -> bool {
        self.encrypts() && self.pass_host == PassHost::Pass
    }
}

/// The pair of keys to present, if any.
fn presented_pair<'a>(
    view: &View<'a>,
    asked: &'a native::UpstreamTls,
) -> Option<&'a native::KeyPair> {
    let named = || {
        let certificates = &view.native.certificates;
        let certificate = certificates.get(asked.client_certificate.as_str())?;
        certificate.key_pairs.first()
    };
    asked.client_key_pair.as_ref().or_else(named)
}

/// A transport socket that speaks TLS.
pub(super) fn socket(context: &UpstreamTlsContext) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(Any::pack(context))),
    }
}

fn trusting(file: &str, name: Option<&str>) -> CertificateValidationContext {
    let names = name.map(|name| SubjectAltNameMatcher {
        san_type: SanType::Dns.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(name.to_owned())),
            ..StringMatcher::default()
        }),
    });
    CertificateValidationContext {
        trusted_ca: Some(DataSource {
            specifier: Some(Specifier::Filename(file.to_owned())),
        }),
        match_typed_subject_alt_names: names.into_iter().collect(),
        ..CertificateValidationContext::default()
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => {
            name
        }
        _ => host,
    }
}
