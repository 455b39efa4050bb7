//! Owns a discovery stream that can say anything: what a test says is sent as it stands, what comes back is
//! given as it stands. Must not know: what is right.

use std::time::Duration;

use bellwether::wire::core::Node;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{CompressionEncoding, Streaming};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::programs::PATIENCE;

/// Where aggregated delta streams are.
const DELTA: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// An open stream, delta unless it is said otherwise.
#[derive(Debug)]
pub struct Stream<Q = DeltaDiscoveryRequest, R = DeltaDiscoveryResponse> {
    requests: mpsc::Sender<Q>,
    responses: Streaming<R>,
}

impl<Q, R> Stream<Q, R>
where
    Q: Message + Default + 'static,
    R: Message + Default + std::fmt::Debug + 'static,
{
    /// Opens a stream of any service; an error is what came instead of it.
    pub async fn dial(endpoint: Endpoint, path: &str, token: Option<&str>) -> Result<Self, Status> {
        let channel = endpoint.connect().await.map_err(unavailable)?;
        Self::over(Grpc::new(channel), path, token.as_slice()).await
    }

    /// The same, with responses that may be compressed.
    pub async fn compressed(endpoint: Endpoint, path: &str) -> Result<Self, Status> {
        let channel = endpoint.connect().await.map_err(unavailable)?;
        let grpc = Grpc::new(channel).accept_compressed(CompressionEncoding::Gzip);
        Self::over(grpc, path, &[]).await
    }

    async fn over(grpc: Grpc<Channel>, path: &str, tokens: &[&str]) -> Result<Self, Status> {
        let (requests, outbox) = mpsc::channel(64);
        let mut grpc = grpc.max_decoding_message_size(64 << 20);
        grpc.ready().await.map_err(unavailable)?;
        let mut request = Request::new(ReceiverStream::new(outbox));
        for token in tokens {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().append("authorization", value);
        }
        let path = path.parse::<PathAndQuery>().unwrap();
        let responses = grpc
            .streaming(request, path, ProstCodec::<Q, R>::default())
            .await?
            .into_inner();
        Ok(Self {
            requests,
            responses,
        })
    }

    pub async fn say(&self, request: Q) {
        self.requests.send(request).await.unwrap();
    }
    /// The next response; panics when the stream ends.
    pub async fn hear(&mut self) -> R {
        let heard = timeout(PATIENCE, self.responses.message()).await;
        heard
            .expect("a response comes")
            .unwrap()
            .expect("the stream goes on")
    }

    /// Asks, and gives what comes next: a response, or how the stream ends instead.
    pub async fn ask(&mut self, request: Q) -> Result<R, Status> {
        // It may have ended already.
        let _ = self.requests.send(request).await;
        self.try_hear().await
    }

    /// The next response, or how the stream ends instead.
    pub async fn try_hear(&mut self) -> Result<R, Status> {
        let heard = timeout(PATIENCE, self.responses.message()).await;
        let heard = heard.expect("something comes")?;
        heard.ok_or_else(|| Status::ok("the stream has ended"))
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

impl Stream {
    /// Opens an aggregated delta stream; nothing is said yet.
    pub async fn open(server: &str) -> Self {
        let endpoint = Endpoint::from_shared(server.to_owned()).unwrap();
        Self::dial(endpoint, DELTA, None).await.unwrap()
    }

    /// The same, to any endpoint, with a token.
    pub async fn to(endpoint: Endpoint, token: Option<&str>) -> Result<Self, Status> {
        Self::dial(endpoint, DELTA, token).await
    }

    /// The same, with so many tokens.
    pub async fn with_tokens(endpoint: Endpoint, tokens: &[&str]) -> Result<Self, Status> {
        let channel = endpoint.connect().await.map_err(unavailable)?;
        Self::over(Grpc::new(channel), DELTA, tokens).await
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
}

fn unavailable(error: tonic::transport::Error) -> Status {
    Status::unavailable(format!("{error:?}"))
}
