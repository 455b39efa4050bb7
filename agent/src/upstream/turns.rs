//! Owns the cycle of weighted round robin: the sweep of LVS with the weights divided by their
//! greatest common divisor (`docs/apisix.md` §3.2). Must not know: endpoints.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A cycle, computed once, so that a request takes its turn with one atomic addition.
#[derive(Debug)]
pub(super) struct Turns {
    cycle: Box<[u32]>,
    next: AtomicUsize,
}

impl Turns {
    /// `weights` are not 0. The cycle has at most `limit` turns, or one for each member.
    pub(super) fn new(weights: &[u32], start: usize, limit: usize) -> Self {
        Self {
            cycle: cycle(&scaled(weights, limit)),
            next: AtomicUsize::new(start),
        }
    }

    /// Where the cycle stands, to go on from there when the members change.
    pub(super) fn position(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    /// The next member for which `free` holds.
    pub(super) fn take(&self, free: impl Fn(u32) -> bool) -> Option<u32> {
        let length = self.cycle.len();
        (0..length).find_map(|_| {
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let member = *self.cycle.get(turn % length)?;
            free(member).then_some(member)
        })
    }
}

/// Weights divided by their greatest common divisor, and scaled down if their sum is too great.
pub(super) fn scaled(weights: &[u32], limit: usize) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let mut weights: Vec<u64> = weights.iter().map(|w| u64::from(w / divisor)).collect();
    let sum: u64 = weights.iter().sum();
    let limit = limit as u64;
    if sum > limit {
        for weight in &mut weights {
            *weight = (*weight * limit / sum).max(1);
        }
    }
    weights
}

fn gcd(left: u32, right: u32) -> u32 {
    if right == 0 {
        left
    } else {
        gcd(right, left % right)
    }
}

/// Sweeps with a falling threshold: in each sweep all members whose weight reaches it have a turn.
fn cycle(weights: &[u64]) -> Box<[u32]> {
    let mut heaviest: Vec<u32> = (0_u32..).take(weights.len()).collect();
    let weight = |member: u32| weights.get(member as usize).copied().unwrap_or(0);
    heaviest.sort_by_key(|member| std::cmp::Reverse(weight(*member)));
    let mut cycle = Vec::new();
    let mut reached: Vec<u32> = Vec::with_capacity(heaviest.len());
    let mut coming = heaviest.into_iter().peekable();
    let top = coming.peek().map_or(0, |member| weight(*member));
    for threshold in (1..=top).rev() {
        while let Some(member) = coming.next_if(|member| weight(*member) >= threshold) {
            let at = reached.partition_point(|other| *other < member);
            reached.insert(at, member);
        }
        cycle.extend_from_slice(&reached);
    }
    cycle.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: usize = 1_000;

    #[test]
    fn the_cycle_is_the_sweep_of_lvs() {
        for (weights, want) in [
            (vec![1, 1, 1], vec![0, 1, 2]),
            (vec![4, 3, 2], vec![0, 0, 1, 0, 1, 2, 0, 1, 2]),
            (vec![2, 4], vec![1, 0, 1]),
            (vec![5], vec![0]),
            (vec![1, 3], vec![1, 1, 0, 1]),
        ] {
            assert_eq!(&*cycle(&scaled(&weights, PLENTY)), want, "{weights:?}");
        }
    }

    #[test]
    fn what_is_not_free_is_passed_over() {
        let turns = Turns::new(&[3, 1], 0, PLENTY);
        assert_eq!(turns.take(|member| member == 1), Some(1));
        assert_eq!(turns.take(|_| false), None);
        assert_eq!(Turns::new(&[], 0, PLENTY).take(|_| true), None);
    }

    /// Weights are the user's, the memory is ours.
    #[test]
    fn huge_weights_are_scaled_down_and_nobody_is_lost() {
        let weights = [u32::MAX, u32::MAX - 1, 1];
        let cycle = cycle(&scaled(&weights, PLENTY));
        assert!(cycle.len() <= PLENTY + weights.len());
        for member in 0..3 {
            assert!(cycle.contains(&member), "{member}");
        }
    }
}
