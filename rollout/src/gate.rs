//! Owns what follows from evidence: that all is well, that something failed, or that nobody knows.
//! Must not know: what is done about it.
//!
//! What is missing never passes: the verdict that got lost is how a bad change once went on.

mod wilson;

use crate::cohort::Percent;
use crate::evidence::{Counts, Evidence};
use crate::policy::{Gate, Stage};

/// What a gate says. The order is that of weight: of several, the greatest counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It was seen to be well.
    Pass,
    /// It can't be told, and why.
    Inconclusive(String),
    /// It was seen to be bad, and what.
    Fail(String),
}

/// Nodes of which a single one that fails is enough.
const FEW: u64 = 20;

/// The part of those exposed that may fail before the rollout does, where there are more than a few.
const MAX_FAILED: f64 = 0.001;

/// The part of those exposed that may vanish, besides the part that vanishes anyway.
const MAX_VANISHED: f64 = 0.1;

/// Errors of all requests above which nothing goes forward, wherever they come from.
const BURNING: f64 = 0.05;

impl Verdict {
    /// Of several, the worst.
    #[must_use]
    pub fn all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts.into_iter().max().unwrap_or(Self::Pass)
    }
}

/// What can make a rollout fail at any time: nodes that reject the release, fail with it, or vanish.
#[must_use]
pub fn watch(stage: &Stage, evidence: &Evidence) -> Verdict {
    let health = stage.gates.iter().map(|gate| match gate {
        Gate::Health {
            more_errors,
            min_requests,
        } => health(evidence, *more_errors, *min_requests),
        // Others are asked at the rim.
        Gate::Query { .. } | Gate::Webhook { .. } => Verdict::Pass,
    });
    let counts = [failures(evidence.exposed()), liveness(evidence)];
    Verdict::all(counts.into_iter().chain(health))
}

/// Whether enough of those exposed when the stage began are stable.
#[must_use]
pub fn coverage(stage: &Stage, assigned: u64, evidence: &Evidence) -> Verdict {
    let stable = evidence.exposed().stable;
    let wanted = stage.coverage.at_least_of(assigned).max(1);
    if !evidence.complete {
        return Verdict::Inconclusive("a server has not reported".to_owned());
    }
    match stable >= wanted {
        true => Verdict::Pass,
        false => Verdict::Inconclusive(format!(
            "{stable} nodes of {assigned} are stable, {wanted} must be"
        )),
    }
}

/// A node that rejects or fails is evidence whoever else has not spoken.
fn failures(exposed: Counts) -> Verdict {
    let bad = exposed.rejected + exposed.failed;
    if bad == 0 {
        return Verdict::Pass;
    }
    let of = exposed.answered().max(exposed.assigned);
    let what = format!(
        "{} nodes rejected the release and {} failed with it, of {of}",
        exposed.rejected, exposed.failed
    );
    if of <= FEW || wilson::lower(bad, of) > MAX_FAILED {
        return Verdict::Fail(what);
    }
    Verdict::Pass
}

/// Whoever dies of a release does not say so.
fn liveness(evidence: &Evidence) -> Verdict {
    let (exposed, control) = (evidence.exposed(), evidence.control());
    if exposed.missing == 0 {
        return Verdict::Pass;
    }
    if !evidence.complete {
        return Verdict::Inconclusive(
            "nodes are missing, and a server has not reported".to_owned(),
        );
    }
    let of = exposed.assigned.max(exposed.missing);
    let what = format!(
        "{} nodes vanished of {of} that were exposed",
        exposed.missing
    );
    // A few nodes prove little by their number; that none is left does.
    let only_they = control.missing == 0 && control.assigned > 0;
    if exposed.missing == of && only_they {
        return Verdict::Fail(what);
    }
    let usual = match control.assigned {
        0 => 0.0,
        assigned => wilson::upper(control.missing.min(assigned), assigned),
    };
    match wilson::lower(exposed.missing, of) > usual.max(MAX_VANISHED) {
        true => Verdict::Fail(what),
        // Whether enough are left is for the coverage to say.
        false => Verdict::Pass,
    }
}

fn health(evidence: &Evidence, more_errors: Percent, min_requests: u64) -> Verdict {
    let (exposed, control) = (evidence.exposed(), evidence.control());
    if exposed.requests < min_requests {
        let seen = exposed.requests;
        return Verdict::Inconclusive(format!(
            "{seen} requests by exposed nodes, {min_requests} must be seen"
        ));
    }
    let allowed = f64::from(more_errors.basis_points()) / 10_000.0;
    let usual = match control.requests {
        0 => 0.0,
        requests => wilson::upper(control.errors.min(requests), requests),
    };
    let errors = exposed.errors.min(exposed.requests);
    let told = |counts: Counts| format!("{} of {} requests", counts.errors, counts.requests);
    if wilson::lower(errors, exposed.requests) > usual + allowed {
        return Verdict::Fail(format!(
            "errors in {} of exposed nodes, in {} of the others",
            told(exposed),
            told(control)
        ));
    }
    if wilson::lower(errors, exposed.requests) > BURNING {
        return Verdict::Inconclusive(format!(
            "errors in {}, as in {} of nodes that are not exposed: nothing goes forward while all burns",
            told(exposed),
            told(control)
        ));
    }
    Verdict::Pass
}
