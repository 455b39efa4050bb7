//! Owns certificates for tests: an authority, a server on loopback and a client, as PEM files.
//! Must not know: who uses them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

/// An authority and the certificates it has issued, in a folder.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM file.
    pub cert: PathBuf,
    /// PEM file, PKCS#8.
    pub key: PathBuf,
}

impl Pki {
    /// A new authority; its certificate is in `ca.pem`.
    pub fn new(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self {
            folder: folder.to_owned(),
            issuer,
        }
    }

    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for `localhost` and `127.0.0.1`, good for servers and clients. Issuing the same
    /// name again replaces the files, as a rotation does.
    pub fn issue(&self, common_name: &str) -> Identity {
        self.issue_with(common_name, |_| {})
    }

    /// The same, good for a URI too.
    pub fn issue_for(&self, common_name: &str, uri: &str) -> Identity {
        self.issue_with(common_name, |params| {
            let uri = SanType::URI(uri.try_into().unwrap());
            params.subject_alt_names.push(uri);
        })
    }

    /// The same, and no longer good.
    pub fn issue_expired(&self, common_name: &str, uri: &str) -> Identity {
        self.issue_with(common_name, |params| {
            let uri = SanType::URI(uri.try_into().unwrap());
            params.subject_alt_names.push(uri);
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    /// The same, good for so much longer.
    pub fn issue_until(&self, common_name: &str, uri: &str, end: SystemTime) -> Identity {
        self.issue_with(common_name, |params| {
            let uri = SanType::URI(uri.try_into().unwrap());
            params.subject_alt_names.push(uri);
            params.not_after = end.into();
        })
    }

    fn issue_with(
        &self,
        common_name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let identity = Identity {
            cert: self.folder.join(format!("{common_name}.pem")),
            key: self.folder.join(format!("{common_name}.key")),
        };
        fs::write(&identity.cert, certificate.pem()).unwrap();
        fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}
