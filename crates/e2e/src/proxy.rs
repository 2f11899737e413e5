//! A TCP proxy between a service and a server, which breaks the link in the ways links break.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// What is forwarded at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// What the link does now, to connections that are there and to new ones.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Link {
    #[default]
    Pass,
    /// Nothing arrives at the server any more; no side is told. It arrives late, once the link is
    /// mended, as TCP sends again what was lost.
    HoldRequests,
    /// The server gets what is sent to it, and its answers do not arrive.
    HoldAnswers,
    /// Nothing arrives on either side.
    BlackHole,
    /// Each chunk arrives this much later.
    Delay(Duration),
}

/// A request whose answer can be lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    /// To Postgres: COMMIT.
    Commit,
    /// To Redis: a script.
    Script,
    /// To Kafka: records.
    Produce,
}

/// A proxy on a port of its own; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: AtomicU16,
    link: watch::Sender<Link>,
    /// Cancelled to cut every connection that is there.
    connections: Mutex<CancellationToken>,
    /// Which answers to lose: each so-many-th of these requests.
    losing: Mutex<Option<(Request, u32)>>,
    matching: AtomicU32,
    lost: AtomicU32,
}

impl Proxy {
    /// A proxy to a port of this machine.
    pub async fn to(upstream: u16) -> Self {
        let proxy = Self::listen().await;
        proxy.forward_to(upstream);
        proxy
    }

    /// A proxy that is to be told where to forward, for a server that must know the proxy's port.
    pub async fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let shared = Arc::new(Shared {
            upstream: AtomicU16::new(0),
            link: watch::Sender::new(Link::Pass),
            connections: Mutex::default(),
            losing: Mutex::default(),
            matching: AtomicU32::new(0),
            lost: AtomicU32::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Self { port, shared, _accepting: accepting }
    }

    pub fn forward_to(&self, upstream: u16) {
        self.shared.upstream.store(upstream, Ordering::SeqCst);
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what the link does.
    pub fn set(&self, link: Link) {
        self.shared.link.send_replace(link);
    }

    /// Cuts every connection that is there. New ones are taken.
    pub fn cut(&self) {
        let mut connections = lock(&self.shared.connections);
        connections.cancel();
        *connections = CancellationToken::new();
    }

    /// From now on, each `nth` of these requests is carried out, and its connection ends without an
    /// answer.
    pub fn lose_answers(&self, request: Request, nth: u32) {
        *lock(&self.shared.losing) = Some((request, nth));
    }

    /// Ends [`lose_answers`](Self::lose_answers).
    pub fn lose_none(&self) {
        *lock(&self.shared.losing) = None;
    }

    /// How many answers were lost.
    pub fn lost(&self) -> u32 {
        self.shared.lost.load(Ordering::SeqCst)
    }
}

impl Request {
    /// Tells whether a chunk, as clients write them, has such a request.
    fn is_in(self, chunk: &[u8]) -> bool {
        let has = |text: &[u8]| chunk.windows(text.len()).any(|it| it == text);
        match self {
            // The text of a simple query ends with a zero.
            Self::Commit => has(b"COMMIT\0"),
            Self::Script => has(b"EVALSHA"),
            // Four bytes of length, then the number of the call: Produce is 0.
            Self::Produce => chunk.get(4..6) == Some(&[0, 0]),
        }
    }
}

impl Shared {
    /// Tells whether the answer to this chunk is to be lost.
    fn loses(&self, chunk: &[u8]) -> bool {
        let Some((request, nth)) = *lock(&self.losing) else { return false };
        request.is_in(chunk)
            && (self.matching.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(nth)
    }

    /// Waits while the link is one of these, and for its delay.
    async fn pass(&self, holding: [Link; 2]) {
        let mut link = self.link.subscribe();
        let link = link.wait_for(|it| !holding.contains(it)).await.map(|it| *it);
        if let Ok(Link::Delay(delay)) = link {
            sleep(delay).await;
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Bounded by what the services under test open; all end with this task.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else { continue };
        connections.spawn(connect(client, Arc::clone(&shared)));
    }
}

async fn connect(client: TcpStream, shared: Arc<Shared>) {
    let cut = lock(&shared.connections).clone();
    let forwarded = cut.run_until_cancelled(async {
        shared.pass([Link::HoldRequests, Link::BlackHole]).await;
        let upstream = (Ipv4Addr::LOCALHOST, shared.upstream.load(Ordering::SeqCst));
        let server = TcpStream::connect(upstream).await?;
        forward(client, server, &shared).await
    });
    // A connection that broke, or was cut, is closed on both sides by being dropped.
    drop(forwarded.await);
}

/// Forwards until one side closes, or an answer is to be lost.
async fn forward(client: TcpStream, server: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let losing = AtomicBool::new(false);
    tokio::select! {
        biased;

        done = answers(from_server, to_client, &losing, shared) => done,
        Err(error) = requests(from_client, to_server, &losing, shared) => Err(error),
    }
}

async fn requests(
    mut client: OwnedReadHalf,
    mut server: OwnedWriteHalf,
    losing: &AtomicBool,
    shared: &Shared,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = client.read(&mut buffer).await?;
        shared.pass([Link::HoldRequests, Link::BlackHole]).await;
        if read > 0 {
            // Before it is sent: the answer must not overtake this.
            losing.store(shared.loses(&buffer[..read]), Ordering::SeqCst);
            server.write_all(&buffer[..read]).await?;
        }
        if read == 0 || losing.load(Ordering::SeqCst) {
            // The server carries out what it was sent, answers it, and then sees the end.
            return server.shutdown().await;
        }
    }
}

async fn answers(
    mut server: OwnedReadHalf,
    mut client: OwnedWriteHalf,
    losing: &AtomicBool,
    shared: &Shared,
) -> io::Result<()> {
    let (mut buffer, mut swallowed) = (vec![0; CHUNK], false);
    loop {
        let read = server.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        if losing.load(Ordering::SeqCst) {
            swallowed = true;
            continue;
        }
        shared.pass([Link::HoldAnswers, Link::BlackHole]).await;
        client.write_all(&buffer[..read]).await?;
    }
    if swallowed {
        shared.lost.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
