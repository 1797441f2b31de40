//! etcd's gRPC codes and messages: clients compare them word by word.

use crate::kv::StoreError;
use tonic::{Code, Status};

pub(super) fn empty_key() -> Status {
    invalid("key is not provided")
}

/// A request that etcd refuses as invalid, with etcd's prefix.
pub(super) fn invalid(why: &str) -> Status {
    Status::invalid_argument(format!("etcdserver: {why}"))
}

/// Something of etcd that this store does not have; says what to do instead.
pub(super) fn unsupported(why: &str) -> Status {
    Status::unimplemented(format!("etcdserver: {why}"))
}

pub(super) const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";

/// The server is being stopped.
pub(super) fn stopped() -> Status {
    Status::unavailable("etcdserver: server stopped")
}

/// What a client of etcd expects for `error`.
pub(super) fn status(error: StoreError) -> Status {
    match error {
        StoreError::Compacted { .. } => Status::out_of_range(COMPACTED),
        StoreError::Future { .. } => {
            Status::out_of_range("etcdserver: mvcc: required revision is a future revision")
        }
        StoreError::LeaseNotFound => Status::not_found("etcdserver: requested lease not found"),
        StoreError::LeaseExists => Status::failed_precondition("etcdserver: lease already exists"),
        StoreError::NoSpace { .. } => Status::resource_exhausted("etcdserver: mvcc: database space exceeded"),
        StoreError::Corrupt { .. } => Status::data_loss("etcdserver: corrupt cluster"),
        StoreError::Closed => stopped(),
        StoreError::Invalid(why) if why.starts_with("request is too large") => {
            invalid("request is too large")
        }
        StoreError::Invalid(why) => invalid(&why),
        // Not etcd's: nothing of etcd says that the disk failed and reads go on.
        other => Status::new(Code::Internal, format!("etcdserver: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_etcds() {
        let cases = [
            (StoreError::Compacted { oldest: 3 }, Code::OutOfRange, COMPACTED),
            (
                StoreError::Invalid("duplicate key given in txn request".to_owned()),
                Code::InvalidArgument,
                "etcdserver: duplicate key given in txn request",
            ),
            (
                StoreError::Invalid("request is too large: 9 bytes, at most 3; split it".to_owned()),
                Code::InvalidArgument,
                "etcdserver: request is too large",
            ),
            (
                StoreError::NoSpace { used: 2, quota: 1 },
                Code::ResourceExhausted,
                "etcdserver: mvcc: database space exceeded",
            ),
        ];
        for (error, code, message) in cases {
            let status = status(error);
            assert_eq!((status.code(), status.message()), (code, message));
        }
    }
}
