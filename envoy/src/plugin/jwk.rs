//! Owns keys as JWK, the form that Envoy reads. Must not know: whose they are.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// The smallest modulus that Envoy's TLS library takes, in bits.
const MIN_RSA_BITS: usize = 1_024;

/// `id-Ed25519`.
const ED25519: &str = "1.3.101.112";

/// A secret that both sides have.
pub(super) fn symmetric(
    algorithm: &str,
    secret: &str,
    is_base64: bool,
) -> Result<String, &'static str> {
    if !matches!(algorithm, "HS256" | "HS384" | "HS512") {
        return Err("asks for an algorithm that is not known to Envoy");
    }
    let bytes = match is_base64 {
        true => STANDARD
            .decode(secret)
            .map_err(|_| "has a secret that is not base64")?,
        false => secret.as_bytes().to_vec(),
    };
    let key = json!({"kty": "oct", "alg": algorithm, "k": URL_SAFE_NO_PAD.encode(bytes)});
    Ok(set_of(&key))
}

/// The public half of a key, as PEM.
pub(super) fn public(algorithm: &str, pem: &str) -> Result<String, &'static str> {
    let wrong = "has a public key that can't be read";
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.trim().as_bytes()).map_err(|_| wrong)?;
    if pem.label != "PUBLIC KEY" {
        return Err("has a public key that is not a PEM of type PUBLIC KEY");
    }
    let (_, info) = SubjectPublicKeyInfo::from_der(&pem.contents).map_err(|_| wrong)?;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    if algorithm == "EdDSA" {
        if info.algorithm.algorithm.to_id_string() != ED25519 {
            return Err("has a public key that is not of its algorithm");
        }
        let x = encode(&info.subject_public_key.data);
        let key = json!({"kty": "OKP", "crv": "Ed25519", "alg": algorithm, "x": x});
        return Ok(set_of(&key));
    }
    match (algorithm, info.parsed().map_err(|_| wrong)?) {
        ("RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512", PublicKey::RSA(rsa)) => {
            if rsa.key_size() < MIN_RSA_BITS {
                return Err("has a public key that is too small");
            }
            let modulus = strip_zeros(rsa.modulus);
            let exponent = strip_zeros(rsa.exponent);
            let key = json!({"kty": "RSA", "alg": algorithm, "n": encode(modulus), "e": encode(exponent)});
            Ok(set_of(&key))
        }
        ("ES256" | "ES384" | "ES512", PublicKey::EC(point)) => {
            let (curve, size) = match algorithm {
                "ES256" => ("P-256", 32),
                "ES384" => ("P-384", 48),
                _ => ("P-521", 66),
            };
            // An uncompressed point: 4, then both coordinates.
            match point.data().split_first() {
                Some((4, both)) if both.len() == 2 * size => {
                    let (x, y) = both.split_at(size);
                    let key = json!({"kty": "EC", "crv": curve, "alg": algorithm, "x": encode(x), "y": encode(y)});
                    Ok(set_of(&key))
                }
                _ => Err("has a public key that is not of its algorithm"),
            }
        }
        (
            "RS256" | "RS384" | "RS512" | "PS256" | "PS384" | "PS512" | "ES256" | "ES384" | "ES512",
            _,
        ) => Err("has a public key that is not of its algorithm"),
        _ => Err("asks for an algorithm that is not known to Envoy"),
    }
}

fn strip_zeros(bytes: &[u8]) -> &[u8] {
    let first = bytes.iter().position(|byte| *byte != 0);
    &bytes[first.unwrap_or(bytes.len())..]
}

fn set_of(key: &serde_json::Value) -> String {
    json!({ "keys": [key] }).to_string()
}
