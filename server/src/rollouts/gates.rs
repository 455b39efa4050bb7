//! Owns the gates that are asked elsewhere: that each is asked again and again while a stage is watched,
//! and what it said lately. Must not know: what follows from it.
//!
//! A verdict is of one rollout, stage and exposure, and gets old: one that is lost is no verdict.

mod ask;
mod http;

use std::collections::BTreeMap;
use std::time::Duration;

use bellwether_rollout::gate::Verdict;
use bellwether_rollout::policy::{Gate, Policy, Stage};
use bellwether_rollout::state::{Phase, Rollout};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::ask::Question;
use super::report::GateTold;

/// How often a gate is asked, where its stage is not shorter than five of these.
const INTERVAL: Duration = Duration::from_secs(10);

/// How often a gate is asked at most.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// How long a verdict counts at least: a few answers that were late.
const MIN_LIFE: Duration = Duration::from_secs(15);

/// The gates of one fleet.
#[derive(Debug, Default)]
pub(super) struct Gates {
    subject: Option<Subject>,
    said: Option<watch::Receiver<BTreeMap<usize, Said>>>,
    /// Dropping it ends them.
    asking: JoinSet<()>,
}

#[derive(Clone, Debug, PartialEq)]
struct Subject {
    rollout: u64,
    exposure: u64,
    stage: Stage,
}

#[derive(Clone, Debug)]
struct Said {
    verdict: Verdict,
    at: Instant,
}

/// Why a policy's gates can't be asked.
pub(super) fn unfit(policy: &Policy) -> Option<String> {
    policy.stages.iter().find_map(|stage| {
        stage.gates.iter().find_map(|gate| {
            let (name, url, bounded) = match gate {
                Gate::Health { .. } => return None,
                Gate::Query {
                    name,
                    url,
                    min_milli,
                    max_milli,
                    ..
                } => (name, url, min_milli.is_some() || max_milli.is_some()),
                Gate::Webhook { name, url } => (name, url, true),
            };
            let unbounded = || Some("has neither min_milli nor max_milli".to_owned());
            let fault = http::check(url).err().map(|why| format!("its url {why}"));
            let fault = fault.or_else(|| if bounded { None } else { unbounded() })?;
            Some(format!("gate {name:?} of stage {:?}: {fault}", stage.name))
        })
    })
}

/// An address without what may be a secret.
pub(super) fn shown_url(url: &str) -> String {
    http::shown(url)
}

fn interval(stage: &Stage) -> Duration {
    (stage.bake / 5).clamp(MIN_INTERVAL, INTERVAL)
}

fn is_watched(phase: &Phase) -> bool {
    match phase {
        Phase::Exposing | Phase::Baking { .. } | Phase::Soaking { .. } | Phase::Paused { .. } => {
            true
        }
        Phase::Pending | Phase::Scheduled | Phase::Halted { .. } | Phase::RollingBack { .. } => {
            false
        }
    }
}

impl Gates {
    /// Asks those of this rollout's stage from now on, and forgets what was said of another.
    pub(super) fn follow(&mut self, fleet: &str, rollout: Option<&Rollout>) {
        let watched = rollout.filter(|rollout| is_watched(&rollout.phase));
        let subject = watched.and_then(|rollout| {
            Some(Subject {
                rollout: rollout.id,
                exposure: rollout.exposure,
                stage: rollout.current()?.clone(),
            })
        });
        if subject == self.subject {
            return;
        }
        self.asking.abort_all();
        self.said = None;
        self.subject = subject;
        if let (Some(subject), Some(rollout)) = (&self.subject, rollout) {
            let question = Question {
                fleet: fleet.to_owned(),
                rollout: rollout.id,
                stage: subject.stage.name.clone(),
                release: format!("{fleet}@{}", rollout.start.target.seq),
                digest: rollout.start.target.digest.to_string(),
                exposure: rollout.exposure,
            };
            let (sender, said) = watch::channel(BTreeMap::new());
            self.said = Some(said);
            for (index, gate) in outside(&subject.stage) {
                let task = keep_asking(
                    gate.clone(),
                    question.clone(),
                    interval(&subject.stage),
                    index,
                    sender.clone(),
                );
                self.asking.spawn(task);
            }
        }
    }

    /// What all of them say.
    pub(super) fn verdict(&self, now: Instant) -> Verdict {
        Verdict::all(self.each(now).into_iter().map(|(_, verdict)| verdict))
    }

    /// What each of them says, for people.
    pub(super) fn told(&self, now: Instant) -> Vec<GateTold> {
        let each = self.each(now).into_iter().map(|(name, verdict)| {
            let (verdict, reason) = match verdict {
                Verdict::Pass => ("pass", String::new()),
                Verdict::Inconclusive(reason) => ("inconclusive", reason),
                Verdict::Fail(reason) => ("fail", reason),
            };
            GateTold {
                name,
                verdict: verdict.to_owned(),
                reason,
            }
        });
        each.collect()
    }

    fn each(&self, now: Instant) -> Vec<(String, Verdict)> {
        let Some(subject) = &self.subject else {
            return Vec::new();
        };
        let life = (interval(&subject.stage) * 3).max(MIN_LIFE);
        let said = self.said.as_ref().map(|said| said.borrow());
        let each = outside(&subject.stage).map(|(index, gate)| {
            let name = ask::name(gate).unwrap_or_default().to_owned();
            let fresh = said
                .as_ref()
                .and_then(|said| said.get(&index))
                .filter(|said| now.duration_since(said.at) < life);
            let verdict = match fresh.map(|said| said.verdict.clone()) {
                Some(Verdict::Fail(reason)) => Verdict::Fail(format!("{name}: {reason}")),
                Some(Verdict::Inconclusive(reason)) => {
                    Verdict::Inconclusive(format!("{name}: {reason}"))
                }
                Some(Verdict::Pass) => Verdict::Pass,
                None => Verdict::Inconclusive(format!("{name} has not answered yet")),
            };
            (name, verdict)
        });
        each.collect()
    }

    /// Waits until one of them says something.
    pub(super) async fn changed(&mut self) {
        let changed = match &mut self.said {
            Some(said) => said.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            std::future::pending::<()>().await;
        }
    }
}

/// Those of a stage that are asked elsewhere.
fn outside(stage: &Stage) -> impl Iterator<Item = (usize, &Gate)> {
    let gates = stage.gates.iter().enumerate();
    gates.filter(|(_, gate)| ask::name(gate).is_some())
}

async fn keep_asking(
    gate: Gate,
    question: Question,
    interval: Duration,
    index: usize,
    said: watch::Sender<BTreeMap<usize, Said>>,
) {
    loop {
        let verdict = ask::ask(&gate, &question).await;
        let at = Instant::now();
        said.send_modify(|said| {
            said.insert(index, Said { verdict, at });
        });
        sleep(interval).await;
    }
}
