//! Owns the dialogue of an agent with the report service, by a server that says what the test says.
//! Must not know: the servers' half of the service.

use std::convert::Infallible;
use std::net::SocketAddr;

use bellwether::content::{CONTENT_KEY, Content};
use bellwether::name::{Name, SetVersion, TypeUrl, Version};
use bellwether::session::POSITION_KEY;
use bellwether::wire::core::Node;
use bellwether::wire::discovery::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};
use bellwether::wire::google::protobuf::{Any, value::Kind};
use bellwether::wire::native::{DirectResponse, NodeDirective, NodeReport, Route, route};
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::WatchStream;

use super::rig::{is_stable, probation};
use crate::harness::programs::{Agent, PATIENCE, eventually};

/// A server with one route, and what it was told.
struct Teller {
    address: SocketAddr,
    directive: watch::Sender<NodeDirective>,
    reports: mpsc::Receiver<NodeReport>,
    requests: mpsc::Receiver<DeltaDiscoveryRequest>,
}

/// What comes in: reports, and what is said on discovery streams.
type Heard = (
    mpsc::Sender<NodeReport>,
    mpsc::Sender<DeltaDiscoveryRequest>,
);

impl Teller {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (said, directives) = watch::channel(NodeDirective::default());
        let (tell_report, reports) = mpsc::channel(1_000);
        let (tell_request, requests) = mpsc::channel(1_000);
        let heard = (tell_report, tell_request);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (heard, directives) = (heard.clone(), directives.clone());
                let service = service_fn(move |request| {
                    let reply = answer(request, heard.clone(), directives.clone());
                    async move { Ok::<_, Infallible>(reply) }
                });
                let connection = http2::Builder::new(TokioExecutor::new());
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            address,
            directive: said,
            reports,
            requests,
        }
    }

    /// The first report from now on that is as it should be.
    async fn hears(&mut self, what: &str, is_it: impl Fn(&NodeReport) -> bool) -> NodeReport {
        loop {
            let heard = timeout(PATIENCE, self.reports.recv()).await;
            let report = heard.unwrap_or_else(|_| panic!("waited in vain for: {what}"));
            let report = report.unwrap();
            if is_it(&report) {
                return report;
            }
        }
    }

    /// Who opened a discovery stream.
    async fn greeted(&mut self) -> Node {
        loop {
            let request = timeout(PATIENCE, self.requests.recv()).await.unwrap();
            if let Some(node) = request.unwrap().node {
                return node;
            }
        }
    }
}

type Body = StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

fn answer(
    request: Request<Incoming>,
    (reports, requests): Heard,
    directives: watch::Receiver<NodeDirective>,
) -> Response<Body> {
    let is_report = request.uri().path() == "/bellwether.v1.ReportService/StreamReports";
    let said: stream::BoxStream<'static, Bytes> = if is_report {
        tokio::spawn(listen(request.into_body(), reports));
        WatchStream::new(directives).map(|it| framed(&it)).boxed()
    } else {
        tokio::spawn(listen(request.into_body(), requests));
        stream::iter(discovery()).chain(stream::pending()).boxed()
    };
    let frames = said.map(|bytes| Ok(Frame::data(bytes))).boxed();
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(StreamBody::new(frames)).unwrap()
}

async fn listen<M: Message + Default>(mut body: Incoming, heard: mpsc::Sender<M>) {
    let mut waiting = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        waiting.extend_from_slice(&frame.into_data().unwrap_or_default());
        while let Some(length) = waiting
            .get(1..5)
            .map(|mut length| length.get_u32() as usize)
            && waiting.len() >= 5 + length
        {
            let message = waiting.split_to(5 + length).freeze().slice(5..);
            heard.send(M::decode(message).unwrap()).await.unwrap();
        }
    }
}

fn framed(message: &impl Message) -> Bytes {
    let body = message.encode_to_vec();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[0][..], &length, &body].concat().into()
}

fn the_route() -> Vec<u8> {
    let respond = DirectResponse {
        status: 418,
        ..DirectResponse::default()
    };
    let route = Route {
        paths: vec!["/tea".into()],
        action: Some(route::Action::Respond(respond)),
        ..Route::default()
    };
    route.encode_to_vec()
}

fn discovery() -> Vec<Bytes> {
    let of_type = |(nonce, type_url): (usize, &TypeUrl)| {
        let body = the_route();
        let route = Resource {
            name: "routes/1".into(),
            version: Version::of(&body).to_string(),
            resource: Some(Any {
                type_url: type_url.to_string(),
                value: body.into(),
            }),
            ..Resource::default()
        };
        let is_route = *type_url == TypeUrl::ROUTE;
        framed(&DeltaDiscoveryResponse {
            system_version_info: "7@1".into(),
            type_url: type_url.to_string(),
            nonce: nonce.to_string(),
            resources: is_route.then_some(route).into_iter().collect(),
            ..DeltaDiscoveryResponse::default()
        })
    };
    TypeUrl::NATIVE.iter().enumerate().map(of_type).collect()
}

/// The name of a configuration with the route and nothing else.
fn content() -> String {
    let (name, version) = (Name::from("routes/1"), Version::of(&the_route()));
    let set = SetVersion::of([(&name, version)]);
    Content::of([(&TypeUrl::ROUTE, set)]).to_string()
}

fn said(node: &Node, key: &str) -> Option<String> {
    match &node.metadata.as_ref()?.fields.get(key)?.kind {
        Some(Kind::StringValue(text)) => Some(text.clone()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reports_and_does_what_it_is_told() {
    let mut teller = Teller::start().await;
    let server = format!("http://{}", teller.address);
    let probation_options = ["--probation", "1h", "--label", "zone=a"];
    let mut agent = Agent::start("the-node", &[&server], &probation_options).await;
    agent.answers("/tea", 418, "").await;
    let node = teller.greeted().await;
    assert_eq!(
        said(&node, CONTENT_KEY).unwrap(),
        "0".repeat(32),
        "nothing yet"
    );

    let first = teller.hears("a first report", |_| true).await;
    let node = first.node.unwrap();
    assert_eq!(node.id, "the-node");
    assert_eq!(said(&node, "zone").as_deref(), Some("a"));
    let report = teller
        .hears("what is in force", |report| report.content == content())
        .await;
    assert!(!report.stable);
    assert_eq!(report.setbacks, []);

    teller.directive.send_replace(NodeDirective {
        position: "99@1".into(),
        probation_ms: 100,
        report_every_ms: 1_000,
        ..NodeDirective::default()
    });
    let stable = teller.hears("stability", |report| report.stable).await;
    assert_eq!(stable.content, content());
    assert_eq!(stable.node, None, "said once a stream");
    is_stable(&agent).await;
    for _ in 0..5 {
        agent.get("/tea").await;
    }
    let report = teller
        .hears("a window with the requests", |report| {
            report.health.is_some_and(|health| health.requests >= 5)
        })
        .await;
    let health = report.health.unwrap();
    assert!(health.window_ms >= 1_000, "{health:?}");
    assert_eq!(health.errors, 0);
    assert!(
        0 < health.p50_us && health.p50_us <= health.p99_us,
        "{health:?}"
    );

    // What a server says that is behind does not count.
    let older = NodeDirective {
        position: "50@1".into(),
        ..NodeDirective::default()
    };
    teller.directive.send_replace(older);
    teller.hears("a report after that", |_| true).await;
    let kept = agent.state_dir().join("candidate");
    eventually("the position to be on disk", || async {
        let content = std::fs::read(&kept).unwrap_or_default();
        content.windows(4).any(|at| at == b"99@1").then_some(())
    })
    .await;
    agent.kill();
    agent.restart().await;
    let node = teller.greeted().await;
    assert_eq!(said(&node, POSITION_KEY).as_deref(), Some("99@1"));
    assert_eq!(said(&node, CONTENT_KEY), Some(content()));
    assert_eq!(probation(&agent).await["setbacks"], serde_json::json!([]));
}
