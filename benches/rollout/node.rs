//! Owns one made-up node: it follows the stream and reports as an agent does, and has a fault if it was
//! given one. Must not know: how many there are, or what becomes of the rollout.

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether::name::{ResourceId, TypeUrl};
use bellwether::snapshot::Position;
use bellwether::subscriber::{Subscriber, Update};
use bellwether::wire::core::{Node, node::UserAgentVersionType};
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use bellwether::wire::native::{NodeDirective, NodeReport};
use bellwether_agent::held::Held;
use bellwether_server::clock::unix_ms;
use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

const DISCOVERY: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const REPORTS: &str = "/bellwether.v1.ReportService/StreamReports";

/// As an agent's: changes within this time are reported together.
const QUIET: Duration = Duration::from_millis(100);

/// As an agent's: the least time between two reports.
const GAP: Duration = Duration::from_secs(1);

/// As an agent's: how often it reports until it is told otherwise.
const EVERY: Duration = Duration::from_secs(10);

/// What is wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It rejects one route of whatever is new.
    Rejects,
    /// It closes its connection when it gets anything new, and stays away.
    Vanishes,
}

/// What became of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// It has everything that it got first: the base.
    Ready,
    /// It was given something that is not the base.
    Given,
    /// It said that it rejects something of it.
    Rejected,
    /// It said that what it has, which is not the base, is stable.
    Stable,
    /// It has all of the base again, and has said so.
    Back,
    /// It has ended.
    Gone,
}

/// A node's word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    pub(crate) node: usize,
    pub(crate) what: What,
    /// Milliseconds since 1970, as in the history of rollouts.
    pub(crate) at: u64,
}

/// See the module.
pub(crate) struct Member {
    n: usize,
    fault: Fault,
    /// Which route is bad for those who reject one.
    bad: &'static str,
    tell: mpsc::Sender<Told>,
    subscriber: Subscriber,
    held: Held,
    base: Option<Held>,
    on_base: bool,
    since: Instant,
    stable: bool,
    probation: Duration,
    every: Duration,
}

/// Its streams.
struct Streams {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    reports: mpsc::Sender<NodeReport>,
    directives: Streaming<NodeDirective>,
}

impl Member {
    pub(crate) fn new(n: usize, fault: Fault, bad: &'static str, tell: mpsc::Sender<Told>) -> Self {
        Self {
            n,
            fault,
            bad,
            tell,
            subscriber: Subscriber::new(identity(n), &TypeUrl::NATIVE),
            held: Held::default(),
            base: None,
            on_base: true,
            since: Instant::now(),
            stable: false,
            probation: GAP,
            every: EVERY,
        }
    }

    /// Until the server ends it, or its fault does.
    pub(crate) async fn run(mut self, server: String) {
        let mut streams = self.open(server).await;
        let mut last = Instant::now();
        let mut due = last + self.every;
        loop {
            let lives = self.since + self.probation;
            let soon = (Instant::now() + QUIET).max(last + GAP);
            tokio::select! {
                response = streams.responses.message() => {
                    let response = response.expect("a server that is up ends no stream");
                    let response = response.expect("a server that is up ends no stream");
                    let before = self.since;
                    let Some(answer) = self.on_response(response).await else { return };
                    streams.requests.send(answer).await.expect("the stream is open");
                    self.tell_of_base().await;
                    if self.since != before {
                        due = due.min(soon);
                    }
                }
                directive = streams.directives.message() => {
                    let directive = directive.expect("a server that is up ends no stream");
                    self.hear(&directive.expect("a server that is up ends no stream"));
                    due = due.min(last + self.every);
                }
                () = sleep_until(lives), if !self.stable => {
                    self.stable = true;
                    due = due.min(soon);
                }
                () = sleep_until(due) => {
                    last = Instant::now();
                    due = last + self.every;
                    streams.reports.send(self.report()).await.expect("the stream is open");
                    if self.stable && !self.on_base {
                        self.tell(What::Stable).await;
                    }
                }
            }
        }
    }

    async fn open(&mut self, server: String) -> Streams {
        let endpoint = Endpoint::from_shared(server).expect("a URL");
        let channel = endpoint
            .tcp_nodelay(true)
            .connect()
            .await
            .expect("the server accepts");
        let first = self.subscriber.connect();
        let (requests, responses) = open(channel.clone(), DISCOVERY, first).await;
        let mut first = self.report();
        first.node = Some(identity(self.n));
        let (reports, directives) = open(channel, REPORTS, vec![first]).await;
        Streams {
            requests,
            responses,
            reports,
            directives,
        }
    }

    async fn tell(&self, what: What) {
        let told = Told {
            node: self.n,
            what,
            at: unix_ms(),
        };
        self.tell.send(told).await.expect("somebody listens");
    }

    fn report(&self) -> NodeReport {
        let content = self.held.content();
        NodeReport {
            content: content.map(|it| it.to_string()).unwrap_or_default(),
            in_force_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            stable: self.stable,
            ..NodeReport::default()
        }
    }

    fn hear(&mut self, directive: &NodeDirective) {
        let position = Position::parse(&directive.position);
        self.subscriber.see_position(position);
        if directive.probation_ms > 0 {
            self.probation = Duration::from_millis(directive.probation_ms);
        }
        self.every = match directive.report_every_ms {
            0 => EVERY,
            wish => Duration::from_millis(wish).max(GAP),
        };
    }

    /// What to answer; `None`: nothing, ever again.
    async fn on_response(
        &mut self,
        response: DeltaDiscoveryResponse,
    ) -> Option<DeltaDiscoveryRequest> {
        let update = self.subscriber.on_response(response);
        let update = update.expect("the server talks no nonsense");
        if self.is_news(&update) && self.on_base {
            self.on_base = false;
            self.tell(What::Given).await;
        }
        if self.fault == Fault::Vanishes && !self.on_base {
            self.tell(What::Gone).await;
            return None;
        }
        let rejected = self.verdicts(&update);
        self.put_in_force(&update, &rejected);
        if !rejected.is_empty() {
            self.tell(What::Rejected).await;
        }
        let answer = self.subscriber.applied(&update, rejected);
        Some(answer.expect("the stream is open"))
    }

    /// Whether it offers what the base does not have.
    fn is_news(&self, update: &Update) -> bool {
        let Some(base) = &self.base else { return false };
        let mut offers = update.offers.iter();
        offers.any(|offer| {
            let id = ResourceId::new(update.type_url.clone(), offer.name.clone());
            base.version(&id) != Some(offer.version.as_str())
        })
    }

    fn verdicts(&self, update: &Update) -> BTreeMap<bellwether::name::Name, String> {
        let rejects = self.fault == Fault::Rejects && self.is_news(update);
        let bad = update.offers.iter().filter(|offer| {
            rejects && update.type_url == TypeUrl::ROUTE && offer.name.as_str() == self.bad
        });
        bad.map(|offer| (offer.name.clone(), "this node can't take it".to_owned()))
            .collect()
    }

    fn put_in_force(
        &mut self,
        update: &Update,
        rejected: &BTreeMap<bellwether::name::Name, String>,
    ) {
        let before = self.held.content();
        for offer in &update.offers {
            if !rejected.contains_key(&offer.name) {
                self.held
                    .insert(&update.type_url, &offer.name, &offer.version, Bytes::new());
            }
        }
        for name in &update.removals {
            self.held.remove(&update.type_url, name);
        }
        if self.held.content() != before {
            self.since = Instant::now();
            self.stable = false;
        }
    }

    /// After the answer was given that makes it so.
    async fn tell_of_base(&mut self) {
        match &self.base {
            None if self.subscriber.is_synced() => {
                self.base = Some(self.held.clone());
                self.tell(What::Ready).await;
            }
            Some(base) if !self.on_base && base.content() == self.held.content() => {
                self.on_base = true;
                self.tell(What::Back).await;
            }
            _ => {}
        }
    }
}

fn identity(n: usize) -> Node {
    let version = UserAgentVersionType::UserAgentVersion("1.0.0".to_owned());
    Node {
        id: format!("node-{n}"),
        cluster: crate::operator::FLEET.to_owned(),
        user_agent_name: "bellwether-agent".to_owned(),
        user_agent_version_type: Some(version),
        ..Node::default()
    }
}

async fn open<Q, A>(
    channel: Channel,
    path: &'static str,
    first: Vec<Q>,
) -> (mpsc::Sender<Q>, Streaming<A>)
where
    Q: Message + Send + Sync + 'static,
    A: Message + Default + Send + Sync + 'static,
{
    let (outbox, requests) = mpsc::channel(16);
    for request in first {
        outbox
            .try_send(request)
            .expect("there is room for the first");
    }
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.expect("the connection is there");
    let request = tonic::Request::new(ReceiverStream::new(requests));
    let codec = ProstCodec::<Q, A>::default();
    let opened = grpc
        .streaming(request, PathAndQuery::from_static(path), codec)
        .await;
    let answers = opened.expect("the server opens the stream").into_inner();
    (outbox, answers)
}
