//! Owns one delta stream as gRPC sees it. Must not know: what is said on it.

use std::time::Duration;

use bellwether::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::credentials::Credentials;

/// Bytes of one response. Our servers cut at 3 MiB; one resource alone may be larger.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Requests that wait to be written: the first ones, one for each type, and an answer.
const OUTBOX: usize = 16;

/// How long a server may take to accept a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a server that is followed, for others to speak to it as well.
#[derive(Clone, Debug)]
pub struct Link {
    /// The connection.
    pub channel: Channel,
    /// What goes with each stream, if anything does.
    pub authorization: Option<MetadataValue<Ascii>>,
}

/// An open stream.
#[derive(Debug)]
pub(super) struct Connection {
    link: Link,
    outbox: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Connection {
    /// Dials, and says `first`.
    pub(super) async fn open(
        server: &Endpoint,
        credentials: &Credentials,
        first: Vec<DeltaDiscoveryRequest>,
    ) -> Result<Self, Status> {
        let unreadable = |reason: String| Status::unavailable(reason);
        let server = credentials.dress(server).await.map_err(unreadable)?;
        let authorization = credentials.authorization().await.map_err(unreadable)?;
        let channel = server
            .connect()
            .await
            .map_err(|error| Status::unavailable(causes(&error)))?;
        let (outbox, requests) = mpsc::channel(OUTBOX);
        for request in first {
            outbox
                .try_send(request)
                .map_err(|_| Status::internal("more types than room for them"))?;
        }
        let link = Link {
            channel: channel.clone(),
            authorization: authorization.clone(),
        };
        let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_RESPONSE_BYTES);
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(causes(&error)))?;
        let path = PathAndQuery::from_static(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        );
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let mut request = Request::new(ReceiverStream::new(requests));
        if let Some(authorization) = authorization {
            request
                .metadata_mut()
                .insert("authorization", authorization);
        }
        let opened = timeout(OPEN_TIMEOUT, grpc.streaming(request, path, codec))
            .await
            .map_err(|_| Status::deadline_exceeded("the server did not accept the stream"))??;
        Ok(Self {
            link,
            outbox,
            responses: opened.into_inner(),
        })
    }

    /// What else the connection can be used for.
    pub(super) fn link(&self) -> Link {
        self.link.clone()
    }

    /// The next response, however long it takes; pings notice a server that is gone.
    pub(super) async fn receive(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        let ended = || Status::unavailable("the server ended the stream");
        self.responses.message().await?.ok_or_else(ended)
    }

    /// Hands an answer to the connection.
    pub(super) async fn send(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        let gone = |_| Status::unavailable("the connection is gone");
        self.outbox.send(request).await.map_err(gone)
    }
}

/// An error with its causes; the outer one alone says "transport error".
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
