//! Owns the translation between etcd's words and the store's: errors by their code, headers, revisions.
//! Must not know: connections.

use std::error::Error as _;

use etcd_client::{Error, ResponseHeader};
use tonic::Code;

use crate::store::{LeaseId, Revision, StoreError, StoreId};

/// What the auth layer says for "log in again" with a code that also means other things.
const LOGIN_AGAIN: [&str; 4] = [
    "etcdserver: invalid auth token",
    "etcdserver: revision of auth store is old",
    // The same from 3.5.1, which has no code for it.
    "auth: revision in header is old",
    "etcdserver: user name is empty",
];

/// Why a call failed, by what to do about it.
#[derive(Debug)]
pub(super) enum Failure {
    /// Our token is not good any more. Log in again, then the call can be made again: it did nothing.
    Login(String),
    /// The member is gone, stuck or without a leader. Another may do.
    Gone(String),
    /// The revision asked for is not there. Only the caller knows which that was.
    OutOfRange(String),
    /// The answer stands.
    Final(StoreError),
}

impl Failure {
    pub(super) fn no_such_lease(lease: LeaseId) -> Self {
        Self::Final(StoreError::Refused {
            reason: format!("there is no lease {lease}"),
        })
    }

    /// For a caller that can't do anything about it.
    pub(super) fn into_store_error(self) -> StoreError {
        match self {
            Self::Login(reason) => StoreError::Unauthenticated { reason },
            Self::Gone(reason) => StoreError::Unavailable { reason },
            Self::OutOfRange(reason) => StoreError::Refused { reason },
            Self::Final(error) => error,
        }
    }

    /// The reason a watch was cancelled for has no code, only a text.
    pub(super) fn of_cancelled_watch(reason: &str) -> Self {
        let reason = reason.to_owned();
        if reason.contains("permission denied")
            || LOGIN_AGAIN.iter().any(|text| reason.contains(text))
        {
            Self::Login(reason)
        } else {
            Self::Gone(format!("watch was cancelled: {reason}"))
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::GRpcStatus(status) => of_status(&status),
            // The only thing a keep-alive that could be sent fails with.
            Error::LeaseKeepAliveError(reason) => Self::Final(StoreError::Refused { reason }),
            Error::TransportError(error) => Self::Gone(with_causes(&error)),
            Error::InvalidArgs(reason) => Self::Final(StoreError::Refused { reason }),
            other => Self::Gone(other.to_string()),
        }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        of_status(&status)
    }
}

fn of_status(status: &tonic::Status) -> Failure {
    let mut reason = status.message().to_owned();
    if let Some(cause) = status.source() {
        reason = format!("{reason}: {}", with_causes(cause));
    }
    match status.code() {
        Code::Unauthenticated => Failure::Login(reason),
        Code::InvalidArgument | Code::Unknown if LOGIN_AGAIN.contains(&status.message()) => {
            Failure::Login(reason)
        }
        Code::PermissionDenied => Failure::Final(StoreError::Unauthenticated { reason }),
        Code::OutOfRange => Failure::OutOfRange(reason),
        // Its disk quota is used up, or it has too much to do: no fault of the request, and no other
        // member would do.
        Code::ResourceExhausted => Failure::Final(StoreError::Unavailable { reason }),
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Unimplemented => Failure::Final(StoreError::Refused { reason }),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Failure::Gone(reason),
    }
}

/// An error with what caused it: "transport error" alone helps nobody.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// Who answered, and at which revision.
pub(super) fn header(header: Option<&ResponseHeader>) -> Result<(StoreId, Revision), Failure> {
    let header = header.ok_or_else(|| Failure::Gone("answer has no header".to_owned()))?;
    Ok((StoreId(header.cluster_id()), from_wire(header.revision())))
}

/// etcd's revisions are signed and never negative.
pub(super) fn from_wire(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}

pub(super) fn to_wire(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_code() {
        let kind = |code, text: &str| match of_status(&tonic::Status::new(code, text)) {
            Failure::Login(_) => "login",
            Failure::Gone(_) => "gone",
            Failure::OutOfRange(_) => "range",
            Failure::Final(StoreError::Unauthenticated { .. }) => "denied",
            Failure::Final(StoreError::Refused { .. }) => "refused",
            Failure::Final(StoreError::Unavailable { .. }) => "full",
            Failure::Final(_) => "other",
        };
        for (code, text, wanted) in [
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                "login",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: revision of auth store is old",
                "login",
            ),
            (
                Code::InvalidArgument,
                "etcdserver: user name is empty",
                "login",
            ),
            (Code::Unknown, "auth: revision in header is old", "login"),
            (Code::Unknown, "anything else", "gone"),
            (
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
                "refused",
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                "denied",
            ),
            (
                Code::OutOfRange,
                "etcdserver: mvcc: required revision has been compacted",
                "range",
            ),
            (
                Code::NotFound,
                "etcdserver: requested lease not found",
                "refused",
            ),
            (
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
                "full",
            ),
            (Code::Unavailable, "etcdserver: no leader", "gone"),
            (Code::Cancelled, "Timeout expired", "gone"),
        ] {
            assert_eq!(kind(code, text), wanted, "{text}");
        }
    }

    #[test]
    fn a_cancelled_watch_is_told_apart_by_text() {
        let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
        assert!(matches!(
            Failure::of_cancelled_watch(denied),
            Failure::Login(_)
        ));
        let leader = "etcdserver: no leader";
        assert!(matches!(
            Failure::of_cancelled_watch(leader),
            Failure::Gone(_)
        ));
    }
}
