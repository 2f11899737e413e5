//! Requests over HTTP/1.1 on many connections, as fast as they are answered or at a fixed rate.
//!
//! Written to the socket as they are and answers parsed by `httparse`, because what asks shares the
//! cores with what is measured: an HTTP client costs about as much for each request as a server.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::LocalSet,
    time::{sleep_until, timeout},
};

use crate::report::float;

const ACCEPTED: u16 = 200;

/// An answer takes longer than that only where something hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long after its end an open load still sends what was due before: a server that is behind by more
/// does not keep up.
const LATE: Duration = Duration::from_secs(1);

/// The longest time that the histogram can tell, in microseconds.
pub(crate) const LONGEST_US: u64 = 60_000_000;

/// Who asks, how fast, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) to: SocketAddr,
    pub(crate) connections: u32,
    pub(crate) pace: Pace,
    pub(crate) lasts: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each connection asks again once it is answered.
    Closed,
    /// So many requests a second over all connections, whether answers come or not. A request's time
    /// runs from when it was due: one that had to wait behind a slow answer is slow too (coordinated
    /// omission, as Gil Tene calls its neglect).
    Open { per_second: f64 },
}

/// Writes the next whole request.
pub(crate) trait Requests {
    fn write_next(&mut self, out: &mut Vec<u8>);
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answers {
    /// How many, by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Times to an answer, in microseconds.
    pub(crate) times: Histogram<u64>,
    pub(crate) took: Duration,
}

impl Answers {
    pub(crate) fn all(&self) -> u64 {
        self.statuses.values().sum()
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.statuses.get(&ACCEPTED).copied().unwrap_or_default()
    }

    pub(crate) fn per_second(&self) -> f64 {
        float(self.accepted()) / self.took.as_secs_f64()
    }

    /// The time in which this share of all was answered, in milliseconds.
    pub(crate) fn ms(&self, share: f64) -> f64 {
        float(self.times.value_at_quantile(share)) / 1000.0
    }

    /// # Errors
    ///
    /// Where an answer was anything but 200: then it is not what was to be measured.
    pub(crate) fn all_accepted(self) -> anyhow::Result<Self> {
        ensure!(self.accepted() == self.all(), "not all were accepted: {:?}", self.statuses);
        Ok(self)
    }
}

/// Runs a load to its end, on a thread of its own.
///
/// # Errors
///
/// Where a connection is refused, cut, or silent for 30 s.
pub(crate) async fn run<R: Requests + 'static>(
    plan: Plan,
    requests: impl Fn(u32) -> R + Send + 'static,
) -> anyhow::Result<Answers> {
    run_and_tell(plan, requests, Arc::default()).await
}

/// The same, and adds to `accepted` whenever a request is answered with 200.
pub(crate) async fn run_and_tell<R: Requests + 'static>(
    plan: Plan,
    requests: impl Fn(u32) -> R + Send + 'static,
    accepted: Arc<AtomicU64>,
) -> anyhow::Result<Answers> {
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(LocalSet::new().run_until(drive(plan, requests, accepted)))
    });
    thread.await?
}

async fn drive<R: Requests + 'static>(
    plan: Plan,
    requests: impl Fn(u32) -> R,
    accepted: Arc<AtomicU64>,
) -> anyhow::Result<Answers> {
    let times = Histogram::new_with_bounds(1, LONGEST_US, 3)?;
    let answers = Answers { statuses: BTreeMap::new(), times, took: Duration::ZERO };
    let answers = Rc::new(RefCell::new(answers));
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(Connection::open(plan.to).await?);
    }
    let begun = Instant::now();
    let tasks: Vec<_> = (0..plan.connections)
        .zip(connections)
        .map(|(number, connection)| {
            let player = Player { plan, number, begun, requests: requests(number) };
            let player = player.play(connection, Rc::clone(&answers), Arc::clone(&accepted));
            tokio::task::spawn_local(player)
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let took = begun.elapsed();
    let answers = Rc::into_inner(answers).context("a player that goes on")?.into_inner();
    Ok(Answers { took, ..answers })
}

struct Player<R> {
    plan: Plan,
    number: u32,
    begun: Instant,
    requests: R,
}

impl<R: Requests> Player<R> {
    async fn play(
        mut self,
        mut connection: Connection,
        answers: Rc<RefCell<Answers>>,
        accepted: Arc<AtomicU64>,
    ) -> anyhow::Result<()> {
        let end = self.begun + self.plan.lasts;
        for turn in 0.. {
            let due = match self.plan.pace {
                Pace::Closed => Instant::now(),
                Pace::Open { per_second } => {
                    // Players take turns, so that requests are evenly spread.
                    let place = f64::from(self.plan.connections) * f64::from(turn);
                    let place = place + f64::from(self.number);
                    self.begun + Duration::from_secs_f64(place / per_second)
                }
            };
            let now = Instant::now();
            if due >= end || now > end + LATE {
                break;
            }
            if due > now {
                sleep_until(due.into()).await;
            }
            connection.out.clear();
            self.requests.write_next(&mut connection.out);
            let status =
                timeout(PATIENCE, connection.ask()).await.context("no answer in 30 s")??;
            if status == ACCEPTED {
                accepted.fetch_add(1, Ordering::Relaxed);
            }
            let mut answers = answers.borrow_mut();
            *answers.statuses.entry(status).or_default() += 1;
            let us = u64::try_from(due.elapsed().as_micros()).unwrap_or(LONGEST_US);
            answers.times.saturating_record(us.max(1));
        }
        Ok(())
    }
}

struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    read: Vec<u8>,
}

impl Connection {
    async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await.with_context(|| format!("connecting to {to}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, out: Vec::new(), read: Vec::with_capacity(4096) })
    }

    /// Sends what is in `out`, reads the answer to its end, and returns its status.
    async fn ask(&mut self) -> anyhow::Result<u16> {
        self.stream.write_all(&self.out).await?;
        self.read.clear();
        loop {
            let more = self.stream.read_buf(&mut self.read).await?;
            ensure!(more > 0, "the connection was closed instead of an answer");
            if let Some((status, length)) = parse(&self.read)? {
                while self.read.len() < length {
                    let more = self.stream.read_buf(&mut self.read).await?;
                    ensure!(more > 0, "the connection was closed within an answer");
                }
                return Ok(status);
            }
        }
    }
}

/// Status and length in all of an answer whose head is there.
fn parse(read: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    const HEADERS: usize = 32;
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(read)? else { return Ok(None) };
    let length = answer.headers.iter().find(|it| it.name.eq_ignore_ascii_case("content-length"));
    let Some(length) = length else { bail!("an answer without content-length") };
    let length: usize = std::str::from_utf8(length.value)?.parse()?;
    let status = answer.code.context("an answer without a status")?;
    Ok(Some((status, head + length)))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::requests::Get;

    #[test]
    fn an_answer_is_whole_once_its_head_says_how_long_it_is() {
        let head = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\n";

        assert_eq!(parse(&head[..20]).expect("no mistake yet"), None);
        assert_eq!(parse(head).expect("a head"), Some((503, head.len() + 5)));
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "a body without an end");
    }

    #[tokio::test]
    async fn a_request_that_waits_behind_a_slow_one_is_slow_too() {
        const SLOW: Duration = Duration::from_millis(300);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let to = listener.local_addr().expect("its address");
        let server = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            for turn in 0.. {
                if stream.read(&mut request).await.expect("a request") == 0 {
                    break;
                }
                if turn == 0 {
                    tokio::time::sleep(SLOW).await;
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.expect("read by the load");
            }
        };
        let pace = Pace::Open { per_second: 100.0 };
        let plan = Plan { to, connections: 1, pace, lasts: Duration::from_millis(200) };

        let ((), answers) = tokio::join!(server, run(plan, |_| Get("/")));

        let answers = answers.expect("all answered");
        assert_eq!(answers.accepted(), 20, "none was left out");
        // The last was due 190 ms after the first, and had to wait for its answer.
        assert!(answers.ms(0.05) >= 100.0, "{:?}", answers.times);
    }
}
