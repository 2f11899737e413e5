//! Very many connections that say nothing, held by processes of their own.
//!
//! Of their own, because each end of a connection is an open file, of which a process may have a
//! limited number: that of this one would be used up before the service's.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use local_stack::children;

/// Connections that one process holds; less than any usual hard limit of open files allows.
const EACH: u32 = 4000;

/// Connects from 127.1.x.y, and holds the connections until its standard input ends. A connection
/// that the service refuses or closes is held all the same, from this side.
const HOLD: &str = "
import resource, socket, sys
port, first, count, addresses = map(int, sys.argv[1:])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
for number in range(first, first + count):
    own = number % addresses
    connection = socket.socket()
    connection.bind(('127.1.%d.%d' % (own // 250, own % 250 + 1), 0))
    connection.connect(('127.0.0.1', port))
    held.append(connection)
print('connected', flush=True)
sys.stdin.read()
";

/// Idle connections; they end when this is dropped.
#[derive(Debug)]
pub struct IdleCrowd {
    holders: Vec<Holder>,
}

#[derive(Debug)]
struct Holder {
    child: Child,
    /// Held open for as long as the connections shall be.
    _stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl IdleCrowd {
    /// Begins to connect `count` times from that many addresses, and does not wait for it.
    pub fn gather(service: SocketAddr, count: u32, addresses: u32) -> Self {
        let firsts = (0..count).step_by(EACH as usize);
        let holders = firsts.map(|first| {
            let own = EACH.min(count - first);
            let args = [u32::from(service.port()), first, own, addresses].map(|it| it.to_string());
            Holder::spawn(&args)
        });
        Self { holders: holders.collect() }
    }

    /// Waits until all are connected.
    pub async fn connected(&mut self) {
        for holder in &mut self.holders {
            let mut stdout = holder.stdout.take().expect("waited for once");
            let reading = tokio::task::spawn_blocking(move || {
                let mut line = String::new();
                // Ends when the process does, at the latest.
                stdout.read_line(&mut line).expect("text");
                line
            });
            assert_eq!(reading.await.expect("no panic").trim(), "connected");
        }
    }
}

impl Holder {
    fn spawn(args: &[String]) -> Self {
        let mut command = children::bound_to_this_thread(OsStr::new("python3"));
        command.args(["-c", HOLD]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("python3 runs");
        let stdout = child.stdout.take().map(BufReader::new);
        Self { _stdin: child.stdin.take(), stdout, child }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
