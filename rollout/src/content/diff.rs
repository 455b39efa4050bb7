//! Owns what is different between two releases. Must not know: how it is shown.

use std::cmp::Ordering;

use bellwether::name::ResourceId;

use super::{Item, View};

/// What is different, in the order of view, type and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Each resource that is not the same in both.
    pub changed: Vec<Changed>,
    /// Resources that are.
    pub same: u64,
}

/// One resource that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Who it is made for.
    pub view: View,
    /// Type and name.
    pub id: ResourceId,
    /// Bytes in the first release, if it is there.
    pub before: Option<usize>,
    /// Bytes in the second release, if it is there.
    pub after: Option<usize>,
}

/// What is different between two releases as [`super::unpack`] gives them: in order.
#[must_use]
pub fn diff(before: &[Item], after: &[Item]) -> Diff {
    let mut diff = Diff::default();
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.key().cmp(&other.key()),
        };
        let old = before.next_if(|_| order.is_le());
        let new = after.next_if(|_| order.is_ge());
        let (Some(either), false) = (old.or(new), old == new) else {
            diff.same += 1;
            continue;
        };
        diff.changed.push(Changed {
            view: either.view,
            id: either.id.clone(),
            before: old.map(|item| item.body.len()),
            after: new.map(|item| item.body.len()),
        });
    }
    diff
}
