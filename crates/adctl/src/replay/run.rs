//! The replay itself: events from the file, at their pace, so many at a time.

use std::{path::Path, pin::pin, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use proto_schemas::Kind;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::progress::Progress;

use super::{
    Ending, Replay,
    expected::{PerAd, total},
    pace::Pace,
    post::Poster,
    rows::{Row, Rows},
    summary::{Retries, Summary},
};

/// How often the progress is shown, and looked at for whether to give up.
const TICK: Duration = Duration::from_secs(1);

/// Posts every event of the file, and returns how that ended.
///
/// An early end drops the requests that are under way. Their events may have been accepted all the
/// same, which does no harm: replaying them changes nothing.
///
/// # Errors
///
/// Only where the file cannot be read any more, or was changed meanwhile.
pub(super) async fn run(
    replay: &Replay,
    counts: &PerAd,
    stop: &CancellationToken,
) -> anyhow::Result<(Ending, Summary)> {
    let retries = Retries::default();
    let poster = Poster::new(&replay.ingest, replay.concurrency, &retries)?;
    let mut summary = Summary::new(total(counts));
    let mut progress = Progress::new("events", summary.progress().1);
    let begun = Instant::now();
    let mut last_settled = begun;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);

    let posts = events(&replay.file, Pace::new(replay.rate, begun))?
        .map(async |event| match event {
            Ok((row, kind)) => Ok(poster.post(&row, kind).await),
            Err(error) => Err(error),
        })
        // The file is read only as fast as requests end, so this many events are in memory.
        .buffer_unordered(replay.concurrency.get());
    let mut posts = pin!(posts);

    let ending = loop {
        tokio::select! {
            biased;

            () = stop.cancelled() => break Ending::Interrupted,

            _ = ticks.tick() => {
                if last_settled.elapsed() >= replay.give_up_after {
                    break Ending::GaveUp;
                }
                progress.tick(summary.progress(), retries.take_latest().as_deref());
            }

            // `next` is cancel safe: the stream keeps what is under way.
            settled = posts.next() => match settled {
                Some(settled) => {
                    summary.add(settled?);
                    progress.settled(summary.progress().0);
                    last_settled = Instant::now();
                }
                None => break Ending::Complete,
            },
        }
    };

    progress.finish();
    summary.finish(&retries, begun.elapsed());
    Ok((ending, summary))
}

type Event = anyhow::Result<(Row, Kind)>;

/// The file's events, each when it is due. Reads the file, in blocks, on the caller's thread.
fn events(path: &Path, pace: Pace) -> anyhow::Result<impl Stream<Item = Event>> {
    let events = Rows::open(path)?.flat_map(|row| match row {
        Ok(row) => row.kinds().iter().map(|&kind| Ok((row.clone(), kind))).collect(),
        Err(error) => vec![Err(error)],
    });
    Ok(stream::unfold((events, pace), async |(mut events, mut pace)| {
        let event = events.next()?;
        pace.wait().await;
        Some((event, (events, pace)))
    }))
}
