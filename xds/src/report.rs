//! Owns a stream on which a node reports how it does: keeps its last report for whoever looks, and tells it
//! what it is told besides configuration. Must not know: what follows from either.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::rejection::clean;
use bellwether::wire::native::{NodeDirective, NodeReport};
use bytes::Bytes;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status};

use crate::Discovery;
use crate::admission::Peer;
use crate::body::{Message, Outbound};
use crate::feed::{Directive, Standing};
use crate::inbox::Inbox;
use crate::nodes::{Identity, Reporting};
use crate::said;

/// How long a node may take to say who it is.
const FIRST_REPORT_PATIENCE: Duration = Duration::from_secs(10);

/// A stream whose node is not known yet.
pub(crate) struct Call {
    pub(crate) discovery: Discovery,
    pub(crate) peer: Peer,
    pub(crate) reports: Inbox<NodeReport>,
    pub(crate) outbox: mpsc::Sender<Outbound>,
}

impl Call {
    /// Until either side ends it.
    pub(crate) async fn run(mut self) {
        let outbox = self.outbox.clone();
        let mut going_down = self.discovery.going_down.clone();
        let end = tokio::select! {
            _ = going_down.wait_for(|down| *down) => {
                Status::unavailable("this server is going down, try another")
            }
            () = outbox.closed() => return,
            end = self.serve() => end.err().unwrap_or_else(|| Status::ok("")),
        };
        if !matches!(end.code(), Code::Ok | Code::Unavailable) {
            self.discovery.observer.refused(&self.peer, &end);
        }
        // The connection may be gone as well; then nobody needs to know.
        let _ = outbox.send(Outbound::End(end)).await;
    }

    async fn serve(&mut self) -> Result<(), Status> {
        let first = timeout(FIRST_REPORT_PATIENCE, self.reports.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no report came"))??
            .ok_or_else(|| Status::invalid_argument("the stream ended before its first report"))?;
        let node = first.node.clone().unwrap_or_default();
        let admitted = self.discovery.admission.admit(&self.peer, &node)?;
        let identity = Arc::new(Identity {
            id: clean(&node.id),
            group: admitted.group,
            identity: admitted.identity,
            labels: admitted.labels,
            said: said::of(&node),
            ..Identity::default()
        });
        let reporting = self.discovery.nodes.reporting(identity.clone()).await;
        reporting.keep(first);
        let mut feed = admitted.feed;
        let standing = Standing::new(Instant::now());
        let mut told = None;
        loop {
            let directive = feed.directive(&identity, &standing);
            self.direct(directive, &mut told).await?;
            tokio::select! {
                report = self.reports.message() => match report? {
                    Some(report) => self.on_report(report, &reporting)?,
                    None => return Ok(()),
                },
                fed = feed.changed(), if feed.directs() => if !fed {
                    return Err(Status::unavailable("there is no configuration any more"));
                },
            }
        }
    }

    fn on_report(&self, report: NodeReport, reporting: &Reporting) -> Result<(), Status> {
        // What vouched for the node at first may not any more.
        self.peer.check_certificate()?;
        self.discovery
            .admission
            .still(&self.peer, reporting.identity())?;
        reporting.keep(report);
        Ok(())
    }

    /// Tells what there is to tell, if it is not what was told last.
    async fn direct(
        &self,
        directive: Directive,
        told: &mut Option<Directive>,
    ) -> Result<(), Status> {
        if told.as_ref() == Some(&directive) {
            return Ok(());
        }
        let message = NodeDirective {
            position: directive
                .position
                .map(|position| position.to_string())
                .unwrap_or_default(),
            release: directive.release.clone(),
            probation_ms: millis(directive.probation),
            report_every_ms: millis(directive.report_every),
        };
        *told = Some(directive);
        let message = Message::plain(message.encode_to_vec().into(), Bytes::new());
        let sent = self.outbox.send(Outbound::Message(message)).await;
        sent.map_err(|_| Status::cancelled("the node is gone"))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
