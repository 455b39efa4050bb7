//! Owns what this agent tells the servers of itself besides what it acknowledges, and hears from them
//! besides configuration. Must not know: how a configuration is put in force, how probation is decided.
//!
//! It runs beside discovery on the same connection, and nothing waits for it. A server that does not know
//! the service is asked again now and then.

mod window;

use std::time::Duration;

use bellwether::snapshot::Position;
use bellwether::wire::core::Node;
use bellwether::wire::native::{HealthWindow, NodeDirective, NodeReport, Setback, setback};
use http::uri::PathAndQuery;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;
use tracing::debug;

use crate::probation::{Ask, Failure, ProbationStatus};
use crate::subscribe::Link;
use window::Window;

/// How often an agent reports although nothing changes, until a server says otherwise.
const EVERY: Duration = Duration::from_secs(10);

/// What a server may ask for. More often than the least would cost more than configuration does.
const EVERY_LEAST: Duration = Duration::from_secs(1);

/// Changes within this time are reported together: a configuration comes in a response for each type.
const QUIET: Duration = Duration::from_millis(100);

/// The least time between two reports. A fleet whose configuration changes all the time reports as often.
const GAP: Duration = Duration::from_secs(1);

/// When a server that ended the stream is asked again.
const RETRY: Duration = Duration::from_secs(5);

/// When a server that does not know the service is.
const RETRY_UNKNOWN: Duration = Duration::from_secs(60);

/// Bytes of a directive; they are some hundred.
const MAX_DIRECTIVE_BYTES: usize = 64 << 10;

const PATH: &str = "/bellwether.v1.ReportService/StreamReports";

/// Reports for as long as the agent runs.
pub struct Reporter {
    /// Who it is.
    pub node: Node,
    /// The server that is followed.
    pub links: watch::Receiver<Option<Link>>,
    /// How things stand.
    pub status: watch::Receiver<ProbationStatus>,
    /// Who is told how long a probation is.
    pub keeper: mpsc::Sender<Ask>,
    /// Who is told of the newest position.
    pub position: Box<dyn Fn(Position) + Send + Sync>,
    /// What was served.
    pub metrics: std::sync::Arc<crate::metrics::Metrics>,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter")
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}

impl Reporter {
    /// Never returns by itself; it may be dropped at any time.
    pub async fn run(mut self) {
        let mut window = Window::new(self.metrics.totals(), Instant::now());
        let mut every = EVERY;
        loop {
            let link = match self.links.wait_for(Option::is_some).await {
                Ok(link) => link.clone(),
                Err(_) => return,
            };
            let Some(link) = link else { continue };
            let mut links = self.links.clone();
            let ended = tokio::select! {
                ended = self.talk(link, &mut window, &mut every) => ended,
                _ = links.changed() => continue,
            };
            debug!(code = ?ended.code(), reason = ended.message(), "not reporting");
            let pause = match ended.code() {
                Code::Unimplemented => RETRY_UNKNOWN,
                _ => RETRY.mul_f64(rand::random_range(0.5..1.5)),
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = links.changed() => {}
            }
        }
    }

    /// One stream, until it ends.
    async fn talk(&mut self, link: Link, window: &mut Window, every: &mut Duration) -> Status {
        let (outbox, requests) = mpsc::channel(1);
        let mut report = self.report(window);
        report.node = Some(self.node.clone());
        if outbox.try_send(report).is_err() {
            return Status::internal("a new stream takes nothing");
        }
        let mut directives = match open(link, requests).await {
            Ok(directives) => directives,
            Err(status) => return status,
        };
        let mut last = Instant::now();
        let mut due = last + *every;
        loop {
            tokio::select! {
                heard = directives.message() => match heard {
                    Ok(Some(directive)) => {
                        *every = self.hear(&directive).await;
                        due = due.min(last + *every);
                    }
                    Ok(None) => return Status::unavailable("the server ended the stream"),
                    Err(status) => return status,
                },
                changed = self.status.changed() => {
                    if changed.is_err() {
                        return Status::cancelled("the agent goes down");
                    }
                    due = due.min((Instant::now() + QUIET).max(last + GAP));
                }
                () = sleep_until(due) => {
                    last = Instant::now();
                    due = last + *every;
                    window.close(self.metrics.totals(), last, *every);
                    let report = self.report(window);
                    // A server that does not read gets the next one, which says all that this one did.
                    let _ = outbox.try_send(report);
                }
            }
        }
    }

    fn report(&mut self, window: &Window) -> NodeReport {
        let status = self.status.borrow_and_update().clone();
        let in_force = status.since.elapsed().as_millis();
        NodeReport {
            node: None,
            content: status.content.map(|it| it.to_string()).unwrap_or_default(),
            in_force_ms: u64::try_from(in_force).unwrap_or(u64::MAX),
            stable: status.stable,
            setbacks: status.setbacks.iter().map(setback).collect(),
            health: window.last().map(health),
        }
    }

    /// How often to report from now on.
    async fn hear(&self, directive: &NodeDirective) -> Duration {
        let wish = Duration::from_millis(directive.probation_ms);
        // The agent is going down if nobody takes it.
        let _ = self.keeper.send(Ask::Length(wish)).await;
        if let Some(position) = Position::parse(&directive.position) {
            (self.position)(position);
        }
        match directive.report_every_ms {
            // What was wished for a rollout is over with it.
            0 => EVERY,
            millis => Duration::from_millis(millis).max(EVERY_LEAST),
        }
    }
}

async fn open(
    link: Link,
    requests: mpsc::Receiver<NodeReport>,
) -> Result<Streaming<NodeDirective>, Status> {
    let mut grpc = Grpc::new(link.channel).max_decoding_message_size(MAX_DIRECTIVE_BYTES);
    let unavailable = |error: tonic::transport::Error| Status::unavailable(error.to_string());
    grpc.ready().await.map_err(unavailable)?;
    let mut request = Request::new(ReceiverStream::new(requests));
    if let Some(authorization) = link.authorization {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", authorization);
    }
    let codec = ProstCodec::<NodeReport, NodeDirective>::default();
    let path = PathAndQuery::from_static(PATH);
    let opened = grpc.streaming(request, path, codec).await?;
    Ok(opened.into_inner())
}

fn setback(of: &crate::probation::Setback) -> Setback {
    let kind = match of.failure {
        Failure::Crashed => setback::Kind::Crashed,
        Failure::CrashLoop => setback::Kind::CrashLoop,
        Failure::Hung => setback::Kind::Hung,
    };
    Setback {
        content: of.content.clone(),
        kind: kind.into(),
        times: of.times,
        reason: bellwether::rejection::clean(&of.reason),
    }
}

fn health(window: &window::Closed) -> HealthWindow {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let millis = u64::try_from(window.length.as_millis());
    HealthWindow {
        window_ms: millis.unwrap_or(u64::MAX),
        requests: window.served.requests(),
        errors: window.served.errors,
        p50_us: micros(window.served.quantile(0.5)),
        p99_us: micros(window.served.quantile(0.99)),
    }
}
