//! Owns the names in a node's certificate. Must not know: what they entitle to.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectName {
    /// `spiffe://example.org/gateway`
    Uri(String),
    /// `gateway-1.example.org`, in lower case.
    Dns(String),
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(name) | Self::Dns(name) => f.write_str(name),
        }
    }
}

/// What a node's certificate says of it. It was verified when the connection was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Its subject alternative names that are URIs or DNS names, in its order. The common name is none
    /// of them (RFC 6125, RFC 9525).
    pub names: Vec<SubjectName>,
    /// From when on it vouches for nobody any more; `None`: it does not say.
    pub expires: Option<SystemTime>,
}

impl Certificate {
    /// Of a certificate that was verified; what can't be read has no names.
    pub(crate) fn read(der: &[u8]) -> Self {
        let Ok((_, parsed)) = X509Certificate::from_der(der) else {
            return Self::default();
        };
        let ends = u64::try_from(parsed.validity().not_after.timestamp()).ok();
        let expires = ends.and_then(|at| UNIX_EPOCH.checked_add(Duration::from_secs(at)));
        let Ok(Some(alternative)) = parsed.subject_alternative_name() else {
            return Self {
                expires,
                ..Self::default()
            };
        };
        let name = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => Some(SubjectName::Uri((*uri).to_owned())),
            GeneralName::DNSName(dns) => Some(SubjectName::Dns(dns.to_ascii_lowercase())),
            _ => None,
        };
        Self {
            names: alternative
                .value
                .general_names
                .iter()
                .filter_map(name)
                .collect(),
            expires,
        }
    }
}
