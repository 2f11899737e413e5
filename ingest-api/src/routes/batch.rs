//! `POST /ads/events`: many events at once, each with a verdict of its own.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{ConnectInfo, Request, State},
};
use proto_schemas::{AdEvent, DedupKey, Kind};
use serde::{Serialize, Serializer};
use service_kit::http::{read_body, whole_seconds};
use utoipa::ToSchema;

use super::media_type::{MediaType, OF_A_BATCH};
use crate::{
    api::{Caller, Ingest},
    contract::{Batch, Packed, error_code, failures::OfABatch},
    error::Refusal,
    metrics::{Arrived, Outcome},
    rate_limit::{Exceeded, Gate, Standing},
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
        #[serde(serialize_with = "as_text")]
        #[schema(
            value_type = String,
            pattern = "^[0-9a-f]{32}$",
            example = "0ced09db965834809dc862d418f22bcc"
        )]
        click_id: DedupKey,
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
) -> Result<(Standing, Json<Verdicts>), Refusal> {
    let (parts, body) = request.into_parts();
    let client = ingest.trust.client(peer, &parts.headers);
    let mut gate = ingest.limits.gate(client);
    enter(&mut gate)?;
    let media_type = MediaType::of(&parts.headers, OF_A_BATCH)?;

    let body = read_body(&parts.headers, body, MAX_BODY_BYTES, ingest.body_timeout).await?;
    let texts = match media_type {
        MediaType::Json => json_array(&body)?,
        MediaType::JsonLines => json_lines(&body)?,
    };
    let caller = Caller::new(client, &parts.headers);
    let check = |text| check(&ingest, &mut gate, &caller, text);
    let checked = texts.into_iter().map(check).collect();
    let admitted = admit(&mut gate, checked).await;
    let fates = unless_all_may_pass_later(keep(&ingest, &caller, admitted).await)?;
    let results = fates.into_iter().map(Verdict::from).collect();
    Ok((gate.standing(), Json(Verdicts { results })))
}

/// Written where it is sent from: a batch has hundreds.
fn as_text<S: Serializer>(key: &DedupKey, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(key)
}

/// The id of an event that is kept, or why it is not.
type Fate = Result<DedupKey, Refusal>;

impl From<Fate> for Verdict {
    fn from(fate: Fate) -> Self {
        match fate {
            Ok(click_id) => Self::Received { code: "received", click_id },
            Err(refusal) => {
                let (failure, field) = refusal.failure_and_field();
                let retry_after = refusal.retry_after().map(whole_seconds);
                let (error, code) = (refusal.to_string(), failure.code);
                Self::Refused { error, code, field, retry_after }
            }
        }
    }
}

/// An event that may still be kept, or why it is not.
type Candidate<'a> = Result<(Arrived<'a>, AdEvent), Refusal>;

/// Takes the first event off its address's allowance before anything is read, so that who has none
/// left is refused at once. A batch costs what its events cost, and one event at least.
fn enter(gate: &mut Gate<'_>) -> Result<(), Exceeded> {
    // An impression first, as there are more of them.
    gate.enter(Kind::Impression).or_else(|_| gate.enter(Kind::Click))
}

/// Reads one event and checks it.
///
/// Malformed events cost as much as others, but are told what is wrong with them also where nothing
/// is left: sending them again would not help.
fn check<'a>(
    ingest: &'a Ingest,
    gate: &mut Gate<'_>,
    caller: &Caller,
    text: &[u8],
) -> Candidate<'a> {
    let (kind, report) = Report::with_kind_from_json(text).inspect_err(|invalid| {
        gate.charge(Kind::Impression);
        ingest.metrics.unreadable(invalid.failure_and_field().0.code);
    })?;
    let arrived = ingest.metrics.arrived(kind);
    let event = report.map_err(Refusal::from).and_then(|it| Ok(ingest.event(kind, caller, it)?));
    match event {
        Ok(event) => Ok((arrived, event)),
        Err(refusal) => {
            gate.charge(kind);
            arrived.refused(&refusal);
            Err(refusal)
        }
    }
}

/// Lets the events through that are not more than their address may send.
async fn admit<'a>(gate: &mut Gate<'_>, checked: Vec<Candidate<'a>>) -> Vec<Candidate<'a>> {
    let asked: Vec<_> = checked.iter().flatten().map(|(_, it)| (it.kind, it.ad_id)).collect();
    let mut fates = gate.admit(&asked).await.into_iter();
    let admitted = checked.into_iter().map(|candidate| {
        let (arrived, event) = candidate?;
        match fates.next() {
            Some(Err(exceeded)) => {
                let refusal = Refusal::from(exceeded);
                arrived.refused(&refusal);
                Err(refusal)
            }
            _ => Ok((arrived, event)),
        }
    });
    admitted.collect()
}

/// Keeps the events that passed, all at the same time, and says of each what became of it.
async fn keep(ingest: &Ingest, caller: &Caller, admitted: Vec<Candidate<'_>>) -> Vec<Fate> {
    let (mut refused, mut arrived, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for one in admitted {
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
        arrived.became(kept.as_ref().copied());
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
