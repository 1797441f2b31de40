//! What the client accepts: media type and the form of the object.

use http::HeaderMap;
use http::header::ACCEPT;
use machinery::{Reason, Status};

/// An encoding of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Media {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
}

impl Media {
    /// The `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Media::Json => "application/json",
            Media::Yaml => "application/yaml",
        }
    }
}

/// What an object is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// As it is.
    Object,
    /// `meta.k8s.io` Table of a version.
    Table(&'static str),
    /// `meta.k8s.io` PartialObjectMetadata of a version.
    Partial(&'static str),
    /// `meta.k8s.io` PartialObjectMetadataList of a version.
    PartialList(&'static str),
}

/// One range of an `Accept` header.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Accept<'a> {
    /// Such as `application/json`.
    pub(crate) media: &'a str,
    /// Parameters but `q`.
    pub(crate) parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl<'a> Accept<'a> {
    /// The ranges of the request, the most wanted first. Without a header: anything.
    pub(crate) fn ranges(headers: &'a HeaderMap) -> Vec<Accept<'a>> {
        let mut ranges: Vec<Accept<'a>> = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(Self::parse)
            .take(32)
            .collect();
        if ranges.is_empty() {
            ranges.push(Accept { media: "*/*", parameters: Vec::new(), quality: 1.0 });
        }
        ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        ranges
    }

    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().filter(|media| !media.is_empty())?;
        let mut quality = 1.0;
        let mut parameters = Vec::new();
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            if name == "q" {
                quality = value.parse().unwrap_or(1.0);
            } else {
                parameters.push((name, value));
            }
        }
        Some(Accept { media, parameters, quality })
    }

    /// The value of a parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }

    fn media_kind(&self) -> Option<Media> {
        match self.media {
            "*/*" | "application/*" | "application/json" => Some(Media::Json),
            "application/yaml" => Some(Media::Yaml),
            _ => None,
        }
    }

    fn form(&self, transforms: bool) -> Option<Form> {
        let Some(kind) = self.parameter("as") else { return Some(Form::Object) };
        if !transforms || self.parameter("g") != Some("meta.k8s.io") {
            return None;
        }
        let version = match self.parameter("v") {
            Some("v1") => "v1",
            Some("v1beta1") => "v1beta1",
            _ => return None,
        };
        match kind {
            "Table" => Some(Form::Table(version)),
            "PartialObjectMetadata" => Some(Form::Partial(version)),
            "PartialObjectMetadataList" => Some(Form::PartialList(version)),
            _ => None,
        }
    }
}

/// The first range that can be served. 406 when there is none. `transforms` allows tables and metadata only.
pub(crate) fn negotiate(headers: &HeaderMap, transforms: bool) -> Result<(Media, Form), Status> {
    Accept::ranges(headers)
        .iter()
        .find_map(|range| Some((range.media_kind()?, range.form(transforms)?)))
        .ok_or_else(|| {
            Status::new(
                406,
                Reason::NotAcceptable,
                "only the following media types are accepted: application/json, application/yaml",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str) -> Result<(Media, Form), Status> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        negotiate(&headers, true)
    }

    #[test]
    fn the_first_servable_range_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(of(kubectl).unwrap(), (Media::Json, Form::Table("v1")));
        assert_eq!(
            of("application/vnd.kubernetes.protobuf,application/json").unwrap(),
            (Media::Json, Form::Object)
        );
        assert_eq!(of("application/json;q=0.5,application/yaml").unwrap().0, Media::Yaml);
        assert_eq!(of("text/html").unwrap_err().code, 406);
        assert_eq!(of("application/json;as=Table;v=v9;g=meta.k8s.io").unwrap_err().code, 406);
        assert_eq!(negotiate(&HeaderMap::new(), true).unwrap(), (Media::Json, Form::Object));
    }
}
