//! Frees batches that were counted, beside the loop that counts.

use tokio::task::{JoinHandle, spawn_blocking};

use crate::batch::Batch;

/// The batch that is being freed: its records are tens of thousands of pieces of memory.
#[derive(Debug, Default)]
pub(crate) struct Freeing(Option<JoinHandle<()>>);

impl Freeing {
    /// Begins to free `batch`, and returns once the one before it is gone: there are never more than two.
    ///
    /// # Cancellation
    ///
    /// Cancel safe: what was begun goes on.
    pub(crate) async fn free(&mut self, batch: Batch) {
        let this = spawn_blocking(move || drop(batch));
        if let Some(one_before) = self.0.replace(this) {
            // It ends in one way or another, and then nothing is left of it.
            one_before.await.ok();
        }
    }
}
