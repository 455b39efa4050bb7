//! Owns the grammar of Bellwether's own keys, under `/bellwether/`. Must not know: values.

use std::fmt;

use super::{Item, OWN_PREFIX};

/// A key of our own that is written whenever something starts to refer to an item. Who deletes the item
/// guards it, so that a reference made in the meantime is not missed.
#[must_use]
pub fn reference_mark(fleet: &str, item: &Item) -> String {
    format!("{OWN_PREFIX}{fleet}/references/{item}")
}

/// What the keys of a fleet's releases start with.
#[must_use]
pub fn releases_range(fleet: &str) -> String {
    format!("{OWN_PREFIX}{fleet}/releases/")
}

/// The key of a release. Numbers are padded, so that keys are in their order.
#[must_use]
pub fn release(fleet: &str, seq: u64) -> String {
    format!("{}{seq:010}", releases_range(fleet))
}

/// The key of the newest release's number. It is written with every release, and with every deletion
/// of parts of releases, so that neither goes unnoticed by the other.
#[must_use]
pub fn newest_release(fleet: &str) -> String {
    format!("{OWN_PREFIX}{fleet}/newest-release")
}

/// What the keys of the parts of a fleet's releases start with.
#[must_use]
pub fn blobs_range(fleet: &str) -> String {
    format!("{OWN_PREFIX}{fleet}/blobs/")
}

/// The key of a part, by the digest of its bytes.
#[must_use]
pub fn blob(fleet: &str, digest: &dyn fmt::Display) -> String {
    format!("{}{digest}", blobs_range(fleet))
}

/// What the keys of all fleets' definitions start with.
#[must_use]
pub fn fleets_range() -> String {
    format!("{OWN_PREFIX}fleets/")
}

/// The key of a fleet's definition.
#[must_use]
pub fn fleet(name: &str) -> String {
    format!("{}{name}", fleets_range())
}

/// Whose definition a key holds. `None`: it is no key of a definition.
#[must_use]
pub fn fleet_of_definition(key: &str) -> Option<&str> {
    key.strip_prefix(&fleets_range())
}

/// What the keys of all fleets' settings start with.
#[must_use]
pub fn settings_range() -> String {
    format!("{OWN_PREFIX}settings/")
}

/// The key of a fleet's settings.
#[must_use]
pub fn settings(fleet: &str) -> String {
    format!("{}{fleet}", settings_range())
}

/// Whose settings a key holds. `None`: it is no key of settings.
#[must_use]
pub fn fleet_of_settings(key: &str) -> Option<&str> {
    key.strip_prefix(&settings_range())
}

/// The one key that decides which release each node of a fleet gets.
#[must_use]
pub fn state(fleet: &str) -> String {
    format!("{OWN_PREFIX}{fleet}/state")
}

/// What the keys of a fleet's history start with.
#[must_use]
pub fn audit_range(fleet: &str) -> String {
    format!("{OWN_PREFIX}{fleet}/audit/")
}

/// What the keys of the addresses of a fleet's services start with.
#[must_use]
pub fn instances_range(fleet: &str) -> String {
    format!("{OWN_PREFIX}{fleet}/instances/")
}

/// The key of one of them. It goes with the lease of whoever registered it.
#[must_use]
pub fn instance(fleet: &str, service: &str, id: &str) -> String {
    format!("{}{service}/{id}", instances_range(fleet))
}

/// The key that says that an instance is known, whether it lives or not. It goes with no lease: only a
/// drain, or others that took the instance's place, take it away.
#[must_use]
pub fn known_instance(fleet: &str, service: &str, id: &str) -> String {
    format!("{}{KNOWN}", instance(fleet, service, id))
}

/// What comes after the key of an instance in the key that says that it is known.
const KNOWN: &str = "/known";

/// Bytes of a service's name.
const SERVICE_BYTES_MAX: usize = 128;

/// Bytes of an instance's id: a host name and a port, and some.
const INSTANCE_BYTES_MAX: usize = 280;

/// Whether services may be called so: letters, digits and `-_.:`, no dot first.
#[must_use]
pub fn is_service(name: &str) -> bool {
    is_word(name, SERVICE_BYTES_MAX, b"-_.:")
}

/// Whether an instance may have this id: as services, and `[]@` besides.
#[must_use]
pub fn is_instance(id: &str) -> bool {
    is_word(id, INSTANCE_BYTES_MAX, b"-_.:[]@")
}

fn is_word(text: &str, most: usize, more: &[u8]) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
    !text.is_empty() && text.len() <= most && !text.starts_with('.') && text.bytes().all(good)
}

/// What a key says of an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceKey {
    /// Whose.
    pub service: String,
    /// Which.
    pub id: String,
    /// It says only that the instance is known.
    pub known: bool,
}

impl InstanceKey {
    /// Reads a key under [`instances_range`]. `None`: it is no key of an instance.
    #[must_use]
    pub fn parse(fleet: &str, key: &str) -> Option<Self> {
        let rest = key.strip_prefix(&instances_range(fleet))?;
        let (rest, known) = match rest.strip_suffix(KNOWN) {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (service, id) = rest.split_once('/')?;
        (is_service(service) && is_instance(id)).then(|| Self {
            service: service.to_owned(),
            id: id.to_owned(),
            known,
        })
    }
}

/// What the keys of all servers' reports start with.
#[must_use]
pub fn replicas_range() -> String {
    format!("{OWN_PREFIX}replicas/")
}

/// The key of a server's report. It goes with the server's lease.
#[must_use]
pub fn replica(id: &str) -> String {
    format!("{}{id}", replicas_range())
}

/// The key of the server that leads. It goes with the server's lease.
#[must_use]
pub fn leader() -> String {
    format!("{OWN_PREFIX}leader")
}

/// Words that stand where names of fleets do, under [`OWN_PREFIX`].
pub const RESERVED: [&str; 4] = ["fleets", "settings", "replicas", "leader"];
