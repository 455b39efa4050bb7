//! Owns reading certificates and private keys. Must not know: which handshake uses them.
//!
//! Nothing of a certificate or a key is ever repeated in an error.

mod pair;

use bellwether::wire::native::certificate::Usage;
use bellwether::wire::native::{Certificate, ClientValidation, KeyPair};
use prost::Message;
use serde_json::Value;
use x509_parser::pem::Pem;

use crate::catalog::address;
use crate::catalog::invalid::Invalid;
use crate::catalog::pattern;
use crate::catalog::read::{Fields, Read, count, list_of, one_of, some_of, switch, text};
use crate::catalog::spec::{Remark, SslSpec};

/// What every PEM block starts with.
const PEM_START: &str = "-----BEGIN ";

/// What a PEM block with a certificate is called; only a trusted one may have something behind it.
const CERTIFICATE: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", TRUSTED];
const TRUSTED: &str = "TRUSTED CERTIFICATE";

/// TLS versions that configuration may name, and whether the agent speaks them.
const PROTOCOLS: [(&str, (&str, bool)); 3] = [
    ("TLSv1.1", ("TLSv1.1", false)),
    ("TLSv1.2", ("TLSv1.2", true)),
    ("TLSv1.3", ("TLSv1.3", true)),
];

/// Reads an ssl object.
pub(super) fn ssl(fields: Fields<'_>) -> Read<SslSpec> {
    let usage = fields.or("type", Usage::Server, |value| {
        one_of(
            value,
            &[("server", Usage::Server), ("client", Usage::Client)],
        )
    })?;
    let snis = fields
        .one_or_many("sni", "snis", |value| address::host_pattern(text(value)?))?
        .unwrap_or_default();
    if usage == Usage::Server && snis.is_empty() {
        return Err(Invalid::new("needs sni or snis"));
    }
    let mut remarks = Vec::new();
    let certificate = Certificate {
        usage: usage.into(),
        snis,
        key_pairs: key_pairs(fields)?,
        client_validation: fields.optional("client", |value| client(Fields::of(value)?))?,
        protocols: fields.or("ssl_protocols", Vec::new(), |value| {
            protocols(value, &mut remarks)
        })?,
    };
    Ok(SslSpec {
        certificate: certificate.encode_to_vec().into(),
        enabled: fields.or("status", true, switch)?,
        client: usage == Usage::Client,
        remarks,
    })
}

/// A certificate chain in PEM, every certificate of which can be read.
pub(super) fn chain(value: &Value) -> Read<String> {
    let pem = pem(value, "a certificate")?;
    let mut found = 0_usize;
    for block in Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|_| Invalid::new("is not a certificate in PEM"))?;
        let label = block.label.as_str();
        let read = x509_parser::parse_x509_certificate(&block.contents);
        let whole = read.is_ok_and(|(rest, _)| rest.is_empty() || label == TRUSTED);
        if !whole || !CERTIFICATE.contains(&label) {
            return Err(Invalid::new(format!("certificate {found} can't be read")));
        }
        found += 1;
    }
    if found == 0 {
        return Err(Invalid::new("is not a certificate in PEM"));
    }
    Ok(pem.to_owned())
}

/// A private key in PEM that can be used without a password.
pub(super) fn private_key(value: &Value) -> Read<String> {
    let pem = pem(value, "a private key")?;
    let key = first_key(pem)?;
    pair::read(&key.label, &key.contents)?;
    Ok(pem.to_owned())
}

/// A chain and a key, which must belong to the chain's first certificate.
pub(super) fn key_pair(certificate: String, private_key: String) -> Read<KeyPair> {
    let key = first_key(&private_key)?;
    let key = pair::read(&key.label, &key.contents)?;
    let first = Pem::iter_from_buffer(certificate.as_bytes()).next();
    let first = first.and_then(Result::ok);
    let first = first.as_ref().and_then(|block| block.parse_x509().ok());
    if first.is_none_or(|first| !key.belongs_to(first.public_key())) {
        return Err(Invalid::new("does not belong to the certificate"));
    }
    Ok(KeyPair {
        certificate,
        private_key,
    })
}

/// The one that is used if there are several.
fn first_key(pem: &str) -> Read<Pem> {
    let mut blocks = Pem::iter_from_buffer(pem.as_bytes()).filter_map(Result::ok);
    let found = blocks.find(|block| block.label.ends_with("PRIVATE KEY"));
    found.ok_or_else(|| {
        Invalid::new(if pem.contains("ENCRYPTED") {
            "is encrypted, and there is no password for it"
        } else {
            "is not a private key in PEM"
        })
    })
}

fn pem<'a>(value: &'a Value, what: &str) -> Read<&'a str> {
    let pem = text(value)?.trim_start();
    if pem.starts_with(PEM_START) {
        return Ok(pem);
    }
    let secret = ["$secret://", "$env://", "$ENV://"];
    Err(Invalid::new(
        if secret.into_iter().any(|start| pem.starts_with(start)) {
            format!("refers to a secret manager, from which {what} can't be fetched yet")
        } else {
            format!(
                "is not {what} in PEM; keys that APISIX has encrypted at rest can't be read yet"
            )
        },
    ))
}

fn key_pairs(fields: Fields<'_>) -> Read<Vec<KeyPair>> {
    let certificate = fields.required("cert", chain)?;
    let key = fields.required("key", private_key)?;
    let mut pairs = vec![key_pair(certificate, key).map_err(|error| error.within("key"))?];
    let certificates = fields.or("certs", Vec::new(), |value| list_of(value, chain))?;
    let keys = fields.or("keys", Vec::new(), |value| list_of(value, private_key))?;
    if certificates.len() != keys.len() {
        return Err(Invalid::new(format!(
            "certs has {} elements and keys has {}",
            certificates.len(),
            keys.len()
        )));
    }
    for (index, (certificate, key)) in certificates.into_iter().zip(keys).enumerate() {
        let pair = key_pair(certificate, key)
            .map_err(|error| error.within_element(index).within("keys"))?;
        pairs.push(pair);
    }
    Ok(pairs)
}

fn client(fields: Fields<'_>) -> Read<ClientValidation> {
    let skip = |value| {
        let text = text(value)?;
        pattern::check(text, false)?;
        Ok(text.to_owned())
    };
    Ok(ClientValidation {
        ca: fields.required("ca", chain)?,
        depth: fields.or("depth", 1, |value| count(value, 0, u32::MAX))?,
        skip_uri_patterns: fields.or("skip_mtls_uri_regex", Vec::new(), |value| {
            some_of(value, skip)
        })?,
    })
}

/// The agent has no TLS 1.1. An empty list means "both", so a list of nothing else is refused.
fn protocols(value: &Value, remarks: &mut Vec<Remark>) -> Read<Vec<String>> {
    let named = list_of(value, |value| one_of(value, &PROTOCOLS))?;
    let spoken: Vec<String> = named
        .iter()
        .filter(|(_, spoken)| *spoken)
        .map(|(name, _)| (*name).to_owned())
        .collect();
    if spoken.is_empty() && !named.is_empty() {
        return Err(Invalid::new("names no version that the agent speaks"));
    }
    if spoken.len() < named.len() {
        remarks.push(Remark::Protocol("TLSv1.1".into()));
    }
    Ok(spoken)
}
