//! Owns which fleets are served: follows their definitions and settings, and starts and stops what each
//! of them needs while the server runs. Must not know: how any of it is served.
//!
//! Until the definitions were read, nobody is served anything: a fleet that is staged must not have its
//! draft served as if it were direct.

mod definition;
mod desired;
mod tenant;

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_xds::nodes::Nodes;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::fleet::Fleet;
use crate::keys;
use crate::settings::AllSettings;
use crate::store::Store;
use crate::store::follow::{FollowOptions, Follower, Operator, follow};
pub use definition::{BadDefinition, Definition, Mode, PolicyChoice, check_name};
pub use desired::{Desired, Resolved};
use tenant::Tenant;

/// The fleets that are served, by name; latest wins.
pub type Served = watch::Receiver<Arc<BTreeMap<String, Fleet>>>;

/// What a server is started with.
#[derive(Debug)]
pub struct Config {
    /// The fleets of the command line.
    pub fixed: BTreeMap<String, Definition>,
    /// Where definitions are, and every fleet that names no other.
    pub store: Arc<dyn Store>,
    /// The other stores by the names that definitions know them by.
    pub others: BTreeMap<String, Arc<dyn Store>>,
    /// How to follow them.
    pub options: FollowOptions,
    /// The connected nodes, which are counted where a fleet is staged.
    pub nodes: Nodes,
}

/// What the rest of the server may know of all fleets. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Those that are served.
    pub served: Served,
    /// What is known of definitions; `None` until they were read.
    pub desired: watch::Receiver<Option<Arc<Desired>>>,
    /// Where definitions are.
    pub store: Arc<dyn Store>,
    /// Where an operator says that the store is to be believed in what it says of fleets and settings.
    pub operators: Vec<Operator>,
}

/// Does the work.
struct Keeper {
    config: Config,
    definitions: Follower,
    setting_keys: Follower,
    settings: AllSettings,
    known: Desired,
    tenants: BTreeMap<String, Tenant>,
    served: watch::Sender<Arc<BTreeMap<String, Fleet>>>,
    desired: watch::Sender<Option<Arc<Desired>>>,
}

/// Starts to follow the fleets. It goes on until the process ends.
#[must_use]
pub fn follow_fleets(config: Config) -> Directory {
    let definitions = follow(config.store.clone(), keys::fleets_range(), config.options);
    let setting_keys = follow(config.store.clone(), keys::settings_range(), config.options);
    let operators = vec![definitions.operator.clone(), setting_keys.operator.clone()];
    let (served, reader) = watch::channel(Arc::default());
    let (desired, known) = watch::channel(None);
    let directory = Directory {
        served: reader,
        desired: known,
        store: config.store.clone(),
        operators,
    };
    let others = config.others.keys().cloned().collect();
    let mut keeper = Keeper {
        known: Desired::new(config.fixed.clone(), others),
        config,
        definitions,
        setting_keys,
        settings: AllSettings::default(),
        tenants: BTreeMap::new(),
        served,
        desired,
    };
    keeper.settle();
    tokio::spawn(keeper.run());
    directory
}

impl Keeper {
    async fn run(mut self) {
        loop {
            tokio::select! {
                batch = self.definitions.batches.recv() => match batch {
                    Some(batch) => {
                        self.known.apply(&batch);
                        let changed = !batch.changes.is_empty() || self.desired.borrow().is_none();
                        if changed {
                            self.desired.send_replace(Some(Arc::new(self.known.clone())));
                            self.settle();
                        }
                    }
                    None => break,
                },
                batch = self.setting_keys.batches.recv() => match batch {
                    Some(batch) => self.settings.apply(&batch),
                    None => break,
                },
            }
        }
        error!(
            "nothing follows the definitions of fleets any more; those served now are served until the server is restarted"
        );
        // Whoever serves goes on with what there is.
        std::future::pending::<()>().await;
    }

    fn is_read(&self) -> bool {
        self.desired.borrow().is_some()
    }

    /// Makes what is served what it should be.
    fn settle(&mut self) {
        let resolved = self.known.resolve();
        for (name, problem) in &resolved.problems {
            warn!(
                fleet = name,
                problem, "fleet is not served as it is defined"
            );
        }
        let fleets = &resolved.fleets;
        let gone = |name: &str, tenant: &mut Tenant| {
            !fleets.get(name).is_some_and(|wanted| tenant.can_be(wanted))
        };
        for (name, _) in self
            .tenants
            .extract_if(.., |name, tenant| gone(name, tenant))
        {
            info!(
                fleet = name,
                "fleet is not served so any more; its nodes keep what they have"
            );
        }
        let is_read = self.is_read();
        for (name, definition) in resolved.fleets {
            let store = match &definition.store {
                Some(other) => self.config.others.get(other),
                None => Some(&self.config.store),
            };
            let Some(store) = store else {
                continue;
            };
            let tenant = self.tenants.entry(name.clone()).or_insert_with(|| {
                let settings = self.settings.feed(&name);
                let Config { options, nodes, .. } = &self.config;
                Tenant::start(&name, definition.clone(), store, settings, *options, nodes)
            });
            tenant.define(definition);
            if is_read {
                tenant.serve();
            }
        }
        let fleets = self.tenants.iter();
        let fleets = fleets.map(|(name, tenant)| (name.clone(), tenant.fleet().clone()));
        self.served.send_replace(Arc::new(fleets.collect()));
    }
}
