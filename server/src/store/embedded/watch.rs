//! Owns one watch on the file: a reader of the history that follows the writer.
//! Must not know: how anything is written.
//!
//! It reads from the file also what has just been written, so there is one way only, without a seam
//! between the past and the present at which a change could be lost.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::file::{self, File};
use super::tables::{self, Piece};
use super::writer::Head;
use crate::store::{Batch, Revision, StoreError, StoreId, Watch};

/// Batches that wait for a slow reader. Behind them the history waits.
const QUEUE: usize = 64;

/// Starts a watch.
pub(super) fn open(
    store: StoreId,
    file: &Arc<File>,
    head: watch::Receiver<Head>,
    prefix: &str,
    from: Revision,
) -> Result<Watch, StoreError> {
    let from = from.max(Revision(1));
    let Head {
        revision, oldest, ..
    } = *head.borrow();
    if from < oldest {
        return Err(StoreError::Compacted {
            wanted: from,
            oldest,
        });
    }
    let (sender, batches) = mpsc::channel(QUEUE);
    let follower = HistoryReader {
        file: Arc::clone(file),
        head,
        prefix: prefix.to_owned(),
        next: from,
        sender,
    };
    tokio::spawn(follower.run());
    Ok(Watch {
        store,
        revision,
        batches,
    })
}

struct HistoryReader {
    file: Arc<File>,
    head: watch::Receiver<Head>,
    prefix: String,
    /// All before it was given out.
    next: Revision,
    sender: mpsc::Sender<Result<Batch, StoreError>>,
}

impl HistoryReader {
    async fn run(mut self) {
        loop {
            let next = self.next;
            let written = tokio::select! {
                () = self.sender.closed() => return,
                head = self.head.wait_for(|head| head.revision >= next) => head.is_ok(),
            };
            if !written {
                // The store was closed.
                return;
            }
            let outcome = self.read().await;
            let ended = outcome.is_err();
            if self.sender.send(outcome).await.is_err() || ended {
                return;
            }
        }
    }

    async fn read(&mut self) -> Result<Batch, StoreError> {
        let (prefix, from) = (self.prefix.clone(), self.next);
        let read = move |txn: &_| tables::history(txn, &prefix, from);
        match file::read(&self.file, read).await? {
            Piece::Some(batch) => {
                self.next = batch.revision.next();
                Ok(batch)
            }
            Piece::Compacted(oldest) => Err(StoreError::Compacted {
                wanted: from,
                oldest,
            }),
        }
    }
}
