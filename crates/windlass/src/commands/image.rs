//! `windlass image`: images of a node, through its CRI and, for archives, its runtime's image store.

use anyhow::{Context, Result, bail};
use bootstrap::layout::Layout;
use bootstrap::options::DATA_DIR;
use clap::{Args, Subcommand};
use cri::tonic::transport::Channel;
use cri::v1::image_service_client::ImageServiceClient;
use cri::v1::{AuthConfig, ImageSpec, ListImagesRequest, PullImageRequest, RemoveImageRequest};
use cri::windlass::ImportRequest;
use cri::windlass::images_client::ImagesClient;
use std::path::{Path, PathBuf};

/// Flags of `windlass image`.
#[derive(Args)]
#[command(after_help = "Examples:
  windlass image import app.tar                 a docker or OCI archive, into every node
  windlass image ls
  windlass image pull localhost:5000/app:v1
  windlass image rm localhost:5000/app:v1")]
pub(crate) struct ImageOptions {
    #[command(subcommand)]
    command: ImageCommand,
    /// The cluster's directory
    #[arg(long, global = true, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
    /// Only this node [default: all nodes of this machine]
    #[arg(long, global = true, value_name = "NAME")]
    node: Option<String>,
}

#[derive(Subcommand)]
enum ImageCommand {
    /// Import a docker archive or an OCI archive
    Import {
        /// The archive
        file: PathBuf,
    },
    /// List images
    Ls,
    /// Pull an image from its registry
    Pull {
        /// Name with tag or digest
        image: String,
        /// User and password for the registry, as USER:PASSWORD
        #[arg(long, value_name = "CREDENTIALS")]
        creds: Option<String>,
    },
    /// Remove images
    Rm {
        /// Names, digests or ids
        #[arg(required = true)]
        images: Vec<String>,
    },
}

/// Runs the command on the chosen nodes.
pub(crate) fn run(options: ImageOptions) -> Result<()> {
    let layout = Layout::new(&options.data_dir);
    let mut nodes = layout.nodes();
    if let Some(node) = &options.node {
        nodes.retain(|name| name == node);
    }
    if nodes.is_empty() {
        bail!(
            "{} holds no such node; start a cluster with 'windlass up', or name its --data-dir",
            layout.root().display()
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for node in &nodes {
            let socket = layout.node(node).cri_socket();
            on_node(&options.command, node, &socket).await.with_context(|| format!("node {node}"))?;
        }
        Ok(())
    })
}

fn spec(image: &str) -> Option<ImageSpec> {
    Some(ImageSpec { image: image.to_owned(), ..ImageSpec::default() })
}

// The runtime opens the file itself: it shares the machine's filesystem, but not this process's directory.
async fn import(channel: Channel, node: &str, file: &Path) -> Result<()> {
    let path = std::path::absolute(file)?;
    let request = ImportRequest { path: path.to_string_lossy().into_owned() };
    let imported = ImagesClient::new(channel).import(request).await;
    let imported = imported.map_err(|status| anyhow::anyhow!("{}", status.message()))?.into_inner();
    for image in imported.images {
        // An archive need not name its images; the id can always be used.
        let names = if image.names.is_empty() { image.id } else { image.names.join(", ") };
        println!("{node}: imported {names}");
    }
    Ok(())
}

async fn on_node(command: &ImageCommand, node: &str, socket: &Path) -> Result<()> {
    let channel =
        cri::connect_unix(socket).await.context("its runtime does not answer; is the cluster up?")?;
    let mut images = ImageServiceClient::new(channel.clone());
    match command {
        ImageCommand::Import { file } => import(channel, node, file).await?,
        ImageCommand::Ls => {
            let listed = images.list_images(ListImagesRequest::default()).await?.into_inner().images;
            println!("{:<12} {:<60} {:<16} {:>10}", "NODE", "IMAGE", "ID", "SIZE");
            for image in listed {
                let id = image.id.trim_start_matches("sha256:").chars().take(13).collect::<String>();
                for name in image
                    .repo_tags
                    .iter()
                    .chain(image.repo_digests.iter().filter(|_| image.repo_tags.is_empty()))
                {
                    println!("{node:<12} {name:<60} {id:<16} {:>7} MiB", image.size >> 20);
                }
            }
        }
        ImageCommand::Pull { image, creds } => {
            let auth =
                creds.as_ref().and_then(|creds| creds.split_once(':')).map(|(user, password)| AuthConfig {
                    username: user.to_owned(),
                    password: password.to_owned(),
                    ..AuthConfig::default()
                });
            if creds.is_some() && auth.is_none() {
                bail!("--creds must be USER:PASSWORD");
            }
            eprintln!("{node}: pulling {image}");
            let pulled =
                images.pull_image(PullImageRequest { image: spec(image), auth, sandbox_config: None }).await;
            println!(
                "{node}: {}",
                pulled.map_err(|status| anyhow::anyhow!("{}", status.message()))?.into_inner().image_ref
            );
        }
        ImageCommand::Rm { images: names } => {
            for name in names {
                images.remove_image(RemoveImageRequest { image: spec(name) }).await?;
                println!("{node}: removed {name}");
            }
        }
    }
    Ok(())
}
