//! [`Schema`]: a FlowSchema as requests meet it, and the table in which they look for theirs.

use super::level::Level;
use super::rules::{Distinguish, Rules};
use super::stats::Stats;
use crate::contract::Attributes;
use http::HeaderValue;
use std::sync::Arc;

/// A FlowSchema whose priority level exists.
pub(super) struct Schema {
    pub(super) name: String,
    pub(super) precedence: i32,
    pub(super) uid: HeaderValue,
    pub(super) level_uid: HeaderValue,
    pub(super) level: Arc<Level>,
    /// Seats that one request may take at most.
    pub(super) max_seats: u32,
    pub(super) rules: Rules,
    pub(super) distinguish: Distinguish,
    pub(super) stats: Arc<Stats>,
}

/// Every schema in the order in which they are tried. Replaced as a whole.
#[derive(Default)]
pub(super) struct Table {
    pub(super) schemas: Vec<Arc<Schema>>,
}

impl Table {
    /// Sorts by precedence, then name.
    pub(super) fn new(mut schemas: Vec<Arc<Schema>>) -> Self {
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        Self { schemas }
    }

    /// The schema of a request: the first that matches, else the last, which is the catch-all.
    pub(super) fn classify(&self, asked: &Attributes) -> Option<&Arc<Schema>> {
        self.schemas.iter().find(|schema| schema.rules.matches(asked)).or_else(|| {
            let catch_all = self.schemas.iter().find(|schema| schema.name == "catch-all");
            catch_all.or_else(|| self.schemas.last())
        })
    }
}
