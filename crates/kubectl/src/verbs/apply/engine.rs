//! [`Apply`]: one manifest against the live object, merged here or by the server.

use super::{LAST_APPLIED, annotated};
use crate::error::{Error, Result, fail};
use crate::rest::{JSON, Rest};
use crate::select::Found;
use crate::session::Session;
use crate::verbs::common::DryRun;
use api::schema::BuiltIn;
use client::http::url::Url;
use http::Method;
use machinery::patch::three_way;
use serde_json::{Value, json};

/// How often a conflicting patch is computed anew, as upstream.
const TRIES: usize = 5;

/// How manifests are applied.
pub(crate) struct Apply<'a> {
    pub(crate) session: &'a Session,
    pub(crate) rest: &'a Rest,
    pub(crate) dry_run: DryRun,
    pub(crate) validation: &'static str,
    pub(crate) manager: String,
    pub(crate) force: bool,
    pub(crate) force_conflicts: bool,
    pub(crate) overwrite: bool,
    /// Keep the manifest in the object.
    pub(crate) annotate: bool,
}

impl Apply<'_> {
    fn url(&self, path: String) -> Url {
        let url = Url::new(path)
            .with("fieldManager", Some(&self.manager))
            .with("fieldValidation", Some(self.validation));
        self.dry_run.url(url)
    }

    /// Has the server merge; answers the object and what was done.
    pub(crate) async fn server_side(&self, file: &Found) -> Result<(Value, &'static str)> {
        if file.name.is_empty() {
            return fail("metadata.name is required for server-side apply; generateName cannot be used");
        }
        let url =
            self.url(file.path()).with("force", Some(if self.force_conflicts { "true" } else { "false" }));
        let sent = self
            .rest
            .send(Method::PATCH, &url.into_string(), "application/apply-patch+yaml", &file.value)
            .await;
        match sent {
            Ok(value) => Ok((value, "serverside-applied")),
            Err(error) if error.is_conflict() => {
                let text = error.status().map(|status| status.message.clone()).unwrap_or_default();
                fail(format!(
                    "{text}\nOther managers own these fields. To take them over, run the command again with \
                     `--force-conflicts`; to leave them to their\nmanagers, take them out of the manifest; to share them, \
                     write the live values into the manifest.\nSee \
                     https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts"
                ))
            }
            Err(error) => Err(error.during("applying", &file.source)),
        }
    }

    /// Merges three ways; answers the object and what was done.
    pub(crate) async fn client_side(&self, file: &Found) -> Result<(Value, &'static str)> {
        let modified = if self.annotate { annotated(&file.value) } else { file.value.clone() };
        if file.name.is_empty() {
            return fail(format!(
                "from {}: cannot use generate name with apply",
                file.value["metadata"]["generateName"].as_str().unwrap_or_default()
            ));
        }
        let live = self.rest.get_opt(&file.path()).await;
        let live = live.map_err(|error| error.during("retrieving current configuration of", &file.source))?;
        let Some(live) = live else { return self.create(file, modified).await };
        if self.dry_run.is_client() {
            return Ok((modified, "configured"));
        }
        if self.annotate && live["metadata"]["annotations"][LAST_APPLIED].is_null() {
            self.session.streams.warn(&format!(
                "Warning: resource {}/{} is missing the {LAST_APPLIED} annotation which is required by kubectl apply. \
                 kubectl apply should only be used on resources created declaratively by either kubectl create \
                 --save-config or kubectl apply. The missing annotation will be patched automatically.",
                file.resource.plural, file.name
            ));
        }
        match self.patch(file, &modified, live).await {
            Err(error) if self.force && cannot_be_changed(&error) => self.replace(file, modified).await,
            Err(error) => Err(error.during("applying patch to", &file.source)),
            done => done,
        }
    }

    async fn create(&self, file: &Found, modified: Value) -> Result<(Value, &'static str)> {
        if self.dry_run.is_client() {
            return Ok((modified, "created"));
        }
        let path = file.resource.path(file.namespace.as_deref(), None);
        let url = self.url(path).into_string();
        let made = self.rest.send(Method::POST, &url, JSON, &modified).await;
        Ok((made.map_err(|error| error.during("creating", &file.source))?, "created"))
    }

    /// Patches the live object; computes the patch anew when someone else was faster.
    async fn patch(&self, file: &Found, modified: &Value, mut live: Value) -> Result<(Value, &'static str)> {
        let mut tries = 0;
        loop {
            let (patch, content_type) = self.difference(file, modified, &live)?;
            if patch.as_object().is_some_and(serde_json::Map::is_empty) {
                return Ok((live, "unchanged"));
            }
            let url = self.url(file.path()).into_string();
            match self.rest.send(Method::PATCH, &url, content_type, &patch).await {
                Err(error) if error.is_conflict() && tries < TRIES => {
                    tries += 1;
                    live = self.rest.get(&file.path()).await?;
                }
                outcome => return Ok((outcome?, "configured")),
            }
        }
    }

    fn difference(&self, file: &Found, modified: &Value, live: &Value) -> Result<(Value, &'static str)> {
        let original = match live["metadata"]["annotations"][LAST_APPLIED].as_str() {
            Some(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            None => Value::Null,
        };
        let original = if self.overwrite { original } else { json!({}) };
        let empty = json!({});
        let before = if original.is_object() { &original } else { &empty };
        Ok(match BuiltIn.root(&file.resource.gvk()) {
            Some(ty) => {
                let patch = three_way::strategic(before, modified, live, &BuiltIn, ty)
                    .map_err(|error| crate::error::message(format!("creating patch with:\n{error}")))?;
                (patch, "application/strategic-merge-patch+json")
            }
            None => (three_way::json_merge(before, modified, live), "application/merge-patch+json"),
        })
    }

    /// Deletes and creates again.
    async fn replace(&self, file: &Found, modified: Value) -> Result<(Value, &'static str)> {
        let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
        self.rest.send(Method::DELETE, &file.path(), JSON, &body).await?;
        super::super::delete::wait_gone(self.session, file, None, None).await?;
        let (value, _) = self.create(file, modified).await?;
        Ok((value, "configured"))
    }
}

fn cannot_be_changed(error: &Error) -> bool {
    error.is_conflict() || error.status().is_some_and(|status| status.code == 422)
}
