//! Owns what runs for one fleet, for as long as it is served. Must not know: which fleets there are.

use std::sync::Arc;

use bellwether_xds::nodes::Nodes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use super::definition::{Definition, Mode};
use crate::fleet::{Fleet, Serving};
use crate::publish::publish;
use crate::settings::SettingsFeed;
use crate::staged;
use crate::store::Store;
use crate::store::follow::FollowOptions;
use crate::views::Views;

/// A fleet that is served. Dropping it ends its streams; its nodes keep what they have.
#[derive(Debug)]
pub(super) struct Tenant {
    fleet: Fleet,
    /// Ended with it.
    tasks: JoinSet<()>,
    options: FollowOptions,
    nodes: Nodes,
}

impl Tenant {
    /// Starts to read the fleet. Nobody is served anything of it yet.
    pub(super) fn start(
        name: &str,
        definition: Definition,
        store: &Arc<dyn Store>,
        settings: SettingsFeed,
        options: FollowOptions,
        nodes: &Nodes,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let published = publish(
            name,
            &definition.prefix,
            definition.layout,
            store,
            options,
            &mut tasks,
        );
        let views = Views::start(name, published.snapshots, settings, &mut tasks);
        let (wait, waiting) = watch::channel(None);
        let fleet = Fleet {
            name: name.to_owned(),
            definition: Arc::new(definition),
            store: store.clone(),
            status: published.status,
            operator: published.operator,
            views,
            instances: published.instances,
            serving: Serving::NotYet(Arc::new(wait), waiting),
        };
        Self {
            fleet,
            tasks,
            options,
            nodes: nodes.clone(),
        }
    }

    pub(super) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Whether it need not be started anew to be this.
    pub(super) fn can_be(&self, wanted: &Definition) -> bool {
        let is = &self.fleet.definition;
        let is_served = !matches!(self.fleet.serving, Serving::NotYet(..));
        is.prefix == wanted.prefix
            && is.store == wanted.store
            && is.layout == wanted.layout
            && (is.mode == wanted.mode || !is_served)
    }

    /// Takes what of a definition can change while it is served.
    pub(super) fn define(&mut self, definition: Definition) {
        if *self.fleet.definition != definition {
            self.fleet.definition = Arc::new(definition);
        }
    }

    /// Nodes get what is theirs from now on.
    pub(super) fn serve(&mut self) {
        if !matches!(self.fleet.serving, Serving::NotYet(..)) {
            return;
        }
        let mode = self.fleet.definition.mode;
        info!(fleet = self.fleet.name, prefix = %self.fleet.definition.prefix, ?mode, "fleet is served");
        self.fleet.serving = match mode {
            Mode::Direct => Serving::Direct,
            Mode::Staged => {
                let name = &self.fleet.name;
                let staged = staged::serve(
                    name,
                    &self.fleet.store,
                    &self.nodes,
                    self.fleet.instances.clone(),
                    self.options,
                    &mut self.tasks,
                );
                Serving::Staged(staged)
            }
        };
    }
}
