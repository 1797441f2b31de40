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
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
    /// `application/cbor`.
    Cbor,
}

impl Media {
    /// In the order in which wildcards choose.
    const ALL: [Media; 4] = [Media::Json, Media::Yaml, Media::Protobuf, Media::Cbor];

    /// The `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Media::Json => "application/json",
            Media::Yaml => "application/yaml",
            Media::Protobuf => api::protobuf::MEDIA_TYPE,
            Media::Cbor => "application/cbor",
        }
    }

    /// The `Content-Type` of a watch; YAML has none.
    pub(crate) fn stream_type(self) -> Option<&'static str> {
        match self {
            Media::Json => Some("application/json;stream=watch"),
            Media::Yaml => None,
            Media::Protobuf => Some(api::protobuf::STREAM_MEDIA_TYPE),
            Media::Cbor => Some("application/cbor-seq"),
        }
    }
}

/// What the server can answer a request with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Whether the kind has a protobuf form.
    pub(crate) protobuf: bool,
    /// Whether CBOR is switched on.
    pub(crate) cbor: bool,
    /// Whether tables and metadata only are to be had.
    pub(crate) transforms: bool,
    /// Whether the answer is a watch.
    pub(crate) stream: bool,
}

impl Offer {
    /// What errors are answered with.
    pub(crate) fn of_errors(cbor: bool) -> Self {
        Self { protobuf: true, cbor, transforms: false, stream: false }
    }

    fn media(self) -> impl Iterator<Item = Media> {
        Media::ALL.into_iter().filter(move |media| match media {
            Media::Json | Media::Yaml => true,
            Media::Protobuf => self.protobuf,
            Media::Cbor => self.cbor,
        })
    }

    /// 406, naming what there is.
    fn not_acceptable(self) -> Status {
        let accepted: Vec<&str> = if self.stream {
            self.media().filter_map(Media::stream_type).collect()
        } else {
            self.media().map(Media::content_type).collect()
        };
        Status::new(
            406,
            Reason::NotAcceptable,
            format!("only the following media types are accepted: {}", accepted.join(", ")),
        )
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
            .get(ACCEPT)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(Self::parse)
            .take(32)
            .collect();
        if ranges.is_empty() {
            ranges.push(Accept { media: "*/*", parameters: Vec::new(), quality: 1.0 });
        }
        ranges.sort_by(|a, b| b.quality.total_cmp(&a.quality).then(a.breadth().cmp(&b.breadth())));
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

    /// Whether the range has this media type.
    fn takes(&self, media: Media) -> bool {
        self.media == media.content_type()
            || matches!(self.media, "*/*" | "application/*")
            || (media == Media::Cbor && self.media == "application/cbor-seq")
    }

    /// How general the range is: of equally wanted ones the particular come first.
    fn breadth(&self) -> u8 {
        match self.media.split_once('/') {
            Some(("*", _)) => 2,
            Some((_, "*")) => 1,
            _ => 0,
        }
    }

    /// How this range can be served in `media`.
    fn served(&self, media: Media, offer: Offer) -> Option<Form> {
        if !self.takes(media) || (offer.stream && media.stream_type().is_none()) {
            return None;
        }
        // `stream` is for watches, and there is one way to stream.
        if self.parameter("stream").is_some_and(|stream| !offer.stream || stream != "watch") {
            return None;
        }
        let form = self.form(offer.transforms)?;
        // Tables have no protobuf form.
        (!matches!(form, Form::Table(_)) || media != Media::Protobuf).then_some(form)
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

/// The first range that can be served, in the first encoding that serves it. 406 when there is none.
pub(crate) fn negotiate(headers: &HeaderMap, offer: Offer) -> Result<(Media, Form), Status> {
    Accept::ranges(headers)
        .iter()
        .find_map(|range| offer.media().find_map(|media| Some((media, range.served(media, offer)?))))
        .ok_or_else(|| offer.not_acceptable())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer = Offer { protobuf: true, cbor: false, transforms: true, stream: false };

    fn with(accept: &str, offer: Offer) -> Result<(Media, Form), Status> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        negotiate(&headers, offer)
    }

    fn of(accept: &str) -> Result<(Media, Form), Status> {
        with(accept, ALL)
    }

    #[test]
    fn the_first_servable_range_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(of(kubectl).unwrap(), (Media::Json, Form::Table("v1")));
        let both = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(of(both).unwrap(), (Media::Protobuf, Form::Object));
        assert_eq!(with(both, Offer { protobuf: false, ..ALL }).unwrap(), (Media::Json, Form::Object));
        assert_eq!(of("application/json;q=0.5,application/yaml").unwrap().0, Media::Yaml);
        assert_eq!(of("*/*;q=0.9, application/yaml;q=0.9").unwrap().0, Media::Yaml);
        assert_eq!(of("*/*").unwrap(), (Media::Json, Form::Object));
        assert_eq!(of("application/json;charset=utf-8;x=y").unwrap(), (Media::Json, Form::Object));
        assert_eq!(of("application/json;as=Table;v=v9;g=meta.k8s.io").unwrap_err().code, 406);
        assert_eq!(negotiate(&HeaderMap::new(), ALL).unwrap(), (Media::Json, Form::Object));
        assert_eq!(
            of("text/html").unwrap_err().message,
            "only the following media types are accepted: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf"
        );
        assert_eq!(of("application/cbor").unwrap_err().code, 406);
        assert_eq!(with("application/cbor", Offer { cbor: true, ..ALL }).unwrap().0, Media::Cbor);
    }

    #[test]
    fn tables_are_no_protobuf() {
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(of(table).unwrap_err().code, 406);
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        assert_eq!(of(metadata).unwrap(), (Media::Protobuf, Form::Partial("v1")));
        assert_eq!(of(&format!("{table},{metadata}")).unwrap().1, Form::Partial("v1"));
    }

    #[test]
    fn watches_need_a_stream() {
        let offer = Offer { stream: true, ..ALL };
        assert_eq!(with("application/json;stream=watch", offer).unwrap().0, Media::Json);
        assert_eq!(
            with("application/vnd.kubernetes.protobuf;stream=watch", offer).unwrap().0,
            Media::Protobuf
        );
        assert_eq!(with("application/vnd.kubernetes.protobuf", offer).unwrap().0, Media::Protobuf);
        assert_eq!(of("application/json;stream=watch").unwrap_err().code, 406);
        assert_eq!(
            with("application/yaml", offer).unwrap_err().message,
            "only the following media types are accepted: application/json;stream=watch, \
             application/vnd.kubernetes.protobuf;stream=watch"
        );
    }
}
