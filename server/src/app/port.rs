//! Owns the way from options to the discovery port: TLS, and what vouches for nodes. Must not know: how
//! nodes are served.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bellwether_xds::{Tls, files};
use tokio::sync::watch;
use tracing::warn;

use crate::admission::{Identities, Rules, Tokens};
use crate::cli::PortArgs;
use crate::fleets::Definition;

/// TLS of the discovery port, if it was asked for.
pub(super) async fn tls(args: &PortArgs) -> anyhow::Result<Option<Tls>> {
    let Some(files) = args.tls() else {
        return Ok(None);
    };
    let tls = Tls::from_files(&files).await;
    Ok(Some(tls.context("can't set up TLS for --xds-listen")?))
}

/// What vouches for nodes. Says what is better not done.
pub(super) async fn identities(
    args: &PortArgs,
    fleets: &BTreeMap<String, Definition>,
) -> anyhow::Result<Identities> {
    let rules = match &args.xds_identity_file {
        Some(path) => Some(
            text(path, Rules::read)
                .await
                .context("--xds-identity-file")?,
        ),
        None => None,
    };
    let tokens = match &args.xds_token_file {
        Some(path) => Some(text(path, Tokens::read).await.context("--xds-token-file")?),
        None => None,
    };
    if let Some(rules) = &rules {
        look_at("--xds-identity-file", &rules.borrow().fleets(), fleets);
    }
    if let Some(tokens) = &tokens {
        look_at("--xds-token-file", &tokens.borrow().fleets(), fleets);
    }
    let is_local = args.xds_listen.ip().is_loopback();
    if tokens.is_some() && args.tls().is_none() && !is_local {
        warn!("--xds-token-file without TLS: whoever sees the network sees the tokens");
    }
    let nobody_is_known = rules.is_none() && tokens.is_none() && args.xds_client_ca_file.is_none();
    if nobody_is_known && !args.secrets_for_anyone() {
        warn!(
            "no proxy gets secrets: --xds-listen is not a loopback address, and nothing says who a proxy is; see --xds-client-ca-file, --xds-token-file and --xds-secrets"
        );
    }
    Ok(Identities {
        rules,
        tokens,
        changes: None,
    })
}

/// Says what must be a mistake.
fn look_at(option: &str, named: &BTreeSet<&str>, fleets: &BTreeMap<String, Definition>) {
    if named.is_empty() {
        warn!("{option} names nobody: every proxy is refused");
    }
    for fleet in named.iter().filter(|fleet| !fleets.contains_key(**fleet)) {
        warn!("{option} names fleet {fleet:?}, which this server was not started with");
    }
}

async fn text<T: Send + Sync + 'static, E: std::error::Error + 'static>(
    path: &Path,
    read: fn(&str) -> Result<T, E>,
) -> Result<watch::Receiver<Arc<T>>, files::FileError> {
    files::follow(vec![path.to_owned()], move |contents| {
        let text = contents.first().map_or(&[][..], Vec::as_slice);
        match std::str::from_utf8(text) {
            Ok(text) => read(text).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}
