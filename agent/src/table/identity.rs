//! Owns certificates, consumers and global rules in force. Must not know: who presents or runs them.

use std::sync::Arc;

use bellwether::wire::native::{self, KeyPair};
use bytes::Bytes;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::table::route::unsupported;
use crate::table::{Limits, Reason};

/// A certificate in force, its keys parsed and proven to belong to it.
#[derive(Debug)]
pub struct Certificate {
    /// The resource as it was sent, for `/config_dump`. Holds secrets.
    pub body: Bytes,
    /// The server names it is for.
    pub snis: Box<[Box<str>]>,
    /// One for each kind of key.
    pub keys: Box<[Arc<CertifiedKey>]>,
}

impl Certificate {
    pub(super) fn compile(
        body: &Bytes,
        message: &native::Certificate,
        limits: &Limits,
    ) -> Result<Self, Reason> {
        native::certificate::Usage::try_from(message.usage)
            .map_err(|_| Reason::new("usage", "is not known to this proxy"))?;
        limits.check(
            "key_pairs",
            message.key_pairs.len(),
            limits.keys_per_certificate,
        )?;
        if message.key_pairs.is_empty() {
            return Err(Reason::new("key_pairs", "is empty"));
        }
        let keys = message
            .key_pairs
            .iter()
            .enumerate()
            .map(|(index, pair)| certified(&format!("key_pairs[{index}]"), pair))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            body: Bytes::copy_from_slice(body),
            snis: message.snis.iter().map(|sni| sni.as_str().into()).collect(),
            keys,
        })
    }
}

/// Parses a chain and its key. The reason names the field, never what stands in it.
pub(crate) fn certified(field: &str, pair: &KeyPair) -> Result<Arc<CertifiedKey>, Reason> {
    let in_certificate = |what: &str| Reason::new(format!("{field}.certificate"), what);
    let in_key = |what: &str| Reason::new(format!("{field}.private_key"), what);
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| in_certificate("is not pem"))?;
    if chain.is_empty() {
        return Err(in_certificate("holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(pair.private_key.as_bytes())
        .map_err(|_| in_key("is not a private key in pem"))?;
    let key = any_supported_type(&key).map_err(|_| in_key("is of a kind that is not supported"))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) => Ok(Arc::new(certified)),
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(certified))
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(in_key("does not belong to the certificate"))
        }
        Err(_) => Err(in_certificate("does not parse")),
    }
}

/// A consumer in force. No plugin that asks who calls runs yet, so it is only kept for the dump.
#[derive(Debug)]
pub struct Consumer {
    /// The resource as it was sent, for `/config_dump`. Holds secrets.
    pub body: Bytes,
}

/// A rule for every request.
#[derive(Debug)]
pub struct GlobalRule {
    /// The resource as it was sent, for `/config_dump`. Holds secrets.
    pub body: Bytes,
    /// Its plugins that this proxy does not run; if there are any, every request is answered 503.
    pub unsupported: Box<[Box<str>]>,
}

impl GlobalRule {
    pub(super) fn compile(body: &Bytes, message: &native::GlobalRule) -> Self {
        Self {
            body: Bytes::copy_from_slice(body),
            unsupported: unsupported(&message.plugins),
        }
    }
}
