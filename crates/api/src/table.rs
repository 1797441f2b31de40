//! The table itself: every built-in resource, one row each, and [`ResourceTable`], a snapshot of these rows
//! and those that CustomResourceDefinitions add.
//!
//! Rows stand in the order in which discovery lists groups and versions, which is also the order in which a
//! name without a group is resolved. Versions that upstream does not serve by default (alpha, beta) are
//! deliberately absent.

use crate::resource::ResourceDef;
use crate::{
    admissionregistration, apiextensions, apiregistration, apps, authentication, authorization, autoscaling,
    batch, certificates, coordination, core, discovery, dra, events, flowcontrol, networking, node, policy,
    rbac, scheduling, storage,
};
use machinery::gvk::Name;
use machinery::{GroupVersionKind, GroupVersionResource};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// One row per served version of a built-in resource.
const ROWS: &[fn() -> ResourceDef] = &[
    core::binding::def,
    core::component_status::def,
    core::config_map::def,
    core::endpoints::def,
    core::event::def,
    core::limit_range::def,
    core::namespace::def,
    core::node::def,
    core::persistent_volume_claim::def,
    core::persistent_volume::def,
    core::pod::def,
    core::pod_template::def,
    core::replication_controller::def,
    core::resource_quota::def,
    core::secret::def,
    core::service_account::def,
    core::service::def,
    apiregistration::api_service::def,
    apps::controller_revision::def,
    apps::daemon_set::def,
    apps::deployment::def,
    apps::replica_set::def,
    apps::stateful_set::def,
    events::event::def,
    authentication::self_subject_review::def,
    authentication::token_review::def,
    authorization::local_subject_access_review::def,
    authorization::self_subject_access_review::def,
    authorization::self_subject_rules_review::def,
    authorization::subject_access_review::def,
    autoscaling::horizontal_pod_autoscaler::def,
    autoscaling::horizontal_pod_autoscaler_v1::def,
    batch::cron_job::def,
    batch::job::def,
    certificates::certificate_signing_request::def,
    networking::ingress_class::def,
    networking::ingress::def,
    networking::ip_address::def,
    networking::network_policy::def,
    networking::service_cidr::def,
    policy::pod_disruption_budget::def,
    rbac::cluster_role_binding::def,
    rbac::cluster_role::def,
    rbac::role_binding::def,
    rbac::role::def,
    storage::csi_driver::def,
    storage::csi_node::def,
    storage::csi_storage_capacity::def,
    storage::storage_class::def,
    storage::volume_attachment::def,
    storage::volume_attributes_class::def,
    admissionregistration::mutating_admission_policy::def,
    admissionregistration::mutating_admission_policy_binding::def,
    admissionregistration::mutating_webhook_configuration::def,
    admissionregistration::validating_admission_policy::def,
    admissionregistration::validating_admission_policy_binding::def,
    admissionregistration::validating_webhook_configuration::def,
    apiextensions::custom_resource_definition::def,
    scheduling::priority_class::def,
    coordination::lease::def,
    node::runtime_class::def,
    discovery::endpoint_slice::def,
    dra::device_class::def,
    dra::resource_claim::def,
    dra::resource_claim_template::def,
    dra::resource_slice::def,
    flowcontrol::flow_schema::def,
    flowcontrol::priority_level_configuration::def,
];

/// The built-in rows.
pub fn builtin() -> &'static [Arc<ResourceDef>] {
    static ALL: LazyLock<Vec<Arc<ResourceDef>>> =
        LazyLock::new(|| ROWS.iter().map(|row| Arc::new(row())).collect());
    &ALL
}

/// An immutable snapshot of every resource served: the built-in rows, then custom ones. Who changes the set
/// builds a new table and swaps it in.
#[derive(Debug)]
pub struct ResourceTable {
    rows: Vec<Arc<ResourceDef>>,
    by_plural: HashMap<Name, Vec<usize>>,
    by_kind: HashMap<Name, Vec<usize>>,
    by_alias: HashMap<Name, Vec<usize>>,
}

impl Default for ResourceTable {
    fn default() -> Self {
        Self::new([])
    }
}

impl ResourceTable {
    /// The built-in rows and `custom`. A custom row that repeats a built-in group, version and plural is
    /// ignored.
    pub fn new(custom: impl IntoIterator<Item = Arc<ResourceDef>>) -> Self {
        let mut table = Self {
            rows: Vec::new(),
            by_plural: HashMap::new(),
            by_kind: HashMap::new(),
            by_alias: HashMap::new(),
        };
        for row in builtin().iter().cloned().chain(custom) {
            if table.find(&row.gvk.group, &row.gvk.version, &row.plural).is_none() {
                table.push(row);
            }
        }
        table
    }

    fn push(&mut self, row: Arc<ResourceDef>) {
        let at = self.rows.len();
        self.by_plural.entry(row.plural.clone()).or_default().push(at);
        self.by_kind.entry(row.gvk.kind.clone()).or_default().push(at);
        let singular = (row.singular != row.plural).then_some(&row.singular);
        for alias in row.short_names.iter().chain(singular) {
            self.by_alias.entry(alias.clone()).or_default().push(at);
        }
        self.rows.push(row);
    }

    /// The shared table of built-in rows only.
    pub fn shared() -> &'static Arc<ResourceTable> {
        static TABLE: LazyLock<Arc<ResourceTable>> = LazyLock::new(Arc::default);
        &TABLE
    }

    /// Every row, built-in ones first, in discovery's order.
    pub fn rows(&self) -> &[Arc<ResourceDef>] {
        &self.rows
    }

    /// The rows that are not built in.
    pub fn custom(&self) -> &[Arc<ResourceDef>] {
        &self.rows[builtin().len()..]
    }

    fn pick<'a>(&'a self, at: Option<&'a Vec<usize>>) -> impl Iterator<Item = &'a Arc<ResourceDef>> {
        at.into_iter().flatten().filter_map(|at| self.rows.get(*at))
    }

    /// The row of a request path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<ResourceDef>> {
        self.pick(self.by_plural.get(plural)).find(|row| row.gvk.group == group && row.gvk.version == version)
    }

    /// The row of a group, version and plural.
    pub fn get(&self, gvr: &GroupVersionResource) -> Option<&Arc<ResourceDef>> {
        self.find(&gvr.group, &gvr.version, &gvr.resource)
    }

    /// The row of a group, version and kind.
    pub fn by_gvk(&self, gvk: &GroupVersionKind) -> Option<&Arc<ResourceDef>> {
        self.pick(self.by_kind.get(&gvk.kind))
            .find(|row| row.gvk.group == gvk.group && row.gvk.version == gvk.version)
    }

    /// The rows of a plural name in every group and version, the preferred one first.
    pub fn by_plural(&self, plural: &str) -> impl Iterator<Item = &Arc<ResourceDef>> {
        self.pick(self.by_plural.get(plural))
    }

    /// The rows that a name means on a command line, the preferred one first: a plural, then a singular or
    /// short name.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Arc<ResourceDef>> {
        self.pick(self.by_plural.get(name)).chain(self.pick(self.by_alias.get(name)))
    }

    /// The row whose objects are the stored form of `row`: `row` itself for most.
    pub fn stored_form<'a>(&'a self, row: &'a Arc<ResourceDef>) -> &'a Arc<ResourceDef> {
        match &row.conversion {
            Some(conversion) => self.by_gvk(&conversion.stored).unwrap_or(row),
            None => row,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_rows_by_every_name() {
        let table = ResourceTable::shared();
        assert_eq!(table.find("apps", "v1", "deployments").map(|r| &*r.gvk.kind), Some("Deployment"));
        for name in ["po", "pod", "pods"] {
            assert_eq!(table.named(name).next().map(|r| &*r.plural), Some("pods"), "{name}");
        }
        assert_eq!(table.named("ev").next().map(|r| r.gvk.group.as_ref()), Some(""));
        assert_eq!(table.named("hpa").next().map(|r| &*r.gvk.version), Some("v2"));
        assert!(table.find("apps", "v2", "deployments").is_none());
        assert!(table.custom().is_empty());
    }

    #[test]
    fn custom_rows_come_last_and_never_shadow() {
        let pods = Arc::new((ROWS[10])());
        let mut widgets = (*pods).clone();
        widgets.gvk = GroupVersionKind::new("example.com", "v1", "Widget");
        widgets.plural = "widgets".into();
        let table = ResourceTable::new([pods, Arc::new(widgets)]);
        assert_eq!(table.custom().len(), 1);
        assert_eq!(table.find("example.com", "v1", "widgets").map(|r| &*r.gvk.kind), Some("Widget"));
        assert_eq!(table.named("po").next().map(|r| r.gvk.group.as_ref()), Some(""));
    }
}
