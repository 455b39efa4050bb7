//! Owns the tests of private keys: which can be used, and which belong to their certificate.
//! Must not know: who uses them.

use serde_json::{Value, json};

use super::CERTIFICATE;
use crate::catalog::{Item, check};
use crate::keys::Kind;

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("keys/", $name))
    };
}

fn read(certificate: &str, key: &str) -> Option<String> {
    let ssl = json!({"sni": "a", "cert": certificate, "key": key});
    reason(Kind::Ssl, &ssl)
}

fn reason(kind: Kind, value: &Value) -> Option<String> {
    let read = check(&Item::new(kind, "1"), value);
    read.err().map(|invalid| invalid.to_string())
}

#[test]
fn keys_of_every_kind_that_a_client_takes_are_taken() {
    for (certificate, key) in [
        (file!("rsa-2048.crt"), file!("rsa-2048.key")),
        (file!("rsa-2048.crt"), file!("rsa-2048-pkcs1.key")),
        // Its parameters stand before it.
        (file!("p-256.crt"), file!("p-256.key")),
        // As Java writes it.
        (file!("p-256.crt"), file!("p-256-no-point.key")),
        (file!("p-384.crt"), file!("p-384.key")),
        (file!("p-521.crt"), file!("p-521.key")),
        (file!("p-521.crt"), file!("p-521-no-point.key")),
        (file!("ed25519.crt"), file!("ed25519.key")),
    ] {
        assert_eq!(read(certificate, key), None, "{certificate}");
        let chain = format!("{certificate}{CERTIFICATE}").replace('\n', "\r\n");
        assert_eq!(read(&chain, &key.replace('\n', "\r\n")), None, "{chain}");
    }
}

#[test]
fn a_key_belongs_to_the_first_certificate() {
    let all = [
        (file!("rsa-2048.crt"), file!("rsa-2048.key")),
        (file!("p-256.crt"), file!("p-256-no-point.key")),
        (file!("p-384.crt"), file!("p-384.key")),
        (file!("p-521.crt"), file!("p-521.key")),
        (file!("ed25519.crt"), file!("ed25519.key")),
        (CERTIFICATE, super::PRIVATE_KEY),
    ];
    let not = "key: does not belong to the certificate";
    for (at, (certificate, _)) in all.iter().enumerate() {
        for (other, (other_certificate, key)) in all.iter().enumerate() {
            let want = (at != other).then_some(not);
            assert_eq!(read(certificate, key).as_deref(), want, "{certificate}");
            let chain = format!("{other_certificate}{certificate}");
            assert_eq!(read(&chain, key), None);
            let first = read(&format!("{certificate}{other_certificate}"), key);
            assert_eq!(first.as_deref(), want);
        }
    }
    // Of several keys the first counts.
    let keys = format!("{}{}", file!("p-384.key"), file!("p-256.key"));
    assert_eq!(read(file!("p-256.crt"), &keys).as_deref(), Some(not));
    let more = json!({"sni": "a", "cert": CERTIFICATE, "key": super::PRIVATE_KEY,
        "certs": [CERTIFICATE, CERTIFICATE], "keys": [super::PRIVATE_KEY, file!("p-256.key")]});
    let not = "keys[1]: does not belong to the certificate";
    assert_eq!(reason(Kind::Ssl, &more).as_deref(), Some(not));
    let upstream = json!({"type": "roundrobin", "nodes": {}, "scheme": "https",
        "tls": {"client_cert": CERTIFICATE, "client_key": file!("p-256.key")}});
    let not = "tls.client_key: does not belong to the certificate";
    assert_eq!(reason(Kind::Upstream, &upstream).as_deref(), Some(not));
}

#[test]
fn keys_that_no_client_takes_are_told_from_the_start() {
    let encrypted = "key: is encrypted, and there is no password for it";
    let unknown = "key: can't be read, or is of an unknown kind";
    let inner = file!("p-256-no-point.key").replace(" EC ", " ");
    for (certificate, key, reason) in [
        (
            file!("rsa-1024.crt"),
            file!("rsa-1024.key"),
            "key: is an RSA key of 1024 bits, fewer than 2048",
        ),
        (
            file!("p-224.crt"),
            file!("p-224.key"),
            "key: is of a curve other than P-256, P-384, P-521",
        ),
        (file!("p-256.crt"), file!("p-256-encrypted.key"), encrypted),
        (
            file!("rsa-2048.crt"),
            file!("rsa-2048-encrypted.key"),
            encrypted,
        ),
        (
            CERTIFICATE,
            "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
            unknown,
        ),
        (file!("p-256.crt"), &inner, unknown),
    ] {
        assert_eq!(read(certificate, key).as_deref(), Some(reason));
    }
}

#[test]
fn a_certificate_is_the_whole_of_its_block() {
    let cannot = Some("cert: certificate 0 can't be read");
    let renamed = CERTIFICATE.replace("CERTIFICATE", "SOMETHING");
    assert_eq!(read(&renamed, super::PRIVATE_KEY).as_deref(), cannot);
    let longer = CERTIFICATE.replace("-----END", "AAAA\n-----END");
    let read = read(&longer, super::PRIVATE_KEY);
    let in_pem = Some("cert: is not a certificate in PEM");
    assert!(
        read.as_deref() == cannot || read.as_deref() == in_pem,
        "{read:?}"
    );
}
