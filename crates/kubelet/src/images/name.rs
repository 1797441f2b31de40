//! Names of images: registry, repository, tag, digest. Pure.

/// Splits a name into what stands before the tag or digest, the tag, and whether it has a digest.
fn split(image: &str) -> (&str, Option<&str>, bool) {
    let (head, digest) = match image.split_once('@') {
        Some((head, _)) => (head, true),
        None => (image, false),
    };
    let slash = head.rfind('/').map_or(0, |at| at + 1);
    match head[slash..].find(':') {
        Some(colon) => (&head[..slash + colon], Some(&head[slash + colon + 1..]), digest),
        None => (head, None, digest),
    }
}

fn is_component(part: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    edge(part.chars().next()) && edge(part.chars().last()) && part.chars().all(inside)
}

/// Whether the first part of a name is a registry rather than a part of the repository.
fn is_registry(part: &str) -> bool {
    part.contains('.')
        || part.contains(':')
        || part == "localhost"
        || part.chars().any(|c| c.is_ascii_uppercase())
}

/// The name with `:latest` where it has neither tag nor digest. Errors say what is wrong with the name.
pub(crate) fn with_default_tag(image: &str) -> Result<String, String> {
    let invalid = || Err(format!("couldn't parse image name {image:?}: invalid reference format"));
    let (repository, tag, digest) = split(image);
    let mut parts: Vec<&str> = repository.split('/').collect();
    if parts.len() > 1 && parts.first().is_some_and(|first| is_registry(first)) {
        parts.remove(0);
    }
    if parts.iter().any(|part| !is_component(part)) || image.len() > 512 {
        return invalid();
    }
    let good_tag = |tag: &str| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        tag.chars().next().is_some_and(word)
            && tag.len() <= 128
            && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
    };
    if tag.is_some_and(|tag| !good_tag(tag)) {
        return invalid();
    }
    Ok(if tag.is_some() || digest { image.to_owned() } else { format!("{image}:latest") })
}

/// Whether the name means whatever is newest.
pub(crate) fn is_latest(image: &str) -> bool {
    let (_, tag, digest) = split(image);
    !digest && matches!(tag, None | Some("latest"))
}

/// Registry and repository in full: `docker.io/library/x` for `x`.
pub(crate) fn full_repository(image: &str) -> String {
    let (repository, _, _) = split(image);
    match repository.split_once('/') {
        Some((first, _)) if is_registry(first) => repository.to_owned(),
        Some(_) => format!("docker.io/{repository}"),
        None => format!("docker.io/library/{repository}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_defaulted_and_nonsense_refused() {
        for (name, want) in [
            ("nginx", "nginx:latest"),
            ("nginx:1.25", "nginx:1.25"),
            ("127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"),
            ("r.io/x@sha256:aa", "r.io/x@sha256:aa"),
        ] {
            assert_eq!(with_default_tag(name).unwrap(), want);
        }
        for bad in ["", "UPPER", "a//b", "a:", "a:b c", "-x"] {
            assert!(with_default_tag(bad).is_err(), "{bad}");
        }
        assert!(is_latest("a") && is_latest("a:latest") && !is_latest("a:1") && !is_latest("a@sha256:x"));
        assert_eq!(full_repository("nginx:1"), "docker.io/library/nginx");
        assert_eq!(full_repository("me/app"), "docker.io/me/app");
        assert_eq!(full_repository("h:5000/app:2"), "h:5000/app");
    }
}
