//! Loading ahead: one background thread draws the next batches while the current one is trained on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use crate::error::DataError;
use crate::loader::{Batch, Loader};

/// Batches that wait to be taken; one more is being drawn.
const AHEAD: usize = 2;

/// The batches of a stage in order, drawn ahead. The same batches as [`Loader::batch`] gives. Dropping it
/// stops the drawing within a few samples.
///
/// Draws on the global rayon pool, which idles while the caller computes something of its own.
#[derive(Debug)]
pub struct Prefetcher {
    batches: Option<Receiver<Result<Batch, DataError>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Prefetcher {
    /// Starts drawing batches of `size` from sample `position` of the stage on, as long as they are whole
    /// before sample `end`.
    pub fn start(loader: Arc<Loader>, position: u64, size: u32, end: u64) -> Result<Self, DataError> {
        let (sender, receiver) = sync_channel(AHEAD);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let step = u64::from(size.max(1));
        let draw = move || {
            let mut at = position;
            while at.checked_add(step).is_some_and(|next| next <= end) {
                let batch = loader.batch_unless(at, size, &stopped);
                let failed = batch.is_err();
                // Nobody listens any more, or nothing comes after an error.
                if sender.send(batch).is_err() || failed {
                    return;
                }
                at += step;
            }
        };
        let thread = std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(draw)
            .map_err(|error| DataError::Thread(format!("could not be started: {error}")))?;
        Ok(Self { batches: Some(receiver), stop, thread: Some(thread) })
    }
}

impl Iterator for Prefetcher {
    type Item = Result<Batch, DataError>;

    /// The next batch; after the last one, or after an error, `None`.
    fn next(&mut self) -> Option<Self::Item> {
        if let Ok(batch) = self.batches.as_ref()?.recv() {
            return Some(batch);
        }
        // The thread has ended: was it done?
        self.batches = None;
        match self.thread.take()?.join() {
            Ok(()) => None,
            Err(_) => Some(Err(DataError::Thread("ended early: an internal error".to_owned()))),
        }
    }
}

impl Drop for Prefetcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Without a receiver, a thread that waits for room in the queue goes on, and ends.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported by the panic hook; there is nobody left to tell.
            let _ = thread.join();
        }
    }
}
