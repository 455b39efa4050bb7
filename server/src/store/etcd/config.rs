//! Owns how an etcd cluster is reached, and how long anything there may take.
//! Must not know: connections.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::store::StoreError;

/// How to reach a cluster and who we are there.
#[derive(Clone, Debug, Default)]
pub struct EtcdConfig {
    /// The members' client URLs. One is used at a time, the next when it fails.
    pub endpoints: Vec<String>,
    /// User name; needs a password. With a client certificate neither is needed: etcd takes the
    /// certificate's common name.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Password>,
    /// PEM file of the authority that signs the members' certificates. Wanted for `https`.
    pub ca: Option<PathBuf>,
    /// PEM file of our certificate. Read again for every new connection, so a rotated one is found.
    pub cert: Option<PathBuf>,
    /// PEM file of the certificate's key.
    pub key: Option<PathBuf>,
    /// How long things may take.
    pub patience: Patience,
}

/// A password that no log can show.
#[derive(Clone)]
pub struct Password(Secret);

#[derive(Clone)]
enum Secret {
    Text(String),
    File(PathBuf),
}

impl Password {
    /// Wraps it.
    #[must_use]
    pub fn new(password: impl Into<String>) -> Self {
        Self(Secret::Text(password.into()))
    }

    /// What a file holds, without the end of its line. It is read again for every login, so a rotated
    /// one is found.
    #[must_use]
    pub fn in_file(path: impl Into<PathBuf>) -> Self {
        Self(Secret::File(path.into()))
    }

    /// Unwraps it, for the one call that needs it.
    ///
    /// # Errors
    /// [`StoreError::Unauthenticated`]: its file can't be read.
    pub fn read(&self) -> Result<String, StoreError> {
        match &self.0 {
            Secret::Text(text) => Ok(text.clone()),
            Secret::File(path) => match std::fs::read_to_string(path) {
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => Err(StoreError::Unauthenticated {
                    reason: format!("can't read the password file {}: {error}", path.display()),
                }),
            },
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How long things may take. The defaults suit a cluster in the same region.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a connection to be made.
    pub connect: Duration,
    /// For an answer, of one page when reading many. etcd itself gives up after 5 s and an election.
    pub request: Duration,
    /// Between HTTP/2 pings. etcd closes connections that ping more often than every 5 s.
    pub ping: Duration,
    /// For a ping's answer.
    pub pong: Duration,
    /// Silence on a watch before it is asked whether it still lives. A connection that answers pings
    /// may still have lost its watch: behind a proxy, or at a member that is stuck.
    pub idle: Duration,
    /// For the watch's answer.
    pub probe: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            request: Duration::from_secs(10),
            ping: Duration::from_secs(10),
            pong: Duration::from_secs(3),
            idle: Duration::from_secs(15),
            probe: Duration::from_secs(10),
        }
    }
}

impl EtcdConfig {
    /// Finds what can't work before anything is contacted.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the reason.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let refuse = |reason: String| Err(StoreError::Refused { reason });
        if self.endpoints.is_empty() {
            return refuse("no etcd endpoint is configured".to_owned());
        }
        if self.user.is_some() != self.password.is_some() {
            return refuse("etcd needs both a user and a password, or neither".to_owned());
        }
        if self.cert.is_some() != self.key.is_some() {
            return refuse(
                "etcd needs both a client certificate and its key, or neither".to_owned(),
            );
        }
        if self.cert.is_some() && self.ca.is_none() {
            return refuse("a client certificate needs the ca of the etcd members".to_owned());
        }
        for endpoint in &self.endpoints {
            let secure = endpoint.starts_with("https://");
            if !secure && !endpoint.starts_with("http://") {
                return refuse(format!(
                    "etcd endpoint {endpoint:?} must start with http:// or https://"
                ));
            }
            if secure != self.ca.is_some() {
                return refuse(format!(
                    "etcd endpoint {endpoint:?}: https and a configured ca go together"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_that_can_not_work_is_named() {
        let good = EtcdConfig {
            endpoints: vec!["http://a:2379".into()],
            ..EtcdConfig::default()
        };
        assert!(good.check().is_ok());
        let mut bad = Vec::new();
        bad.push((EtcdConfig::default(), "no etcd endpoint"));
        let mut config = good.clone();
        config.user = Some("root".into());
        bad.push((config, "user and a password"));
        let mut config = good.clone();
        config.ca = Some("ca.pem".into());
        bad.push((config, "go together"));
        let mut config = good.clone();
        config.endpoints = vec!["https://a".into()];
        bad.push((config, "go together"));
        let mut config = good.clone();
        config.endpoints = vec!["a:2379".into()];
        bad.push((config, "must start with http"));
        let mut config = good;
        config.cert = Some("c.pem".into());
        bad.push((config, "certificate and its key"));
        for (config, wanted) in bad {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(wanted), "{error} instead of {wanted}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let config = EtcdConfig {
            password: Some(Password::new("hunter2")),
            ..EtcdConfig::default()
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
