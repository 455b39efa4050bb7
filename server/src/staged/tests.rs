//! The choice for each node, and how nodes are seen, over releases made by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether::content::Content;
use bellwether::name::{Name, ResourceId, TypeUrl, Version};
use bellwether::rejection::Rejected;
use bellwether::resource::Resource;
use bellwether::session::TypeStatus;
use bellwether::snapshot::{Position, Snapshot};
use bellwether::wire::native::{self, HealthWindow, NodeReport, Setback, setback};
use bellwether_rollout::census::Sighting;
use bellwether_rollout::cohort::{Cohort, Percent, Salt, Threshold};
use bellwether_rollout::content::{Item, View};
use bellwether_rollout::policy::{OnFail, Policy, Stage};
use bellwether_rollout::state::{EVAL, Phase, Rollout, Start};
use bellwether_rollout::{Digest, Release, Selector, State};
use bellwether_xds::nodes::{Identity, Reported, Seen, StreamState};
use bellwether_xds::{Choice, Choose, Standing};
use tokio::sync::watch;

use super::fleet_view::{Chooser, FleetView, Offered, PROOF};
use super::pacer::Pacer;
use super::sight::{hash, sightings};
use super::stock::{Ready, Stock, digest_in, name_of};
use super::{Others, stock};
use crate::lane::Instances;

const SECOND: Duration = Duration::from_secs(1);

fn release(seq: u64) -> Release {
    Release {
        seq,
        digest: Digest::of(&seq.to_be_bytes()),
    }
}

fn name(seq: u64) -> String {
    name_of(&format!("shop@{seq}"), &release(seq).digest)
}

/// A route for everybody, at this path.
fn route(name: &str, path: &str) -> Vec<Item> {
    let message = native::Route {
        id: name.into(),
        paths: vec![path.into()],
        ..native::Route::default()
    };
    let id = ResourceId::new(TypeUrl::ROUTE, name);
    let body = Resource::new(id.clone(), &message, Vec::new()).body();
    let of = |view| Item {
        view,
        id: id.clone(),
        body: body.clone(),
        refers: Vec::new(),
        ttl: None,
    };
    [View::Native, View::Envoy].map(of).into()
}

/// All have `both`; each has `own` at a path of its own.
fn ready(seq: u64, earlier: Option<&Ready>) -> Ready {
    let own = route("own", &format!("/{seq}"));
    let items: Vec<Item> = route("both", "/both").into_iter().chain(own).collect();
    let name = format!("shop@{seq}");
    Ready::of(release(seq), &name, &name, &items, earlier).unwrap()
}

fn stable() -> State {
    State {
        stable: Some(release(1)),
        ..State::new(Salt([7; 16]))
    }
}

/// Release 2 is being rolled out to everybody, over release 1, at this pace.
fn exposing(pace: u32) -> State {
    let stage = Stage {
        pace,
        ..Stage::of("all", Percent::ALL, SECOND)
    };
    let policy = Policy {
        name: "test".to_owned(),
        domain: None,
        stages: vec![stage],
        soak: SECOND,
        probation: 5 * SECOND,
        on_fail: OnFail::Rollback,
        approvals: 0,
    };
    let mut state = stable();
    state.rollout = Some(Box::new(Rollout {
        id: 1,
        base: Some(release(1)),
        start: Start {
            target: release(2),
            policy,
            author: String::new(),
            reason: String::new(),
        },
        phase: Phase::Exposing,
        since: bellwether_rollout::Millis(0),
        stage: 0,
        salt: state.salt,
        exposure: 1,
        cohorts: vec![Cohort {
            select: Selector::default(),
            domains: BTreeMap::new(),
            elsewhere: Threshold::All,
        }],
        assigned: None,
        enroll_fresh: false,
        approvals: Vec::new(),
    }));
    state
}

fn in_phase(phase: Phase) -> State {
    let mut state = exposing(0);
    state.rollout.as_mut().unwrap().phase = phase;
    state
}

/// A fleet with these releases at hand, whose state was proven at `proven`.
struct Bench {
    view: Arc<FleetView>,
    prover: watch::Sender<Option<Instant>>,
    start: Instant,
    _others: watch::Sender<Arc<Others>>,
}

impl Bench {
    fn new(state: State, at_hand: &[u64]) -> Self {
        let start = Instant::now();
        let (prover, proven) = watch::channel(Some(start));
        let (others, told) = watch::channel(Arc::default());
        let mut stock = Stock::default();
        for seq in at_hand {
            stock.add(ready(*seq, stock.any().as_deref()));
        }
        let position = Position {
            store: 1,
            revision: 100,
        };
        let mut contents = BTreeMap::new();
        let offered = stock.all().map(|ready| {
            let digest = ready.release.digest;
            contents.extend(ready.contents().map(|content| (content, digest)));
            let each = ready.whole.iter();
            let snapshots = each.map(|(view, whole)| (*view, Arc::new(whole.clone().at(position))));
            let offered = Offered {
                ready: ready.clone(),
                snapshots: snapshots.collect(),
            };
            (digest, offered)
        });
        let view = FleetView {
            fleet: "shop".into(),
            position,
            generation: 90,
            state: Arc::new(state),
            rollout_seen: Some(start),
            releases: offered.collect(),
            contents,
            blank: Arc::new(Snapshot::default().at(position)),
            proven,
            pacer: Arc::new(Pacer::new(1, start)),
            others: told,
        };
        Self {
            view: Arc::new(view),
            prover,
            start,
            _others: others,
        }
    }

    fn choose(&self, identity: &Identity, standing: &mut Standing, now: Instant) -> Choice {
        let chooser = Chooser {
            fleet: self.view.clone(),
            view: View::Native,
        };
        chooser.choose(identity, standing, now)
    }

    /// For a node that connected a second after the rollout was seen, and was given this since.
    fn given(&self, identity: &Identity, given: Option<u64>) -> String {
        let mut standing = self.standing(given);
        told(&self.choose(identity, &mut standing, self.start + SECOND))
    }

    fn standing(&self, given: Option<u64>) -> Standing {
        Standing {
            connected: self.start + SECOND,
            given: given.map(|seq| name(seq).into()),
            turn: None,
        }
    }

    fn content(&self, seq: u64) -> Content {
        let snapshot = self.view.snapshot(&release(seq).digest, View::Native);
        Content::of_snapshot(snapshot.unwrap())
    }
}

/// The choice in short.
fn told(choice: &Choice) -> String {
    match choice {
        Choice::Snapshot(snapshot) => match snapshot.name() {
            Some(name) => name.split(' ').next().unwrap().to_owned(),
            None => "nothing".to_owned(),
        },
        Choice::Keep => "keep".to_owned(),
        Choice::KeepUntil(_) => "wait".to_owned(),
    }
}

fn node(id: &str) -> Identity {
    Identity {
        id: id.to_owned(),
        group: "shop".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        ..Identity::default()
    }
}

fn fresh() -> Identity {
    Identity {
        is_fresh: true,
        ..node("n")
    }
}

#[test]
fn a_new_node_gets_the_base_and_others_the_target() {
    let bench = Bench::new(exposing(0), &[1, 2]);
    assert_eq!(bench.given(&fresh(), None), "shop@1");
    assert_eq!(bench.given(&node("n"), None), "shop@2");
    assert_eq!(bench.given(&node("n"), Some(1)), "shop@2");
    // Before the rollout began it was as new, and has what all have since.
    let mut standing = Standing {
        connected: bench.start - SECOND,
        ..bench.standing(None)
    };
    let choice = bench.choose(&fresh(), &mut standing, bench.start);
    assert_eq!(told(&choice), "shop@2");
}

#[test]
fn a_state_of_a_newer_server_is_no_opinion() {
    let mut state = exposing(0);
    state.eval = EVAL + 1;
    let bench = Bench::new(state, &[1, 2]);
    for given in [None, Some(1), Some(2)] {
        assert_eq!(bench.given(&node("n"), given), "keep");
        assert_eq!(bench.given(&fresh(), given), "keep");
    }
}

#[test]
fn nobody_is_exposed_without_proof_that_the_state_is_the_newest() {
    let bench = Bench::new(exposing(0), &[1, 2]);
    let late = bench.start + PROOF;
    let ask = |identity: &Identity, given, now| {
        told(&bench.choose(identity, &mut bench.standing(given), now))
    };
    assert_eq!(ask(&node("n"), Some(1), late - SECOND), "shop@2");
    assert_eq!(ask(&node("n"), Some(1), late), "wait");
    assert_eq!(ask(&node("n"), None, late), "wait");
    // Whoever has it already is not taken back.
    assert_eq!(ask(&node("n"), Some(2), late), "shop@2");
    // The base needs no proof.
    let back = Bench::new(
        in_phase(Phase::RollingBack {
            reason: String::new(),
            stuck: false,
        }),
        &[1, 2],
    );
    back.prover.send_replace(None);
    assert_eq!(back.given(&node("n"), Some(2)), "shop@1");
    bench.prover.send_replace(None);
    assert_eq!(ask(&node("n"), Some(1), bench.start), "wait");
}

#[test]
fn each_node_waits_for_its_turn_and_keeps_it() {
    let bench = Bench::new(exposing(10), &[1, 2]);
    let now = bench.start;
    let ask = |standing: &mut Standing, now| bench.choose(&node("n"), standing, now);
    let (mut first, mut second) = (bench.standing(Some(1)), bench.standing(Some(1)));
    assert_eq!(told(&ask(&mut first, now)), "shop@2");
    let Choice::KeepUntil(turn) = ask(&mut second, now) else {
        panic!("it is not its turn");
    };
    assert_eq!(turn, now + Duration::from_millis(100));
    // Who asks again does not queue again.
    let again = ask(&mut second, now + Duration::from_millis(50));
    assert!(matches!(again, Choice::KeepUntil(same) if same == turn));
    assert_eq!(told(&ask(&mut second, turn)), "shop@2");
}

#[test]
fn a_halt_leaves_the_target_with_who_has_it() {
    let reason = String::new();
    let bench = Bench::new(in_phase(Phase::Halted { reason }), &[1, 2]);
    assert_eq!(bench.given(&node("n"), Some(2)), "shop@2");
    assert_eq!(bench.given(&node("n"), Some(1)), "shop@1");
    assert_eq!(bench.given(&node("n"), None), "shop@1");
    // One that comes back says what it has.
    let mut back = node("n");
    back.said.content = Some(bench.content(2));
    assert_eq!(bench.given(&back, None), "shop@2");
}

#[test]
fn what_is_not_at_hand_or_does_not_exist_takes_nothing_from_anybody() {
    let bench = Bench::new(exposing(0), &[1]);
    assert_eq!(bench.given(&node("n"), Some(1)), "keep");
    let bench = Bench::new(stable(), &[]);
    assert_eq!(bench.given(&node("n"), Some(1)), "keep");
    let bench = Bench::new(State::new(Salt([7; 16])), &[]);
    assert_eq!(bench.given(&node("n"), None), "nothing");
    // Whoever has something is not sent that.
    assert!(bench.view.blank.is_blank());
}

#[test]
fn a_node_is_told_the_generation_and_not_how_far_the_store_is() {
    let bench = Bench::new(exposing(0), &[1, 2]);
    let chooser = Chooser {
        fleet: bench.view.clone(),
        view: View::Native,
    };
    let told = chooser.directive(&node("n"), &bench.standing(None));
    assert_eq!(told.position.unwrap().revision, 90);
    assert_eq!(told.release, "shop@2");
    assert_eq!(told.probation, 5 * SECOND);
}

#[test]
fn releases_share_what_is_the_same_and_are_let_go() {
    let mut stock = Stock::default();
    stock.add(ready(1, None));
    stock.add(ready(2, stock.any().as_deref()));
    let resource = |seq: u64, name: &str| {
        let whole = &stock.get(&release(seq).digest).unwrap().whole[&View::Native];
        let set = whole.published(&TypeUrl::ROUTE).unwrap().set();
        set.get(&Name::from(name)).unwrap().version()
    };
    assert_eq!(resource(1, "both"), resource(2, "both"));
    assert_ne!(resource(1, "own"), resource(2, "own"));
    let named = stock.all().map(|ready| {
        let name = ready.whole[&View::Envoy].name().unwrap().clone();
        digest_in(&name)
    });
    let digests: std::collections::BTreeSet<_> = named.flatten().collect();
    assert_eq!(digests, [1, 2].map(|seq| release(seq).digest).into());
    stock.keep(&[release(2)]);
    assert!(stock.get(&release(1).digest).is_none());
    assert!(stock.get(&release(2).digest).is_some());
    stock
        .lay_over(std::iter::empty(), &Instances::default(), "label")
        .unwrap();
    let left: Vec<u64> = stock.all().map(|ready| ready.release.seq).collect();
    assert_eq!(left, [2]);
}

#[test]
fn only_a_whole_digest_is_one() {
    for text in ["", "shop@1", "shop@1 ", "shop@1 12", "shop@1  "] {
        assert_eq!(stock::digest_in(text), None, "{text:?}");
    }
    assert_eq!(digest_in(&name(3)), Some(release(3).digest));
}

/// A stream that was given this and has answered for it ten seconds ago.
fn stream(bench: &Bench, identity: Identity, given: u64) -> Seen {
    Seen {
        identity: Arc::new(identity),
        connected: bench.start,
        state: StreamState {
            given: Some(name(given).into()),
            answered: Some(bench.start),
            ..StreamState::default()
        },
    }
}

fn see(bench: &Bench, streams: &[Seen], reports: &[(Arc<Identity>, Reported)]) -> Vec<Sighting> {
    sightings(&bench.view, streams, reports, bench.start + 10 * SECOND)
}

fn one(bench: &Bench, streams: &[Seen]) -> Sighting {
    let seen = see(bench, streams, &[]);
    assert_eq!(seen.len(), 1);
    seen.into_iter().next().unwrap()
}

/// It rejects this route as the release has it.
fn rejecting(bench: &Bench, mut stream: Seen, seq: u64, resource: &str) -> Seen {
    let snapshot = bench.view.snapshot(&release(seq).digest, View::Native);
    let set = snapshot.unwrap().published(&TypeUrl::ROUTE).unwrap().set();
    let version: Version = set.get(&Name::from(resource)).unwrap().version();
    let why = Rejected {
        version,
        reason: "no".into(),
    };
    stream.state.types.push(TypeStatus {
        type_url: TypeUrl::ROUTE,
        wildcard: true,
        names: 0,
        sent: None,
        acked: None,
        rejected: vec![(Name::from(resource), why)],
    });
    stream
}

#[test]
fn a_node_without_reports_is_stable_after_the_probation() {
    let bench = Bench::new(exposing(0), &[1, 2]);
    let mut seen = stream(&bench, node("envoy"), 2);
    let sighting = one(&bench, &[seen.clone()]);
    assert_eq!(sighting.id, hash("envoy"));
    assert_eq!(sighting.holds, Some(release(2).digest));
    assert!(sighting.stable);
    seen.state.answered = Some(bench.start + 6 * SECOND);
    assert!(!one(&bench, &[seen.clone()]).stable);
    seen.state.answered = None;
    let sighting = one(&bench, &[seen]);
    assert_eq!((sighting.holds, sighting.stable), (None, false));
}

#[test]
fn an_agent_is_stable_by_its_own_word_alone() {
    let bench = Bench::new(exposing(0), &[1, 2]);
    let mut agent = node("agent");
    agent.user_agent = "bellwether-agent 0.1.0".to_owned();
    let streams = [stream(&bench, agent.clone(), 2)];
    assert!(!one(&bench, &streams).stable, "it has not reported");
    let says = |content: Content, in_force_ms, stable, at| {
        let report = NodeReport {
            content: content.to_string(),
            in_force_ms,
            stable,
            health: Some(HealthWindow {
                window_ms: 2_000,
                requests: 10,
                errors: 3,
                ..HealthWindow::default()
            }),
            ..NodeReport::default()
        };
        let report = Arc::new(report);
        [(Arc::new(agent.clone()), Reported { report, at })]
    };
    let now = bench.start + 9 * SECOND;
    for (reports, stable, requests) in [
        (says(bench.content(2), 5_000, false, now), true, 10),
        (says(bench.content(2), 4_999, false, now), false, 10),
        (says(bench.content(2), 0, true, now), true, 0),
        (says(bench.content(2), 1_999, false, now), false, 0),
        // It went back, or is not there yet.
        (says(bench.content(1), 60_000, true, now), false, 10),
        (says(Content::default(), 60_000, true, now), false, 10),
    ] {
        let seen = see(&bench, &streams, &reports);
        assert_eq!(
            (seen[0].stable, seen[0].requests),
            (stable, requests),
            "{reports:?}"
        );
    }
    // It hangs: its stream is up, and it says nothing any more.
    let silent = says(bench.content(2), 5_000, true, bench.start - 11 * SECOND);
    assert!(see(&bench, &streams, &silent).is_empty());
}

#[test]
fn what_an_agent_could_not_live_with_is_told_by_release() {
    let bench = Bench::new(exposing(0), &[1, 2]);
    let streams = [stream(&bench, node("agent"), 1)];
    let failed = |kinds: &[(u64, setback::Kind)]| {
        let setbacks = kinds.iter().map(|(seq, kind)| Setback {
            content: bench.content(*seq).to_string(),
            kind: (*kind).into(),
            times: 3,
            reason: String::new(),
        });
        let report = Arc::new(NodeReport {
            setbacks: setbacks.collect(),
            ..NodeReport::default()
        });
        let at = bench.start + 9 * SECOND;
        let reports = [(Arc::new(node("agent")), Reported { report, at })];
        see(&bench, &streams, &reports)[0].failed
    };
    let (one, two) = (release(1).digest, release(2).digest);
    assert_eq!(failed(&[]), None);
    assert_eq!(failed(&[(2, setback::Kind::CrashLoop)]), Some(two));
    assert_eq!(failed(&[(2, setback::Kind::Hung)]), Some(two));
    assert_eq!(failed(&[(2, setback::Kind::Crashed)]), None, "once is none");
    let both = [(2, setback::Kind::Hung), (1, setback::Kind::CrashLoop)];
    assert_eq!(failed(&both), Some(one), "the last one");
}

#[test]
fn what_is_rejected_of_both_releases_is_held_against_neither() {
    let bench = Bench::new(exposing(0), &[1, 2]);
    let target = stream(&bench, node("n"), 2);
    let own = rejecting(&bench, target.clone(), 2, "own");
    assert_eq!(one(&bench, &[own]).rejected, Some(release(2).digest));
    let both = rejecting(&bench, target.clone(), 2, "both");
    assert_eq!(one(&bench, &[both]).rejected, None);
    // A version of another time.
    let old = rejecting(&bench, target, 1, "own");
    assert_eq!(one(&bench, &[old]).rejected, None);
    let base = rejecting(&bench, stream(&bench, node("n"), 1), 1, "own");
    assert_eq!(one(&bench, &[base]).rejected, Some(release(1).digest));
}

#[test]
fn of_a_node_that_came_back_only_the_newest_connection_counts() {
    let bench = Bench::new(exposing(0), &[1, 2]);
    let old = rejecting(&bench, stream(&bench, node("n"), 2), 2, "own");
    let mut new = stream(&bench, node("n"), 1);
    new.connected += SECOND;
    Arc::make_mut(&mut new.identity).address = "127.0.0.1:2".to_owned();
    for streams in [[old.clone(), new.clone()], [new, old]] {
        let sighting = one(&bench, &streams);
        assert_eq!(sighting.holds, Some(release(1).digest));
        assert_eq!(sighting.rejected, None);
    }
}

/// Such as come of the services of single types.
#[test]
fn streams_of_one_connection_answer_together() {
    let bench = Bench::new(exposing(0), &[1, 2]);
    let part = stream(&bench, node("n"), 2);
    let mut other = part.clone();
    other.connected += SECOND;
    let pair = |other: &Seen| one(&bench, &[part.clone(), other.clone()]);
    let both = pair(&other);
    assert_eq!((both.holds, both.stable), (Some(release(2).digest), true));

    let mut late = other.clone();
    late.state.answered = Some(bench.start + 6 * SECOND);
    assert!(!pair(&late).stable, "the last of them counts");
    late.state.answered = None;
    assert_eq!(pair(&late).holds, None);
    let mut behind = other.clone();
    behind.state.given = Some(name(1).into());
    assert_eq!(pair(&behind).holds, None, "they have not the same");

    let rejects = rejecting(&bench, part.clone(), 2, "own");
    let pair = one(&bench, &[rejects, other]);
    assert_eq!(pair.rejected, Some(release(2).digest));
}
