//! The RBAC authorizer: an index of roles and bindings by subject, fed by watches.
//!
//! Source: rbac.authorization.k8s.io/v1 and its documentation. Deliberately absent: filling aggregated
//! ClusterRoles, which is a controller's work.

pub mod escalation;
mod index;
mod rules;

pub use index::account_name;
pub use rules::{allows, uncovered as missing_rules};

use super::feed::{Sink, feed};
use crate::contract::{Attributes, Authorizer, Context, Decision, UserInfo};
use api::StoredObject;
use api::k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use async_trait::async_trait;
use index::Index;
use machinery::GroupVersionResource;
use parking_lot::RwLock;
use std::sync::Arc;

/// RBAC's API group.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The authorizer. Decisions take a read lock for microseconds.
struct Rbac(Arc<RwLock<Index>>);

/// Starts the authorizer; returns when it knows every role and binding.
pub async fn start(context: &Context) -> Arc<dyn Authorizer> {
    let index = Arc::new(RwLock::new(Index::default()));
    let fed = Table::ALL.map(|table| {
        let resource = GroupVersionResource::new(GROUP, "v1", table.plural());
        feed(context, resource, Arc::new(Fed { table, index: index.clone() }))
    });
    futures::future::join_all(fed).await;
    Arc::new(Rbac(index))
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        match self.0.read().allows(attributes) {
            Ok(()) => Decision::Allow,
            Err(reason) => Decision::NoOpinion(reason),
        }
    }

    fn reason(&self, attributes: &Attributes) -> String {
        self.0.read().grant(attributes).map(|grant| grant.to_string()).unwrap_or_default()
    }

    fn rules(&self, user: &UserInfo, namespace: &str) -> Option<(Vec<PolicyRule>, String)> {
        Some(self.0.read().rules_for(user, namespace))
    }
}

/// The four resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    ClusterRoles,
    Roles,
    ClusterRoleBindings,
    RoleBindings,
}

impl Table {
    const ALL: [Table; 4] =
        [Table::ClusterRoles, Table::Roles, Table::ClusterRoleBindings, Table::RoleBindings];

    fn plural(self) -> &'static str {
        match self {
            Table::ClusterRoles => "clusterroles",
            Table::Roles => "roles",
            Table::ClusterRoleBindings => "clusterrolebindings",
            Table::RoleBindings => "rolebindings",
        }
    }

    fn set(self, index: &mut Index, object: &StoredObject) {
        let result = match self {
            Table::ClusterRoles => object.get::<ClusterRole>().map(|role| index.set_cluster_role(&role)),
            Table::Roles => object.get::<Role>().map(|role| index.set_role(&role)),
            Table::ClusterRoleBindings => {
                object.get::<ClusterRoleBinding>().map(|binding| index.set_cluster_binding(&binding))
            }
            Table::RoleBindings => {
                object.get::<RoleBinding>().map(|binding| index.set_role_binding(&binding))
            }
        };
        if let Err(error) = result {
            let name = object.meta().name.as_deref().unwrap_or_default();
            tracing::warn!(resource = self.plural(), name, %error, "failed to read an RBAC object; it is ignored");
        }
    }

    fn remove(self, index: &mut Index, object: &StoredObject) {
        let meta = object.meta();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let name = meta.name.as_deref().unwrap_or_default();
        match self {
            Table::ClusterRoles | Table::Roles => index.remove_role(namespace, name),
            Table::ClusterRoleBindings | Table::RoleBindings => index.remove_binding(namespace, name),
        }
    }
}

struct Fed {
    table: Table,
    index: Arc<RwLock<Index>>,
}

impl Sink for Fed {
    fn replace(&self, objects: &[Arc<StoredObject>]) {
        let mut index = self.index.write();
        let namespaced = matches!(self.table, Table::Roles | Table::RoleBindings);
        match self.table {
            Table::ClusterRoles | Table::Roles => index.clear_roles(namespaced),
            Table::ClusterRoleBindings | Table::RoleBindings => index.clear_bindings(namespaced),
        }
        for object in objects {
            self.table.set(&mut index, object);
        }
    }

    fn set(&self, object: &StoredObject) {
        self.table.set(&mut self.index.write(), object);
    }

    fn remove(&self, object: &StoredObject) {
        self.table.remove(&mut self.index.write(), object);
    }
}
