//! Owns what is left out of a report that has no room for all. Must not know: when it is written.
//!
//! First what nobody needs, then whole fleets, in turns; only a fleet that has no room by itself loses
//! something, and says that it is not complete, so that nothing goes forward on it.

use std::collections::BTreeMap;

use bellwether_rollout::evidence::Seen;
use bytes::Bytes;

use super::{FleetReport, MAX_DEPARTED, MAX_IN_USE, MAX_REPORT_BYTES, Report, Told};

/// Characters of what a gate said.
const MAX_REASON: usize = 160;

/// Where the next report begins, so that every fleet has its turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    active: usize,
    idle: usize,
}

/// A report as it is written.
pub(super) struct Fitted {
    pub(super) value: Bytes,
    /// For the one after.
    pub(super) turn: Turn,
    /// Whether every fleet is in it.
    pub(super) whole: bool,
}

/// Fits a report; `turn` is what the one before said.
pub(super) fn fitted(mut report: Report, turn: Turn) -> Fitted {
    let all = std::mem::take(&mut report.fleets);
    let told = std::mem::take(&mut report.told);
    let count = all.len();
    let mut room = MAX_REPORT_BYTES.saturating_sub(size(&report) + "\"told\":{},".len());
    let (active, idle): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, one)| one.is_active());
    let mut next = turn;
    next.active += fill(&mut report.fleets, active, turn.active, &mut room);
    for (name, mut told) in told {
        shorten(&mut told);
        let cost = size(&(&name, &told));
        if cost <= room {
            room -= cost;
            report.told.insert(name, told);
        }
    }
    next.idle += fill(&mut report.fleets, idle, turn.idle, &mut room);
    Fitted {
        value: serde_json::to_vec(&report).unwrap_or_default().into(),
        turn: next,
        whole: report.fleets.len() == count,
    }
}

/// As many as there is room for, from this one on; how many that were.
fn fill(
    fleets: &mut BTreeMap<String, FleetReport>,
    mut all: Vec<(String, FleetReport)>,
    from: usize,
    room: &mut usize,
) -> usize {
    if !all.is_empty() {
        let at = from % all.len();
        all.rotate_left(at);
    }
    for (taken, (name, mut fleet)) in all.into_iter().enumerate() {
        trim(&mut fleet);
        let mut cost = size(&(&name, &fleet));
        // It will not have more room another time.
        if cost > *room && taken == 0 {
            shrink(&mut fleet);
            cost = size(&(&name, &fleet));
        }
        if cost > *room {
            return taken.max(1);
        }
        *room -= cost;
        fleets.insert(name, fleet);
    }
    0
}

/// What nobody needs.
fn trim(fleet: &mut FleetReport) {
    for candidates in fleet.evidence.candidates.values_mut() {
        candidates.lowest.truncate(fleet.wanted);
    }
    // One more than is told says that there are more.
    fleet.in_use.truncate(MAX_IN_USE + 1);
    fleet.departed.truncate(MAX_DEPARTED);
    fleet.found.truncate(MAX_DEPARTED);
}

/// What is left of a fleet that has no room by itself: numbers over all domains. That nodes reject a
/// release is still told.
fn shrink(fleet: &mut FleetReport) {
    let evidence = &mut fleet.evidence;
    let all = Seen {
        exposed: evidence.exposed(),
        control: evidence.control(),
    };
    evidence.domains = BTreeMap::from([(String::new(), all)]);
    evidence.candidates.clear();
    evidence.complete = false;
    fleet.departed.truncate(MAX_DEPARTED / 4);
    fleet.found.truncate(MAX_DEPARTED / 4);
}

fn shorten(told: &mut Told) {
    let cut = |text: &mut String| *text = text.chars().take(MAX_REASON).collect();
    for gate in &mut told.gates {
        cut(&mut gate.reason);
        cut(&mut gate.name);
    }
    if let Some(trouble) = &mut told.trouble {
        cut(trouble);
    }
}

/// In JSON, with what stands between two.
fn size(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX / 2, |text| text.len() + 1)
}

#[cfg(test)]
mod tests {
    use bellwether_rollout::evidence::{Candidates, Counts};
    use bellwether_rollout::{Evidence, Millis};

    use super::*;

    fn fleet(domains: usize, departed: usize) -> FleetReport {
        let domain = |index: usize| format!("eu-west-{index}");
        let counts = Counts {
            assigned: 1_234,
            connected: 1_234,
            stable: 1_233,
            rejected: 1,
            ..Counts::default()
        };
        let seen = Seen {
            exposed: counts,
            control: counts,
        };
        let candidates = Candidates {
            eligible: 50,
            lowest: (0..20).map(|bucket| u64::MAX - bucket).collect(),
        };
        FleetReport {
            generation: 7,
            nodes: 9,
            evidence: Evidence {
                exposure: 3,
                complete: true,
                domains: (0..domains)
                    .map(|one| (domain(one), seen.clone()))
                    .collect(),
                candidates: (0..domains)
                    .map(|one| (domain(one), candidates.clone()))
                    .collect(),
                ..Evidence::default()
            },
            wanted: 5,
            in_use: (0..40).collect(),
            departed: (0..departed as u64).collect(),
            found: vec![u64::MAX],
        }
    }

    fn report(fleets: impl IntoIterator<Item = FleetReport>) -> Report {
        let named = fleets.into_iter().enumerate();
        Report {
            server: "a".to_owned(),
            time: Millis(1),
            fleets: named
                .map(|(index, fleet)| (format!("fleet-{index:03}"), fleet))
                .collect(),
            told: BTreeMap::new(),
        }
    }

    fn read(fitted: &Fitted) -> Report {
        assert!(
            fitted.value.len() <= MAX_REPORT_BYTES,
            "{}",
            fitted.value.len()
        );
        serde_json::from_slice(&fitted.value).unwrap()
    }

    #[test]
    fn what_fits_is_told_whole_but_for_what_nobody_needs() {
        let fitted = fitted(report([fleet(3, 20)]), Turn::default());
        let read = &read(&fitted).fleets["fleet-000"];
        assert!(read.evidence.complete);
        assert_eq!(read.evidence.domains.len(), 3);
        assert_eq!(read.evidence.candidates["eu-west-0"].lowest.len(), 5);
        assert_eq!(read.evidence.candidates["eu-west-0"].eligible, 50);
        assert_eq!(read.in_use.len(), MAX_IN_USE + 1);
        assert_eq!(
            (read.departed.len(), &read.found[..]),
            (20, &[u64::MAX][..])
        );
    }

    #[test]
    fn a_fleet_that_has_no_room_by_itself_says_that_it_is_not_complete() {
        let fitted = fitted(report([fleet(500, 400)]), Turn::default());
        let read = &read(&fitted).fleets["fleet-000"];
        assert!(!read.evidence.complete);
        assert_eq!(read.evidence.exposed().rejected, 500, "what failed is told");
    }

    #[test]
    fn fleets_that_have_no_room_take_turns() {
        let mut turn = Turn::default();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let fitted = fitted(report((0..30).map(|_| fleet(4, 20))), turn);
            turn = fitted.turn;
            let read = read(&fitted);
            assert!(read.fleets.len() > 2, "{}", read.fleets.len());
            assert!(read.fleets.values().all(|fleet| fleet.evidence.complete));
            seen.extend(read.fleets.into_keys());
        }
        assert_eq!(seen.len(), 30);
    }

    #[test]
    fn fleets_without_a_rollout_take_turns_too() {
        let idle = FleetReport {
            in_use: vec![1],
            ..FleetReport::default()
        };
        let mut turn = Turn::default();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..12 {
            let fitted = fitted(report((0..500).map(|_| idle.clone())), turn);
            turn = fitted.turn;
            assert!(!fitted.whole);
            seen.extend(read(&fitted).fleets.into_keys());
        }
        assert_eq!(seen.len(), 500);
    }

    #[test]
    fn fleets_with_a_rollout_come_first() {
        let idle = FleetReport {
            in_use: vec![1],
            ..FleetReport::default()
        };
        let many = (0..500).map(|index| match index {
            499 => fleet(2, 0),
            _ => idle.clone(),
        });
        let read = read(&fitted(report(many), Turn::default()));
        assert!(read.fleets.contains_key("fleet-499"));
        assert!(read.fleets.len() < 500);
    }
}
