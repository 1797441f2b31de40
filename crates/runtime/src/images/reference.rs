//! Names of images, completed the way users expect: `nginx` is `docker.io/library/nginx:latest`.

use super::ImageError;
use super::digest::Digest;

/// A complete name: registry, repository and a tag, a digest, or both.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Name {
    inner: oci_client::Reference,
}

impl Name {
    /// Completes and checks `text`.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let wrong = |why: String| ImageError::Name(text.chars().take(300).collect(), why);
        if text.len() > 512 {
            return Err(wrong("it is longer than 512 characters".to_owned()));
        }
        let inner: oci_client::Reference = text.parse().map_err(|error| wrong(format!("{error}")))?;
        if let Some(digest) = inner.digest() {
            Digest::try_from(digest.to_owned()).map_err(|error| wrong(error.to_string()))?;
        }
        Ok(Self { inner })
    }

    /// `registry/repository`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.inner.registry(), self.inner.repository())
    }

    /// The registry's host, with its port if named.
    pub fn registry(&self) -> &str {
        self.inner.registry()
    }

    /// `registry/repository:tag`, when it has a tag and no digest.
    pub fn tagged(&self) -> Option<String> {
        match (self.inner.digest(), self.inner.tag()) {
            (None, tag) => Some(format!("{}:{}", self.repository(), tag.unwrap_or("latest"))),
            _ => None,
        }
    }

    /// `registry/repository@digest`, when it has a digest.
    pub fn pinned(&self) -> Option<String> {
        self.inner.digest().map(|digest| format!("{}@{digest}", self.repository()))
    }

    /// The digest it names.
    pub fn digest(&self) -> Option<Digest> {
        self.inner.digest().and_then(|digest| Digest::try_from(digest.to_owned()).ok())
    }

    pub(super) fn inner(&self) -> &oci_client::Reference {
        &self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        let hex = "a".repeat(64);
        for (text, tagged) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("a/b:1", "docker.io/a/b:1"),
            ("localhost:5000/x", "localhost:5000/x:latest"),
            ("windlass.local/windlass:0.1.0", "windlass.local/windlass:0.1.0"),
        ] {
            assert_eq!(Name::parse(text).unwrap().tagged().unwrap(), tagged);
        }
        let pinned = Name::parse(&format!("nginx:1@sha256:{hex}")).unwrap();
        assert_eq!(pinned.pinned().unwrap(), format!("docker.io/library/nginx@sha256:{hex}"));
        for bad in ["", "UPPER", "a b", "x@sha256:12", ":tag", &"a".repeat(600)] {
            Name::parse(bad).unwrap_err();
        }
    }
}
