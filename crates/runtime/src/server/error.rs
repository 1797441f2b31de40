//! What goes wrong in the runtime, and which gRPC code says so.

use crate::cni::CniError;
use crate::images::ImageError;
use tonic::{Code, Status};

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such sandbox, container or image.
    #[error("{0} {1:?}: not found")]
    NotFound(&'static str, String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Not in the state that it takes.
    #[error("{0}")]
    State(String),
    /// It took too long.
    #[error("{0}")]
    Timeout(String),
    /// Not built yet.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The kernel, the disk or a shim.
    #[error(transparent)]
    Node(#[from] linux::Error),
    /// Images.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The pod's network.
    #[error("failed to setup network for sandbox {0:?}: {1}")]
    Network(String, CniError),
    /// A worker thread died.
    #[error("the work was interrupted by a bug; please report it with the log")]
    Interrupted,
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotFound(..) | Error::Image(ImageError::NotFound(_)) => Code::NotFound,
            Error::Image(ImageError::Pull { absent: true, .. }) => Code::NotFound,
            Error::Image(ImageError::Name(..)) | Error::Invalid(_) => Code::InvalidArgument,
            Error::Timeout(_) => Code::DeadlineExceeded,
            Error::Unsupported(_) => Code::Unimplemented,
            Error::State(_) => Code::FailedPrecondition,
            _ => Code::Unknown,
        };
        Status::new(code, error.to_string())
    }
}
