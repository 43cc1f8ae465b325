//! In: one blob of a layout. Out: the blob in the repository, and whether it was sent. Never here: all of a large blob in
//! memory; the last bytes of one that was altered.
//!
//! A blob whose upload fails is sent again from its beginning: Docker's registry gives up an upload session whose last
//! piece came in part, so that there is nothing to go on from.

use crate::exchange::{header, protocol};
use crate::repository::{Kind, Repository};
use crate::transport::{Outgoing, Request};
use crate::{Problem, RegistryError};
use futures_util::stream;
use isomer_contract::manifest::Blob;
use isomer_layout::{BlobReader, Layout, LayoutError};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, Method, Url};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// The interval at which progress is reported.
const TICK: Duration = Duration::from_millis(100);
/// How many pieces of a file may wait for the network.
const PIECES_AHEAD: usize = 2;

/// Where the bytes of a blob come from.
pub(crate) enum Content<'a> {
    /// A file of a layout.
    File(&'a Layout),
    /// Memory.
    Bytes(&'a [u8]),
}

/// Puts `blob` into the repository. False when the repository had it.
pub(crate) async fn upload(
    repository: &Repository,
    blob: Blob,
    content: &Content<'_>,
    on_bytes: &(dyn Fn(u64) + Sync),
) -> Result<bool, RegistryError> {
    let doing = format!("push the blob {} to `{}`", blob.digest, repository.reference);
    let exists = async || repository.exists(Kind::Blob, &blob.digest.to_string()).await.map(|it| it.is_some());
    if repository.transport.retrying(&doing, exists).await? {
        on_bytes(blob.size_bytes);
        return Ok(false);
    }
    let reported = AtomicU64::new(0);
    let on_sent = |sent_bytes: u64| {
        let before = reported.fetch_max(sent_bytes, Ordering::Relaxed);
        on_bytes(sent_bytes.saturating_sub(before));
    };
    repository.transport.retrying(&doing, async || put(repository, blob, content, &on_sent).await).await?;
    on_sent(blob.size_bytes);
    Ok(true)
}

/// One attempt.
async fn put(
    repository: &Repository,
    blob: Blob,
    content: &Content<'_>,
    on_sent: &(dyn Fn(u64) + Sync),
) -> Result<(), Problem> {
    let request = Request::new(Method::POST, repository.transport.url("blobs/uploads/")).header(CONTENT_LENGTH, "0");
    let response = repository.transport.send(&request).await?;
    let url = location(repository, &response, blob)?;
    let sent_bytes = Arc::new(AtomicU64::new(0));
    let damage = Arc::new(Mutex::new(None));
    // Opened here, so that a missing file is an error before anything is sent.
    let opened = match content {
        Content::File(layout) => Some(layout.open_blob(blob).map_err(Problem::Layout)?),
        Content::Bytes(_) => None,
    };
    let opened = Mutex::new(opened);
    let make = || match content {
        Content::Bytes(bytes) => Body::from(bytes.to_vec()),
        Content::File(layout) => {
            let first = opened.lock().unwrap_or_else(PoisonError::into_inner).take();
            let reader = first.map_or_else(|| layout.open_blob(blob), Ok);
            body(reader, Arc::clone(&sent_bytes), Arc::clone(&damage))
        }
    };
    let request = Request {
        body: Some(Outgoing { make: &make, sent_bytes: &sent_bytes }),
        ..Request::new(Method::PUT, url)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, blob.size_bytes.to_string())
    };
    let mut sending = pin!(repository.transport.send(&request));
    let result = loop {
        match timeout(TICK, &mut sending).await {
            Ok(result) => break result,
            Err(_) => on_sent(sent_bytes.load(Ordering::Relaxed)),
        }
    };
    // The registry's answer to an upload that was broken off is not the reason.
    match damage.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(Problem::Layout(error)),
        None => result.map(|_| ()),
    }
}

/// The URL to send the blob to.
fn location(repository: &Repository, response: &reqwest::Response, blob: Blob) -> Result<Url, Problem> {
    let location = header(response.headers(), LOCATION.as_str());
    let location = location.ok_or_else(|| protocol(response.url(), "it names no URL for an upload"))?;
    let mut url = repository.transport.location(response.url(), location)?;
    url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
    Ok(url)
}

/// A file as a body; an error while reading it is left in `damage`, and breaks the request off.
fn body(
    reader: Result<BlobReader, LayoutError>,
    sent_bytes: Arc<AtomicU64>,
    damage: Arc<Mutex<Option<LayoutError>>>,
) -> Body {
    let (sender, receiver) = mpsc::channel::<io::Result<Vec<u8>>>(PIECES_AHEAD);
    sent_bytes.store(0, Ordering::Relaxed);
    let send_all = move |sender: &mpsc::Sender<_>| -> Result<(), LayoutError> {
        let mut reader = reader?;
        while let Some(piece) = reader.next_piece()? {
            let size_bytes = piece.len() as u64;
            if sender.blocking_send(Ok(piece)).is_err() {
                // The request has ended.
                return Ok(());
            }
            sent_bytes.fetch_add(size_bytes, Ordering::Relaxed);
        }
        Ok(())
    };
    spawn_blocking(move || {
        // Stored before the body ends with `sender`: the body is then shorter than its declared length, and the request
        // fails.
        if let Err(error) = send_all(&sender) {
            *damage.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        drop(sender);
    });
    let next = async |mut receiver: mpsc::Receiver<_>| receiver.recv().await.map(|piece| (piece, receiver));
    Body::wrap_stream(stream::unfold(receiver, next))
}
