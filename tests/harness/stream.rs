//! Owns a delta stream that can say anything: what a test says is sent as it stands, what comes back is
//! given as it stands. Must not know: what is right.

use std::time::Duration;

use bellwether::wire::core::Node;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::Streaming;
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::programs::PATIENCE;

/// An open stream.
#[derive(Debug)]
pub struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    /// Opens a stream; nothing is said yet.
    pub async fn open(server: &str) -> Self {
        let channel = Endpoint::from_shared(server.to_owned())
            .unwrap()
            .connect()
            .await
            .unwrap();
        let (requests, outbox) = mpsc::channel(64);
        let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(64 << 20);
        grpc.ready().await.unwrap();
        let path =
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
        let codec = ProstCodec::<DeltaDiscoveryRequest, DeltaDiscoveryResponse>::default();
        let request = Request::new(ReceiverStream::new(outbox));
        let path = PathAndQuery::from_static(path);
        let responses = grpc
            .streaming(request, path, codec)
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            responses,
        }
    }

    pub async fn say(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    /// The first request of a node that follows everything of a type.
    pub async fn follow(&self, node: &str, fleet: &str, type_url: &str) {
        self.say(DeltaDiscoveryRequest {
            node: Some(Node {
                id: node.to_owned(),
                cluster: fleet.to_owned(),
                ..Node::default()
            }),
            type_url: type_url.to_owned(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    pub async fn ack(&self, response: &DeltaDiscoveryResponse) {
        self.say(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    /// The next response; panics when the stream ends.
    pub async fn hear(&mut self) -> DeltaDiscoveryResponse {
        let heard = timeout(PATIENCE, self.responses.message()).await;
        heard
            .expect("a response comes")
            .unwrap()
            .expect("the stream goes on")
    }

    /// How the stream ends.
    pub async fn end(&mut self) -> Status {
        let ended = timeout(PATIENCE, async {
            loop {
                match self.responses.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Status::ok(""),
                    Err(status) => return status,
                }
            }
        });
        ended.await.expect("the stream ends")
    }

    /// Nothing comes for a while. Only for what must not be sent: it always costs the whole time.
    pub async fn silence(&mut self, time: Duration) {
        if let Ok(heard) = timeout(time, self.responses.message()).await {
            panic!("there was not to be an answer: {heard:?}");
        }
    }
}
