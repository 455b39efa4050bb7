//! Owns what settings each fleet has: one watch of the store for all of them, and of each the last good
//! value. Must not know: what becomes of settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_envoy::Settings;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::keys;
use crate::store::follow::{FollowOptions, Follower, Operator, follow};
use crate::store::{Batch, Change, KeyValue, Store};

/// The settings of one fleet; `None` until the store has said whether it has any.
pub type SettingsFeed = watch::Receiver<Option<Arc<InForce>>>;

/// Settings in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// What they are.
    pub settings: Settings,
    /// What there is to say of them.
    pub status: SettingsStatus,
}

/// What operators see of a fleet's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsStatus {
    /// The store revision of the last value; 0: there is none, the defaults are in force.
    pub revision: u64,
    /// Why that value is not in force; the one before is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The settings of all fleets.
#[derive(Clone, Debug, Default)]
pub struct AllSettings {
    /// By fleet.
    pub feeds: BTreeMap<String, SettingsFeed>,
    /// Where an operator says that the store is to be believed.
    pub operator: Operator,
}

/// Starts to follow the settings of these fleets. It goes on until the process ends.
pub fn follow_settings<'a>(
    fleets: impl IntoIterator<Item = &'a String>,
    store: &Arc<dyn Store>,
    options: FollowOptions,
) -> AllSettings {
    let follower = follow(store.clone(), keys::settings_range(), options);
    let operator = follower.operator.clone();
    let mut feeds = BTreeMap::new();
    let mut senders = BTreeMap::new();
    for fleet in fleets {
        let (sender, feed) = watch::channel(None);
        feeds.insert(fleet.clone(), feed);
        senders.insert(fleet.clone(), sender);
    }
    tokio::spawn(run(follower, senders));
    AllSettings { feeds, operator }
}

type Senders = BTreeMap<String, watch::Sender<Option<Arc<InForce>>>>;

async fn run(mut follower: Follower, senders: Senders) {
    while let Some(batch) = follower.batches.recv().await {
        apply(&batch, &senders);
    }
    error!("nothing follows the settings of fleets any more; the last ones are in force");
    // Whoever looks at them goes on with what there is.
    std::future::pending::<()>().await;
}

fn apply(batch: &Batch, senders: &Senders) {
    for change in &batch.changes {
        let key = match change {
            Change::Put(kv) => &kv.key,
            Change::Delete { key } => key,
        };
        // Settings of a fleet that another server has are no concern of ours.
        let fleet = keys::fleet_of_settings(key);
        let Some((fleet, sender)) = fleet.and_then(|fleet| senders.get_key_value(fleet)) else {
            continue;
        };
        let known = sender.borrow().clone().unwrap_or_default();
        let next = match change {
            Change::Put(kv) => put(fleet, &known, kv),
            Change::Delete { .. } => {
                info!(fleet, "settings deleted, the defaults are in force");
                InForce::default()
            }
        };
        sender.send_replace(Some(Arc::new(next)));
    }
    // Everything was read, and nothing was there.
    for sender in senders.values() {
        sender.send_if_modified(|settings| {
            let unsaid = settings.is_none();
            settings.get_or_insert_default();
            unsaid
        });
    }
}

fn put(fleet: &str, known: &InForce, kv: &KeyValue) -> InForce {
    let revision = kv.mod_revision.0;
    match Settings::parse(&kv.value) {
        Ok(settings) => {
            info!(fleet, revision, "settings in force");
            InForce {
                settings,
                status: SettingsStatus {
                    revision,
                    problem: None,
                },
            }
        }
        Err(error) => {
            let reason = error.to_string();
            warn!(fleet, revision, reason, "settings are not in force");
            InForce {
                settings: known.settings.clone(),
                status: SettingsStatus {
                    revision,
                    problem: Some(reason),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::Revision;

    fn put(fleet: &str, value: &'static str, revision: u64) -> Change {
        Change::Put(KeyValue {
            key: keys::settings(fleet),
            value: Bytes::from_static(value.as_bytes()),
            create_revision: Revision(revision),
            mod_revision: Revision(revision),
            lease: None,
        })
    }

    fn said(senders: &Senders, changes: Vec<Change>) -> Option<InForce> {
        let batch = Batch {
            revision: Revision(9),
            changes,
        };
        apply(&batch, senders);
        senders["a"].borrow().as_deref().cloned()
    }

    #[test]
    fn a_bad_value_keeps_the_last_good_one() {
        let senders: Senders = [("a".to_owned(), watch::channel(None).0)].into();
        let first = said(&senders, vec![put("b", "{}", 1)]).unwrap();
        assert_eq!(first, InForce::default());
        let good = said(&senders, vec![put("a", r#"{"trusted_hops":1}"#, 2)]).unwrap();
        assert_eq!((good.settings.trusted_hops, good.status.revision), (1, 2));
        let bad = said(&senders, vec![put("a", r#"{"trusted_hops":"x"}"#, 3)]).unwrap();
        assert_eq!((bad.settings.trusted_hops, bad.status.revision), (1, 3));
        assert!(bad.status.problem.unwrap().contains("settings"));
        let healed = said(&senders, vec![put("a", r#"{"trusted_hops":2}"#, 4)]).unwrap();
        assert_eq!(
            (healed.settings.trusted_hops, healed.status.problem),
            (2, None)
        );
        let key = keys::settings("a");
        let gone = said(&senders, vec![Change::Delete { key }]).unwrap();
        assert_eq!(gone, InForce::default());
    }
}
