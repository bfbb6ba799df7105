//! A call that hands out an object's bytes, as a stream.
//!
//! What breaks off is taken up again where it did, as long as something comes: from the same object, by its size and tag. What
//! is handed out is counted; too little and too much are both errors, and never an early end.

use std::ops::Range;

use bytes::Bytes;
use holdfast_runtime::{Got, StoreRun};
use tokio::sync::mpsc;

use super::errors::Failed;
use super::{Attempt, Calling, PluginStore, RANGES};
use crate::store::{ByteStream, ObjectPath, StoreError};

/// Times that one stream may break off for each try that a call has. Who hands out one byte at a time comes to an end.
const BREAKS: u32 = 10;
/// Pieces between the plugin and the reader.
const CHANNEL_PIECES: usize = 2;

/// Reads an object, or a range of its bytes.
pub(super) async fn get(
    store: &PluginStore,
    path: &ObjectPath,
    range: Option<Range<u64>>,
) -> Result<ByteStream, StoreError> {
    let wanted = range.unwrap_or(0..u64::MAX);
    if wanted.is_empty() {
        return Ok(Box::pin(futures::stream::empty()));
    }
    let ranges = store.pinned().await?.promises(RANGES);
    let mut reading = Reading {
        store: store.clone(),
        path: path.clone(),
        ranges,
        at: wanted.start,
        end: wanted.end,
        object: None,
        opened: None,
        barren: 0,
        breaks: 0,
    };
    // Whether there is such an object is an answer, not the middle of a stream.
    reading.opened = Some(reading.open().await.map_err(|failed| failed.of(store, path, "read"))?);
    Ok(Box::pin(futures::stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        match reading.next().await {
            Ok(piece) => piece.map(|piece| (Ok(piece), Some(reading))),
            // After an error nothing follows.
            Err(failed) => Some((Err(failed.into_io()), None)),
        }
    })))
}

/// What all calls for one stream must agree on.
#[derive(PartialEq, Eq)]
struct Object {
    size_bytes: u64,
    tag: Option<String>,
}

struct Reading {
    store: PluginStore,
    path: ObjectPath,
    /// Whether the plugin reads ranges. Else it hands out all, and what was not asked for is passed over.
    ranges: bool,
    at: u64,
    end: u64,
    object: Option<Object>,
    opened: Option<Opened>,
    /// Tries since something came.
    barren: u32,
    /// Times that it broke off.
    breaks: u32,
}

/// A call under way.
struct Opened {
    calling: Calling<StoreRun<()>>,
    pieces: mpsc::Receiver<Got>,
    /// Bytes before the range.
    skip: u64,
}

impl Reading {
    /// Begins a call, and waits until it is known what is read.
    async fn open(&mut self) -> Result<Opened, Failed> {
        loop {
            let mut opened = self.call()?;
            let failed = match opened.pieces.recv().await {
                Some(Got::Begun { size_bytes, tag }) => {
                    self.meet(Object { size_bytes, tag })?;
                    return Ok(opened);
                }
                Some(Got::Bytes(_)) => Failed::lie("the plugin hands out bytes of it knows not what"),
                None => match ended(&mut opened).await {
                    Ok(()) => Failed::lie("the plugin says that it handed out the object, and did not begin"),
                    Err(failed) => failed,
                },
            };
            self.barren += 1;
            self.store.pause(self.barren, failed).await?;
        }
    }

    fn call(&self) -> Result<Opened, Failed> {
        let how = self.store.how(Attempt { number: self.barren + 1, upload: None })?;
        // Whoever reads has had it already: it is pinned.
        let pinned =
            self.store.shared.pinned.get().ok_or_else(|| Failed::short("the plugin is not there"))?;
        let (sender, pieces) = mpsc::channel(CHANNEL_PIECES);
        let (plugin, path) = (pinned.plugin.clone(), self.path.clone());
        let bounded = (self.end != u64::MAX).then_some(self.end);
        let (range, skip) = if self.ranges { ((self.at, bounded), 0) } else { ((0, None), self.at) };
        let calling = Calling::begin(async move { plugin.get(&how, path.as_str(), range, sender).await });
        Ok(Opened { calling, pieces, skip })
    }

    /// Learns what is read, or finds that it is still the same.
    fn meet(&mut self, object: Object) -> Result<(), Failed> {
        match &self.object {
            None => {
                self.end = self.end.min(object.size_bytes);
                self.object = Some(object);
                Ok(())
            }
            Some(before) if *before == object => Ok(()),
            Some(_) => Err(Failed::lie("the object was replaced while it was read")),
        }
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Failed> {
        while self.at < self.end {
            let mut opened = match self.opened.take() {
                Some(opened) => opened,
                None => self.open().await?,
            };
            match opened.pieces.recv().await {
                Some(Got::Bytes(mut piece)) => {
                    let passed = opened.skip.min(piece.len() as u64);
                    opened.skip -= passed;
                    let mut piece = piece.split_off(passed as usize);
                    let left = self.end - self.at;
                    if piece.len() as u64 > left {
                        if self.ranges {
                            return Err(Failed::lie(format!(
                                "the plugin hands out more than the {left} bytes that were left to read"
                            )));
                        }
                        piece.truncate(left as usize);
                    }
                    self.opened = Some(opened);
                    if piece.is_empty() {
                        continue;
                    }
                    self.at += piece.len() as u64;
                    self.barren = 0;
                    return Ok(Some(piece));
                }
                Some(Got::Begun { .. }) => return Err(Failed::lie("the plugin begins an object twice")),
                None => {
                    let left = self.end - self.at;
                    let failed = match ended(&mut opened).await {
                        Ok(()) => Failed::short(format!("the plugin handed out {left} bytes too few")),
                        Err(failed) => failed,
                    };
                    self.barren += 1;
                    self.breaks += 1;
                    if self.breaks > self.store.options().attempts.saturating_mul(BREAKS) {
                        return Err(failed);
                    }
                    self.store.pause(self.barren, failed).await?;
                }
            }
        }
        Ok(None)
    }
}

/// How a call ended that hands out no more.
async fn ended(opened: &mut Opened) -> Result<(), Failed> {
    let run = opened.calling.ended().await?;
    run.result.map_err(|failure| Failed::call(&failure, &run.denied))
}
