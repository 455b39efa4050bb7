//! Owns a discovery client that says what the test says, in either variant. Must not know: what is right.
//!
//! "Nothing was sent" is shown without waiting for a time: each published snapshot has a new `tick`, a
//! resource of a type of its own that comes last, and a name that is subscribed and not there must be
//! answered (R72, R96). When both have come, all that was to come before them has come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::net::SocketAddr;

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::resource::Resource as Published;
use bellwether::wire::core::Node;
use bellwether::wire::discovery::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
    ResourceError,
};
use bellwether::wire::google::rpc;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::Streaming;
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::harness::programs::PATIENCE;

/// The type of ticks, and what wraps resources in state of the world.
const TICK: &str = "type.googleapis.com/conformance.Tick";
const WRAPPER: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";

/// What every published snapshot has besides.
pub fn tick(revision: u64) -> Published {
    let id = ResourceId::new(TypeUrl::from(TICK), "tick");
    Published::from_encoded(id, revision.to_string().as_bytes(), Vec::new())
}

/// A response of either variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    pub type_url: String,
    /// `version_info`, or `system_version_info`.
    pub version: String,
    pub nonce: String,
    /// As they came; state of the world has no names unless they are wrapped.
    pub resources: Vec<Resource>,
    pub removed: Vec<String>,
    pub errors: Vec<ResourceError>,
    pub bytes: usize,
}

impl Heard {
    /// In alphabetical order.
    pub fn bodies(&self) -> Vec<String> {
        let body = |resource: &Resource| {
            let any = resource.resource.as_ref()?;
            Some(String::from_utf8_lossy(&any.value).into_owned())
        };
        let mut bodies: Vec<_> = self.resources.iter().filter_map(body).collect();
        bodies.sort();
        bodies
    }

    pub fn is(&self, type_url: &TypeUrl) -> bool {
        self.type_url == type_url.as_str()
    }

    /// Name and code of each error.
    pub fn errors(&self) -> Vec<(&str, i32)> {
        let errors = self.errors.iter();
        let said = errors.map(|error| {
            let of = error.resource_name.as_ref().unwrap();
            let why = error.error_detail.as_ref().unwrap();
            (of.name.as_str(), why.code)
        });
        said.collect()
    }
}

/// What a request is to say, whatever the variant.
#[derive(Clone, Debug, Default)]
pub struct Saying {
    node: Option<Node>,
    type_url: String,
    version: String,
    nonce: String,
    /// All names, for state of the world.
    names: Vec<String>,
    subscribe: Vec<String>,
    unsubscribe: Vec<String>,
    error: Option<rpc::Status>,
}

/// One of the two variants of the transport.
pub trait Variant: Debug + 'static {
    type Request: Message + Default + Clone + 'static;
    type Response: Message + Default + 'static;
    const AGGREGATED: &'static str;
    /// How methods of services of one type begin.
    const METHOD: &'static str;

    fn request(saying: Saying) -> Self::Request;
    fn heard(response: Self::Response) -> Heard;
}

#[derive(Debug)]
pub enum Delta {}

#[derive(Debug)]
pub enum Sotw {}

impl Variant for Delta {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;
    const AGGREGATED: &'static str =
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    const METHOD: &'static str = "Delta";

    fn request(saying: Saying) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            node: saying.node,
            type_url: saying.type_url,
            response_nonce: saying.nonce,
            resource_names_subscribe: saying.subscribe,
            resource_names_unsubscribe: saying.unsubscribe,
            error_detail: saying.error,
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn heard(response: DeltaDiscoveryResponse) -> Heard {
        Heard {
            bytes: response.encoded_len(),
            type_url: response.type_url,
            version: response.system_version_info,
            nonce: response.nonce,
            resources: response.resources,
            removed: response.removed_resources,
            errors: response.resource_errors,
        }
    }
}

impl Variant for Sotw {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;
    const AGGREGATED: &'static str =
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
    const METHOD: &'static str = "Stream";

    fn request(saying: Saying) -> DiscoveryRequest {
        DiscoveryRequest {
            node: saying.node,
            type_url: saying.type_url,
            version_info: saying.version,
            response_nonce: saying.nonce,
            resource_names: saying.names,
            error_detail: saying.error,
            ..DiscoveryRequest::default()
        }
    }

    fn heard(response: DiscoveryResponse) -> Heard {
        let bytes = response.encoded_len();
        let resources = response.resources.into_iter().map(|any| {
            if any.type_url == WRAPPER {
                return Resource::decode(any.value).unwrap();
            }
            Resource {
                resource: Some(any),
                ..Resource::default()
            }
        });
        Heard {
            resources: resources.collect(),
            bytes,
            type_url: response.type_url,
            version: response.version_info,
            nonce: response.nonce,
            removed: Vec::new(),
            errors: response.resource_errors,
        }
    }
}

/// An open stream.
#[derive(Debug)]
pub struct Script<V: Variant> {
    requests: Option<mpsc::Sender<V::Request>>,
    /// It may be refused at once, which is an end as any other.
    responses: Result<Streaming<V::Response>, Status>,
    /// Of the next request.
    pub node: Option<Node>,
    /// What is subscribed, which state of the world says again with every request.
    names: BTreeMap<String, BTreeSet<String>>,
    /// What was answered last: nonce and version.
    answered: BTreeMap<String, (String, String)>,
    newest: watch::Receiver<u64>,
    tick: u64,
    barrier: u64,
    passed: u64,
    queue: VecDeque<Heard>,
    /// Responses that came while its end was waited for.
    pub ended_after: usize,
}

impl<V: Variant> Script<V> {
    pub async fn open(server: SocketAddr, path: &str, newest: watch::Receiver<u64>) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{server}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let (requests, outbox) = mpsc::channel(64);
        // What a gRPC client takes unless it is told otherwise (R11).
        let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(4 << 20);
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<V::Request, V::Response>::default();
        let request = Request::new(ReceiverStream::new(outbox));
        let path = path.parse::<PathAndQuery>().unwrap();
        let response = grpc.streaming(request, path, codec).await;
        Self {
            requests: Some(requests),
            responses: response.map(tonic::Response::into_inner),
            node: None,
            names: BTreeMap::new(),
            answered: BTreeMap::new(),
            newest,
            tick: 0,
            barrier: 0,
            passed: 0,
            queue: VecDeque::new(),
            ended_after: 0,
        }
    }

    /// Says this as it stands.
    pub async fn say(&mut self, request: V::Request) {
        // When the server has ended the stream, `end` says why.
        let _ = self.requests.as_ref().unwrap().send(request).await;
    }

    /// Says nothing any more.
    pub fn hang_up(&mut self) {
        self.requests = None;
    }

    async fn utter(&mut self, type_url: &str, saying: Saying) {
        let names = self.names.entry(type_url.to_owned()).or_default();
        names.extend(saying.subscribe.iter().cloned());
        saying.unsubscribe.iter().for_each(|name| {
            names.remove(name);
        });
        let request = V::request(Saying {
            node: self.node.take(),
            type_url: type_url.to_owned(),
            names: names.iter().cloned().collect(),
            ..saying
        });
        self.say(request).await;
    }

    /// Asks for names besides what was asked for. None, the first time: everything.
    pub async fn subscribe(&mut self, type_url: &TypeUrl, names: &[&str]) {
        self.change(type_url, names, &[]).await;
    }

    pub async fn unsubscribe(&mut self, type_url: &TypeUrl, names: &[&str]) {
        self.change(type_url, &[], names).await;
    }

    /// A request by its own: in state of the world it repeats the last answer.
    pub async fn change(&mut self, type_url: &TypeUrl, more: &[&str], fewer: &[&str]) {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let is_sotw = V::METHOD == Sotw::METHOD;
        let answered = self.answered.get(type_url.as_str()).filter(|_| is_sotw);
        let (nonce, version) = answered.cloned().unwrap_or_default();
        let saying = Saying {
            nonce,
            version,
            subscribe: owned(more),
            unsubscribe: owned(fewer),
            ..Saying::default()
        };
        self.utter(type_url.as_str(), saying).await;
    }

    pub async fn ack(&mut self, heard: &Heard) {
        self.answer(heard, None, &[], &[]).await;
    }

    pub async fn nack(&mut self, heard: &Heard, text: &str) {
        self.answer(heard, Some(text), &[], &[]).await;
    }

    /// An ACK or a NACK that says something else besides.
    pub async fn answer(
        &mut self,
        heard: &Heard,
        error: Option<&str>,
        more: &[&str],
        fewer: &[&str],
    ) {
        let last = self.answered.get(&heard.type_url);
        let accepted = last.map(|(_, version)| version.clone()).unwrap_or_default();
        let version = if error.is_some() {
            accepted
        } else {
            heard.version.clone()
        };
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let now = (heard.nonce.clone(), version.clone());
        self.answered.insert(heard.type_url.clone(), now);
        let saying = Saying {
            version,
            nonce: heard.nonce.clone(),
            subscribe: owned(more),
            unsubscribe: owned(fewer),
            error: error.map(|text| rpc::Status {
                code: 13,
                message: text.to_owned(),
                details: Vec::new(),
            }),
            ..Saying::default()
        };
        self.utter(&heard.type_url, saying).await;
    }

    /// The next response; panics when the stream ends.
    pub async fn hear(&mut self) -> Heard {
        while self.queue.is_empty() {
            self.pull().await;
        }
        self.queue.pop_front().unwrap()
    }

    /// Asks for the first time, and acknowledges what comes.
    pub async fn start(&mut self, type_url: &TypeUrl, names: &[&str]) -> Heard {
        self.subscribe(type_url, names).await;
        let heard = self.hear().await;
        assert!(heard.is(type_url), "{heard:?}");
        self.ack(&heard).await;
        heard
    }

    /// Everything that has come and will come without another word or change.
    pub async fn so_far(&mut self) -> Vec<Heard> {
        let newest = *self.newest.borrow();
        if self.tick == 0 {
            self.step(&["tick"]).await;
        }
        while self.tick < newest {
            self.pull().await;
        }
        // Removals come after what else there is, and not while ours is unanswered: the second one
        // comes after them.
        for _ in 0..2 {
            self.step(&[]).await;
            while self.passed < self.barrier {
                self.pull().await;
            }
        }
        self.queue.drain(..).collect()
    }

    /// Asks for a name that is not there.
    async fn step(&mut self, more: &[&str]) {
        self.barrier += 1;
        let (old, new) = (self.barrier - 1, self.barrier);
        let (old, new) = (format!("barrier-{old}"), format!("barrier-{new}"));
        let more = [&[new.as_str()], more].concat();
        self.change(&TypeUrl::from(TICK), &more, &[&old]).await;
    }

    pub async fn silence(&mut self) {
        let heard = self.so_far().await;
        assert!(heard.is_empty(), "there was nothing to say: {heard:#?}");
    }

    /// Acknowledges everything until nothing comes any more; what came.
    pub async fn settle(&mut self) -> Vec<Heard> {
        let mut all = Vec::new();
        loop {
            let heard = self.so_far().await;
            if heard.is_empty() {
                return all;
            }
            for one in &heard {
                self.ack(one).await;
            }
            all.extend(heard);
        }
    }

    async fn pull(&mut self) {
        let responses = self.responses.as_mut().expect("the stream is not refused");
        let message = timeout(PATIENCE, responses.message()).await;
        let message = message.expect("a response comes").unwrap();
        let heard = V::heard(message.expect("the stream goes on"));
        if heard.type_url != TICK {
            self.queue.push_back(heard);
            return;
        }
        self.ack(&heard).await;
        let ticks = heard.bodies().into_iter().map(|body| body.parse().unwrap());
        self.tick = ticks.max().unwrap_or(self.tick);
        let errors = heard.errors();
        let errors = errors.iter().map(|(name, _)| *name);
        let gone = heard.removed.iter().map(String::as_str).chain(errors);
        let passed = gone.filter_map(|name| name.strip_prefix("barrier-")?.parse().ok());
        self.passed = passed.max().unwrap_or(self.passed);
    }

    /// How the stream ends.
    pub async fn end(&mut self) -> Status {
        let responses = match &mut self.responses {
            Ok(responses) => responses,
            Err(status) => return status.clone(),
        };
        let ended = timeout(PATIENCE, async {
            loop {
                match responses.message().await {
                    Ok(Some(_)) => self.ended_after += 1,
                    Ok(None) => return Status::ok(""),
                    Err(status) => return status,
                }
            }
        });
        ended.await.expect("the stream ends")
    }
}

/// The types of responses, in the order in which they came.
pub fn types(heard: &[Heard]) -> Vec<TypeUrl> {
    let types = heard.iter().map(|one| one.type_url.as_str().into());
    types.collect()
}
