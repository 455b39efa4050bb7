//! Owns the way from options to an open store. Must not know: what is kept there.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::cli::{StoreArgs, StoreUrl};
use crate::store::Store;
use crate::store::embedded::{EmbeddedOptions, EmbeddedStore};
use crate::store::etcd::{EtcdConfig, EtcdStore, Password};

/// Opens the store that the options name. etcd is not contacted yet.
///
/// # Errors
/// The options contradict each other, or the embedded store can't be opened.
pub async fn open_store(args: &StoreArgs) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match &args.store {
        StoreUrl::Embedded(path) => {
            Arc::new(EmbeddedStore::open(path, EmbeddedOptions::default()).await?)
        }
        StoreUrl::Etcd(endpoints) => {
            let password = args
                .etcd_password_file
                .as_deref()
                .map(password_in)
                .transpose()?;
            Arc::new(EtcdStore::new(EtcdConfig {
                endpoints: endpoints.clone(),
                user: args.etcd_user.clone(),
                password,
                ca: args.etcd_ca_file.clone(),
                cert: args.etcd_cert_file.clone(),
                key: args.etcd_key_file.clone(),
                ..EtcdConfig::default()
            })?)
        }
    })
}

/// It is read here once, so that one that is not there is found at the start.
fn password_in(file: &Path) -> anyhow::Result<Password> {
    let password = Password::in_file(file);
    password
        .read()
        .with_context(|| format!("--etcd-password-file {}", file.display()))?;
    Ok(password)
}
