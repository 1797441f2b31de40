//! Windlass's own service next to the CRI: importing images from archives on the node.

use super::{Error, Inner, blocking};
use crate::images;
use cri::windlass::images_server::Images;
use cri::windlass::{ImportRequest, ImportResponse, ImportedImage};
use std::path::PathBuf;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(crate) struct Service(pub(crate) Arc<Inner>);

#[tonic::async_trait]
impl Images for Service {
    async fn import(&self, request: Request<ImportRequest>) -> Result<Response<ImportResponse>, Status> {
        let path = PathBuf::from(request.into_inner().path);
        if !path.is_absolute() {
            let why =
                format!("path must be absolute: {:?} means another file to each process", path.display());
            return Err(Error::Invalid(why).into());
        }
        let inner = self.0.clone();
        let imported = blocking(move || Ok(images::import(&inner.images, &path, None)?)).await?;
        let images = imported.into_iter().map(|image| ImportedImage {
            id: image.id.to_string(),
            names: image.tags.into_iter().chain(image.digests).collect(),
        });
        Ok(Response::new(ImportResponse { images: images.collect() }))
    }
}
