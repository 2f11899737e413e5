//! HTTP as a player or a dashboard speaks it.

use std::{net::Ipv4Addr, time::Duration};

use proto_schemas::{Timestamp, headers};
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};

/// Longer than any service may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP client. Cloning shares its connections.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Client {
    /// A client at 127.0.0.1.
    pub fn new() -> Self {
        Self::at(Ipv4Addr::LOCALHOST)
    }

    /// A client with an address of its own: everything in 127.0.0.0/8 is this machine.
    pub fn at(address: Ipv4Addr) -> Self {
        Self::build(address, TIMEOUT)
    }

    /// A client that does not wait for an answer for longer than this.
    pub fn with_timeout(timeout: Duration) -> Self {
        Self::build(Ipv4Addr::LOCALHOST, timeout)
    }

    /// A request that is yet to be sent, see [`Answer::to`].
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.0.request(method, url)
    }

    pub async fn get(&self, url: &str) -> Answer {
        Answer::to(self.0.get(url)).await
    }

    /// Asks a server that may be away.
    pub async fn try_get(&self, url: &str) -> Option<Answer> {
        Answer::if_any(self.0.get(url)).await
    }

    /// Posts JSON.
    pub async fn post(&self, url: &str, body: &Value) -> Answer {
        Answer::to(self.0.post(url).json(body)).await
    }

    /// Posts JSON to a server that may be away, or go while it answers.
    pub async fn try_post(&self, url: &str, body: &Value) -> Option<Answer> {
        Answer::if_any(self.0.post(url).json(body)).await
    }

    fn build(address: Ipv4Addr, timeout: Duration) -> Self {
        let builder = reqwest::Client::builder().local_address(Some(address.into()));
        Self(builder.timeout(timeout).no_proxy().build().expect("a client"))
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Answer {
    /// Sends a request and reads its answer.
    pub async fn to(request: RequestBuilder) -> Self {
        read(request).await.expect("an answer")
    }

    /// The same, where there may be none.
    pub async fn if_any(request: RequestBuilder) -> Option<Self> {
        read(request).await.ok()
    }

    /// A header's value; empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }

    /// The `code` of an error, which has its shape.
    pub fn error_code(&self) -> String {
        let body = self.json();
        let sentence = body["error"].as_str().expect(&self.body);
        assert!(sentence.starts_with(char::is_uppercase) && sentence.ends_with('.'), "{sentence}");
        body["code"].as_str().expect(&self.body).to_owned()
    }

    /// `Retry-After` in whole seconds.
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.header("retry-after").parse().ok()
    }
}

/// A valid event of this moment, told from others by its `event_id`.
pub fn click(ad: u64, event_id: &str) -> Value {
    let now = headers::rfc3339(Timestamp::now());
    json!({ "ad_id": ad, "timestamp": now, "playback_time": 12.5, "event_id": event_id })
}

async fn read(request: RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.text().await? })
}
