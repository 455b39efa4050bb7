//! The router against a model that knows nothing of trees: all candidates in a list, sorted by the
//! order of §2.3, and the first that matches.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Few words, so that routes meet each other.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,2}",
        1 => Just(":p".to_owned()),
        1 => Just("*".to_owned()),
        1 => Just("a*".to_owned()),
        1 => Just(String::new()),
        1 => Just("é".to_owned()),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(segment(), 0..4).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("a.b".to_owned()),
        Just("b".to_owned()),
        Just("*.b".to_owned()),
        Just("*b".to_owned()),
        Just("*".to_owned()),
        Just("*.a.b".to_owned()),
    ]
}

fn any_route() -> impl Strategy<Value = native::Route> {
    (
        prop::collection::vec(path(), 1..3),
        prop::collection::vec(host(), 0..3),
        prop::sample::subsequence(vec!["GET", "POST"], 0..2),
        0..3_i64,
        0..3_u64,
    )
        .prop_map(|(paths, hosts, methods, priority, created)| native::Route {
            methods: methods.into_iter().map(String::from).collect(),
            paths,
            hosts,
            priority,
            created,
            ..route(&[])
        })
}

#[derive(Debug, Clone)]
enum Change {
    Put(u8, Box<native::Route>),
    Remove(u8),
    /// A table is made here, and the next change begins an edit of it.
    Finish,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..12_u8, any_route()).prop_map(|(name, route)| Change::Put(name, Box::new(route))),
        1 => (0..12_u8).prop_map(Change::Remove),
        1 => Just(Change::Finish),
    ]
}

type Request = (String, String, &'static str);

fn request() -> impl Strategy<Value = Request> {
    let path = prop::collection::vec(
        prop_oneof![4 => "[ab]{1,2}", 1 => Just("é".to_owned())],
        0..4,
    );
    let host = prop::sample::select(vec!["a.b", "b", "x.b", "xb", "x.a.b", "c", ""]);
    (
        path,
        host,
        prop::sample::select(vec!["GET", "POST"]),
        any::<bool>(),
    )
        .prop_map(|(segments, host, method, slash)| {
            let end = if slash && !segments.is_empty() {
                "/"
            } else {
                ""
            };
            (
                format!("/{}{end}", segments.join("/")),
                host.to_owned(),
                method,
            )
        })
}

/// The text before the first wildcard, and whether there is one.
fn split(path: &str, parameters: bool) -> (&str, bool) {
    let star = path.find('*');
    let colon = path
        .find("/:")
        .map(|slash| slash + 1)
        .filter(|_| parameters);
    let end = match (star, colon) {
        (Some(star), Some(colon)) => Some(star.min(colon)),
        (one, other) => one.or(other),
    };
    end.map_or((path, false), |end| (&path[..end], true))
}

/// Every way to read the pattern, letter by letter.
fn takes(pattern: &str, path: &str, at_start: bool) -> bool {
    if at_start && pattern.starts_with(':') {
        let (_, rest) = pattern.split_at(pattern.find('/').unwrap_or(pattern.len()));
        let length = path.find('/').unwrap_or(path.len());
        return length > 0 && takes(rest, &path[length..], false);
    }
    if let Some(rest) = pattern.strip_prefix('*') {
        return (0..=path.len())
            .filter(|&at| path.is_char_boundary(at))
            .any(|at| takes(rest, &path[at..], false));
    }
    let mut letters = pattern.chars();
    match letters.next() {
        None => path.is_empty(),
        Some(letter) => path
            .strip_prefix(letter)
            .is_some_and(|rest| takes(letters.as_str(), rest, letter == '/')),
    }
}

/// How well a host pattern fits: the exact host best, then the longest end, then none.
fn host_rank(pattern: Option<&str>, host: &str) -> Option<usize> {
    match pattern {
        None => Some(0),
        Some(pattern) => match pattern.strip_prefix('*') {
            Some(end) => host.ends_with(end).then_some(1 + end.len()),
            None => (pattern == host).then_some(usize::MAX),
        },
    }
}

fn by_the_book(
    routes: &BTreeMap<u8, native::Route>,
    (path, host, method): &Request,
    matching: Matching,
) -> Option<String> {
    let mut found = Vec::new();
    for (name, route) in routes {
        let name = format!("routes/{name}");
        if !route.methods.is_empty() && !route.methods.iter().any(|m| m == method) {
            continue;
        }
        let hosts: Vec<Option<&str>> = match route.hosts.as_slice() {
            [] => vec![None],
            hosts => hosts.iter().map(|host| Some(host.as_str())).collect(),
        };
        for of_host in hosts {
            // The modes that look at the path first ask of a host only whether it fits.
            let Some(rank) = host_rank(of_host, host) else {
                continue;
            };
            let rank = if matching.hosts_first() { rank } else { 0 };
            for pattern in &route.paths {
                let (prefix, wild) = split(pattern, true);
                if takes(pattern, path, false) {
                    found.push((
                        (Reverse(rank), wild, Reverse(prefix.len())),
                        (
                            Reverse(route.priority),
                            Reverse(pattern.len()),
                            route.created,
                        ),
                        name.clone(),
                    ));
                }
            }
        }
    }
    found.sort();
    found.into_iter().next().map(|(_, _, name)| name)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_router_finds_what_a_sorted_list_finds(
        changes in prop::collection::vec(change(), 1..40),
        requests in prop::collection::vec(request(), 1..20),
        hosts_first: bool,
    ) {
        let mode = if hosts_first { Mode::HostUri } else { Mode::Uri };
        let matching = Matching { mode, colon: Colon::Parameter };
        let empty = Table::empty(Limits::default(), matching);
        let mut model = BTreeMap::new();
        let mut edit = empty.edit();
        let mut history = Vec::new();
        for change in changes {
            match change {
                Change::Put(name, route) => {
                    put(&mut edit, &format!("routes/{name}"), &route);
                    model.insert(name, *route);
                }
                Change::Remove(name) => {
                    edit.remove(&TypeUrl::ROUTE, &Name::from(format!("routes/{name}")));
                    model.remove(&name);
                }
                Change::Finish => {
                    let table = edit.finish();
                    edit = table.edit();
                    history.push((table, model.clone()));
                }
            }
        }
        history.push((edit.finish(), model.clone()));
        // Every table of the history still finds what it did: the later ones share, and change nothing.
        for (table, model) in &history {
            for request in &requests {
                let (path, host, method) = request;
                let target = path.replace('é', "%C3%A9");
                let got = found(table, method, host, &target);
                prop_assert_eq!(got, by_the_book(model, request, matching), "{:?}", request);
            }
        }
        // What is taken out leaves nothing behind.
        let (last, _) = history.pop().unwrap();
        let mut edit = last.edit();
        for name in model.keys() {
            edit.remove(&TypeUrl::ROUTE, &Name::from(format!("routes/{name}")));
        }
        let none = edit.finish();
        prop_assert!(none.router.is_empty());
    }
}
