//! Owns the begin of a stage: whom it takes. Must not know: when it begins.

use std::collections::BTreeMap;

use super::Turn;
use super::event::Event;
use crate::cohort::{Cohort, Threshold};
use crate::evidence::Candidates;
use crate::policy::Stage;
use crate::state::Phase;

impl Turn {
    /// Exposes the nodes of the current stage.
    pub(super) fn expose(&mut self, candidates: &BTreeMap<String, Candidates>) {
        let Some(rollout) = self.rollout() else {
            return;
        };
        let Some(stage) = rollout.current() else {
            return;
        };
        let cohort = cohort(stage, candidates);
        let event = Event::Exposing {
            rollout: rollout.id,
            stage: stage.name.clone(),
        };
        // Nobody is left out any more, so whoever joins now is not either.
        rollout.enroll_fresh |= stage.takes_all();
        rollout.cohorts.push(cohort);
        self.tell(event);
        self.again();
    }

    /// Counts and watches the nodes of the stage anew.
    pub(super) fn again(&mut self) {
        self.count_anew();
        self.enter(Phase::Exposing);
    }
}

/// Whom a stage takes: its percentage of each domain, and where that is too few nodes over all, those
/// that come next. Thresholds are stored, so the answer stays the same when nodes come and go.
fn cohort(stage: &Stage, candidates: &BTreeMap<String, Candidates>) -> Cohort {
    let part = Threshold::of(stage.percent);
    let mut domains: BTreeMap<String, Threshold> = candidates
        .keys()
        .map(|domain| (domain.clone(), part))
        .collect();
    let mut missing = stage.min_nodes as usize;
    let mut next: Vec<(usize, u64, &String)> = Vec::new();
    for (domain, of) in candidates {
        for (rank, bucket) in of.lowest.iter().enumerate() {
            match part.takes(*bucket) {
                true => missing = missing.saturating_sub(1),
                // One of each domain before a second of any.
                false => next.push((rank, *bucket, domain)),
            }
        }
    }
    next.sort_unstable();
    for (_, bucket, domain) in next.into_iter().take(missing) {
        if let Some(threshold) = domains.get_mut(domain) {
            *threshold = threshold.taking(bucket);
        }
    }
    Cohort {
        select: stage.select.clone(),
        domains,
        elsewhere: part,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cohort::Percent;

    fn candidates(of: &[(&str, &[u64])]) -> BTreeMap<String, Candidates> {
        let each = of.iter().map(|(domain, buckets)| {
            let mut candidates = Candidates::default();
            buckets.iter().for_each(|bucket| candidates.take(*bucket));
            ((*domain).to_owned(), candidates)
        });
        each.collect()
    }

    fn taken(percent: f64, min_nodes: u32, of: &[(&str, &[u64])]) -> Vec<(String, u64)> {
        let stage = Stage {
            min_nodes,
            ..Stage::of("s", Percent::try_from(percent).unwrap(), Duration::ZERO)
        };
        let cohort = cohort(&stage, &candidates(of));
        let all = of.iter().flat_map(|(domain, buckets)| {
            let threshold = cohort.domains[*domain];
            let taken = buckets
                .iter()
                .filter(move |bucket| threshold.takes(**bucket));
            taken.map(|bucket| ((*domain).to_owned(), *bucket))
        });
        all.collect()
    }

    const HALF: u64 = 1 << 63;

    #[test]
    fn a_percentage_that_takes_nobody_takes_the_first_that_are_asked_for() {
        let few: &[u64] = &[HALF, HALF + 1, HALF + 2];
        assert_eq!(taken(1.0, 0, &[("", few)]), []);
        assert_eq!(taken(1.0, 2, &[("", few)]).len(), 2);
        assert_eq!(taken(1.0, 9, &[("", few)]).len(), 3);
        assert_eq!(taken(100.0, 1, &[("", few)]).len(), 3);
    }

    #[test]
    fn every_domain_gives_one_before_any_gives_two() {
        let of: &[(&str, &[u64])] = &[("a", &[HALF, HALF + 1]), ("b", &[HALF + 7, HALF + 9])];
        let domains = |min_nodes| -> Vec<String> {
            taken(1.0, min_nodes, of)
                .into_iter()
                .map(|(domain, _)| domain)
                .collect()
        };
        assert_eq!(domains(2), ["a", "b"]);
        assert_eq!(domains(3), ["a", "a", "b"]);
    }

    #[test]
    fn those_that_the_percentage_takes_count() {
        assert_eq!(taken(50.0, 2, &[("a", &[1, 2, HALF, HALF + 1])]).len(), 2);
        assert_eq!(taken(50.0, 3, &[("a", &[1, 2, HALF, HALF + 1])]).len(), 3);
    }
}
