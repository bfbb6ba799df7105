//! A guest's place in the rows of a query, and the reading ahead of it.
//!
//! A guest that pulls one full batch after the other has the next ones gathered on a thread of their own while it works on
//! those it has. That is one thread for a call, however many cursors it opens, and some batches.

use std::sync::Arc;
use std::time::Duration;

use etcd_snapshot::SnapshotFile;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::live;
use super::scan::{Filling, Scan, Size};
use crate::bindings::holdfast::snapshot::reader::Error;
use crate::call::thread_cpu_time;

/// Batches that lie ready.
const READY: usize = 2;

/// A place in the rows of a query.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cursor {
    file: Arc<SnapshotFile>,
    /// Where the next batch begins.
    scan: Scan,
    ahead: Option<Ahead>,
    /// The size of the batch before, if rows were left behind it.
    before: Option<Size>,
}

/// Batches that are gathered before they are asked for.
struct Ahead {
    size: Size,
    ready: Receiver<Ready>,
    _turn: OwnedSemaphorePermit,
}

struct Ready {
    filling: Filling,
    /// Where the batch after it begins.
    then: Scan,
    cpu: Duration,
}

/// A batch, and the processor time that another thread took for it.
pub(super) struct Next {
    pub(super) filling: Filling,
    pub(super) cpu: Duration,
}

impl Cursor {
    pub(super) fn new(file: Arc<SnapshotFile>, scan: Scan) -> Cursor {
        Cursor { file, scan, ahead: None, before: None }
    }

    /// The next batch. Who has a permit of `turns` may read ahead.
    ///
    /// # Errors
    /// The file's index cannot be read.
    pub(super) async fn next(&mut self, size: Size, turns: &Arc<Semaphore>) -> Result<Next, Error> {
        if let Some(ahead) = &mut self.ahead
            && ahead.size == size
            && let Some(Ready { filling, then, cpu }) = ahead.ready.recv().await
        {
            self.scan = then;
            return Ok(Next { filling, cpu });
        }
        // Another size is asked for, or these were the last: from here on as if nobody had read ahead.
        self.ahead = None;
        let filling = self.fill(size).await?;
        if self.before == Some(size) && !filling.is_last {
            self.ahead = self.read_ahead(size, turns);
        }
        self.before = (!filling.is_last).then_some(size);
        Ok(Next { filling, cpu: Duration::ZERO })
    }

    async fn fill(&mut self, size: Size) -> Result<Filling, Error> {
        let file = Arc::clone(&self.file);
        let live = live(&file)?;
        let mut filling = Filling::new(size);
        while !self.scan.fill(&live, &mut filling) {
            tokio::task::yield_now().await;
        }
        Ok(filling)
    }

    fn read_ahead(&self, size: Size, turns: &Arc<Semaphore>) -> Option<Ahead> {
        let turn = Arc::clone(turns).try_acquire_owned().ok()?;
        let (sender, ready) = mpsc::channel(READY);
        let (file, scan) = (Arc::clone(&self.file), self.scan.clone());
        tokio::task::spawn_blocking(move || gather(&file, scan, size, &sender));
        Some(Ahead { size, ready, _turn: turn })
    }
}

/// Gathers batches until there are no more rows, or nobody wants them.
fn gather(file: &SnapshotFile, mut scan: Scan, size: Size, ready: &Sender<Ready>) {
    // The cursor meets the same error, and tells it.
    let Ok(live) = live(file) else { return };
    loop {
        let before = thread_cpu_time();
        let mut filling = Filling::new(size);
        while !scan.fill(&live, &mut filling) {
            if ready.is_closed() {
                return;
            }
        }
        let is_last = filling.is_last;
        let cpu = thread_cpu_time().saturating_sub(before);
        if ready.blocking_send(Ready { filling, then: scan.clone(), cpu }).is_err() || is_last {
            return;
        }
    }
}
