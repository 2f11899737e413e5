//! `POST /ads/events`: many events at once, each with a verdict of its own.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{ConnectInfo, Request, State},
};
use proto_schemas::{AdEvent, DedupKey, Kind};
use serde::Serialize;
use service_kit::http::{read_body, whole_seconds};
use utoipa::ToSchema;

use super::media_type::{MediaType, OF_A_BATCH};
use crate::{
    api::{Caller, Ingest},
    client::Client,
    contract::{Batch, Packed, error_code, failures::OfABatch},
    error::Refusal,
    metrics::{Arrived, Outcome},
    report::{Report, json_array, json_lines},
};

/// 500 events of 500 bytes.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// What became of each event of a batch, in the order of the batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Verdicts {
    #[schema(inline)]
    results: Vec<Verdict>,
}

/// What became of one event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Verdict {
    /// Kafka or the spool has it.
    Received {
        /// Always `received`.
        #[schema(pattern = "^received$", example = "received")]
        code: &'static str,
        /// The dedup key: a retry of the same event gets the same one.
        #[schema(pattern = "^[0-9a-f]{32}$", example = "0ced09db965834809dc862d418f22bcc")]
        click_id: String,
    },
    /// It was not kept; the same words that a request with this event alone gets.
    Refused {
        /// A sentence.
        error: String,
        /// What happened, in `snake_case`.
        #[schema(schema_with = error_code)]
        code: &'static str,
        /// The field that is at fault, where one is.
        #[serde(skip_serializing_if = "Option::is_none")]
        field: Option<&'static str>,
        /// Seconds after which to send it again. Absent where that would not help.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
}

/// Takes a batch, and answers once everything in it that can be kept is kept
///
/// An event that is refused does not refuse the others. Where all are, and each may be accepted
/// later, the answer is that of a single event: 429 or 503. Send those again whose verdict has a
/// `retry_after`, and no others.
#[utoipa::path(
    post,
    tag = "ingest",
    path = "/ads/events",
    params(Packed),
    request_body(
        description = "500 events and 256 KiB at most, as an array, or one on each line.",
        content(
            (Batch = "application/json"),
            (Batch = "text/plain"),
            (String = "application/x-ndjson"),
        ),
    ),
    responses(
        (status = 200, description = "What became of each event, in their order.", body = Verdicts),
        OfABatch,
    ),
)]
pub(crate) async fn events(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Json<Verdicts>, Refusal> {
    let (parts, body) = request.into_parts();
    let client = ingest.trust.client(peer, &parts.headers);
    let mut allowance = Allowance::of(&ingest, client)?;
    let media_type = MediaType::of(&parts.headers, OF_A_BATCH)?;

    let body = read_body(&parts.headers, body, MAX_BODY_BYTES, ingest.body_timeout).await?;
    let texts = match media_type {
        MediaType::Json => json_array(&body)?,
        MediaType::JsonLines => json_lines(&body)?,
    };
    let caller = Caller::new(client, &parts.headers);
    let checked = texts.into_iter().map(|text| check(&mut allowance, &caller, text)).collect();
    let fates = unless_all_may_pass_later(keep(&ingest, &caller, checked).await)?;
    Ok(Json(Verdicts { results: fates.into_iter().map(Verdict::from).collect() }))
}

/// The id of an event that is kept, or why it is not.
type Fate = Result<DedupKey, Refusal>;

impl From<Fate> for Verdict {
    fn from(fate: Fate) -> Self {
        match fate {
            Ok(key) => Self::Received { code: "received", click_id: key.to_string() },
            Err(refusal) => {
                let (failure, field) = refusal.failure_and_field();
                let retry_after = refusal.retry_after().map(whole_seconds);
                let (error, code) = (refusal.to_string(), failure.code);
                Self::Refused { error, code, field, retry_after }
            }
        }
    }
}

/// What one address may still send in this batch.
struct Allowance<'a> {
    ingest: &'a Ingest,
    client: Client,
    /// An event of this kind has been paid for already.
    paid: Option<Kind>,
}

impl<'a> Allowance<'a> {
    /// Takes the first event off the allowance before anything is read, so that who has none left is
    /// refused at once. A batch costs what its events cost, and one event at least.
    fn of(ingest: &'a Ingest, client: Client) -> Result<Self, Refusal> {
        // Of impressions first, as there are more of them.
        let paid = match ingest.admit(Kind::Impression, client) {
            Ok(()) => Kind::Impression,
            Err(_) => ingest.admit(Kind::Click, client).map(|()| Kind::Click)?,
        };
        Ok(Self { ingest, client, paid: Some(paid) })
    }

    fn admit(&mut self, kind: Kind) -> Result<(), Refusal> {
        if self.paid.take_if(|paid| *paid == kind).is_some() {
            return Ok(());
        }
        self.ingest.admit(kind, self.client)
    }
}

/// Reads one event, takes it off the allowance, and checks it.
///
/// Malformed events cost as much as others, but are told what is wrong with them also where nothing
/// is left: sending them again would not help.
fn check<'a>(
    allowance: &mut Allowance<'a>,
    caller: &Caller,
    text: &[u8],
) -> Result<(Arrived<'a>, AdEvent), Refusal> {
    let ingest = allowance.ingest;
    let (kind, report) = Report::with_kind_from_json(text).inspect_err(|_| {
        allowance.admit(Kind::Impression).ok();
        ingest.metrics.unreadable();
    })?;
    let arrived = ingest.metrics.arrived(kind);
    let admitted = allowance.admit(kind);
    let event = report.map_err(Refusal::from).and_then(|it| Ok(ingest.event(kind, caller, it)?));
    match event.and_then(|event| admitted.map(|()| event)) {
        Ok(event) => Ok((arrived, event)),
        Err(refusal) => {
            arrived.became(refusal.outcome());
            Err(refusal)
        }
    }
}

/// Keeps the events that passed, all at the same time, and says of each what became of it.
async fn keep(
    ingest: &Ingest,
    caller: &Caller,
    checked: Vec<Result<(Arrived<'_>, AdEvent), Refusal>>,
) -> Vec<Fate> {
    let (mut refused, mut arrived, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for one in checked {
        match one {
            Ok((its_arrival, event)) => {
                refused.push(None);
                arrived.push(its_arrival);
                events.push(event);
            }
            Err(refusal) => refused.push(Some(refusal)),
        }
    }

    let kept = ingest.keep_all(&events, caller).await;
    let mut fates = events.iter().zip(arrived).zip(kept).map(|((event, arrived), kept)| {
        arrived.became(kept.as_ref().map_or_else(Refusal::outcome, |it| it.outcome()));
        kept.map(|_| event.dedup_key)
    });
    refused
        .into_iter()
        .filter_map(|it| it.map_or_else(|| fates.next(), |it| Some(Err(it))))
        .collect()
}

/// # Errors
///
/// Where nothing was kept, and everything may be kept later: what to answer then.
fn unless_all_may_pass_later(fates: Vec<Fate>) -> Result<Vec<Fate>, Refusal> {
    let may_pass_later = |fate: &Fate| fate.as_ref().is_err_and(|it| it.retry_after().is_some());
    if !fates.iter().all(may_pass_later) {
        return Ok(fates);
    }
    // A fault of ours first: it is no use to the player to send less.
    let refusals = fates.into_iter().filter_map(Result::err);
    let worst = refusals.min_by_key(|it| (it.outcome() == Outcome::RateLimited, it.retry_after()));
    worst.map_or(Ok(Vec::new()), Err)
}
