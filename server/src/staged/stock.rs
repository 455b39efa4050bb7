//! Owns the releases at hand, ready to be served: read from the store once, made into the snapshots of
//! every kind of client. Must not know: which of them anybody gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use bellwether::content::Content;
use bellwether::snapshot::{Changes, Inconsistent, Snapshot};
use bellwether_envoy::Client;
use bellwether_rollout::content::{Item, View};
use bellwether_rollout::{Digest, Release};

use crate::lane::{Instances, Overlay};
use crate::views::SECRETS;

/// A release, ready to be served.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    /// What it is.
    pub(super) release: Release,
    /// What people call it: `shop@42`.
    pub(super) name: Arc<str>,
    /// Which of its endpoints are what services have as of now.
    overlay: Overlay,
    /// What is made for each kind of client, without what it shares with others.
    made: BTreeMap<View, Snapshot>,
    /// What each kind of client gets.
    pub(super) whole: BTreeMap<View, Snapshot>,
}

/// The releases at hand, by content.
#[derive(Clone, Debug, Default)]
pub(super) struct Stock {
    ready: BTreeMap<Digest, Arc<Ready>>,
}

/// The view of native resources that a view is served beside.
fn native_of(view: View) -> View {
    match view {
        View::Native | View::Envoy | View::Grpc => View::Native,
        View::NativeWithoutSecrets | View::EnvoyWithoutSecrets | View::GrpcWithoutSecrets => {
            View::NativeWithoutSecrets
        }
    }
}

/// The view of the same clients where something vouches for them. It stands before the other one in
/// [`View::ALL`].
fn vouched_for(view: View) -> View {
    match view {
        View::Native | View::NativeWithoutSecrets => View::Native,
        View::Envoy | View::EnvoyWithoutSecrets => View::Envoy,
        View::Grpc | View::GrpcWithoutSecrets => View::Grpc,
    }
}

/// Whom a view is translated for; `None`: it is native.
fn client_of(view: View) -> Option<Client> {
    match view {
        View::Native | View::NativeWithoutSecrets => None,
        View::Envoy | View::EnvoyWithoutSecrets => Some(Client::Envoy),
        View::Grpc | View::GrpcWithoutSecrets => Some(Client::Grpc),
    }
}

/// What a snapshot of a release is called: its name for people, and its content.
pub(super) fn name_of(name: &str, digest: &Digest) -> String {
    format!("{name} {digest}")
}

/// The content of a release, by what its snapshots are called.
pub(super) fn digest_in(name: &str) -> Option<Digest> {
    name.split_once(' ')?.1.parse().ok()
}

impl Ready {
    /// Makes a release ready. Made of an earlier one, so that they share what is the same, and so that the
    /// difference between the two costs what differs. Without one, what is made for clients that nothing
    /// vouches for is made of what the others get: it is nearly the same.
    ///
    /// # Errors
    /// What it holds makes no snapshot, which is a defect of the server that cut it.
    pub(super) fn of(
        release: Release,
        name: &str,
        label: &str,
        items: &[Item],
        earlier: Option<&Self>,
    ) -> Result<Self, Inconsistent> {
        let mut made: BTreeMap<View, Snapshot> = BTreeMap::new();
        for view in View::ALL {
            let before = earlier.and_then(|earlier| earlier.made.get(&view));
            let before = before.or_else(|| made.get(&vouched_for(view)));
            let before = before.cloned().unwrap_or_default();
            let of_view = items.iter().filter(|item| item.view == view);
            let resources = of_view.map(Item::resource).collect();
            let changes: Changes = before.changes_to(resources);
            made.insert(view, before.next(label, changes)?);
        }
        let mut ready = Self {
            release,
            name: name.into(),
            overlay: Overlay::of(&made[&View::Native]),
            whole: BTreeMap::new(),
            made,
        };
        ready.finish();
        Ok(ready)
    }

    /// What each kind of client gets.
    fn finish(&mut self) {
        let called = name_of(&self.name, &self.release.digest);
        let whole = View::ALL.map(|view| {
            let native = native_of(view);
            let snapshot = match native == view {
                true => self.made[&view].clone(),
                false => self.made[&native].with(&self.made[&view]),
            };
            let snapshot = match native {
                View::NativeWithoutSecrets => snapshot.denying(&SECRETS),
                _ => snapshot,
            };
            // It was cut of something, and what it holds is meant.
            (view, snapshot.trusted().called(called.as_str()))
        });
        self.whole = whole.into_iter().collect();
    }

    /// The services whose instances it shows.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.overlay.services()
    }

    /// The same with the instances that these services have now. Costs what they touch.
    ///
    /// # Errors
    /// What comes of it makes no snapshot, which is a defect of this server.
    pub(super) fn laid_over<'a>(
        &self,
        services: impl Iterator<Item = &'a str> + Clone,
        instances: &Instances,
        label: &str,
    ) -> Result<Self, Inconsistent> {
        let mut next = self.clone();
        for view in View::ALL {
            let made = &self.made[&view];
            let changes = match client_of(view) {
                None => self.overlay.native(services.clone(), instances),
                Some(client) => self
                    .overlay
                    .translated(client, made, services.clone(), instances),
            };
            next.made.insert(view, made.next(label, changes)?);
        }
        next.finish();
        Ok(next)
    }

    /// What an agent has that has all of it.
    pub(super) fn contents(&self) -> impl Iterator<Item = Content> {
        let native = [View::Native, View::NativeWithoutSecrets];
        native
            .into_iter()
            .filter_map(|view| self.whole.get(&view))
            .map(Content::of_snapshot)
    }
}

impl Stock {
    pub(super) fn get(&self, digest: &Digest) -> Option<&Arc<Ready>> {
        self.ready.get(digest)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Ready>> {
        self.ready.values()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// One to make another of.
    pub(super) fn any(&self) -> Option<Arc<Ready>> {
        let newest = self.ready.values().max_by_key(|ready| ready.release.seq);
        newest.cloned()
    }

    /// Takes one in.
    pub(super) fn add(&mut self, new: Ready) {
        self.ready.insert(new.release.digest, Arc::new(new));
        self.relate();
    }

    /// Takes what became of instances into all of them; why it could not.
    pub(super) fn lay_over<'a>(
        &mut self,
        services: impl Iterator<Item = &'a str> + Clone,
        instances: &Instances,
        label: &str,
    ) -> Result<(), Inconsistent> {
        for ready in self.ready.values_mut() {
            let label = format!("{label} {}", ready.name);
            *ready = Arc::new(ready.laid_over(services.clone(), instances, &label)?);
        }
        self.relate();
        Ok(())
    }

    /// What leads from each to each is made once from now on, for all who take it.
    fn relate(&mut self) {
        let all: Vec<Arc<Ready>> = self.ready.values().cloned().collect();
        for ready in self.ready.values_mut() {
            let mut related = Ready::clone(ready);
            for (view, whole) in &mut related.whole {
                for other in &all {
                    if other.release != ready.release {
                        *whole = whole.clone().after(&other.whole[view]);
                    }
                }
            }
            *ready = Arc::new(related);
        }
    }

    /// Lets go of all others.
    pub(super) fn keep(&mut self, wanted: &[Release]) {
        self.ready
            .retain(|digest, _| wanted.iter().any(|release| release.digest == *digest));
    }
}
