//! Owns what Envoy does not take of a certificate that others do. It would reject the whole listener, with
//! all other certificates. Must not know: which listener or cluster that is.

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_X509_COMMON_NAME};
use x509_parser::prelude::X509Certificate;

/// The features of TLS that a certificate asks for (RFC 7633), as the object identifier is encoded.
const FEATURES: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 24];
/// The feature of an answer about revocation with the handshake: 5, as a number is encoded.
const STATUS_REQUEST: &[u8] = &[2, 1, 5];

/// Why Envoy does not take a chain in PEM, from a server or from a client.
pub(crate) fn unfit(chain: &str) -> Option<&'static str> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).ok()?;
    let first = pem.parse_x509().ok()?;
    signs_nothing(&first).then_some("it may not be used for signatures, which handshakes need")
}

/// The same, from a server.
pub(crate) fn unfit_for_servers(chain: &str) -> Option<&'static str> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).ok()?;
    let first = pem.parse_x509().ok()?;
    if must_staple(&first) {
        return Some(
            "it must be shown with an answer about its revocation, which there is none of",
        );
    }
    if !has_name(&first) {
        return Some("it has neither a common name nor another one");
    }
    unfit(chain)
}

/// Whether a key of an elliptic curve is for something else. Of other keys Envoy does not ask it.
fn signs_nothing(certificate: &X509Certificate<'_>) -> bool {
    let kind = &certificate.public_key().algorithm.algorithm;
    if *kind != OID_KEY_TYPE_EC_PUBLIC_KEY {
        return false;
    }
    match certificate.key_usage() {
        Ok(Some(usage)) => !usage.value.digital_signature(),
        Ok(None) => false,
        Err(_) => true,
    }
}

fn must_staple(certificate: &X509Certificate<'_>) -> bool {
    let features = certificate.extensions().iter();
    let mut features = features.filter(|one| one.oid.as_bytes() == FEATURES);
    features.any(|one| {
        let mut windows = one.value.windows(STATUS_REQUEST.len());
        windows.any(|window| window == STATUS_REQUEST)
    })
}

/// A common name, or another that is a host, an address or a URI.
fn has_name(certificate: &X509Certificate<'_>) -> bool {
    let subject = certificate.subject();
    if subject.iter_by_oid(&OID_X509_COMMON_NAME).next().is_some() {
        return true;
    }
    certificate.extensions().iter().any(|extension| {
        let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() else {
            return false;
        };
        let good = |name: &GeneralName<'_>| {
            matches!(
                name,
                GeneralName::DNSName(_) | GeneralName::URI(_) | GeneralName::IPAddress(_)
            )
        };
        names.general_names.iter().any(good)
    })
}
