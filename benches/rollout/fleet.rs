//! Owns all nodes of a run, and what became of each. Must not know: how a node works, what is promised.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::node::{Fault, Member, Told, What};
use crate::operator::BAD;

/// Nodes that connect at the same moment. A storm of them is another measurement.
const CONNECTING: usize = 64;

/// What may wait to be read, for each node.
const WORDS: usize = 4;

/// When a node first said each of these, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Life {
    pub(crate) given: Option<u64>,
    pub(crate) rejected: Option<u64>,
    pub(crate) stable: Option<u64>,
    pub(crate) back: Option<u64>,
    pub(crate) gone: Option<u64>,
    /// How often it was given what is not the base.
    pub(crate) times: u32,
}

/// See the module.
pub(crate) struct Fleet {
    heard: mpsc::Receiver<Told>,
    lives: BTreeMap<usize, Life>,
    nodes: JoinSet<()>,
}

impl Fleet {
    /// Connects so many nodes, of which as many have a fault as `faulty` says, and returns when each has
    /// the base.
    pub(crate) async fn connect(server: &str, nodes: usize, fault: Fault, faulty: usize) -> Self {
        let (tell, heard) = mpsc::channel(nodes * WORDS);
        let mut fleet = Self {
            heard,
            lives: BTreeMap::new(),
            nodes: JoinSet::new(),
        };
        let mut waiting = 0;
        for n in 0..nodes {
            // Whom a stage takes depends on a hash of their names, so that these are any nodes.
            let fault = if n < faulty { fault } else { Fault::None };
            let member = Member::new(n, fault, BAD, tell.clone());
            fleet.nodes.spawn(member.run(server.to_owned()));
            waiting += 1;
            if waiting == CONNECTING {
                fleet.is_ready().await;
                waiting -= 1;
            }
        }
        for _ in 0..waiting {
            fleet.is_ready().await;
        }
        fleet
    }

    async fn is_ready(&mut self) {
        let told = self.heard.recv().await.expect("nodes go on");
        assert_eq!(told.what, What::Ready, "node {}", told.node);
        self.lives.insert(told.node, Life::default());
    }

    /// Takes in what nodes said since.
    ///
    /// # Panics
    /// One of them met something that no server may do.
    pub(crate) fn hear(&mut self) {
        while let Ok(told) = self.heard.try_recv() {
            let life = self.lives.entry(told.node).or_default();
            let at = match told.what {
                What::Ready => continue,
                What::Given => {
                    life.times += 1;
                    &mut life.given
                }
                What::Rejected => &mut life.rejected,
                What::Stable => &mut life.stable,
                What::Back => &mut life.back,
                What::Gone => &mut life.gone,
            };
            at.get_or_insert(told.at);
        }
        while let Some(ended) = self.nodes.try_join_next() {
            ended.expect("a node met nothing that it can't take");
        }
    }

    /// What became of each.
    pub(crate) fn lives(&self) -> impl Iterator<Item = &Life> {
        self.lives.values()
    }
}
