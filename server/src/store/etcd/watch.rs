//! Owns one watch on etcd: its start without a gap, batches of whole revisions, and the proof that it still lives.
//! Must not know: when to watch again after it ended.

mod assembler;

use std::sync::Arc;

use etcd_client::{GetOptions, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use self::assembler::Assembler;
use super::connection::{Connection, Member, Retry};
use super::failure::{self, Failure};
use crate::store::{Batch, Revision, StoreError, StoreId, Watch};

/// Batches that wait for a slow reader. Behind them HTTP/2 holds the stream back, and etcd the events.
const QUEUE: usize = 64;

/// A watch that etcd has confirmed.
struct Started {
    member: Arc<Member>,
    stream: WatchStream,
    store: StoreId,
    revision: Revision,
}

/// Starts a watch.
pub(super) async fn open(
    connection: &Arc<Connection>,
    prefix: &str,
    from: Revision,
) -> Result<Watch, StoreError> {
    let from = from.max(Revision(1));
    let started = connection
        .call(Retry::Elsewhere, |member| {
            start(member, prefix.to_owned(), from)
        })
        .await?;
    let (sender, batches) = mpsc::channel(QUEUE);
    let watch = Watch {
        store: started.store,
        revision: started.revision,
        batches,
    };
    let believes_progress = started
        .member
        .version
        .is_some_and(super::version::Version::progress_is_a_bookmark);
    let pump = Pump {
        connection: Arc::clone(connection),
        member: started.member,
        stream: started.stream,
        assembler: Assembler::new(from, believes_progress),
        sender,
    };
    tokio::spawn(pump.run());
    Ok(watch)
}

async fn start(member: Arc<Member>, prefix: String, from: Revision) -> Result<Started, Failure> {
    // A member that lags behind would tell an old revision as the present. This read is answered only
    // when it has caught up.
    let mut kv = member.kv.clone();
    let present = kv.get(prefix.as_str(), None).await?;
    let (store, revision) = failure::header(present.header())?;
    let options = WatchOptions::new()
        .with_range(super::read::range_end(&prefix))
        // Newer servers answer no progress request of a watch that begins in the future, so it begins
        // in the present and leaves out what is too early.
        .with_start_revision(failure::to_wire(from.min(revision)))
        .with_progress_notify()
        .with_fragment();
    let mut stream = member
        .watch
        .clone()
        .watch(prefix.as_str(), Some(options))
        .await?;
    cancelled(&next(&mut stream).await?, from)?;
    // A compaction at `from` itself may have taken a deletion made there, and older servers don't say
    // so. The state just before `from` can only be read while nothing from `from` on is compacted.
    if from > Revision(1) && revision.next() >= from {
        let before = GetOptions::new()
            .with_revision(failure::to_wire(from) - 1)
            .with_keys_only();
        match kv.get(prefix, Some(before)).await.map_err(Failure::from) {
            Err(Failure::OutOfRange(_)) => return Err(compacted(from, revision)),
            other => other?,
        };
    }
    Ok(Started {
        member,
        stream,
        store,
        revision,
    })
}

async fn next(stream: &mut WatchStream) -> Result<WatchResponse, Failure> {
    let ended = || Failure::Gone("watch stream ended".to_owned());
    stream.message().await?.ok_or_else(ended)
}

fn cancelled(response: &WatchResponse, from: Revision) -> Result<(), Failure> {
    if response.compact_revision() > 0 {
        return Err(compacted(
            from,
            failure::from_wire(response.compact_revision()),
        ));
    }
    if response.canceled() {
        return Err(Failure::of_cancelled_watch(response.cancel_reason()));
    }
    Ok(())
}

fn compacted(wanted: Revision, oldest: Revision) -> Failure {
    Failure::Final(StoreError::Compacted { wanted, oldest })
}

/// Moves batches from the stream to the reader, and watches over the silence in between.
struct Pump {
    connection: Arc<Connection>,
    member: Arc<Member>,
    stream: WatchStream,
    assembler: Assembler,
    sender: mpsc::Sender<Result<Batch, StoreError>>,
}

impl Pump {
    async fn run(mut self) {
        let Err(failure) = self.forward().await else {
            return;
        };
        if matches!(failure, Failure::Gone(_)) {
            self.connection.report_gone(&self.member);
        }
        // The reader may be gone, too.
        let _ = self.sender.send(Err(failure.into_store_error())).await;
    }

    /// Until the reader goes (`Ok`) or the watch does.
    async fn forward(&mut self) -> Result<(), Failure> {
        loop {
            let response = tokio::select! {
                () = self.sender.closed() => return Ok(()),
                response = alive(&mut self.stream, &self.connection) => response?,
            };
            cancelled(&response, self.assembler.next_revision())?;
            let (_, revision) = failure::header(response.header())?;
            if let Some(batch) = self.assembler.take(response.0, revision)?
                && self.sender.send(Ok(batch)).await.is_err()
            {
                return Ok(());
            }
        }
    }
}

/// The next response. After some silence the server is asked for a sign of life and must give one:
/// a connection can be open for hours with nobody behind it.
async fn alive(
    stream: &mut WatchStream,
    connection: &Connection,
) -> Result<WatchResponse, Failure> {
    let patience = &connection.config().patience;
    tokio::select! {
        biased;
        response = next(stream) => return response,
        () = sleep_until(Instant::now() + patience.idle) => {}
    }
    let answer = async {
        stream.request_progress().await?;
        next(stream).await
    };
    match timeout(patience.probe, answer).await {
        Ok(response) => response,
        Err(_) => Err(Failure::Gone(format!(
            "watch is half-open: silent for {:?}, and no answer to a progress request within {:?}",
            patience.idle, patience.probe
        ))),
    }
}
