//! One event over HTTP, tried again for as long as trying again can help.

use std::{net::IpAddr, num::NonZeroUsize, time::Duration};

use proto_schemas::Kind;
use reqwest::{
    Client, Response, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
    redirect,
};
use serde::{Deserialize, Serialize};
use service_kit::retry::Backoff;
use tokio::time::sleep;

use super::{rows::Row, summary::Retries};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take: the ingest service has its own, shorter limit.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an idle connection is kept: less than servers and balancers do, so that an event seldom
/// meets one that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest `Retry-After` that is honoured; somebody is waiting.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Bounds of the pauses between tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How much of an answer's body is read.
const MAX_BODY_BYTES: usize = 8 * 1024;

/// Posts events to one ingest service, on connections that are used again.
#[derive(Debug)]
pub(super) struct Poster<'a> {
    http: Client,
    ingest: &'a str,
    retries: &'a Retries,
}

/// What became of an event in the end.
#[derive(Debug)]
pub(super) enum Settled {
    Accepted(Kind),
    Refused(Refusal),
}

/// An event that the service does not want, and will not want later either.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// The error's code in the answer; empty where the answer has another form.
    pub(super) code: String,
    /// Which event, and why.
    pub(super) example: String,
}

impl<'a> Poster<'a> {
    pub(super) fn new(
        ingest: &'a str,
        concurrency: NonZeroUsize,
        retries: &'a Retries,
    ) -> anyhow::Result<Self> {
        let http = Client::builder()
            .user_agent(concat!("adctl/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .pool_max_idle_per_host(concurrency.get())
            .pool_idle_timeout(IDLE_TIMEOUT)
            // A redirected POST becomes a GET, which no service counts.
            .redirect(redirect::Policy::none())
            // Never through the desktop's proxy: the service is the operator's own.
            .no_proxy()
            .build()?;
        Ok(Self { http, ingest, retries })
    }

    /// Posts an event until it is accepted or refused.
    ///
    /// Without end while the service is away: whoever calls decides for how long, and drops the
    /// future then.
    pub(super) async fn post(&self, row: &Row, kind: Kind) -> Settled {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            let pause = match self.attempt(row, kind).await {
                Ok(Answer::Settled(settled)) => return settled,
                Ok(Answer::Later { status, retry_after }) => {
                    self.retries.add(status.as_u16().to_string());
                    retry_after
                }
                Err(error) => {
                    self.retries.add(no_answer(&error).to_owned());
                    Duration::ZERO
                }
            };
            // The jitter comes on top: those that were told the same second must not meet again.
            sleep(pause + backoff.next_delay()).await;
        }
    }

    async fn attempt(&self, row: &Row, kind: Kind) -> Result<Answer, reqwest::Error> {
        let url = format!("{}/ads/{kind}", self.ingest);
        let body = Body { ad_id: row.ad_id.get(), timestamp: &row.timestamp, ip: row.ip };
        let answer = self.http.post(url).json(&body).send().await?;
        let status = answer.status();
        let retry_after = retry_after(answer.headers());
        // Always read, or the connection could not be used again.
        let text = beginning(answer).await?;

        Ok(match status.as_u16() {
            200..=299 => Answer::Settled(Settled::Accepted(kind)),
            408 | 429 | 502 | 503 | 504 => Answer::Later { status, retry_after },
            _ => Answer::Settled(Settled::Refused(Refusal::new(status, &text, row, kind))),
        })
    }
}

impl Refusal {
    fn new(status: StatusCode, body: &[u8], row: &Row, kind: Kind) -> Self {
        let said: Said = serde_json::from_slice(body).unwrap_or_default();
        let reason = if said.error.is_empty() { "no reason given" } else { &said.error };
        let example =
            format!("line {}, {kind} of ad {} at {}: {reason}", row.line, row.ad_id, row.timestamp);
        Self { status, code: said.code, example }
    }
}

/// What one try brought.
enum Answer {
    Settled(Settled),
    Later { status: StatusCode, retry_after: Duration },
}

/// The body of a request. Ad, address and timestamp are the event's identity: no `event_id`.
#[derive(Serialize)]
struct Body<'a> {
    ad_id: u64,
    timestamp: &'a str,
    ip: IpAddr,
}

/// The body of an error.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    error: String,
    code: String,
}

/// Reads `Retry-After` in seconds; zero where there is none, or a date.
fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok()?.trim().parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs).min(MAX_RETRY_AFTER)
}

/// Reads a body up to [`MAX_BODY_BYTES`].
async fn beginning(mut answer: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_BODY_BYTES {
            break;
        }
    }
    Ok(body)
}

/// Why there was no answer, in few words: one label for each kind of failure.
fn no_answer(error: &reqwest::Error) -> &'static str {
    if error.is_connect() {
        "no connection"
    } else if error.is_timeout() {
        "no answer in time"
    } else {
        "connection broken"
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_bounded_and_may_be_missing() {
        let wait = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers).as_secs()
        };

        assert_eq!(retry_after(&HeaderMap::new()), Duration::ZERO);
        assert_eq!(wait("6"), 6);
        assert_eq!(wait("86400"), 60);
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), 0);
    }
}
