//! Owns the store's identity by client certificate: used, missing, rotated.
//! Must not know: passwords.

use std::time::Duration;

use bellwether_server::store::etcd::{EtcdConfig, Patience};
use bellwether_server::store::{Revision, StoreError};

use super::{at, store};
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::harness::pki::Pki;
use crate::store::subject::put;

async fn secured() -> Etcd {
    Etcd::start(EtcdOptions {
        tls: true,
        ..EtcdOptions::default()
    })
    .await
}

fn with_certificate(etcd: &Etcd) -> EtcdConfig {
    let (pki, client) = etcd.tls().unwrap();
    EtcdConfig {
        ca: Some(pki.ca()),
        cert: Some(client.cert.clone()),
        key: Some(client.key.clone()),
        ..at(etcd.endpoint())
    }
}

#[tokio::test]
async fn a_client_certificate_is_identity_enough() {
    let mut etcd = secured().await;
    etcd.enable_auth("not used by the store").await;
    let logins = etcd.calls("Authenticate").await;
    let store = store(with_certificate(&etcd));
    let revision = put(&store, "/p/a", "1").await;
    let mut watch = store.watch("/p/", revision).await.unwrap();
    assert_eq!(
        watch.batches.recv().await.unwrap().unwrap().revision,
        revision
    );
    assert_eq!(store.read("/p/").await.unwrap().entries.len(), 1);
    assert_eq!(
        etcd.calls("Authenticate").await,
        logins,
        "its name is in the certificate"
    );
}

#[tokio::test]
async fn a_missing_certificate_is_unavailability_with_a_reason() {
    let etcd = secured().await;
    let nobody = EtcdConfig {
        cert: None,
        key: None,
        ..with_certificate(&etcd)
    };
    let error = store(nobody).read("/p/").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    let lost = EtcdConfig {
        cert: Some("/nowhere/client.pem".into()),
        ..with_certificate(&etcd)
    };
    let error = store(lost).read("/p/").await.unwrap_err();
    assert!(
        error.to_string().contains("can't read /nowhere/client.pem"),
        "{error}"
    );
}

/// Everything is issued anew, by another authority, into the same files.
#[tokio::test]
async fn rotated_certificates_are_found() {
    let mut etcd = secured().await;
    let config = EtcdConfig {
        patience: Patience {
            request: Duration::from_secs(30),
            ..Patience::default()
        },
        ..with_certificate(&etcd)
    };
    let store = store(config);
    put(&store, "/p/a", "1").await;
    etcd.kill();
    let pki = Pki::new(&etcd.folder().join("pki"));
    pki.issue("etcd");
    pki.issue("root");
    etcd.restart().await;
    assert_eq!(store.read("/p/").await.unwrap().revision, Revision(2));
}
