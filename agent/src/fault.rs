//! Owns faults on purpose, so that tests can show what becomes of a configuration that kills its agent.
//! It is compiled into debug builds only. Must not know: what a route means.
//!
//! `BELLWETHER_AGENT_FAULT=crash-on=WORD,hang-on=WORD,panic-on=WORD,delay=2s` in the environment: a route
//! whose body holds the word lets the process abort, or blocks every thread of its runtime, as long after
//! it was put in force. Without a delay it happens while it is put in force, and so does a panic always.

use std::time::Duration;

use bellwether::name::TypeUrl;
use tokio::runtime::Handle;
use tracing::{error, warn};

use crate::config::parse_duration;

const VARIABLE: &str = "BELLWETHER_AGENT_FAULT";

/// What is to go wrong.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    crash_on: String,
    hang_on: String,
    panic_on: String,
    delay: Duration,
}

impl Fault {
    /// As the environment says; nothing goes wrong if it says nothing.
    #[must_use]
    pub fn from_environment() -> Self {
        let mut fault = Self::default();
        let text = std::env::var(VARIABLE).unwrap_or_default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("crash-on", word)) => word.clone_into(&mut fault.crash_on),
                Some(("hang-on", word)) => word.clone_into(&mut fault.hang_on),
                Some(("panic-on", word)) => word.clone_into(&mut fault.panic_on),
                Some(("delay", time)) => fault.delay = parse_duration(time).unwrap_or_default(),
                _ => warn!(part, "{VARIABLE} has a part that is not understood"),
            }
        }
        fault
    }

    /// A resource is being put in force.
    pub fn touches(&self, type_url: &TypeUrl, body: &[u8]) {
        let has = |word: &str| {
            let word = word.as_bytes();
            !word.is_empty() && body.windows(word.len()).any(|at| at == word)
        };
        let crashes = has(&self.crash_on);
        assert!(!has(&self.panic_on), "a fault on purpose");
        if *type_url != TypeUrl::ROUTE || !(crashes || has(&self.hang_on)) {
            return;
        }
        let runtime = Handle::current();
        let strike = move || {
            error!(crashes, "a fault on purpose");
            if crashes {
                std::process::abort();
            }
            // One for each thread, and as many again for those that are busy just now.
            for _ in 0..2 * runtime.metrics().num_workers() {
                runtime.spawn(async { block() });
            }
        };
        if self.delay.is_zero() {
            strike();
            if !crashes {
                block();
            }
        } else {
            let delay = self.delay;
            let later = move || {
                std::thread::sleep(delay);
                strike();
            };
            drop(std::thread::spawn(later));
        }
    }
}

fn block() {
    loop {
        std::thread::park();
    }
}
