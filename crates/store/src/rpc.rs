//! etcd's v3 protocol: messages, clients and servers, generated from `proto/`, which was written for this project.
//!
//! Deliberately absent: any behaviour. The etcd backend and the etcd front meet only here.

#![allow(missing_docs, clippy::all, clippy::too_many_lines, unreachable_pub, reason = "generated")]

tonic::include_proto!("etcdserverpb");

/// Implements Debug without the fields that hold credentials.
macro_rules! debug_without_credentials {
    ($($message:ident: $($field:ident)?;)*) => { $(
        impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($message))
                    $(.field(stringify!($field), &self.$field))?
                    .finish_non_exhaustive()
            }
        }
    )* };
}

debug_without_credentials! {
    AuthenticateRequest: name;
    AuthenticateResponse: header;
    AuthUserAddRequest: name;
    AuthUserChangePasswordRequest: name;
}
