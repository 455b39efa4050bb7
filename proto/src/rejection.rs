//! Owns how a rejection is said and read: the `error_detail` of a NACK. Must not know: sessions,
//! subscribers, what is wrong with a resource.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use crate::name::{Name, Version};
use crate::wire::google::protobuf::Any;
use crate::wire::google::rpc::Status;
use crate::wire::native::{Rejection, Rejections};

/// Bytes of a reason that are kept. It comes from a client: it is cut and cleaned, never trusted (R101).
pub const MAX_REASON_BYTES: usize = 512;

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
        .filter_map(|any| Rejections::decode(any.value.clone()).ok())
        .flat_map(|details| details.rejected)
        .map(|rejection| Rejection {
            reason: clean(&rejection.reason),
            ..rejection
        })
        .collect()
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
}
