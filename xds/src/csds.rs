//! Owns a call of the client status discovery service: reads requests, asks the streams of the nodes, and
//! answers. Must not know: how an answer is written.

use bellwether::wire::status::{ClientStatusRequest, ClientStatusResponse};
use bytes::Bytes;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::Discovery;
use crate::admission::Peer;
use crate::body::{Message, Outbound};
use crate::inbox::Inbox;
use crate::status::{Answers, Selection};

/// Answers to one request that stands for itself, together. Whoever wants more opens a stream.
const MAX_FETCHED_BYTES: usize = 3 << 20;

/// A call whose caller is not known yet.
pub(crate) struct Call {
    pub(crate) discovery: Discovery,
    pub(crate) peer: Peer,
    pub(crate) requests: Inbox<ClientStatusRequest>,
    pub(crate) outbox: mpsc::Sender<Outbound>,
    /// One request, one answer.
    pub(crate) is_fetch: bool,
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
        if end.code() != Code::Ok {
            self.discovery.observer.refused(&self.peer, &end);
        }
        // The connection may be gone as well; then nobody needs to know.
        let _ = outbox.send(Outbound::End(end)).await;
    }

    async fn serve(&mut self) -> Result<(), Status> {
        while let Some(request) = self.requests.message().await? {
            // For each: what vouched for the caller at first may not any more.
            self.peer.check_certificate()?;
            let group = self.discovery.admission.may_see(&self.peer)?;
            let selection = Selection::of(&request)?;
            if self.is_fetch {
                return self.fetch(group.as_deref(), &selection).await;
            }
            self.stream(group.as_deref(), &selection).await?;
        }
        match self.is_fetch {
            true => Err(Status::invalid_argument("there is no request")),
            false => Ok(()),
        }
    }

    /// All in one answer.
    async fn fetch(&self, group: Option<&str>, selection: &Selection) -> Result<(), Status> {
        let mut whole = ClientStatusResponse::default();
        let mut bytes = 0;
        let mut answers = Answers::default();
        for stream in self
            .discovery
            .nodes
            .streams(group, |id| selection.has(id))
            .await
        {
            answers.add(stream.identity(), &stream.resources().await);
            for full in answers.take_full() {
                bytes += full.encoded_len();
                whole.config.extend(full.config);
            }
            if bytes > MAX_FETCHED_BYTES {
                return Err(too_much());
            }
        }
        for rest in answers.finish() {
            bytes += rest.encoded_len();
            whole.config.extend(rest.config);
        }
        if bytes > MAX_FETCHED_BYTES {
            return Err(too_much());
        }
        self.send(&whole).await
    }

    /// In as many answers as it takes.
    async fn stream(&self, group: Option<&str>, selection: &Selection) -> Result<(), Status> {
        let mut answers = Answers::default();
        for stream in self
            .discovery
            .nodes
            .streams(group, |id| selection.has(id))
            .await
        {
            answers.add(stream.identity(), &stream.resources().await);
            for full in answers.take_full() {
                self.send(&full).await?;
            }
        }
        for rest in answers.finish() {
            self.send(&rest).await?;
        }
        Ok(())
    }

    async fn send(&self, answer: &ClientStatusResponse) -> Result<(), Status> {
        let message = Message::plain(answer.encode_to_vec().into(), Bytes::new());
        let sent = self.outbox.send(Outbound::Message(message)).await;
        sent.map_err(|_| Status::cancelled("the caller is gone"))
    }
}

fn too_much() -> Status {
    Status::resource_exhausted(
        "there is too much for one answer; use StreamClientStatus, or name nodes in node_matchers",
    )
}
