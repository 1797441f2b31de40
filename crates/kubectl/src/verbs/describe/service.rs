//! Services and their endpoints.

use super::writer::{Writer, list, number, or, text};
use crate::error::Result;
use crate::session::Session;
use client::http::url::Url;
use serde_json::Value;

pub(super) async fn describe(session: &Session, object: &Value, out: &mut Writer) -> Result<()> {
    let (meta, spec) = (&object["metadata"], &object["spec"]);
    out.head(object);
    out.field(0, "Selector", &crate::print::labels_text(spec["selector"].as_object()));
    out.field(0, "Type", &text(&spec["type"]));
    out.field(0, "IP Family Policy", &text(&spec["ipFamilyPolicy"]));
    let join = |value: &Value| list(value).iter().map(text).collect::<Vec<_>>().join(",");
    out.field(0, "IP Families", &join(&spec["ipFamilies"]));
    out.line(0, &format!("IP:\t{}", text(&spec["clusterIP"])));
    out.field(0, "IPs", &join(&spec["clusterIPs"]));
    out.field(0, "External IPs", &join(&spec["externalIPs"]));
    out.field(0, "External Name", &text(&spec["externalName"]));
    let ingress: Vec<String> = list(&object["status"]["loadBalancer"]["ingress"])
        .iter()
        .map(|point| or(&point["ip"], or(&point["hostname"], "")).to_owned())
        .collect();
    out.field(0, "LoadBalancer Ingress", &ingress.join(", "));
    let slices = slices(session, meta).await?;
    for port in list(&spec["ports"]) {
        let name = or(&port["name"], "<unset>");
        let protocol = text(&port["protocol"]);
        out.line(0, &format!("Port:\t{name}\t{}/{protocol}", number(&port["port"])));
        let target =
            if port["targetPort"].is_null() { text(&port["port"]) } else { text(&port["targetPort"]) };
        out.line(0, &format!("TargetPort:\t{target}/{protocol}"));
        if number(&port["nodePort"]) > 0 {
            out.line(0, &format!("NodePort:\t{name}\t{}/{protocol}", number(&port["nodePort"])));
        }
        out.line(0, &format!("Endpoints:\t{}", endpoints(&slices, &port["name"])));
    }
    out.field(0, "Session Affinity", &text(&spec["sessionAffinity"]));
    out.field(0, "External Traffic Policy", &text(&spec["externalTrafficPolicy"]));
    out.field(0, "Internal Traffic Policy", &text(&spec["internalTrafficPolicy"]));
    Ok(())
}

pub(super) async fn slices(session: &Session, meta: &Value) -> Result<Vec<Value>> {
    let resource = session.discovery().await?.find("endpointslices.discovery.k8s.io")?;
    let labels = format!("kubernetes.io/service-name={}", text(&meta["name"]));
    let url = Url::new(resource.path(meta["namespace"].as_str(), None)).with("labelSelector", Some(&labels));
    let found = session.rest().await?.get(&url.into_string()).await?;
    Ok(list(&found["items"]).to_vec())
}

/// Up to three addresses, and how many more there are.
pub(super) fn endpoints(slices: &[Value], port_name: &Value) -> String {
    let wanted = port_name.as_str().unwrap_or_default();
    let mut all = Vec::new();
    for slice in slices {
        for port in
            list(&slice["ports"]).iter().filter(|port| port["name"].as_str().unwrap_or_default() == wanted)
        {
            for endpoint in list(&slice["endpoints"]) {
                if endpoint["conditions"]["ready"] == false {
                    continue;
                }
                for address in list(&endpoint["addresses"]) {
                    let address = text(address);
                    let host = if address.contains(':') { format!("[{address}]") } else { address };
                    all.push(format!("{host}:{}", number(&port["port"])));
                }
            }
        }
    }
    match all.len() {
        0 if slices.is_empty() => "<none>".to_owned(),
        0 => String::new(),
        1..=3 => all.join(","),
        many => format!("{} + {} more...", all[..3].join(","), many - 3),
    }
}
