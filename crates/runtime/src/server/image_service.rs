//! CRI's `ImageService` over the image store.

use super::{Error, Inner, blocking, containers};
use crate::images::{Credentials, Image, ImageError, Name};
use base64::Engine as _;
use cri::v1;
use cri::v1::image_service_server::ImageService;
use std::sync::Arc;
use tokio_stream::Once;
use tonic::{Request, Response, Status};

pub(crate) struct Service(pub(crate) Arc<Inner>);

fn wanted(spec: Option<v1::ImageSpec>) -> String {
    spec.map(|spec| spec.image).unwrap_or_default()
}

fn present(inner: &Inner, image: &Image) -> v1::Image {
    let process = inner.images.config(image).map(|config| config.process()).unwrap_or_default();
    let user = process.user.split(':').next().unwrap_or("");
    let uid = user.parse::<i64>().ok();
    v1::Image {
        id: image.id.to_string(),
        repo_tags: image.tags.iter().cloned().collect(),
        repo_digests: image.digests.iter().cloned().collect(),
        size: image.size,
        uid: uid.map(|value| v1::Int64Value { value }),
        username: if uid.is_some() { String::new() } else { user.to_owned() },
        spec: Some(v1::ImageSpec { image: image.id.to_string(), ..Default::default() }),
        pinned: image.pinned,
    }
}

fn credentials(auth: Option<v1::AuthConfig>) -> Result<Credentials, Error> {
    let Some(auth) = auth else { return Ok(Credentials::Anonymous) };
    if !auth.registry_token.is_empty() {
        return Ok(Credentials::Bearer(auth.registry_token));
    }
    if !auth.username.is_empty() {
        return Ok(Credentials::Basic(auth.username, auth.password));
    }
    if auth.auth.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(&auth.auth).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match text.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':')) {
        Some((user, password)) => Ok(Credentials::Basic(user.to_owned(), password.to_owned())),
        None => Err(Error::Invalid("invalid auth: it is not base64 of user:password".into())),
    }
}

impl Service {
    async fn list(&self, filter: Option<v1::ImageFilter>) -> Result<Vec<v1::Image>, Error> {
        let inner = self.0.clone();
        let name = wanted(filter.and_then(|filter| filter.image));
        blocking(move || {
            let found = if name.is_empty() {
                inner.images.list()
            } else {
                inner.images.find(&name).into_iter().collect()
            };
            Ok(found.iter().map(|image| present(&inner, image)).collect())
        })
        .await
    }
}

#[tonic::async_trait]
impl ImageService for Service {
    async fn list_images(
        &self,
        request: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        let images = self.list(request.into_inner().filter).await?;
        Ok(Response::new(v1::ListImagesResponse { images }))
    }

    type StreamImagesStream = Once<Result<v1::StreamImagesResponse, Status>>;

    async fn stream_images(
        &self,
        request: Request<v1::StreamImagesRequest>,
    ) -> Result<Response<Self::StreamImagesStream>, Status> {
        let images = self.list(request.into_inner().filter).await?;
        Ok(Response::new(tokio_stream::once(Ok(v1::StreamImagesResponse { images }))))
    }

    async fn image_status(
        &self,
        request: Request<v1::ImageStatusRequest>,
    ) -> Result<Response<v1::ImageStatusResponse>, Status> {
        let request = request.into_inner();
        let (inner, name) = (self.0.clone(), wanted(request.image));
        let response = blocking(move || {
            let Some(image) = inner.images.find(&name) else { return Ok(v1::ImageStatusResponse::default()) };
            let mut response =
                v1::ImageStatusResponse { image: Some(present(&inner, &image)), ..Default::default() };
            if request.verbose {
                let config = inner.images.config(&image)?;
                let info = serde_json::json!({"imageSpec": config, "layers": image.layers});
                response.info.insert("info".into(), info.to_string());
            }
            Ok(response)
        });
        Ok(Response::new(response.await?))
    }

    async fn pull_image(
        &self,
        request: Request<v1::PullImageRequest>,
    ) -> Result<Response<v1::PullImageResponse>, Status> {
        let request = request.into_inner();
        let name = Name::parse(&wanted(request.image)).map_err(Error::from)?;
        let credentials = credentials(request.auth)?;
        let pulled = self.0.images.pull(&name, &credentials, &self.0.registries).await;
        let image = pulled.map_err(Error::from)?;
        Ok(Response::new(v1::PullImageResponse { image_ref: image.id.to_string() }))
    }

    async fn remove_image(
        &self,
        request: Request<v1::RemoveImageRequest>,
    ) -> Result<Response<v1::RemoveImageResponse>, Status> {
        let name = wanted(request.into_inner().image);
        if name.is_empty() {
            return Err(Error::Invalid("image is required".into()).into());
        }
        match containers::remove_image(&self.0, name).await {
            Ok(()) | Err(Error::Image(ImageError::NotFound(_))) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Response::new(v1::RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _: Request<v1::ImageFsInfoRequest>,
    ) -> Result<Response<v1::ImageFsInfoResponse>, Status> {
        let usage = self.0.images.usage();
        let filesystem = v1::FilesystemUsage {
            timestamp: self.0.now(),
            fs_id: Some(v1::FilesystemIdentifier { mountpoint: self.0.images.root().display().to_string() }),
            used_bytes: Some(v1::UInt64Value { value: usage.bytes }),
            inodes_used: Some(v1::UInt64Value { value: usage.inodes }),
        };
        let response = v1::ImageFsInfoResponse {
            image_filesystems: vec![filesystem.clone()],
            container_filesystems: vec![filesystem],
        };
        Ok(Response::new(response))
    }
}
