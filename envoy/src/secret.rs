//! Owns Envoy's secrets: certificates with their keys, and authorities. They rotate without the
//! listener or cluster that uses them. Must not know: which one that is.

mod fit;

use bellwether::name::{Name, ResourceId, TypeUrl};
use bellwether::resource::Resource;
use bellwether::wire::native;
use bellwether::wire::native::certificate::Usage;

pub(crate) use self::fit::{unfit, unfit_for_servers};
use crate::made::Made;
use crate::translator::{Client, View};
use crate::wire::core::DataSource;
use crate::wire::core::data_source::Specifier;
use crate::wire::tls::secret::Type;
use crate::wire::tls::{CertificateValidationContext, Secret, TlsCertificate};

/// The secrets of a certificate: one for each pair of keys, and the authority of clients.
pub(crate) fn certificate(view: &View<'_>, name: &Name, message: &native::Certificate) -> Made {
    let mut made = Made::default();
    // gRPC's clients take certificates from their own configuration (A29), and reject SDS.
    if view.client == Client::Grpc {
        return made;
    }
    let id = ResourceId::new(TypeUrl::CERTIFICATE, name.clone());
    for (index, pair) in message.key_pairs.iter().enumerate() {
        if let Some(why) = unfit_of(message, pair) {
            let what = format!("pair {index} of its keys is not served, Envoy rejects it: {why}");
            made.cannot(&id, what);
            continue;
        }
        let secret = key_pair(&key_pair_name(name.as_str(), index), pair);
        made.add(resource(&secret));
    }
    if let Some(validation) = &message.client_validation
        && message.usage() == Usage::Server
    {
        made.add(resource(&authority(name.as_str(), validation)));
        if !validation.skip_uri_patterns.is_empty() {
            let what = "asks for a client certificate for every path: Envoy knows the path only \
                after the handshake, so skip_mtls_uri_regex can't be followed";
            made.cannot(&id, what);
        }
    }
    made
}

/// Why Envoy does not take a pair of keys of a certificate.
pub(crate) fn unfit_of(
    certificate: &native::Certificate,
    pair: &native::KeyPair,
) -> Option<&'static str> {
    match certificate.usage() {
        Usage::Server => unfit_for_servers(&pair.certificate),
        Usage::Client => unfit(&pair.certificate),
    }
}

/// The name of the secret that holds a certificate's pair of keys.
pub(crate) fn key_pair_name(certificate: &str, index: usize) -> String {
    format!("{certificate}/{index}")
}

/// The name of the secret that holds the authority of a certificate's clients.
pub(crate) fn authority_name(certificate: &str) -> String {
    format!("{certificate}/clients")
}

/// A certificate chain and its key.
pub(crate) fn key_pair(name: &str, pair: &native::KeyPair) -> Secret {
    Secret {
        name: name.to_owned(),
        r#type: Some(Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(inline(&pair.certificate)),
            private_key: Some(inline(&pair.private_key)),
        })),
    }
}

fn authority(certificate: &str, validation: &native::ClientValidation) -> Secret {
    Secret {
        name: authority_name(certificate),
        r#type: Some(Type::ValidationContext(CertificateValidationContext {
            trusted_ca: Some(inline(&validation.ca)),
            // Certificates between the client's and the authority's.
            max_verify_depth: Some(validation.depth.min(DEEPEST_CHAIN)),
            ..CertificateValidationContext::default()
        })),
    }
}

/// Certificates in a chain, as many as Envoy allows to ask for.
const DEEPEST_CHAIN: u32 = 100;

fn inline(pem: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineString(pem.to_owned())),
    }
}

fn resource(secret: &Secret) -> Resource {
    let id = ResourceId::new(TypeUrl::ENVOY_SECRET, secret.name.as_str());
    Resource::new(id, secret, Vec::new())
}
