//! What an image reference says without asking a registry.

/// When the node pulls an image whose container does not say: always for a moving tag, else when absent.
pub fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') && tag(image).is_none() {
        return "IfNotPresent";
    }
    match tag(image) {
        None | Some("latest") => "Always",
        Some(_) => "IfNotPresent",
    }
}

/// The tag of a reference, if it names one.
fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or_default();
    // A colon before a slash belongs to the registry's port.
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map(|(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn moving_tags_are_always_pulled() {
        let rows = [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("localhost:5000/nginx", "Always"),
            ("localhost:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
            ("nginx:latest@sha256:abc", "Always"),
        ];
        for (image, policy) in rows {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }
}
