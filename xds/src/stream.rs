//! Owns one stream: carries requests, snapshots and the time to its session, and responses from it to
//! the connection. Must not know: what the rules of the protocol are.

use std::sync::Arc;
use std::time::Instant;

use bellwether::content::Content;
use bellwether::name::TypeUrl;
use bellwether::rejection::clean;
use bellwether::session::{Event, HoldBack, Outgoing, Refusal, Session};
use bellwether::snapshot::Snapshot;
use bellwether::wire::core::{Node, node::UserAgentVersionType};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, timeout};
use tonic::{Code, Status};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::Discovery;
use crate::admission::Peer;
use crate::body::{Message, Outbound};
use crate::budget::Share;
use crate::feed::{Choice, Feed, Standing};
use crate::inbox::Inbox;
use crate::nodes::{Identity, Registration, StreamState};
use crate::quiet::Quiet;
use crate::request::Request;
use crate::said;

/// How long a node may take to say who it is.
const FIRST_REQUEST_PATIENCE: Duration = Duration::from_secs(10);

/// How long a node waits here for a server that is just starting, before it is sent to another (R102).
const FIRST_SYNC_PATIENCE: Duration = Duration::from_secs(2);

/// Rejected resources named in one log line; the rest are counted.
const LOGGED_REJECTIONS: usize = 5;

/// A stream whose node has not spoken yet.
pub(crate) struct Stream<R> {
    pub(crate) discovery: Discovery,
    /// How often the log is told of ends.
    pub(crate) endings: Arc<Quiet>,
    pub(crate) peer: Peer,
    /// The one type of a stream of that type's own service.
    pub(crate) only: Option<TypeUrl>,
    pub(crate) accepts_gzip: bool,
    pub(crate) requests: Inbox<R>,
    pub(crate) names: Share,
    pub(crate) outbox: mpsc::Sender<Outbound>,
}

/// A stream whose node is known.
struct Open {
    discovery: Discovery,
    feed: Feed,
    standing: Standing,
    /// When the question what the node is to have is to be asked again.
    ask_again: Option<Instant>,
    /// Since when it has answered for all of what it was given last.
    answered: Option<Instant>,
    session: Session,
    registration: Registration,
    pending: Option<Outgoing>,
    held_back: Option<HoldBack>,
    judgements: Option<watch::Receiver<()>>,
    /// When the node's certificate does.
    expires: Option<Instant>,
}

/// What a stream may be woken by.
enum Wake<R> {
    Request(Result<Option<Box<R>>, Status>),
    /// It may be another snapshot.
    Feed,
    Room,
    /// Somebody wants to know of each resource.
    Asked,
    Deadline,
    /// What was said of the node may not hold any more.
    Judged,
    Expired,
    GoingDown,
    /// Nobody makes snapshots for its node any more.
    Unfed,
    Gone,
}

impl<R: Request> Stream<R> {
    /// Until either side ends it.
    pub(crate) async fn run(mut self) {
        let end = match self.open().await {
            Ok((first, mut open)) => {
                let node = open.registration.identity().clone();
                let span = info_span!("stream", node = %node.id, group = %node.group);
                let observer = self.discovery.observer.clone();
                observer.connected(&node);
                let end = open.serve(first, &mut self).instrument(span).await;
                observer.disconnected(&node);
                end
            }
            Err(end) => Some(end),
        };
        let Some(status) = end else {
            return;
        };
        if status.code() != Code::Ok {
            if status.code() != Code::Unavailable {
                self.discovery.observer.refused(&self.peer, &status);
            }
            self.say(&status);
        }
        // The connection may be gone as well; then nobody needs to know.
        let _ = self.outbox.send(Outbound::End(status)).await;
    }

    /// A client can be refused as often as it likes to; the log is not its to fill.
    fn say(&self, status: &Status) {
        let (address, code, reason) = (self.address(), status.code(), status.message());
        let Some(unsaid) = self.endings.line(Instant::now()) else {
            debug!(address, ?code, reason, "stream ended");
            return;
        };
        let unsaid = (unsaid > 0).then_some(unsaid);
        if matches!(code, Code::PermissionDenied | Code::Unauthenticated) {
            warn!(address, ?code, reason, unsaid, "node refused");
        } else {
            info!(address, ?code, reason, unsaid, "stream ended");
        }
    }

    /// Waits for the first request, and has its node admitted.
    async fn open(&mut self) -> Result<(R, Open), Status> {
        let first = timeout(FIRST_REQUEST_PATIENCE, self.requests.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no request came"))??
            .ok_or_else(|| Status::invalid_argument("the stream ended before its first request"))?;
        let node = first.node().cloned().unwrap_or_default();
        // What changes from now on counts.
        let judgements = self.discovery.admission.changes();
        let admitted = self.discovery.admission.admit(&self.peer, &node)?;
        let mut feed = admitted.feed;
        let synced = timeout(FIRST_SYNC_PATIENCE, feed.ready()).await;
        if !synced.unwrap_or(false) {
            let text = format!("there is no configuration for {} yet", admitted.group);
            return Err(Status::unavailable(text));
        }
        let said = said::of(&node);
        let identity = Identity {
            id: clean(&node.id),
            group: admitted.group,
            user_agent: user_agent(&node),
            address: self.address(),
            identity: admitted.identity,
            labels: admitted.labels,
            withheld: admitted.withheld,
            is_fresh: first.holds_nothing()
                && said.content.unwrap_or_default() == Content::default(),
            said,
        };
        let registration = self.discovery.nodes.register(identity).await;
        let mut open = Open {
            discovery: self.discovery.clone(),
            feed,
            standing: Standing::new(Instant::now()),
            ask_again: None,
            answered: None,
            session: match self.only.clone() {
                Some(only) => Session::of_type(R::TRANSPORT, only),
                None => Session::new(R::TRANSPORT),
            },
            registration,
            pending: None,
            held_back: None,
            judgements,
            expires: expiry(&self.peer),
        };
        open.on_feed();
        Ok((first, open))
    }

    fn address(&self) -> String {
        self.peer
            .address
            .map_or_else(String::new, |address| address.to_string())
    }
}

impl Open {
    /// Returns what to end the stream with, or `None` if the other side is gone.
    async fn serve<R: Request>(&mut self, first: R, stream: &mut Stream<R>) -> Option<Status> {
        debug!(address = stream.address(), "node connected");
        if let Err(refused) = self.on_request(first, &mut stream.names) {
            return Some(refused);
        }
        loop {
            if self.pending.is_none() {
                self.pending = self.session.poll(Instant::now());
            }
            self.report();
            match self.wait(stream).await {
                Wake::Request(Ok(Some(request))) => {
                    if let Err(refused) = self.on_request(*request, &mut stream.names) {
                        return Some(refused);
                    }
                }
                Wake::Request(Ok(None)) => return self.finish(stream).await,
                Wake::Request(Err(status)) => return Some(status),
                Wake::Feed => self.on_feed(),
                Wake::Room => self.send(stream),
                Wake::Asked => self.registration.answer(self.session.resources()),
                Wake::Deadline => {
                    if self.ask_again.is_some_and(|at| at <= Instant::now()) {
                        self.on_feed();
                    }
                }
                Wake::Judged => {
                    let node = self.registration.identity();
                    if let Err(status) = self.discovery.admission.still(&stream.peer, node) {
                        return Some(status);
                    }
                }
                Wake::Expired => {
                    if let Err(status) = stream.peer.check_certificate() {
                        return Some(status);
                    }
                    self.expires = expiry(&stream.peer);
                }
                Wake::GoingDown => return Some(going_down()),
                Wake::Unfed => {
                    let group = &self.registration.identity().group;
                    let text = format!("there is no configuration for {group} any more");
                    return Some(Status::unavailable(text));
                }
                Wake::Gone => return None,
            }
        }
    }

    /// The client asks and answers nothing any more: it gets what it has asked for.
    async fn finish<R: Request>(&mut self, stream: &mut Stream<R>) -> Option<Status> {
        self.on_feed();
        loop {
            if self.pending.is_none() {
                self.pending = self.session.poll(Instant::now());
            }
            if self.pending.is_none() {
                return Some(Status::ok(""));
            }
            tokio::select! {
                _ = self.discovery.going_down.wait_for(|down| *down) => return Some(going_down()),
                room = stream.outbox.reserve() => drop(room.ok()?),
            }
            self.send(stream);
        }
    }

    fn on_feed(&mut self) {
        let node = self.registration.identity();
        let now = Instant::now();
        self.ask_again = None;
        match self.feed.choose(node, &mut self.standing, now) {
            Choice::Snapshot(snapshot) => self.on_snapshot(snapshot),
            Choice::Keep => {}
            Choice::KeepUntil(then) => self.ask_again = Some(then),
        }
    }

    fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.standing.given = snapshot.name().cloned();
        // Whoever feeds many such nodes says so in the snapshot itself, and they share what is sent.
        let is_given = |type_url: &&TypeUrl| {
            let published = snapshot.published(type_url);
            !published.is_some_and(|published| published.is_denied())
        };
        let withheld = &self.registration.identity().withheld;
        let given: Vec<TypeUrl> = withheld.iter().filter(is_given).cloned().collect();
        self.session.on_snapshot(match &given[..] {
            [] => snapshot,
            given => Arc::new(snapshot.denying(given)),
        });
    }

    fn report(&mut self) {
        let held_back = self.session.holds_back();
        if let Some(why) = held_back.filter(|_| self.held_back.is_none()) {
            warn!(reason = %why, "nothing is sent to this node; it keeps what it has");
        }
        self.held_back = held_back;
        let has_answered = held_back.is_none() && self.session.has_answered();
        let since = self.answered.filter(|_| has_answered);
        self.answered = has_answered.then(|| since.unwrap_or_else(Instant::now));
        self.registration.report(|| StreamState {
            types: self.session.status().collect(),
            in_sync: self.session.in_sync() && held_back.is_none(),
            held_back,
            given: self.standing.given.clone(),
            answered: self.answered,
        });
    }

    /// Reading never waits for writing, nor writing for reading (R106).
    async fn wait<R: Request>(&mut self, stream: &mut Stream<R>) -> Wake<R> {
        let deadline = self
            .session
            .next_deadline()
            .filter(|_| self.pending.is_none());
        let timer = sleep_until(deadline.into_iter().chain(self.ask_again).min());
        tokio::select! {
            biased;
            _ = self.discovery.going_down.wait_for(|down| *down) => Wake::GoingDown,
            () = stream.outbox.closed() => Wake::Gone,
            () = changed(&mut self.judgements) => Wake::Judged,
            () = sleep_until(self.expires) => Wake::Expired,
            request = stream.requests.message() => {
                Wake::Request(request.map(|request| request.map(Box::new)))
            }
            fed = self.feed.changed() => match fed {
                true => Wake::Feed,
                false => Wake::Unfed,
            },
            room = stream.outbox.reserve(), if self.pending.is_some() => match room {
                Ok(_) => Wake::Room,
                Err(_) => Wake::Gone,
            },
            () = self.registration.asked() => Wake::Asked,
            () = timer => Wake::Deadline,
        }
    }

    /// There is room: nobody else sends to this outbox.
    fn send<R>(&mut self, stream: &Stream<R>) {
        let Some(response) = self.pending.take() else {
            return;
        };
        let message = Message::of(response, stream.accepts_gzip);
        let node = self.registration.identity();
        self.discovery.observer.sent(node, message.len());
        // If it is not taken, the connection is gone, and that is seen at the next turn.
        let _ = stream.outbox.try_send(Outbound::Message(message));
    }

    fn on_request(&mut self, request: impl Request, names: &mut Share) -> Result<(), Status> {
        let told = request.tell(&mut self.session);
        let event = told.map_err(|refusal| to_status(&refusal))?;
        names.hold(self.session.name_bytes())?;
        let node = self.registration.identity();
        let observer = &self.discovery.observer;
        match event {
            None => {}
            Some(Event::Acked {
                type_url,
                version,
                resources,
            }) => observer.acked(node, &type_url, &version, resources),
            Some(Event::Nacked {
                type_url,
                version,
                reason,
                rejected,
            }) => {
                observer.nacked(node, &type_url, &version, &rejected);
                let named: Vec<_> = rejected
                    .iter()
                    .take(LOGGED_REJECTIONS)
                    .map(|(name, why)| format!("{name}: {}", why.reason))
                    .collect();
                warn!(
                    r#type = type_url.short(),
                    count = rejected.len(),
                    resources = named.join("; "),
                    reason,
                    "node rejected resources; it keeps what it had, and they are not sent again until they change"
                );
            }
        }
        Ok(())
    }
}

/// When a node's certificate ends, by the clock that streams go by.
fn expiry(peer: &Peer) -> Option<Instant> {
    Instant::now().checked_add(peer.vouched_for()?)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn changed(judgements: &mut Option<watch::Receiver<()>>) {
    if let Some(judgements) = judgements
        && judgements.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

fn going_down() -> Status {
    Status::unavailable("this server is going down, try another")
}

fn to_status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::NoType | Refusal::OtherType { .. } => {
            Status::invalid_argument(refusal.to_string())
        }
        Refusal::Locators => Status::unimplemented(refusal.to_string()),
        Refusal::TooManyTypes | Refusal::TooManyNames => {
            Status::resource_exhausted(refusal.to_string())
        }
    }
}

fn user_agent(node: &Node) -> String {
    let version = match &node.user_agent_version_type {
        Some(UserAgentVersionType::UserAgentVersion(version)) => version.clone(),
        Some(UserAgentVersionType::UserAgentBuildVersion(build)) => {
            let version = build.version.unwrap_or_default();
            let (major, minor) = (version.major_number, version.minor_number);
            format!("{major}.{minor}.{}", version.patch)
        }
        None => String::new(),
    };
    clean(format!("{} {version}", node.user_agent_name).trim_end())
}
