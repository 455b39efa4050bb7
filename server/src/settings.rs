//! Owns what settings each fleet has: of each the last good value. Must not know: what becomes of settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether_envoy::Settings;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::keys;
use crate::store::{Batch, Change, KeyValue};

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
#[derive(Debug, Default)]
pub struct AllSettings {
    /// Whether everything was read once.
    is_read: bool,
    /// Of fleets that have some, or that somebody has asked for.
    of: BTreeMap<String, watch::Sender<Option<Arc<InForce>>>>,
}

impl AllSettings {
    /// Follows those of a fleet.
    pub fn feed(&mut self, fleet: &str) -> SettingsFeed {
        self.sender(fleet).subscribe()
    }

    /// Takes changes of settings. The first batch is everything there is.
    pub fn apply(&mut self, batch: &Batch) {
        self.is_read = true;
        for change in &batch.changes {
            let key = match change {
                Change::Put(kv) => &kv.key,
                Change::Delete { key } => key,
            };
            let Some(fleet) = keys::fleet_of_settings(key) else {
                continue;
            };
            let sender = self.sender(fleet);
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
        for sender in self.of.values() {
            sender.send_if_modified(|settings| {
                let unsaid = settings.is_none();
                settings.get_or_insert_default();
                unsaid
            });
        }
    }

    fn sender(&mut self, fleet: &str) -> &watch::Sender<Option<Arc<InForce>>> {
        let none = || watch::channel(self.is_read.then(Arc::default)).0;
        self.of.entry(fleet.to_owned()).or_insert_with(none)
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

    fn said(settings: &mut AllSettings, changes: Vec<Change>) -> Option<InForce> {
        settings.apply(&Batch {
            revision: Revision(9),
            changes,
        });
        settings.feed("a").borrow().as_deref().cloned()
    }

    #[test]
    fn a_bad_value_keeps_the_last_good_one() {
        let mut senders = AllSettings::default();
        assert_eq!(senders.feed("a").borrow().as_deref(), None);
        let first = said(&mut senders, vec![put("b", "{}", 1)]).unwrap();
        assert_eq!(first, InForce::default());
        let good = said(&mut senders, vec![put("a", r#"{"trusted_hops":1}"#, 2)]).unwrap();
        assert_eq!((good.settings.trusted_hops, good.status.revision), (1, 2));
        let bad = said(&mut senders, vec![put("a", r#"{"trusted_hops":"x"}"#, 3)]).unwrap();
        assert_eq!((bad.settings.trusted_hops, bad.status.revision), (1, 3));
        assert!(bad.status.problem.unwrap().contains("settings"));
        let healed = said(&mut senders, vec![put("a", r#"{"trusted_hops":2}"#, 4)]).unwrap();
        assert_eq!(
            (healed.settings.trusted_hops, healed.status.problem),
            (2, None)
        );
        let key = keys::settings("a");
        let gone = said(&mut senders, vec![Change::Delete { key }]).unwrap();
        assert_eq!(gone, InForce::default());
    }
}
