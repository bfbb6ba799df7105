//! A stream of unknown length into one call of a plugin.
//!
//! The beginning of an upload is kept until the plugin takes more than that: till then, a try that failed for a while is made
//! again, as a request to S3 is. What is longer was streamed, is gone, and has the caller's next run for another try.
//!
//! The plugin hears of an end only when there is one. A stream that breaks, and a caller who gives up, break off the body in its
//! hands, and it is given a moment to take away what it has written.

use std::io;

use bytes::Bytes;
use futures::StreamExt;
use holdfast_runtime::{Piece, StoreCall, StorePlugin, Stored};
use tokio::sync::mpsc;

use super::errors::Failed;
use super::{Attempt, Calling, EXCLUSIVE, GRACE, PluginStore, download};
use crate::session::SessionId;
use crate::store::{ByteStream, ObjectPath, Store, StoreError};

/// What is kept for another try. As much as a part of an upload to S3 has at the least.
const KEPT_BYTES: usize = 5 << 20;
/// Pieces between the stream and the plugin.
const CHANNEL_PIECES: usize = 2;
/// What a plugin is told of a broken stream: the reason is not its business.
const GIVEN_UP: &str = "the upload is given up";

/// Stores an object. Returns its size.
pub(super) async fn put(store: &PluginStore, path: &ObjectPath, body: ByteStream) -> Result<u64, StoreError> {
    let failed = |failed: Failed| failed.of(store, path, "write");
    let pinned = store.pinned().await?;
    if !pinned.promises(EXCLUSIVE) {
        store.tell_of_looking();
        if store.look(path).await.map_err(failed)?.is_some() {
            return Err(StoreError::Exists { path: path.to_string() });
        }
    }
    let mut source = Source::new(body);
    source.fill().await.map_err(|torn| StoreError::io(path, "write", torn))?;
    let upload = word();
    let mut number = 1;
    loop {
        let how = store.how(Attempt { number, upload: Some(&upload) }).map_err(failed)?;
        match attempt(&pinned.plugin, how, path, &mut source).await {
            Ended::Stored(stored) => {
                let looked_at = compare(store, path, stored).await;
                if looked_at.is_err() {
                    take_back(store, path).await;
                }
                return looked_at.map_err(failed);
            }
            Ended::Torn { torn, visible } => {
                if visible {
                    take_back(store, path).await;
                }
                return Err(StoreError::io(path, "write", torn));
            }
            // The answer to an earlier try was lost, and this one meets what that one stored?
            Ended::Failed(exists) if exists.is_exists() && number > 1 => {
                return match source.whole() {
                    Some(whole) if is(store, path, &whole).await? => Ok(whole.len() as u64),
                    _ => Err(failed(exists)),
                };
            }
            Ended::Failed(final_one) if source.is_gone() => return Err(failed(final_one)),
            Ended::Failed(perhaps) => store.pause(number, perhaps).await.map_err(failed)?,
        }
        number += 1;
    }
}

/// How one try ended.
enum Ended {
    /// The plugin says that it stored something.
    Stored(Stored),
    /// It did not.
    Failed(Failed),
    /// The stream broke; and whether the plugin stored what it had all the same.
    Torn { torn: io::Error, visible: bool },
}

async fn attempt(plugin: &StorePlugin, how: StoreCall, path: &ObjectPath, source: &mut Source) -> Ended {
    let (sender, receiver) = mpsc::channel(CHANNEL_PIECES);
    let size_bytes = source.size_bytes();
    let mut calling = Calling::begin({
        let (plugin, path) = (plugin.clone(), path.clone());
        async move { plugin.put(&how, path.as_str(), receiver, size_bytes).await }
    });
    let mut feeding = std::pin::pin!(source.feed(sender));
    let mut fed = false;
    let run = loop {
        tokio::select! {
            run = calling.ended() => break run,
            whole = &mut feeding, if !fed => {
                fed = true;
                let Err(torn) = whole else { continue };
                let cleaned_up = tokio::time::timeout(GRACE, calling.ended()).await;
                let visible = cleaned_up.is_ok_and(|run| run.is_ok_and(|run| run.result.is_ok()));
                return Ended::Torn { torn, visible };
            }
        }
    };
    match run {
        Err(failed) => Ended::Failed(failed),
        Ok(run) => match run.result {
            Ok(stored) => Ended::Stored(stored),
            Err(failure) => Ended::Failed(Failed::call(&failure, &run.denied)),
        },
    }
}

/// Compares what a plugin says it stored with what it took, and with what lies there.
async fn compare(store: &PluginStore, path: &ObjectPath, stored: Stored) -> Result<u64, Failed> {
    let Stored { claimed_bytes, taken_bytes, ended } = stored;
    if !ended {
        return Err(Failed::lie(format!(
            "the plugin says that it stored all of it, and had taken {taken_bytes} bytes and not the end"
        )));
    }
    if claimed_bytes != taken_bytes {
        return Err(Failed::lie(format!(
            "the plugin says that it stored {claimed_bytes} bytes, and was given {taken_bytes}"
        )));
    }
    match store.look(path).await? {
        Some(info) if info.size_bytes == taken_bytes => Ok(taken_bytes),
        Some(info) => Err(Failed::lie(format!(
            "the plugin says that it stored {taken_bytes} bytes, and the object has {}",
            info.size_bytes
        ))),
        None => Err(Failed::lie("the plugin says that it stored it, and it is not there")),
    }
}

/// Removes what should not have been stored.
async fn take_back(store: &PluginStore, path: &ObjectPath) {
    if let Err(failed) = store.remove(path).await {
        tracing::warn!(store = store.describe(), %path, %failed, "an object that is not what it should be cannot be taken back");
    }
}

/// Whether an object has these bytes.
async fn is(store: &PluginStore, path: &ObjectPath, expected: &[u8]) -> Result<bool, StoreError> {
    let mut body = download::get(store, path, None).await?;
    let mut at = 0;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|source| StoreError::io(path, "read", source))?;
        if !expected[at..].starts_with(&chunk) {
            return Ok(false);
        }
        at += chunk.len();
    }
    Ok(at == expected.len())
}

/// 16 letters and digits that name one upload.
fn word() -> String {
    SessionId::random().to_string().chars().filter(char::is_ascii_alphanumeric).take(16).collect()
}

/// A stream, and its beginning for as long as it is all that was taken.
struct Source {
    body: ByteStream,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// More than what is kept was taken.
    gone: bool,
    ended: bool,
}

impl Source {
    fn new(body: ByteStream) -> Self {
        Self { body, kept: Vec::new(), kept_bytes: 0, gone: false, ended: false }
    }

    /// Reads what is kept.
    async fn fill(&mut self) -> io::Result<()> {
        while !self.ended && self.kept_bytes < KEPT_BYTES {
            match self.body.next().await {
                Some(chunk) => {
                    let chunk = chunk?;
                    self.kept_bytes += chunk.len();
                    self.kept.push(chunk);
                }
                None => self.ended = true,
            }
        }
        Ok(())
    }

    /// Whether it cannot be sent again.
    fn is_gone(&self) -> bool {
        self.gone
    }

    /// Its size, when its end has been seen.
    fn size_bytes(&self) -> Option<u64> {
        (self.ended && !self.gone).then_some(self.kept_bytes as u64)
    }

    /// All of it, when it is small.
    fn whole(&self) -> Option<Vec<u8>> {
        self.size_bytes().map(|_| self.kept.concat())
    }

    /// Hands everything on. Ends without a word when nobody takes it any more.
    ///
    /// # Errors
    /// Those of the stream.
    async fn feed(&mut self, plugin: mpsc::Sender<Piece>) -> io::Result<()> {
        for piece in self.kept.iter().filter(|piece| !piece.is_empty()) {
            if plugin.send(Piece::Bytes(piece.clone())).await.is_err() {
                return Ok(());
            }
        }
        while !self.ended {
            match self.body.next().await {
                Some(Ok(piece)) => {
                    self.gone = true;
                    self.kept = Vec::new();
                    if !piece.is_empty() && plugin.send(Piece::Bytes(piece)).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Err(torn)) => {
                    self.gone = true;
                    // Whoever is gone need not be told.
                    let _ = plugin.send(Piece::Broken(GIVEN_UP.to_owned())).await;
                    return Err(torn);
                }
                None => self.ended = true,
            }
        }
        let _ = plugin.send(Piece::End).await;
        Ok(())
    }
}
