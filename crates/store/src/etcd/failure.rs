//! [`Failure`]: what a failed call says about whether it was done, and what etcd's errors mean to the store's users.

use crate::kv::StoreError;
use std::error::Error;
use tonic::{Code, Status};

/// How a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The cluster's own answer: asking again or elsewhere changes nothing. Nothing was done.
    Refused(StoreError),
    /// The member did not take it up: it is safe to ask another one.
    NotTaken(String),
    /// It may have been done, may yet be done, or never.
    Unsure(String),
}

impl Failure {
    /// The error when there is no more time to find out.
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::NotTaken(why) => StoreError::Unavailable(why),
            Self::Unsure(why) => StoreError::Unknown(why),
        }
    }
}

/// Whether the call was refused because no connection could be made.
fn has_no_connection(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The innermost reason, which is what a person can act on.
fn reason(status: &Status) -> String {
    let mut innermost = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        innermost = error.to_string();
        source = error.source();
    }
    if innermost.is_empty() { status.code().description().to_owned() } else { innermost }
}

fn refused(status: &Status) -> Option<StoreError> {
    let message = status.message();
    let plain = message.strip_prefix("etcdserver: ").unwrap_or(message);
    let plain = plain.strip_prefix("mvcc: ").unwrap_or(plain);
    Some(match (status.code(), plain) {
        // The numbers are not in the answer; the caller finds them out.
        (Code::OutOfRange, "required revision has been compacted") => StoreError::Compacted { oldest: 0 },
        (Code::OutOfRange, "required revision is a future revision") => StoreError::Future { current: 0 },
        (Code::ResourceExhausted, "database space exceeded") => StoreError::NoSpace { used: 0, quota: 0 },
        (Code::NotFound, "requested lease not found") => StoreError::LeaseNotFound,
        (Code::FailedPrecondition, "lease already exists") => StoreError::LeaseExists,
        (Code::InvalidArgument, "too many operations in txn request") => StoreError::Invalid(format!(
            "{plain}: etcd takes 128 unless --max-txn-ops says otherwise; split it"
        )),
        (Code::InvalidArgument, "request is too large") => StoreError::Invalid(format!(
            "{plain}: etcd takes 1.5 MiB unless --max-request-bytes says otherwise; split it"
        )),
        (Code::ResourceExhausted, large) if large.contains("larger than max") => StoreError::Invalid(
            format!("request is too large: {large}; split it, or raise etcd's --max-request-bytes"),
        ),
        (Code::InvalidArgument, "user name is empty")
        | (Code::Unauthenticated | Code::PermissionDenied, _) => StoreError::Io(format!(
            "etcd refuses this client: {plain}; give a client certificate that its users and roles allow"
        )),
        (Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition | Code::NotFound, _) => {
            StoreError::Invalid(plain.to_owned())
        }
        (Code::DataLoss, _) => {
            StoreError::Io(format!("etcd says that its data is damaged: {plain}; restore it from a snapshot"))
        }
        (Code::Unimplemented, _) => StoreError::Io(format!(
            "the endpoint does not speak etcd's v3 protocol: {plain}; check --etcd-servers"
        )),
        _ => return None,
    })
}

/// What `status` says about the call it answers.
pub(super) fn classify(status: &Status) -> Failure {
    if has_no_connection(status) {
        return Failure::NotTaken(reason(status));
    }
    if let Some(error) = refused(status) {
        return Failure::Refused(error);
    }
    // etcd says these before it proposes anything.
    match status.message() {
        "etcdserver: no leader"
        | "etcdserver: too many requests"
        | "etcdserver: rpc not supported for learner"
        | "etcdserver: not capable" => Failure::NotTaken(status.message().to_owned()),
        _ => Failure::Unsure(reason(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_etcd_says_and_what_it_means() {
        let of = |code, message: &str| classify(&Status::new(code, message));
        assert!(matches!(
            of(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"),
            Failure::Refused(StoreError::Compacted { .. })
        ));
        assert!(matches!(
            of(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"),
            Failure::Refused(StoreError::NoSpace { .. })
        ));
        assert!(matches!(of(Code::Unavailable, "etcdserver: no leader"), Failure::NotTaken(_)));
        for unsure in
            ["etcdserver: request timed out", "etcdserver: leader changed", "etcdserver: server stopped"]
        {
            assert!(matches!(of(Code::Unavailable, unsure), Failure::Unsure(_)), "{unsure}");
        }
        let Failure::Refused(StoreError::Invalid(why)) =
            of(Code::InvalidArgument, "etcdserver: duplicate key given in txn request")
        else {
            panic!("it is refused")
        };
        assert_eq!(why, "duplicate key given in txn request");
    }
}
