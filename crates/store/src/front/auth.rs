//! etcd's Auth service: refused. Who may use the store is decided by TLS client certificates.

use super::{Front, error};
use crate::rpc::*;
use tonic::{Request, Response, Status};

fn refused() -> Status {
    error::unsupported(
        "users and roles are not supported by this server; admit clients by certificate with --client-cert-auth",
    )
}

/// The service, with the methods that are refused. (A macro around all of it, as async_trait does not look into
/// macros.)
macro_rules! auth {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        #[tonic::async_trait]
        impl auth_server::Auth for Front {
            async fn auth_status(
                &self,
                _: Request<AuthStatusRequest>,
            ) -> Result<Response<AuthStatusResponse>, Status> {
                let header = self.header_now().await?;
                Ok(Response::new(AuthStatusResponse { header, ..AuthStatusResponse::default() }))
            }

            /// Clients with a name and a password go on without them when they hear this, as they do with etcd.
            async fn authenticate(
                &self,
                _: Request<AuthenticateRequest>,
            ) -> Result<Response<AuthenticateResponse>, Status> {
                Err(Status::failed_precondition("etcdserver: authentication is not enabled"))
            }

            $(async fn $method(&self, _: Request<$request>) -> Result<Response<$response>, Status> {
                Err(refused())
            })*
        }
    };
}

auth! {
    auth_enable(AuthEnableRequest) -> AuthEnableResponse;
    auth_disable(AuthDisableRequest) -> AuthDisableResponse;
    user_add(AuthUserAddRequest) -> AuthUserAddResponse;
    user_get(AuthUserGetRequest) -> AuthUserGetResponse;
    user_list(AuthUserListRequest) -> AuthUserListResponse;
    user_delete(AuthUserDeleteRequest) -> AuthUserDeleteResponse;
    user_change_password(AuthUserChangePasswordRequest) -> AuthUserChangePasswordResponse;
    user_grant_role(AuthUserGrantRoleRequest) -> AuthUserGrantRoleResponse;
    user_revoke_role(AuthUserRevokeRoleRequest) -> AuthUserRevokeRoleResponse;
    role_add(AuthRoleAddRequest) -> AuthRoleAddResponse;
    role_get(AuthRoleGetRequest) -> AuthRoleGetResponse;
    role_list(AuthRoleListRequest) -> AuthRoleListResponse;
    role_delete(AuthRoleDeleteRequest) -> AuthRoleDeleteResponse;
    role_grant_permission(AuthRoleGrantPermissionRequest) -> AuthRoleGrantPermissionResponse;
    role_revoke_permission(AuthRoleRevokePermissionRequest) -> AuthRoleRevokePermissionResponse;
}
