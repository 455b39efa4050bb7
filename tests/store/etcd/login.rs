//! Owns how often and when the store logs in: once for all callers, whatever ends the token.
//! Must not know: certificates.

use std::sync::Arc;
use std::time::Duration;

use bellwether_server::store::etcd::{EtcdConfig, Password};
use bellwether_server::store::{Revision, Store, StoreError};
use futures_util::future::join_all;

use super::{Mirror, at, store};
use crate::harness::etcd::{Etcd, EtcdOptions};
use crate::store::subject::put;

const CALLERS: usize = 50;
const PASSWORD: &str = "correct horse";

fn logged_in(etcd: &Etcd, password: &str) -> EtcdConfig {
    EtcdConfig {
        user: Some("root".to_owned()),
        password: Some(Password::new(password)),
        ..at(etcd.endpoint())
    }
}

/// Different calls by many callers at once; how often the store logged in for them.
async fn logins_for_a_crowd(etcd: &Etcd, store: &Arc<dyn Store>) -> u64 {
    let before = etcd.calls("Authenticate").await;
    let crowd = (0..CALLERS).map(|caller| async move {
        match caller % 4 {
            0 => drop(store.read("/p/").await.unwrap()),
            1 => drop(store.get("/p/a").await.unwrap()),
            2 => drop(put(store, &format!("/p/{caller}"), "x").await),
            _ => drop(store.watch("/p/", Revision(1)).await.unwrap()),
        }
    });
    join_all(crowd).await;
    etcd.calls("Authenticate").await - before
}

#[tokio::test]
async fn many_callers_log_in_once() {
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    etcd.enable_auth(PASSWORD).await;
    let store = store(logged_in(&etcd, PASSWORD));
    assert_eq!(logins_for_a_crowd(&etcd, &store).await, 1);
    assert_eq!(logins_for_a_crowd(&etcd, &store).await, 0);
    etcd.kill();
    etcd.restart().await;
    // A restart ends the tokens that etcd had written down as done, and only those.
    let before = etcd.calls("Authenticate").await;
    let reads = (0..CALLERS).map(|_| store.read("/p/"));
    assert!(join_all(reads).await.iter().all(Result::is_ok));
    assert!(etcd.calls("Authenticate").await - before <= 1);
}

#[tokio::test]
async fn a_token_that_ends_by_itself_is_made_anew_once() {
    let mut etcd = Etcd::start(EtcdOptions::args(["--auth-token-ttl=1"])).await;
    etcd.enable_auth(PASSWORD).await;
    let store = store(logged_in(&etcd, PASSWORD));
    put(&store, "/p/a", "1").await;
    let mut mirror = Mirror::of(Arc::clone(&store)).await;
    for _ in 0..2 {
        // Nothing tells when a token ends: after its second of life, and the second in which etcd looks.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(logins_for_a_crowd(&etcd, &store).await, 1);
    }
    put(&store, "/p/a", "2").await;
    mirror.until("/p/a", "2").await;
    assert_eq!(
        mirror.follower.health.borrow().resyncs,
        0,
        "the watch outlives the token"
    );
}

/// With tokens that etcd signs, any change of users ends all of them, with another code and text.
#[tokio::test]
async fn a_token_that_a_change_of_users_ends_is_made_anew_once() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let path = secret.path().display();
    let token = format!("--auth-token=jwt,sign-method=HS256,priv-key={path},ttl=300s");
    let mut etcd = Etcd::start(EtcdOptions::args([token.as_str()])).await;
    etcd.enable_auth(PASSWORD).await;
    let store = store(logged_in(&etcd, PASSWORD));
    assert_eq!(logins_for_a_crowd(&etcd, &store).await, 1);
    etcd.etcdctl(&["user", "add", "somebody:else"]).await;
    assert_eq!(logins_for_a_crowd(&etcd, &store).await, 1);
}

#[tokio::test]
async fn authentication_may_be_turned_on_and_off_under_a_store() {
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    let store = store(logged_in(&etcd, PASSWORD));
    put(&store, "/p/a", "1").await;
    etcd.enable_auth(PASSWORD).await;
    put(&store, "/p/a", "2").await;
    assert_eq!(store.read("/p/").await.unwrap().entries.len(), 1);
    etcd.etcdctl(&["auth", "disable"]).await;
    put(&store, "/p/a", "3").await;
}

#[tokio::test]
async fn a_wrong_password_is_said_once_and_never_shown() {
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    etcd.enable_auth(PASSWORD).await;
    let store = store(logged_in(&etcd, "hunter2"));
    let before = etcd.calls("Authenticate").await;
    let reads = (0..CALLERS).map(|_| store.read("/p/"));
    for outcome in join_all(reads).await {
        let error = outcome.unwrap_err();
        assert!(
            matches!(error, StoreError::Unauthenticated { .. }),
            "{error}"
        );
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
    assert_eq!(
        etcd.calls("Authenticate").await - before,
        1,
        "a wrong password costs etcd as much"
    );
}

#[tokio::test]
async fn a_user_who_may_not_is_told_so() {
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    etcd.enable_auth(PASSWORD).await;
    etcd.etcdctl(&["user", "add", "guest:pass"]).await;
    let config = EtcdConfig {
        user: Some("guest".to_owned()),
        ..logged_in(&etcd, "pass")
    };
    let store = store(config);
    for error in [
        store.read("/p/").await.map(|_| ()).unwrap_err(),
        store
            .watch("/p/", Revision(1))
            .await
            .map(|_| ())
            .unwrap_err(),
    ] {
        assert!(
            matches!(error, StoreError::Unauthenticated { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("permission denied"), "{error}");
    }
}

/// The file is read for every login, so a password that was corrected needs no restart.
#[tokio::test]
async fn a_corrected_password_file_is_found() {
    let mut etcd = Etcd::start(EtcdOptions::default()).await;
    etcd.enable_auth(PASSWORD).await;
    let file = etcd.folder().join("password");
    let store = store(EtcdConfig {
        password: Some(Password::in_file(&file)),
        ..logged_in(&etcd, "")
    });
    let gone = store.read("/p/").await.unwrap_err().to_string();
    assert!(gone.contains("can't read the password file"), "{gone}");
    std::fs::write(&file, "wrong\n").unwrap();
    eventually_refused(&store).await;
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    crate::harness::programs::eventually("the new password to be used", || async {
        store.read("/p/").await.ok().map(drop)
    })
    .await;
}

async fn eventually_refused(store: &Arc<dyn Store>) {
    crate::harness::programs::eventually("the wrong password to be refused", || async {
        let error = store.read("/p/").await.unwrap_err().to_string();
        error.contains("authentication failed").then_some(())
    })
    .await;
}
