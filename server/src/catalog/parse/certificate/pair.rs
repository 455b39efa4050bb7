//! Owns reading a private key, and finding out whether it belongs to a certificate. An Envoy rejects a
//! listener with one that does not, and with it every other certificate; so it must not get there.
//! Must not know: PEM, which handshake uses a key.
//!
//! Nothing of a key is ever repeated in an error.

use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use x509_parser::asn1_rs::{Any, FromDer, Tag};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::catalog::invalid::Invalid;
use crate::catalog::read::Read;

/// Bits of an RSA key, below which no client of ours takes it.
const RSA_BITS_MIN: usize = 2048;

/// Object identifiers, as they are encoded.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
const P521: &[u8] = &[0x2b, 0x81, 4, 0, 0x23];

/// Tags of the optional parts of an `ECPrivateKey` (RFC 5915).
const CURVE: Tag = Tag(0);
const POINT: Tag = Tag(1);

/// A point that is not compressed begins with it.
const UNCOMPRESSED: u8 = 4;

/// What is needed of a private key to know its public half.
pub(super) enum Key<'a> {
    Rsa {
        whole: &'a [u8],
        modulus: &'a [u8],
        exponent: &'a [u8],
    },
    Ec {
        curve: &'a [u8],
        scalar: &'a [u8],
        /// As far as the key says it.
        point: Option<&'a [u8]>,
    },
    Ed25519 {
        seed: &'a [u8],
    },
}

/// Reads a key in DER, of the form that the label of its PEM block says.
pub(super) fn read<'a>(label: &str, der: &'a [u8]) -> Read<Key<'a>> {
    let key = match label {
        "RSA PRIVATE KEY" => rsa(der),
        "EC PRIVATE KEY" => ec(der, None),
        "PRIVATE KEY" => pkcs8(der),
        "ENCRYPTED PRIVATE KEY" => {
            return Err(Invalid::new(
                "is encrypted, and there is no password for it",
            ));
        }
        _ => None,
    };
    match key {
        Some(Key::Rsa { modulus, .. }) if bits(modulus) < RSA_BITS_MIN => {
            Err(Invalid::new(format!(
                "is an RSA key of {} bits, fewer than {RSA_BITS_MIN}",
                bits(modulus)
            )))
        }
        Some(Key::Ec { curve, .. }) if ![P256, P384, P521].contains(&curve) => {
            Err(Invalid::new("is of a curve other than P-256, P-384, P-521"))
        }
        Some(key) => Ok(key),
        None => Err(Invalid::new("can't be read, or is of an unknown kind")),
    }
}

impl Key<'_> {
    /// Whether it is the private half of a certificate's key.
    pub(super) fn belongs_to(&self, public: &SubjectPublicKeyInfo<'_>) -> bool {
        let kind = public.algorithm.algorithm.as_bytes();
        let parameters = public.algorithm.parameters.as_ref();
        let public = public.subject_public_key.data.as_ref();
        match *self {
            Self::Rsa {
                whole,
                modulus,
                exponent,
            } => {
                let same = |parts: Vec<Any<'_>>| {
                    parts.len() == 2
                        && number(parts[0].data) == modulus
                        && number(parts[1].data) == exponent
                };
                kind == RSA && elements(public).is_some_and(same) && is_whole(whole)
            }
            Self::Ec {
                curve,
                scalar,
                point,
            } => {
                let same_curve = parameters.is_some_and(|given| given.data == curve);
                kind == EC && same_curve && multiplies_to(curve, scalar, point, public)
            }
            Self::Ed25519 { seed } => {
                kind == ED25519 && Ed25519KeyPair::from_seed_and_public_key(seed, public).is_ok()
            }
        }
    }
}

/// Whether the parts of an RSA key fit each other. Other complaints are about what is slow or unusual.
fn is_whole(key: &[u8]) -> bool {
    let read = rsa::KeyPair::from_der(key);
    !read.is_err_and(|error| error.to_string().starts_with("Inconsistent"))
}

/// Whether a scalar leads to a point. Where that can't be found out the key's own word is taken.
fn multiplies_to(curve: &[u8], scalar: &[u8], said: Option<&[u8]>, point: &[u8]) -> bool {
    let (algorithm, length): (_, usize) = match curve {
        P256 => (&ECDSA_P256_SHA256_ASN1_SIGNING, 32),
        P384 => (&ECDSA_P384_SHA384_ASN1_SIGNING, 48),
        _ => return said.is_none_or(|said| said == point),
    };
    if point.first() != Some(&UNCOMPRESSED) {
        return said.is_none_or(|said| said == point);
    }
    let scalar = number(scalar);
    let Some(zeros) = length.checked_sub(scalar.len()) else {
        return false;
    };
    let scalar = [&vec![0; zeros], scalar].concat();
    let random = SystemRandom::new();
    EcdsaKeyPair::from_private_key_and_public_key(algorithm, &scalar, point, &random).is_ok()
}

/// `PrivateKeyInfo` (RFC 5208).
fn pkcs8(der: &[u8]) -> Option<Key<'_>> {
    let parts = elements(der)?;
    let algorithm = members(parts.get(1)?)?;
    let key = parts.get(2).filter(|key| key.tag() == Tag::OctetString)?;
    match algorithm.first()?.data {
        RSA => rsa(key.data),
        EC => ec(key.data, algorithm.get(1).map(|curve| curve.data)),
        ED25519 => {
            let (rest, seed) = Any::from_der(key.data).ok()?;
            let whole = rest.is_empty() && seed.tag() == Tag::OctetString;
            whole.then_some(Key::Ed25519 { seed: seed.data })
        }
        _ => None,
    }
}

/// `RSAPrivateKey` (RFC 8017).
fn rsa(der: &[u8]) -> Option<Key<'_>> {
    let parts = elements(der)?;
    Some(Key::Rsa {
        whole: der,
        modulus: number(parts.get(1)?.data),
        exponent: number(parts.get(2)?.data),
    })
}

/// `ECPrivateKey` (RFC 5915), whose curve may stand outside of it.
fn ec<'a>(der: &'a [u8], outer: Option<&'a [u8]>) -> Option<Key<'a>> {
    let parts = elements(der)?;
    let scalar = parts.get(1).filter(|key| key.tag() == Tag::OctetString)?;
    let tagged = |tag| {
        let part = parts.iter().skip(2).find(|part| part.tag() == tag)?;
        Some(Any::from_der(part.data).ok()?.1.data)
    };
    Some(Key::Ec {
        curve: outer.or_else(|| tagged(CURVE))?,
        scalar: scalar.data,
        // A string of bits says first how many of the last byte don't count: none.
        point: tagged(POINT).and_then(|bits| bits.strip_prefix(&[0])),
    })
}

/// The elements of a sequence that is the whole of `der`.
fn elements(der: &[u8]) -> Option<Vec<Any<'_>>> {
    let (rest, all) = Any::from_der(der).ok()?;
    rest.is_empty().then(|| members(&all)).flatten()
}

fn members<'a>(sequence: &Any<'a>) -> Option<Vec<Any<'a>>> {
    let mut found = Vec::new();
    let mut rest = sequence.data;
    while !rest.is_empty() {
        let (after, next) = Any::from_der(rest).ok()?;
        found.push(next);
        rest = after;
    }
    (sequence.tag() == Tag::Sequence).then_some(found)
}

/// A number without the zeros before it.
fn number(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

fn bits(number: &[u8]) -> usize {
    let first = number.first().map_or(0, |byte| byte.leading_zeros());
    number.len() * 8 - first as usize
}
