//! `v1` PodTemplate.

use crate::common::pod::{defaults, template, warnings};
use crate::common::{first_generation, next_generation, selector};
use crate::resource::{age_cell, name_cell};
use crate::{Column, ResourceDef, Rules};
use k8s_openapi::api::core::v1::{PodTemplate, PodTemplateSpec};
use k8s_openapi::jiff::Timestamp;
use machinery::{FieldErrors, FieldPath};
use serde_json::{Value, json};

crate::kind!(PodTemplate);

impl Rules for PodTemplate {
    fn set_defaults(&mut self) {
        defaults::template(self.template.get_or_insert_default());
    }

    fn prepare_create(&mut self) {
        first_generation(&mut self.metadata);
    }

    fn prepare_update(&mut self, old: &Self) {
        next_generation(&mut self.metadata, &old.metadata, self.template != old.template);
    }

    fn validate_create(&self, errors: &mut FieldErrors) {
        let empty = PodTemplateSpec::default();
        template::validate(self.template.as_ref().unwrap_or(&empty), &FieldPath::new("template"), errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let is_same = old.is_some_and(|old| old.template == self.template);
        match &self.template {
            Some(template) if !is_same => warnings::template(template, &FieldPath::new("template")),
            _ => Vec::new(),
        }
    }

    fn columns() -> Vec<Column> {
        vec![
            Column::name(),
            Column::new("Containers", "string", "Names of the containers."),
            Column::new("Images", "string", "Images of the containers."),
            Column::new("Pod Labels", "string", "Labels of the pods."),
            Column::age(),
        ]
    }

    fn cells(&self, now: Timestamp) -> Vec<Value> {
        let (names, images) = template::container_cells(self.template.as_ref());
        let meta = self.template.as_ref().and_then(|template| template.metadata.as_ref());
        let labels = selector::display_labels(&meta.and_then(|meta| meta.labels.clone()));
        vec![name_cell(self), json!(names), json!(images), json!(labels), age_cell(self, now)]
    }
}

/// The resource `podtemplates`.
pub fn def() -> ResourceDef {
    ResourceDef::of::<PodTemplate>()
}
