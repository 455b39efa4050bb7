//! Owns how a rejection is said and read: the `error_detail` of a NACK. Must not know: sessions,
//! subscribers, what is wrong with a resource.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use prost::Message;

use crate::name::{Name, Version};
use crate::wire::google::protobuf::Any;
use crate::wire::google::rpc::Status;
use crate::wire::native::{Rejection, Rejections};

/// Bytes of a reason that are kept. It comes from a client: it is cut and cleaned, never trusted (R101).
pub const MAX_REASON_BYTES: usize = 512;

/// Bytes of a NACK's text that are searched for names of resources.
const MAX_SEARCHED_BYTES: usize = 16 << 10;

/// Resources that one `error_detail` may name. More than that are not in a response, and each would take
/// far more memory than it has bytes.
const MAX_NAMED: usize = 100_000;

/// `google.rpc.Code.INVALID_ARGUMENT`
const INVALID_ARGUMENT: i32 = 3;

const REJECTIONS_URL: &str = "type.googleapis.com/bellwether.v1.Rejections";

/// A version of a resource that a node could not put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// What was rejected.
    pub version: Version,
    /// What the node says is wrong.
    pub reason: Arc<str>,
}

/// Text for people: one line, no control characters, at most [`MAX_REASON_BYTES`].
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if out.len() + c.len_utf8() > MAX_REASON_BYTES {
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

/// The `error_detail` that rejects exactly these resources.
#[must_use]
pub fn to_status(rejected: &BTreeMap<Name, (String, String)>) -> Status {
    let lines: Vec<String> = rejected
        .iter()
        .map(|(name, (_, reason))| format!("{name}: {reason}"))
        .collect();
    let rejected = rejected
        .iter()
        .map(|(name, (version, reason))| Rejection {
            name: name.to_string(),
            version: version.clone(),
            reason: clean(reason),
        })
        .collect();
    let details = Any {
        type_url: REJECTIONS_URL.to_owned(),
        value: Rejections { rejected }.encode_to_vec().into(),
    };
    Status {
        code: INVALID_ARGUMENT,
        message: clean(&lines.join("; ")),
        details: vec![details],
    }
}

/// The resources that an `error_detail` names, with the reason for each. Empty if it names none: then
/// the whole response is rejected.
#[must_use]
pub fn named_in(status: &Status) -> Vec<Rejection> {
    status
        .details
        .iter()
        .filter(|any| any.type_url == REJECTIONS_URL)
        .filter(|any| crate::fields::count(&any.value, MAX_NAMED).is_some())
        .filter_map(|any| Rejections::decode(any.value.clone()).ok())
        .flat_map(|details| details.rejected)
        .map(|rejection| Rejection {
            reason: clean(&rejection.reason),
            ..rejection
        })
        .collect()
}

/// Which of the offered resources a NACK rejects (R26): those that its details name, or those that its
/// text names, as Envoy and gRPC do, or else all of them.
#[must_use]
pub(crate) fn verdicts(offered: &[(Name, Version)], status: &Status) -> Vec<(Name, Rejected)> {
    let names_offered: HashSet<&str> = offered.iter().map(|(name, _)| name.as_str()).collect();
    let mut reasons: HashMap<String, String> = named_in(status)
        .into_iter()
        .filter(|named| names_offered.contains(named.name.as_str()))
        .map(|named| (named.name, named.reason))
        .collect();
    let whole: Arc<str> = clean(&status.message).into();
    let verdict = |(name, version): &(Name, Version), reason: &Arc<str>| {
        let (version, reason) = (*version, reason.clone());
        (name.clone(), Rejected { version, reason })
    };
    if !reasons.is_empty() {
        let named = offered.iter().filter_map(|it| {
            let reason = reasons.remove(it.0.as_str())?;
            Some(verdict(it, &reason.into()))
        });
        return named.collect();
    }
    let in_text = match offered.len() {
        1 => HashSet::new(),
        _ => found_in(searched(&status.message), &names_offered),
    };
    let is_in_text = |it: &&(Name, Version)| in_text.contains(it.0.as_str());
    let named: Vec<_> = offered.iter().filter(is_in_text).collect();
    let all = || offered.iter().collect();
    let rejected = if named.is_empty() { all() } else { named };
    rejected.into_iter().map(|it| verdict(it, &whole)).collect()
}

/// The beginning of a text, so that a long one costs little.
fn searched(text: &str) -> &str {
    let end = text.len().min(MAX_SEARCHED_BYTES);
    let end = (0..=end).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

/// Those of the names that stand in the text by themselves, not as a part of another name. Costs what the
/// text is long, however many names there are.
fn found_in<'a>(text: &'a str, names: &HashSet<&str>) -> HashSet<&'a str> {
    let lengths: BTreeSet<usize> = names.iter().map(|name| name.len()).collect();
    let mut found = HashSet::new();
    let mut before = None;
    for (at, c) in text.char_indices() {
        if !before.is_some_and(|c| is_of_name(c) || c == '.') {
            let said = lengths.iter().filter_map(|len| text.get(at..at + len));
            found.extend(said.filter(|it| names.contains(it) && ends(&text[at + it.len()..])));
        }
        before = Some(c);
    }
    found
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || "-_/".contains(c)
}

/// Whether a name may end before this.
fn ends(after: &str) -> bool {
    let mut after = after.chars();
    let next = match after.next() {
        // The end of a sentence, or of a part of a name.
        Some('.') => after.next(),
        next => next,
    };
    !next.is_some_and(is_of_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rejected_reads_back() {
        let said = BTreeMap::from([
            (
                Name::from("routes/1"),
                ("v1".to_owned(), "bad regex".to_owned()),
            ),
            (
                Name::from("routes/2"),
                ("v2".to_owned(), "too\nlong".to_owned()),
            ),
        ]);
        let status = to_status(&said);
        assert_eq!(status.message, "routes/1: bad regex; routes/2: too long");
        let read: Vec<_> = named_in(&status)
            .into_iter()
            .map(|r| (r.name, r.version, r.reason))
            .collect();
        let expected = [
            ("routes/1", "v1", "bad regex"),
            ("routes/2", "v2", "too long"),
        ]
        .map(|(n, v, r)| (n.to_owned(), v.to_owned(), r.to_owned()));
        assert_eq!(read, expected);
    }

    /// R101.
    #[test]
    fn reasons_are_cut_and_cleaned() {
        let cleaned = clean(&format!("a\r\n\u{1b}[31m{}", "é".repeat(10_000)));
        assert!(cleaned.len() <= MAX_REASON_BYTES + '…'.len_utf8());
        assert!(cleaned.starts_with("a   [31mé") && cleaned.ends_with('…'));
        assert!(!cleaned.contains(char::is_control));
    }

    #[test]
    fn foreign_details_name_nothing() {
        let status = Status {
            code: 3,
            message: "no".into(),
            details: vec![
                Any {
                    type_url: "x".into(),
                    value: "y".into(),
                },
                Any {
                    type_url: REJECTIONS_URL.into(),
                    value: "\u{ff}garbage".into(),
                },
            ],
        };
        assert!(named_in(&status).is_empty());
    }

    /// R26: what Envoy and gRPC write names what they could not apply.
    #[test]
    fn names_in_the_text_of_a_nack_are_what_it_rejects() {
        let version = Version::of(b"1");
        let offered: Vec<(Name, Version)> = ["upstreams/1", "upstreams/10", "a", "b.c"]
            .iter()
            .map(|name| (Name::from(*name), version))
            .collect();
        let rejected = |message: &str| {
            let status = Status {
                code: 13,
                message: message.to_owned(),
                details: Vec::new(),
            };
            let names = verdicts(&offered, &status).into_iter();
            let names: Vec<String> = names.map(|(name, _)| name.to_string()).collect();
            names.join(" ")
        };
        for (message, expected) in [
            (
                "Error adding/updating cluster(s) upstreams/10: no",
                "upstreams/10",
            ),
            (
                "resource upstreams/1: bad; resource b.c: bad",
                "upstreams/1 b.c",
            ),
            ("cannot load b.c.", "b.c"),
            ("something is wrong", "upstreams/1 upstreams/10 a b.c"),
            ("a", "a"),
            ("\"a\" is bad, b.cd is not", "a"),
        ] {
            assert_eq!(rejected(message), expected, "{message}");
        }
    }
}
