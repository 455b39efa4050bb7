//! Owns a store under test, and what can be done to it from outside: forget, kill, open again.
//! Must not know: what is tested.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bellwether_server::store::embedded::{EmbeddedOptions, EmbeddedStore};
use bellwether_server::store::etcd::{EtcdConfig, EtcdStore};
use bellwether_server::store::{Commit, Revision, Store, Txn, Write};
use bytes::Bytes;
use tempfile::TempDir;

use crate::harness::etcd::{Etcd, EtcdOptions};

/// Little history, so that it is forgotten by a few writes.
pub(crate) const HISTORY_REVISIONS: u64 = 2000;

/// Set for the child process that writes until it is killed.
pub(crate) const CHILD_FOLDER: &str = "BELLWETHER_TEST_STORE";

/// How many writes are confirmed before the kill.
const CONFIRMED: usize = 100;

/// A store and what is behind it.
pub(crate) struct Subject {
    behind: Behind,
    store: Option<Arc<dyn Store>>,
}

enum Behind {
    Etcd(Box<Etcd>),
    Embedded(TempDir),
}

impl Subject {
    /// A fresh etcd.
    pub(crate) async fn etcd() -> Self {
        let etcd = Etcd::start(EtcdOptions::default()).await;
        Self {
            store: Some(Arc::new(etcd_store(&etcd))),
            behind: Behind::Etcd(Box::new(etcd)),
        }
    }

    /// A fresh file.
    pub(crate) async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: Some(open(&folder).await),
            behind: Behind::Embedded(folder),
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(self.store.as_ref().expect("it is open"))
    }

    /// Makes the store forget all history before the present.
    pub(crate) async fn forget_history(&self) {
        match &self.behind {
            Behind::Etcd(etcd) => {
                let (_, now) = self.store().get("/").await.unwrap();
                etcd.etcdctl(&["compact", &now.to_string()]).await;
            }
            Behind::Embedded(_) => {
                for n in 0..HISTORY_REVISIONS {
                    put(&self.store(), "/elsewhere", &n.to_string()).await;
                }
            }
        }
    }

    /// Writes until a kill ends it, and says which keys were confirmed at which revision. Then the
    /// store is open again.
    pub(crate) async fn write_until_killed(&mut self) -> Vec<(String, Revision)> {
        match &mut self.behind {
            Behind::Etcd(etcd) => {
                let store = self.store.as_ref().unwrap();
                let mut confirmed = Vec::new();
                while confirmed.len() < CONFIRMED {
                    let key = format!("/kill/{}", confirmed.len());
                    confirmed.push((key.clone(), put(store, &key, "x").await));
                }
                etcd.kill();
                etcd.restart().await;
                confirmed
            }
            Behind::Embedded(folder) => {
                self.store = None;
                let confirmed = kill_a_child_that_writes(folder);
                self.store = Some(open(folder).await);
                confirmed
            }
        }
    }
}

/// A store on that etcd.
pub(crate) fn etcd_store(etcd: &Etcd) -> EtcdStore {
    let config = EtcdConfig {
        endpoints: vec![etcd.endpoint()],
        ..EtcdConfig::default()
    };
    EtcdStore::new(config).unwrap()
}

async fn open(folder: &TempDir) -> Arc<dyn Store> {
    let options = EmbeddedOptions {
        history_revisions: HISTORY_REVISIONS,
        ..EmbeddedOptions::default()
    };
    Arc::new(EmbeddedStore::open(folder.path(), options).await.unwrap())
}

/// This very binary, running one test that does nothing unless it is told the folder.
fn kill_a_child_that_writes(folder: &TempDir) -> Vec<(String, Revision)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::embedded::child_that_writes_until_killed"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD_FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut confirmed = Vec::new();
    for line in lines.map_while(Result::ok) {
        if let Some((key, revision)) = line
            .strip_prefix("confirmed ")
            .and_then(|rest| rest.split_once(' '))
        {
            confirmed.push((key.to_owned(), Revision(revision.parse().unwrap())));
        }
        if confirmed.len() == CONFIRMED {
            // SIGKILL. What it had written to the pipe by then is confirmed, too, and is read on.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    confirmed
}

/// Puts one key without any condition.
pub(crate) async fn put(store: &Arc<dyn Store>, key: &str, value: &str) -> Revision {
    let write = Write::Put {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        lease: None,
    };
    apply(store, vec![write]).await
}

/// Applies writes without any condition.
pub(crate) async fn apply(store: &Arc<dyn Store>, writes: Vec<Write>) -> Revision {
    let txn = Txn {
        guards: Vec::new(),
        writes,
    };
    match store.commit(txn).await.unwrap() {
        Commit::Applied(revision) => revision,
        Commit::Conflict => panic!("a transaction without guards can't conflict"),
    }
}
