//! In: one blob of a layout. Out: the blob in the repository, or the news that it was there. Never here: all of a large
//! blob in memory; the last bytes of one that was altered.
//!
//! A blob whose upload fails is sent again from its beginning: Docker's registry gives up an upload session whose last
//! piece came in part, so that there is nothing to go on from.

use crate::remote::{Kind, Remote};
use crate::transport::{Outgoing, Request, header, protocol};
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

/// How often it is said how far an upload is.
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

/// Puts `blob` into the repository, and says whether it was not there.
pub(crate) async fn upload(
    remote: &Remote,
    blob: Blob,
    content: &Content<'_>,
    on_bytes: &(dyn Fn(u64) + Sync),
) -> Result<bool, RegistryError> {
    let doing = format!("push the blob {} to `{}`", blob.digest, remote.reference);
    let exists = async || exists(remote, Kind::Blob, &blob.digest.to_string()).await.map(|it| it.is_some());
    if remote.transport.retrying(&doing, exists).await? {
        on_bytes(blob.size_bytes);
        return Ok(false);
    }
    let reported = AtomicU64::new(0);
    let on_sent = |sent_bytes: u64| {
        let before = reported.fetch_max(sent_bytes, Ordering::Relaxed);
        on_bytes(sent_bytes.saturating_sub(before));
    };
    remote.transport.retrying(&doing, async || put(remote, blob, content, &on_sent).await).await?;
    on_sent(blob.size_bytes);
    Ok(true)
}

/// Whether the repository has it: the digest that it says it has, where it says one.
pub(crate) async fn exists(remote: &Remote, kind: Kind, name: &str) -> Result<Option<String>, Problem> {
    let url = remote.transport.url(&format!("{}/{name}", kind.path()));
    let request = Request::new(Method::HEAD, url).header(reqwest::header::ACCEPT, kind.accept());
    match remote.transport.send(&request).await {
        Ok(response) => {
            let digest = header(response.headers(), crate::remote::CONTENT_DIGEST);
            Ok(Some(digest.unwrap_or_default().to_owned()))
        }
        Err(problem) if problem.status() == Some(404) => Ok(None),
        Err(problem) => Err(problem),
    }
}

/// One attempt.
async fn put(
    remote: &Remote,
    blob: Blob,
    content: &Content<'_>,
    on_sent: &(dyn Fn(u64) + Sync),
) -> Result<(), Problem> {
    let request = Request::new(Method::POST, remote.transport.url("blobs/uploads/")).header(CONTENT_LENGTH, "0");
    let response = remote.transport.send(&request).await?;
    let url = location(remote, &response, blob)?;
    let sent_bytes = Arc::new(AtomicU64::new(0));
    let damage = Arc::new(Mutex::new(None));
    // Opened here, so that what is not there is said before anything is sent.
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
    let mut sending = pin!(remote.transport.send(&request));
    let result = loop {
        match timeout(TICK, &mut sending).await {
            Ok(result) => break result,
            Err(_) => on_sent(sent_bytes.load(Ordering::Relaxed)),
        }
    };
    // What the registry says of an upload that was broken off is not the reason.
    match damage.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(Problem::Layout(error)),
        None => result.map(|_| ()),
    }
}

/// Where the registry wants the blob.
fn location(remote: &Remote, response: &reqwest::Response, blob: Blob) -> Result<Url, Problem> {
    let location = header(response.headers(), LOCATION.as_str());
    let location = location.ok_or_else(|| protocol(response.url(), "it names no place for an upload"))?;
    let mut url = remote.transport.location(response.url(), location)?;
    url.query_pairs_mut().append_pair("digest", &blob.digest.to_string());
    Ok(url)
}

/// A file as a body; what is wrong with it is left in `damage`, and breaks the request off.
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
                // Nobody listens any more: the request has ended.
                return Ok(());
            }
            sent_bytes.fetch_add(size_bytes, Ordering::Relaxed);
        }
        Ok(())
    };
    spawn_blocking(move || {
        // Said before the body ends with `sender`: without the rest it is shorter than its length says, and the request
        // fails.
        if let Err(error) = send_all(&sender) {
            *damage.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        drop(sender);
    });
    let next = async |mut receiver: mpsc::Receiver<_>| receiver.recv().await.map(|piece| (piece, receiver));
    Body::wrap_stream(stream::unfold(receiver, next))
}
