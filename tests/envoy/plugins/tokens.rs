//! Owns signing tokens for tests. Must not know: who takes them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

/// A key that is used for nothing else.
const RSA_PRIVATE: &str = include_str!("rsa.key");

/// Its public half.
pub(super) const RSA_PUBLIC: &str = include_str!("rsa.pub");

/// What is before the point in a public key of P-256, as DER.
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

fn token(algorithm: &str, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"typ": "JWT", "alg": algorithm});
    let signed = format!("{}.{}", encode(&header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

pub(super) fn hs256(secret: &str, claims: &Value) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    token("HS256", claims, |text| {
        ring::hmac::sign(&key, text).as_ref().to_vec()
    })
}

pub(super) fn rs256(claims: &Value) -> String {
    let base64: String = RSA_PRIVATE
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(base64).unwrap()).unwrap();
    token("RS256", claims, |text| {
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            text,
            &mut signature,
        )
        .unwrap();
        signature
    })
}

/// A fresh key.
pub(super) struct Es256(EcdsaKeyPair);

impl Es256 {
    pub(super) fn generate() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random)
                .unwrap(),
        )
    }

    pub(super) fn public_pem(&self) -> String {
        let der = [&P256[..], self.0.public_key().as_ref()].concat();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        )
    }

    pub(super) fn sign(&self, claims: &Value) -> String {
        token("ES256", claims, |text| {
            self.0
                .sign(&SystemRandom::new(), text)
                .unwrap()
                .as_ref()
                .to_vec()
        })
    }
}
