//! Owns the addresses behind a host name, asked of the system's resolver now and then and never
//! while a request could go on with what is known. Must not know: connections.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer is used. The system's resolver does not tell the record's own time to live.
const FRESH: Duration = Duration::from_secs(30);

/// How long to wait before a name that failed is asked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// The addresses of one name.
#[derive(Debug)]
pub(super) struct Resolver {
    host: Box<str>,
    port: u16,
    known: Mutex<Known>,
    turn: AtomicUsize,
    /// Held while the resolver is asked for a name that has no address yet, so that it is asked once.
    first: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    addresses: Arc<[SocketAddr]>,
    /// When to ask again; `None` if never asked.
    until: Option<Instant>,
}

impl Resolver {
    pub(super) fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            known: Mutex::default(),
            turn: AtomicUsize::new(0),
            first: tokio::sync::Mutex::new(()),
        }
    }

    /// An address of the name, each in turn.
    pub(super) async fn address(self: &Arc<Self>) -> io::Result<SocketAddr> {
        if let Some(address) = self.known_address() {
            return Ok(address);
        }
        let _asking = self.first.lock().await;
        if let Some(address) = self.known_address() {
            return Ok(address);
        }
        if self.failed_just_now() {
            let text = "the name did not resolve a moment ago";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        self.ask().await?;
        self.known_address()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
    }

    /// What is known, even if it is old; then it is asked for again in the background.
    fn known_address(self: &Arc<Self>) -> Option<SocketAddr> {
        let now = Instant::now();
        let (addresses, old) = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let old = !known.addresses.is_empty() && known.until.is_some_and(|until| until <= now);
            if old {
                // One request asks, the others go on.
                known.until = Some(now + FRESH);
            }
            (known.addresses.clone(), old)
        };
        if old {
            let this = self.clone();
            tokio::spawn(async move { this.ask().await });
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        addresses.get(turn % addresses.len().max(1)).copied()
    }

    /// Those who waited while the resolver was asked don't each ask it again.
    fn failed_just_now(&self) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.until.is_some_and(|until| Instant::now() < until)
    }

    async fn ask(&self) -> io::Result<()> {
        let answer = tokio::net::lookup_host((&*self.host, self.port)).await;
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(addresses) => {
                let mut addresses: Vec<SocketAddr> = addresses.collect();
                addresses.sort_unstable();
                addresses.dedup();
                known.addresses = addresses.into();
                known.until = Some(now + FRESH);
                Ok(())
            }
            Err(error) => {
                // Old addresses are better than none.
                known.until = Some(now + PAUSE);
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_asked_for_once_and_its_addresses_take_turns() {
        let resolver = Arc::new(Resolver::new("localhost", 80));
        let first = resolver.address().await.unwrap();
        assert!(first.ip().is_loopback());
        let until = resolver.known.lock().unwrap().until;
        resolver.address().await.unwrap();
        assert_eq!(resolver.known.lock().unwrap().until, until);
    }

    #[tokio::test]
    async fn old_addresses_outlive_a_resolver_that_fails() {
        let resolver = Arc::new(Resolver::new("no such name.invalid", 80));
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        resolver.known.lock().unwrap().addresses = [address].into();
        assert!(resolver.ask().await.is_err());
        assert_eq!(resolver.address().await.unwrap(), address);
    }
}
