//! An ingest service that misbehaves as told: what `adctl replay` makes of its answers is tested here,
//! and the real one in the end-to-end tests.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{ConnectInfo, Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::post,
};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};

/// The service. Ends when dropped.
#[derive(Debug)]
pub(crate) struct IngestStub {
    pub(crate) url: String,
    state: StubState,
    _server: JoinSet<()>,
}

/// Answers the `n`th try (from 0) of a body; `None` for no answer at all.
pub(crate) type Answers = fn(n: u32, body: &str) -> Option<Response>;

#[derive(Clone, Debug)]
struct StubState {
    answers: Answers,
    seen: Arc<Mutex<Seen>>,
    arrived: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By kind and body.
    tries: HashMap<(String, String), u32>,
    peers: BTreeSet<SocketAddr>,
}

impl IngestStub {
    pub(crate) async fn start(answers: Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::serve(listener, answers)
    }

    pub(crate) fn serve(listener: TcpListener, answers: Answers) -> Self {
        let address = listener.local_addr().expect("bound");
        let state = StubState { answers, seen: Arc::default(), arrived: Arc::new(Notify::new()) };
        let router = Router::new()
            .route("/ads/{kind}", post(answer))
            .with_state(state.clone())
            .into_make_service_with_connect_info::<SocketAddr>();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { url: format!("http://{address}"), state, _server: server }
    }

    /// The distinct bodies that were posted as `kind`, in order.
    pub(crate) fn bodies(&self, kind: &str) -> Vec<String> {
        let seen = self.state.seen.lock().expect("not poisoned");
        let mut bodies: Vec<_> =
            seen.tries.keys().filter(|it| it.0 == kind).map(|it| it.1.clone()).collect();
        bodies.sort();
        bodies
    }

    /// How often anything was posted.
    pub(crate) fn tries(&self) -> u32 {
        self.state.seen.lock().expect("not poisoned").tries.values().sum()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.state.seen.lock().expect("not poisoned").peers.len()
    }

    /// Waits for a request, or returns at once if one came before.
    pub(crate) async fn request_arrived(&self) {
        self.state.arrived.notified().await;
    }
}

/// An error as the ingest service has it.
pub(crate) fn error(status: u16, code: &str, retry_after: Option<&str>) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let body = format!(r#"{{"error":"a sentence about {code}","code":"{code}"}}"#);
    let mut response = (status, body).into_response();
    if let Some(seconds) = retry_after {
        let value = seconds.parse().expect("a header");
        response.headers_mut().insert("retry-after", value);
    }
    response
}

pub(crate) fn accepted() -> Response {
    r#"{"message":"Click received","click_id":"00"}"#.into_response()
}

async fn answer(
    State(state): State<StubState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(kind): Path<String>,
    body: String,
) -> Response {
    let n = {
        let mut seen = state.seen.lock().expect("not poisoned");
        seen.peers.insert(peer);
        let tries = seen.tries.entry((kind, body.clone())).or_default();
        *tries += 1;
        *tries - 1
    };
    state.arrived.notify_one();
    match (state.answers)(n, &body) {
        Some(response) => response,
        None => std::future::pending().await,
    }
}
