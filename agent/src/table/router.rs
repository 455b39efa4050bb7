//! Owns the order in which routes are tried (`docs/apisix.md` §2.3), as a persistent structure:
//! to change one route costs the logarithm of their number. Must not know: what a route does.
//!
//! Every path of a route is filed under its hosts. The key is host, nul, path, so one map serves all
//! hosts and ten thousand hosts with a path each cost no more than one host with ten thousand paths.

use std::cmp::{Ordering, Reverse};
use std::fmt::Write;
use std::sync::Arc;

use imbl::{HashMap, OrdMap};

use crate::table::Matching;
use crate::table::host::HostPattern;
use crate::table::path::{Pattern, Place};
use crate::table::route::Route;
use crate::variable::View;

/// A route and the one of its paths that is filed here.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The route.
    pub route: Arc<Route>,
    /// The path.
    pub pattern: Arc<Pattern>,
}

/// Candidates with the same host and the same exact path or prefix, best first. Shared with earlier
/// tables; the first change in an edit copies it and the following ones change the copy in place.
type Shelf = Arc<Vec<Candidate>>;

/// Routes by host and path.
#[derive(Debug, Clone, Default)]
pub struct Router {
    exact: HashMap<Box<str>, Shelf>,
    prefix: OrdMap<Box<str>, Shelf>,
    /// How many paths are filed under a host; `*.a.com` for a wildcard.
    scopes: HashMap<Box<str>, usize>,
    /// How many wildcards have an end of this length, so that a lookup tries only those.
    suffix_lengths: OrdMap<usize, usize>,
}

/// The scope of routes without hosts.
const ANY_HOST: &str = "";

/// Parts the host from the path in a key. Neither can hold one.
const SEPARATOR: char = '\0';

impl Router {
    /// Files a route under all its hosts and paths.
    pub fn insert(&mut self, route: &Arc<Route>, matching: Matching) {
        for scope in scopes(route, matching) {
            for pattern in &route.patterns {
                self.insert_one(&scope, route, pattern);
            }
        }
    }

    /// Takes out a route that was filed with the same `matching`.
    pub fn remove(&mut self, route: &Arc<Route>, matching: Matching) {
        for scope in scopes(route, matching) {
            for pattern in &route.patterns {
                self.remove_one(&scope, route, pattern);
            }
        }
    }

    /// Whether nothing at all is filed.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty()
            && self.prefix.is_empty()
            && self.scopes.is_empty()
            && self.suffix_lengths.is_empty()
    }

    fn insert_one(&mut self, scope: &str, route: &Arc<Route>, pattern: &Arc<Pattern>) {
        let candidate = Candidate {
            route: route.clone(),
            pattern: pattern.clone(),
        };
        let (key, shelf) = match pattern.place() {
            Place::Exact(path) => {
                let key = key(scope, path);
                let shelf = self.exact.get_mut(&*key);
                (key, shelf)
            }
            Place::Prefix(path) => {
                let key = key(scope, path);
                let shelf = self.prefix.get_mut(&*key);
                (key, shelf)
            }
        };
        if let Some(shelf) = shelf {
            let shelf = Arc::make_mut(shelf);
            let at = shelf.partition_point(|other| order(other, &candidate).is_lt());
            shelf.insert(at, candidate);
        } else {
            let shelf = Arc::new(vec![candidate]);
            match pattern.place() {
                Place::Exact(_) => self.exact.insert(key, shelf),
                Place::Prefix(_) => self.prefix.insert(key, shelf),
            };
        }
        self.count_scope(scope);
    }

    fn remove_one(&mut self, scope: &str, route: &Arc<Route>, pattern: &Arc<Pattern>) {
        let (Place::Exact(path) | Place::Prefix(path)) = pattern.place();
        let key = key(scope, path);
        let exact = matches!(pattern.place(), Place::Exact(_));
        let shelf = if exact {
            self.exact.get_mut(&*key)
        } else {
            self.prefix.get_mut(&*key)
        };
        let Some(shelf) = shelf else { return };
        let wanted = Candidate {
            route: route.clone(),
            pattern: pattern.clone(),
        };
        let Ok(at) = shelf.binary_search_by(|other| order(other, &wanted)) else {
            return;
        };
        if shelf.len() > 1 {
            Arc::make_mut(shelf).remove(at);
        } else if exact {
            self.exact.remove(&*key);
        } else {
            self.prefix.remove(&*key);
        }
        self.discount_scope(scope);
    }

    fn count_scope(&mut self, scope: &str) {
        let paths = self.scopes.entry(scope.into()).or_insert(0);
        *paths += 1;
        if *paths == 1
            && let Some(end) = scope.strip_prefix('*')
        {
            *self.suffix_lengths.entry(end.len()).or_insert(0) += 1;
        }
    }

    fn discount_scope(&mut self, scope: &str) {
        let Some(paths) = self.scopes.get_mut(scope) else {
            return;
        };
        *paths -= 1;
        if *paths > 0 {
            return;
        }
        self.scopes.remove(scope);
        if let Some(end) = scope.strip_prefix('*')
            && let Some(wildcards) = self.suffix_lengths.get_mut(&end.len())
        {
            *wildcards -= 1;
            if *wildcards == 0 {
                self.suffix_lengths.remove(&end.len());
            }
        }
    }

    /// The first candidate that takes the request: exact host, then the longest wildcard, then any
    /// host; within a host the exact path, then the longest prefix; a miss falls through.
    #[must_use]
    pub fn find(&self, view: &View<'_>, matching: Matching) -> Option<&Candidate> {
        let mut key = String::with_capacity(view.host.len() + view.path.len() + 2);
        if matching.hosts_first() {
            if !view.host.is_empty() && self.scopes.contains_key(view.host) {
                write(&mut key, "", view.host);
                if let Some(found) = self.find_path(&mut key, view, matching) {
                    return Some(found);
                }
            }
            for length in self.suffix_lengths.keys().rev() {
                let start = view.host.len().checked_sub(*length);
                let Some(end) = start.and_then(|start| view.host.get(start..)) else {
                    continue;
                };
                write(&mut key, "*", end);
                if self.scopes.contains_key(key.as_str())
                    && let Some(found) = self.find_path(&mut key, view, matching)
                {
                    return Some(found);
                }
            }
        }
        write(&mut key, "", ANY_HOST);
        self.find_path(&mut key, view, matching)
    }

    /// `key` comes with the host and gets the path.
    fn find_path(
        &self,
        key: &mut String,
        view: &View<'_>,
        matching: Matching,
    ) -> Option<&Candidate> {
        key.push(SEPARATOR);
        let root = key.len();
        key.push_str(view.path);
        if let Some(shelf) = self.exact.get(key.as_str())
            && let Some(found) = first(shelf, view, matching)
        {
            return Some(found);
        }
        // The greatest prefix that is not greater than the path is either a prefix of it, or parts
        // from it somewhere; then every prefix of the path that is left ends before that point.
        let mut end = key.len();
        loop {
            let (prefix, shelf) = self.prefix.get_prev(&key[..end])?;
            let common = common(prefix.as_bytes(), &key.as_bytes()[..end]);
            if common < root {
                return None;
            }
            if common < prefix.len() {
                end = key.floor_char_boundary(common);
                continue;
            }
            if let Some(found) = first(shelf, view, matching) {
                return Some(found);
            }
            if prefix.len() == root {
                return None;
            }
            end = key.floor_char_boundary(prefix.len() - 1);
        }
    }
}

fn write(key: &mut String, star: &str, host: &str) {
    key.clear();
    let _ = write!(key, "{star}{host}");
}

fn key(scope: &str, path: &str) -> Box<str> {
    format!("{scope}{SEPARATOR}{path}").into()
}

fn common(left: &[u8], right: &[u8]) -> usize {
    left.iter().zip(right).take_while(|(l, r)| l == r).count()
}

/// Under which hosts a route is filed. The modes that look at the path first file all under any host.
fn scopes(route: &Route, matching: Matching) -> Vec<String> {
    if route.hosts.is_empty() || !matching.hosts_first() {
        return vec![ANY_HOST.to_owned()];
    }
    route.hosts.iter().map(HostPattern::scope).collect()
}

fn first<'s>(shelf: &'s Shelf, view: &View<'_>, matching: Matching) -> Option<&'s Candidate> {
    shelf
        .iter()
        .find(|candidate| candidate.route.takes(&candidate.pattern, view, matching))
}

/// §2.3 made total: greater priority, longer path, older, lesser name; the last word settles two
/// paths of one route.
pub(super) fn order(left: &Candidate, right: &Candidate) -> Ordering {
    fn rank(candidate: &Candidate) -> (Reverse<i64>, Reverse<usize>, u64, &str, &str) {
        let Candidate { route, pattern } = candidate;
        (
            Reverse(route.priority),
            Reverse(pattern.text().len()),
            route.created,
            route.name.as_str(),
            pattern.text(),
        )
    }
    rank(left).cmp(&rank(right))
}
