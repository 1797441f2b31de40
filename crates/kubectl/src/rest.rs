//! [`Rest`]: requests to the API as JSON trees, in the server's own words and order. kubectl prints what the server says,
//! so it does not go through typed objects.

use crate::error::{Error, Result, message};
use crate::streams::Streams;
use bytes::{Bytes, BytesMut};
use client::HttpTransport;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use machinery::Status;
use serde_json::Value;
use std::time::Duration;

/// JSON, the default.
pub(crate) const JSON: &str = "application/json";
/// Tables, with objects for servers that have none.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
/// Largest line of a watch.
const MAX_LINE: usize = 64 << 20;

/// Requests to the API.
#[derive(Clone, Debug)]
pub(crate) struct Rest {
    transport: HttpTransport,
    streams: Streams,
    timeout: Option<Duration>,
}

impl Rest {
    pub(crate) fn new(transport: HttpTransport, streams: Streams, timeout: Option<Duration>) -> Self {
        Self { transport, streams, timeout }
    }

    pub(crate) fn transport(&self) -> &HttpTransport {
        &self.transport
    }

    /// Sends a request and answers the response unread. Prints the server's warnings.
    pub(crate) async fn raw(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let mut builder = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
        if !body.is_empty() {
            builder = builder.header(header::CONTENT_TYPE, content_type);
        }
        let request = builder
            .body(body)
            .map_err(|error| message(format!("failed to build a request to {path:?}: {error}")))?;
        let sent = self.transport.raw(request);
        let response = match self.timeout {
            None => sent.await?,
            Some(timeout) => match tokio::time::timeout(timeout, sent).await {
                Ok(answer) => answer?,
                Err(_) => {
                    return Err(Error::Plain(
                        "Unable to connect to the server: net/http: request canceled (Client.Timeout exceeded while \
                         awaiting headers)"
                            .to_owned(),
                    ));
                }
            },
        };
        self.warnings(&response);
        Ok(response)
    }

    fn warnings(&self, response: &Response<Incoming>) {
        for text in response.headers().get_all(header::WARNING).iter().filter_map(warning) {
            self.streams.warn(&format!("Warning: {text}"));
        }
    }

    /// Sends a request and reads the answer as JSON.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Result<Value> {
        let body = if body.is_null() { Bytes::new() } else { serde_json::to_vec(body)?.into() };
        read_json(self.raw(method, path, JSON, content_type, body).await?).await
    }

    /// Reads something.
    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.get_as(path, JSON).await
    }

    /// Reads something in another form.
    pub(crate) async fn get_as(&self, path: &str, accept: &str) -> Result<Value> {
        read_json(self.raw(Method::GET, path, accept, JSON, Bytes::new()).await?).await
    }

    /// Reads something that may not exist.
    pub(crate) async fn get_opt(&self, path: &str) -> Result<Option<Value>> {
        match self.get(path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads text, such as a log or a health check.
    pub(crate) async fn text(&self, path: &str) -> Result<Bytes> {
        let response = self.raw(Method::GET, path, "*/*", JSON, Bytes::new()).await?;
        collect(response).await
    }

    /// Starts a stream of JSON lines.
    pub(crate) async fn lines(&self, path: &str, accept: &str) -> Result<Lines> {
        let response = self.raw(Method::GET, path, accept, JSON, Bytes::new()).await?;
        Ok(Lines { body: response.into_body(), buffer: BytesMut::new() })
    }
}

/// The text of a warning header: `299 - "text"`.
fn warning(header: &HeaderValue) -> Option<String> {
    let quoted = header.to_str().ok()?.splitn(3, ' ').nth(2)?;
    let inner = quoted.strip_prefix('"')?;
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            '"' => break,
            other => text.push(other),
        }
    }
    Some(text)
}

async fn collect(response: Response<Incoming>) -> Result<Bytes> {
    let body = response.into_body().collect().await;
    let body =
        body.map_err(|error| message(format!("failed to read the server's answer: {error}; try again")))?;
    Ok(body.to_bytes())
}

async fn read_json(response: Response<Incoming>) -> Result<Value> {
    let bytes = collect(response).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        message(format!("failed to decode the server's answer: {error}; is this a Kubernetes API?"))
    })
}

/// A stream of JSON lines, as watches send them.
#[derive(Debug)]
pub(crate) struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    /// The next line, `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(message("failed to read the watch: an event is too large"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None | Some(Err(_)) => return Ok(None),
            }
        }
    }

    /// The next event of a watch: its type and object. Ends with the watch; a failed watch is an error.
    pub(crate) async fn event(&mut self) -> Result<Option<(String, Value)>> {
        let Some(mut event) = self.next().await? else { return Ok(None) };
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        let object = event["object"].take();
        if kind == "ERROR" {
            return Err(serde_json::from_value::<Status>(object)?.into());
        }
        Ok(Some((kind, object)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_unquoted() {
        let header = HeaderValue::from_static(r#"299 - "say \"no\" to this""#);
        assert_eq!(warning(&header).as_deref(), Some("say \"no\" to this"));
        assert_eq!(warning(&HeaderValue::from_static("299")), None);
    }
}
