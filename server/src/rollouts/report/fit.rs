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

/// A report as it is written, and how many fleets the next one begins after.
pub(super) struct Fitted {
    pub(super) value: Bytes,
    pub(super) turn: usize,
    /// Whether every fleet with a rollout is in it.
    pub(super) whole: bool,
}

/// Fits a report; `turn` is what the one before said.
pub(super) fn fitted(mut report: Report, turn: usize) -> Fitted {
    for fleet in report.fleets.values_mut() {
        trim(fleet);
    }
    let all = std::mem::take(&mut report.fleets);
    let told = std::mem::take(&mut report.told);
    let mut room = MAX_REPORT_BYTES.saturating_sub(size(&report) + "\"told\":{},".len());
    let (active, idle): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, one)| one.is_active());
    let count = active.len();
    let mut taken = 0;
    for (name, mut fleet) in rotated(active, turn) {
        let mut cost = size(&(&name, &fleet));
        if cost > MAX_REPORT_BYTES / 2 && cost > room {
            shrink(&mut fleet);
            cost = size(&(&name, &fleet));
        }
        if cost > room {
            break;
        }
        room -= cost;
        taken += 1;
        report.fleets.insert(name, fleet);
    }
    let next = match taken == count {
        true => turn + 1,
        false => turn + taken.max(1),
    };
    for (name, fleet) in rotated(idle, turn) {
        let cost = size(&(&name, &fleet));
        if cost <= room {
            room -= cost;
            report.fleets.insert(name, fleet);
        }
    }
    for (name, mut told) in told {
        shorten(&mut told);
        let cost = size(&(&name, &told));
        if cost <= room {
            room -= cost;
            report.told.insert(name, told);
        }
    }
    let value = serde_json::to_vec(&report).unwrap_or_default().into();
    Fitted {
        value,
        turn: next,
        whole: taken == count,
    }
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

fn rotated<T>(mut all: Vec<T>, turn: usize) -> Vec<T> {
    if !all.is_empty() {
        let at = turn % all.len();
        all.rotate_left(at);
    }
    all
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
        let fitted = fitted(report([fleet(3, 20)]), 0);
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
        let fitted = fitted(report([fleet(500, 400)]), 0);
        let read = &read(&fitted).fleets["fleet-000"];
        assert!(!read.evidence.complete);
        assert_eq!(read.evidence.exposed().rejected, 500, "what failed is told");
    }

    #[test]
    fn fleets_that_have_no_room_take_turns() {
        let mut turn = 0;
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
    fn fleets_with_a_rollout_come_first() {
        let idle = FleetReport {
            in_use: vec![1],
            ..FleetReport::default()
        };
        let many = (0..500).map(|index| match index {
            499 => fleet(2, 0),
            _ => idle.clone(),
        });
        let read = read(&fitted(report(many), 0));
        assert!(read.fleets.contains_key("fleet-499"));
        assert!(read.fleets.len() < 500);
    }
}
