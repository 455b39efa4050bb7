//! Owns the one connection to etcd that all callers share: which member, who we are there, when to leave it.
//! Must not know: what is asked of it.
//!
//! One member is used at a time, so a server is one connection and one login however many call it at
//! once. Whoever finds it unusable drops it; the first who then needs one dials, and the others wait
//! for the outcome and share it, a failure too. A token that has ended is the same case: the member is
//! left and found again, which reads the certificates again and logs in once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use etcd_client::{
    Certificate, Client, ConnectOptions, Identity, KvClient, TlsOptions, WatchClient,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tonic::Code;

use super::config::{EtcdConfig, Password};
use super::failure::Failure;
use super::version::Version;
use crate::store::StoreError;

/// Bytes of one message from etcd. tonic's own limit of 4 MiB is less than a page of large values or
/// one revision that deletes many keys; etcd sends no more than 2 GiB.
const MAX_MESSAGE_BYTES: usize = 1 << 30;

/// A member we are connected to and known at.
pub(super) struct Member {
    endpoint: usize,
    /// `None`: we may not ask.
    pub(super) version: Option<Version>,
    pub(super) client: Client,
    pub(super) kv: KvClient,
    pub(super) watch: WatchClient,
}

/// What to do when a member fails in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    /// Asking twice does no harm: ask the next member.
    Elsewhere,
    /// Nobody knows whether it was done. The caller must look.
    Never,
}

/// The way to the cluster.
pub(super) struct Connection {
    config: EtcdConfig,
    current: ArcSwapOption<Member>,
    /// The endpoint to dial first.
    next: AtomicUsize,
    /// Held by the one who dials. What it keeps is the outcome that those who waited share.
    dial: Mutex<Option<(Instant, StoreError)>>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new(config: EtcdConfig) -> Self {
        Self {
            config,
            current: ArcSwapOption::empty(),
            next: AtomicUsize::new(0),
            dial: Mutex::new(None),
        }
    }

    pub(super) fn config(&self) -> &EtcdConfig {
        &self.config
    }

    /// Makes a call, bounded in time. Logs in again if the token has ended, and goes to another member
    /// if this one is gone and the call can be repeated.
    pub(super) async fn call<T, F, A>(&self, retry: Retry, ask: F) -> Result<T, StoreError>
    where
        F: Fn(Arc<Member>) -> A + Send,
        A: Future<Output = Result<T, Failure>> + Send,
    {
        self.try_call(retry, ask)
            .await
            .map_err(Failure::into_store_error)
    }

    /// [`Self::call`] for a caller who can do something about the failure.
    pub(super) async fn try_call<T, F, A>(&self, retry: Retry, ask: F) -> Result<T, Failure>
    where
        F: Fn(Arc<Member>) -> A + Send,
        A: Future<Output = Result<T, Failure>> + Send,
    {
        let mut logins_left = 1;
        let mut members_left = match retry {
            Retry::Elsewhere => self.config.endpoints.len(),
            Retry::Never => 0,
        };
        loop {
            let member = self.member().await.map_err(Failure::Final)?;
            let patience = self.config.patience.request;
            let answer = timeout(patience, ask(Arc::clone(&member))).await;
            let failure = match answer {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Gone(format!("no answer within {patience:?}")),
            };
            match &failure {
                Failure::Login(_) if logins_left > 0 && self.config.user.is_some() => {
                    logins_left -= 1;
                    self.leave(&member, member.endpoint);
                }
                Failure::Gone(_) => {
                    self.leave(&member, member.endpoint + 1);
                    if members_left == 0 {
                        return Err(failure);
                    }
                    members_left -= 1;
                }
                Failure::Login(_) | Failure::OutOfRange(_) | Failure::Final(_) => {
                    return Err(failure);
                }
            }
        }
    }

    /// A watch has found out that the member does not answer.
    pub(super) fn report_gone(&self, member: &Arc<Member>) {
        self.leave(member, member.endpoint + 1);
    }

    /// Drops the member, unless somebody else did and there is a newer one.
    fn leave(&self, member: &Arc<Member>, next: usize) {
        let before = self.current.compare_and_swap(member, None);
        if before
            .as_ref()
            .is_some_and(|before| Arc::ptr_eq(before, member))
        {
            tracing::debug!(
                endpoint = self.endpoint(member.endpoint),
                "left etcd member"
            );
            self.next.store(next, Ordering::Relaxed);
        }
    }

    async fn member(&self) -> Result<Arc<Member>, StoreError> {
        if let Some(member) = self.current.load_full() {
            return Ok(member);
        }
        let waiting_since = Instant::now();
        let mut outcome = self.dial.lock().await;
        if let Some(member) = self.current.load_full() {
            return Ok(member);
        }
        if let Some((at, error)) = outcome.as_ref()
            && *at >= waiting_since
        {
            return Err(error.clone());
        }
        match self.dial_any().await {
            Ok(member) => {
                let member = Arc::new(member);
                self.current.store(Some(Arc::clone(&member)));
                *outcome = None;
                Ok(member)
            }
            Err(error) => {
                *outcome = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Tries every endpoint once, in turn. A refused login is the same everywhere and is not repeated.
    async fn dial_any(&self) -> Result<Member, StoreError> {
        let first = self.next.load(Ordering::Relaxed);
        let mut reasons = Vec::new();
        for at in first..first + self.config.endpoints.len() {
            let at = at % self.config.endpoints.len();
            let patience = self.config.patience.connect + self.config.patience.request;
            let failure = match timeout(patience, self.dial_one(at)).await {
                Ok(Ok(member)) => return Ok(member),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Gone(format!("no answer within {patience:?}")),
            };
            match failure.into_store_error() {
                StoreError::Unavailable { reason } => {
                    reasons.push(format!("{}: {reason}", self.endpoint(at)));
                }
                other => return Err(other),
            }
        }
        Err(StoreError::Unavailable {
            reason: reasons.join("; "),
        })
    }

    async fn dial_one(&self, at: usize) -> Result<Member, Failure> {
        let options = self.options().await?;
        let endpoint = [self.endpoint(at)];
        let password = self
            .config
            .password
            .as_ref()
            .map(Password::read)
            .transpose();
        let user = self
            .config
            .user
            .clone()
            .zip(password.map_err(Failure::Final)?);
        let has_user = user.is_some();
        let login = match user {
            Some((user, password)) => options.clone().with_user(user, password),
            None => options.clone(),
        };
        let client = match Client::connect(endpoint, Some(login)).await {
            // Authentication is off there: go without, as etcd's own client does.
            Err(etcd_client::Error::GRpcStatus(status))
                if has_user && status.code() == Code::FailedPrecondition =>
            {
                Client::connect(endpoint, Some(options)).await?
            }
            Err(etcd_client::Error::GRpcStatus(status))
                if status.code() == Code::InvalidArgument =>
            {
                return Err(Failure::Final(StoreError::Unauthenticated {
                    reason: status.message().to_owned(),
                }));
            }
            other => other?,
        };
        // Connecting is lazy; asking for the version shows that the member is there.
        let version = match client
            .maintenance_client()
            .status()
            .await
            .map_err(Failure::from)
        {
            Ok(status) => Version::parse(status.version()),
            Err(Failure::Login(_) | Failure::Final(_)) => None,
            Err(failure) => return Err(failure),
        };
        tracing::info!(endpoint = endpoint[0], ?version, "connected to etcd");
        Ok(Member {
            endpoint: at,
            version,
            kv: client
                .kv_client()
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            watch: client
                .watch_client()
                .max_decoding_message_size(MAX_MESSAGE_BYTES),
            client,
        })
    }

    async fn options(&self) -> Result<ConnectOptions, Failure> {
        let patience = &self.config.patience;
        let options = ConnectOptions::new()
            .with_connect_timeout(patience.connect)
            .with_keep_alive(patience.ping, patience.pong)
            .with_keep_alive_while_idle(true)
            // A member that has lost its leader must say so instead of staying silent.
            .with_require_leader(true)
            .with_tcp_keepalive(patience.ping.max(Duration::from_secs(1)));
        Ok(match self.tls().await? {
            Some(tls) => options.with_tls(tls),
            None => options,
        })
    }

    async fn tls(&self) -> Result<Option<TlsOptions>, Failure> {
        let Some(ca) = &self.config.ca else {
            return Ok(None);
        };
        let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca).await?));
        if let Some((cert, key)) = self.config.cert.as_ref().zip(self.config.key.as_ref()) {
            tls = tls.identity(Identity::from_pem(read(cert).await?, read(key).await?));
        }
        Ok(Some(tls))
    }

    fn endpoint(&self, at: usize) -> &str {
        &self.config.endpoints[at % self.config.endpoints.len()]
    }
}

/// Unavailable rather than refused: a rotation replaces files, and the next look may find them.
async fn read(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    tokio::fs::read(path)
        .await
        .map_err(|error| Failure::Gone(format!("can't read {}: {error}", path.display())))
}
