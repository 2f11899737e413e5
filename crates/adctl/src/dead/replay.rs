//! `adctl dead replay`: puts dead letters back on their topics.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use tokio::{
    sync::mpsc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{Filter, Letter, reader::Reader};
use crate::{
    INTERRUPTED,
    connections::{KafkaAt, PostgresAt},
    output,
    progress::Progress,
};

mod judge;
mod sender;
mod summary;

use judge::{Judge, Verdict};
use sender::Sender;
use summary::Summary;

/// How many letters are looked at together, and how many bytes they may have.
const CHUNK_LETTERS: usize = 500;
const CHUNK_BYTES: usize = 8 << 20;

/// Time between two looks at the progress bar.
const TICK: Duration = Duration::from_secs(1);

/// Put dead letters back on their topics, so that they are counted
///
/// For when what killed them is mended: the ad was registered, a setting was changed, a release
/// repaired. The bytes are put back as they are, under the event's own key.
///
/// Replaying twice counts once: an event is known by its dedup key, which is in its bytes, and one
/// that is stored already is not sent again (Postgres is asked; nothing is remembered anywhere else).
/// Copies of one event are sent once.
///
/// Without --reason and --origin it takes what can count as things are: `unknown_ad` where the ad is
/// registered by now, and `wrong_topic`, which go to the topic of their own kind. The others would
/// die again as they are, so they have to be named: `too_old` and `too_far_ahead` compare two times
/// that stand in the event itself (it counts only under another `MAX_EVENT_AGE` or
/// `MAX_EVENT_AHEAD` of the consumer), `refused` and `undecodable` want a mended table or release. A
/// letter that dies again becomes another letter, of its new origin. A record that was too large to
/// be kept cannot be replayed from here.
///
/// The exit code is 0 where everything that was meant is on its topic or stored already, and 1 where
/// something cannot be put back.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    adctl dead replay --dry-run\n  \
    adctl dead replay --reason unknown_ad\n  \
    adctl dead replay --origin ad-clicks/3/1234")]
pub(crate) struct Replay {
    /// Put nothing back; say what would be
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    kafka: KafkaAt,
    #[command(flatten)]
    postgres: PostgresAt,
}

/// Letters that are looked at together, and how far the reading is.
struct Chunk {
    letters: Vec<Letter>,
    progress: (u64, u64),
}

impl Replay {
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<ExitCode> {
        let (chunks, received) = mpsc::channel(1);
        let (kafka, filter) = (self.kafka.clone(), self.filter.clone());
        let reading = stop.child_token();
        let stop_reading = reading.clone();
        // librdkafka's polling blocks.
        let reader = tokio::task::spawn_blocking(move || {
            read(Reader::open(&kafka)?, &filter, &chunks, &reading)
        });
        let summary = self.replay(received, &stop).await;
        // It is at its end, or nobody wants more of it.
        stop_reading.cancel();
        // Where both failed, the reader is why there was nothing to replay.
        reader.await??;
        let summary = summary?;

        output::result(&summary)?;
        if stop.is_cancelled() {
            output::note("stopped early; replaying again is safe");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        if let Some(missing) = self.filter.origin.iter().find(|it| !summary.met(it)) {
            anyhow::bail!("no dead letter has the origin {missing}");
        }
        Ok(if summary.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn replay(
        &self,
        mut chunks: mpsc::Receiver<Chunk>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Summary> {
        let pool = self.postgres.pool()?;
        let mut judge = Judge::new(&pool, self.kafka.topics(), self.filter.is_empty())
            .await
            .map_err(|error| self.postgres.explain(error))?;
        let sender = Sender::new(&self.kafka)?;
        let mut summary = Summary::new(self.dry_run);
        let mut progress = None;
        let mut next_tick = Instant::now() + TICK;
        while let Some(chunk) = chunks.recv().await {
            let progress = progress
                .get_or_insert_with(|| Progress::new("letters looked at", chunk.progress.1));
            let verdicts = judge
                .judge(&pool, &chunk.letters)
                .await
                .map_err(|error| self.postgres.explain(error))?;
            let judged: Vec<(&Letter, Verdict)> = chunk.letters.iter().zip(verdicts).collect();
            if !self.dry_run && !stop.is_cancelled() {
                let letters = judged.iter().filter_map(|(letter, verdict)| match verdict {
                    Verdict::Send { topic } => Some((*letter, topic.as_str())),
                    _ => None,
                });
                sender.send(letters).await.with_context(|| {
                    format!("{}; some more may be; replaying again is safe", summary.so_far())
                })?;
            } else if !self.dry_run {
                break;
            }
            for (letter, verdict) in &judged {
                summary.add(letter, verdict);
            }
            progress.settled(chunk.progress.0);
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                progress.tick(chunk.progress, None);
            }
        }
        if let Some(progress) = progress {
            progress.finish();
        }
        Ok(summary)
    }
}

fn read(
    mut reader: Reader,
    filter: &Filter,
    chunks: &mpsc::Sender<Chunk>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let (mut letters, mut bytes) = (Vec::new(), 0);
        while letters.len() < CHUNK_LETTERS && bytes < CHUNK_BYTES {
            let Some(letter) = reader.next(stop)? else { break };
            if filter.matches(&letter) {
                bytes += letter.size().unwrap_or(0);
                letters.push(letter);
            }
        }
        if letters.is_empty() {
            return Ok(());
        }
        if chunks.blocking_send(Chunk { letters, progress: reader.progress() }).is_err() {
            return Ok(());
        }
    }
}
