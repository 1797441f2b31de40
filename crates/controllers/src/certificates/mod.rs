//! Certificates on request (CertificateSigningRequest): approves what kubelets need to join, signs what was approved, and
//! removes requests that are done with.

mod sign;

use crate::common::owners::enqueue;
use crate::context::Context;
use client::time::seconds;
use client::{Informer, ObjectKey, Requeue, run_workers};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use machinery::Status;
use sign::Signer;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// How long requests are kept, in seconds: answered ones, unanswered ones, and those with a certificate after its end.
const KEPT_ANSWERED: i64 = 3600;
const KEPT_PENDING: i64 = 24 * 3600;

type Csr = CertificateSigningRequest;

async fn start<F, Fut>(context: Context, name: &'static str, reconcile: F)
where
    F: Fn(Context, Arc<Csr>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Requeue, Status>> + Send,
{
    let requests: Informer<Csr> = context.informers.informer();
    let queue = context.queue::<ObjectKey>();
    enqueue(&requests, &queue);
    requests.synced().await;
    let (worker, reconcile) = (context.clone(), Arc::new(reconcile));
    run_workers(name, 1, &queue, &context.tasks, move |key: ObjectKey| {
        let (context, reconcile) = (worker.clone(), reconcile.clone());
        let request = requests.store().get(&key);
        async move {
            match request {
                Some(request) => reconcile(context, request).await,
                None => Ok(Requeue::No),
            }
        }
    });
    context.tasks.stopping().cancelled().await;
}

fn has(request: &Csr, kind: &str) -> bool {
    let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == kind)
}

fn add(request: &Csr, kind: &str, reason: &str, message: &str, now: Timestamp) -> Csr {
    let mut changed = request.clone();
    let time = Some(seconds(now));
    changed.status.get_or_insert_default().conditions.get_or_insert_default().push(
        CertificateSigningRequestCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: time.clone(),
            last_transition_time: time,
        },
    );
    changed
}

/// Runs the approver of kubelets' client certificates.
pub(crate) async fn run_approving(context: Context) {
    start(context, "certificatesigningrequest-approving-controller", |context, request| async move {
        if has(&request, "Approved") || has(&request, "Denied") || request.spec.signer_name != KUBELET_CLIENT
        {
            return Ok(Requeue::No);
        }
        let Ok(parsed) = sign::parse(&request) else { return Ok(Requeue::No) };
        if sign::check(&request, &parsed).is_err() {
            return Ok(Requeue::No);
        }
        let own = request.spec.username.as_deref() == Some(sign::common_name(&parsed).as_str());
        let rules: &[(&str, &str)] = if own {
            &[("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.")]
        } else {
            &[("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")]
        };
        for (subresource, message) in rules {
            if may(&context, &request, subresource).await? {
                let approved = add(&request, "Approved", "AutoApproved", message, context.now());
                return context
                    .client
                    .all::<Csr>()
                    .update_subresource(&approved, "approval")
                    .await
                    .map(|_| Requeue::No);
            }
        }
        Ok(Requeue::No)
    })
    .await;
}

/// Whether who asked may create the subresource of requests, which is how permission to join is given.
async fn may(context: &Context, request: &Csr, subresource: &str) -> Result<bool, Status> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: request.spec.username.clone(),
            uid: request.spec.uid.clone(),
            groups: request.spec.groups.clone(),
            extra: request.spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                verb: Some("create".to_owned()),
                subresource: Some(subresource.to_owned()),
                version: Some("*".to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let answer = context.client.all::<SubjectAccessReview>().create(&review).await?;
    Ok(answer.status.as_ref().is_some_and(|status| status.allowed))
}

/// Runs the signer; without a CA there is nothing to do.
pub(crate) async fn run_signing(context: Context) {
    let Some(pair) = context.config.signer.clone() else { return };
    let signer = match Signer::new(&pair) {
        Ok(signer) => Arc::new(signer),
        Err(why) => {
            tracing::error!("failed to use the cluster's signing certificate: {why}; correct it and restart");
            return;
        }
    };
    start(context, "certificatesigningrequest-signing-controller", move |context, request| {
        let signer = signer.clone();
        async move {
            let issued = request.status.as_ref().is_some_and(|status| status.certificate.is_some());
            let ours = sign::SIGNERS.contains(&request.spec.signer_name.as_str());
            if issued || !ours || !has(&request, "Approved") || has(&request, "Failed") {
                return Ok(Requeue::No);
            }
            let now = context.now();
            let changed = match sign::parse(&request).and_then(|parsed| signer.sign(&request, parsed, now)) {
                Ok(certificate) => {
                    let mut changed = Csr::clone(&request);
                    changed.status.get_or_insert_default().certificate =
                        Some(ByteString(certificate.into_bytes()));
                    changed
                }
                Err(why) => add(&request, "Failed", "SignerValidationFailure", &why, now),
            };
            context.client.all::<Csr>().update_status(&changed).await.map(|_| Requeue::No)
        }
    })
    .await;
}

/// Runs the cleaner of requests that are done with.
pub(crate) async fn run_cleaning(context: Context) {
    start(context, "certificatesigningrequest-cleaner-controller", |context, request| async move {
        let created = request.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
        let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let answered =
            conditions.filter_map(|c| c.last_update_time.as_ref().map(|time| time.0.as_second())).max();
        let end = answered.map_or(created + KEPT_PENDING, |at| at + KEPT_ANSWERED);
        let left = end - context.now().as_second();
        if let Ok(left @ 1..) = u64::try_from(left) {
            return Ok(Requeue::After(Duration::from_secs(left)));
        }
        match context.client.all::<Csr>().delete(request.metadata.name.as_deref().unwrap_or("")).await {
            Err(status) if !status.is_not_found() => Err(status),
            _ => Ok(Requeue::No),
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::testing::World;
    use component::tls::KeyPair;
    use k8s_openapi::api::certificates::v1::CertificateSigningRequestSpec;

    fn authority() -> KeyPair {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem().into_bytes();
        KeyPair { certificate, key: key.serialize_pem().into_bytes() }
    }

    fn request(name: &str, signer: &str, user: &str, group: &str) -> Csr {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, user);
        params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
        let pem = params.serialize_request(&key).unwrap().pem().unwrap();
        let mut request = Csr::default();
        request.metadata.name = Some(name.to_owned());
        request.spec = CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: signer.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "client auth".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        };
        request
    }

    #[tokio::test]
    async fn approved_requests_are_signed_or_refused() {
        let mut world = World::new();
        world.config.signer = Some(authority());
        let requests = world.client().all::<Csr>();
        world.start(run_signing);
        for (name, signer, user, group) in [
            ("user", "kubernetes.io/kube-apiserver-client", "jane", "dev"),
            ("node", KUBELET_CLIENT, "system:node:a", "system:nodes"),
            ("fake", KUBELET_CLIENT, "jane", "dev"),
        ] {
            let created = requests.create(&request(name, signer, user, group)).await.unwrap();
            let approved = add(&created, "Approved", "Test", "", Timestamp::UNIX_EPOCH);
            requests.update_subresource(&approved, "approval").await.unwrap();
        }
        let certificate = |name: &str| {
            let all = world.api.objects::<Csr>();
            let found = all.iter().find(|request| request.metadata.name.as_deref() == Some(name)).cloned();
            found.and_then(|request| request.status.as_ref()?.certificate.clone())
        };
        world
            .until("both are signed", || certificate("user").is_some() && certificate("node").is_some())
            .await;
        let failed = || {
            let all = world.api.objects::<Csr>();
            all.iter()
                .any(|request| request.metadata.name.as_deref() == Some("fake") && has(request, "Failed"))
        };
        world.until("the other is refused", failed).await;
        assert!(
            String::from_utf8(certificate("user").unwrap().0)
                .unwrap()
                .starts_with("-----BEGIN CERTIFICATE-----")
        );
    }
}
