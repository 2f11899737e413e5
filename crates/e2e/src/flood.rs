//! A flood: very many connections that ask again as soon as they are answered, each time as somebody else.
//!
//! Without an HTTP library, because it has to cost less than what it floods.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    thread::{self, JoinHandle},
    time::Duration,
};

use rand::RngExt as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{client::click, load::Sent, sample, wait::LIMIT};

/// How many addresses the flood comes from, as a proxy says.
const ADDRESSES: u32 = 5_000_000;

/// The first of them: 11.0.0.0. The last is in 11.76.0.0/16.
const FIRST_ADDRESS: u32 = 0x0b00_0000;

/// Connections that are each of one address only, as those of bots are.
const FAITHFUL: usize = 50;

/// How long it takes until all connections are there.
const SWELLS_FOR: Duration = Duration::from_secs(15);

/// Connections that post clicks without a break, until they are stopped.
#[derive(Debug)]
pub struct Flood {
    stop: CancellationToken,
    /// By itself, so that it takes no time from those who measure.
    thread: JoinHandle<Flooded>,
}

/// What a flood was told.
#[derive(Debug, Default)]
pub struct Flooded {
    /// How often each status was answered.
    pub answers: BTreeMap<u16, u64>,
    /// Requests that had no answer: their connection was refused, reset or closed before it, or nothing came
    /// within [`LIMIT`]. A connection that is closed behind an answer is no failure, and is made anew.
    pub unanswered: u64,
    /// What became of each click.
    pub sent: Sent,
}

impl Flood {
    /// Begins, from `connections` at once.
    pub fn start(service: SocketAddr, connections: usize) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(flood(service, connections, stopped))
        });
        Self { stop, thread }
    }

    /// Stops when every request that is under way has its answer.
    pub async fn stop(self) -> Flooded {
        self.stop.cancel();
        let joined = tokio::task::spawn_blocking(|| self.thread.join()).await;
        joined.expect("no panic").expect("a flood that does not panic")
    }
}

impl Flooded {
    fn note(&mut self, id: String, status: Option<u16>) {
        match status {
            Some(status) => *self.answers.entry(status).or_default() += 1,
            None => self.unanswered += 1,
        }
        self.sent.outcomes.insert(id, status);
    }
}

async fn flood(service: SocketAddr, connections: usize, stop: CancellationToken) -> Flooded {
    let mut running = JoinSet::new();
    for number in 0..connections {
        running.spawn(one(service, number, stop.clone()));
    }
    let mut all = Flooded::default();
    while let Some(ended) = running.join_next().await {
        let Flooded { answers, unanswered, sent } = ended.expect("no panic");
        for (status, count) in answers {
            *all.answers.entry(status).or_default() += count;
        }
        all.unanswered += unanswered;
        all.sent.outcomes.extend(sent.outcomes);
    }
    all
}

/// Posts click after click on a connection that is made anew where the service has closed it.
async fn one(service: SocketAddr, number: usize, stop: CancellationToken) -> Flooded {
    let mut flooded = Flooded::default();
    let mut connection = None;
    let begin_after = rand::rng().random_range(Duration::ZERO..SWELLS_FOR);
    stop.run_until_cancelled(tokio::time::sleep(begin_after)).await;
    for click_number in 0_u64.. {
        if stop.is_cancelled() {
            break;
        }
        let address = if number < FAITHFUL {
            FIRST_ADDRESS + ADDRESSES + u32::try_from(number).expect("few")
        } else {
            FIRST_ADDRESS + rand::rng().random_range(0..ADDRESSES)
        };
        let id = format!("flood-{number}-{click_number}");
        let asking = ask(&mut connection, service, address.into(), &id);
        let answer = timeout(LIMIT, asking).await.ok().and_then(Result::ok);
        if answer.is_none() {
            connection = None;
            // Or a service that refuses connections would be asked millions of times.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        flooded.note(id, answer);
    }
    flooded
}

async fn ask(
    connection: &mut Option<BufReader<TcpStream>>,
    service: SocketAddr,
    address: Ipv4Addr,
    id: &str,
) -> io::Result<u16> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(BufReader::new(TcpStream::connect(service).await?)),
    };
    let body = click(1 + u64::from(address.octets()[3]) % sample::ADS, id).to_string();
    let length = body.len();
    let request = format!(
        "POST /ads/click HTTP/1.1\r\nhost: ads\r\ncontent-type: application/json\r\n\
         x-forwarded-for: {address}\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;

    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line.get(9..12).and_then(|it| it.parse().ok());
    let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
    let (mut length, mut closes) = (0, false);
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        if name == "content-length" {
            length = value.parse().map_err(|_| io::ErrorKind::InvalidData)?;
        }
        closes |= name == "connection" && value == "close";
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    if closes {
        *connection = None;
    }
    Ok(status)
}
