//! Authorization checks of expressions. Evaluation does not wait, so a check whose answer is not at hand is noted,
//! asked afterwards, and the expression evaluated again.

use crate::contract::{Attributes, Context, Decision, UserInfo};
use cel::{Authorize, Check, EvalError, Verdict};
use futures::FutureExt;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Asks the server's authorizers for one request.
pub(crate) struct Asker {
    context: Context,
    user: Arc<UserInfo>,
    known: Mutex<HashMap<Check, Verdict>>,
    wanted: Mutex<Option<Check>>,
}

impl Asker {
    pub(crate) fn new(context: &Context, user: &Arc<UserInfo>) -> Arc<Self> {
        Arc::new(Self {
            context: context.clone(),
            user: user.clone(),
            known: Mutex::default(),
            wanted: Mutex::default(),
        })
    }

    fn attributes(&self, check: &Check) -> Attributes {
        let user = match &check.service_account {
            None => self.user.clone(),
            Some((namespace, name)) => {
                let group = format!("system:serviceaccounts:{namespace}");
                let groups = ["system:serviceaccounts", group.as_str(), "system:authenticated"];
                Arc::new(UserInfo::new(format!("system:serviceaccount:{namespace}:{name}"), &groups))
            }
        };
        Attributes {
            user,
            verb: check.verb.clone().into(),
            resource_request: check.path.is_none(),
            group: check.group.clone().into(),
            version: "*".into(),
            resource: check.resource.clone().into(),
            subresource: check.subresource.clone().into(),
            namespace: check.namespace.clone(),
            name: check.name.clone(),
            path: check.path.clone().unwrap_or_default(),
            field_selector: check.field_selector.clone(),
            label_selector: check.label_selector.clone(),
        }
    }

    /// Gets the answer that an evaluation waits for; false when none does.
    pub(crate) async fn settle(&self) -> bool {
        let Some(check) = self.wanted.lock().take() else { return false };
        let decision = self.context.authorize(&self.attributes(&check)).await;
        self.known.lock().insert(check, verdict(decision));
        true
    }
}

fn verdict(decision: Decision) -> Verdict {
    let (allowed, reason) = match decision {
        Decision::Allow => (true, String::new()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => (false, reason),
    };
    Verdict { allowed, reason, error: None }
}

impl Authorize for Asker {
    fn authorize(&self, check: &Check) -> Result<Verdict, EvalError> {
        if let Some(known) = self.known.lock().get(check) {
            return Ok(known.clone());
        }
        // Most authorizers answer from memory.
        let attributes = self.attributes(check);
        let answer = self.context.authorize(&attributes).now_or_never();
        match answer {
            Some(decision) => {
                let verdict = verdict(decision);
                self.known.lock().insert(check.clone(), verdict.clone());
                Ok(verdict)
            }
            None => {
                *self.wanted.lock() = Some(check.clone());
                Err(EvalError::Pending)
            }
        }
    }
}
