//! Traces: what a collector receives of a click, from its POST to the COMMIT that counted it.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
};

use e2e::{
    Answer, COLLECTOR_HEADERS, Client, Collector, Load, Pipeline, Program, Service, SpanKind,
    SpanSeen, click, until,
};
use reqwest::Method;
use serde_json::{Value, json};

/// The player's own span.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PLAYERS_SPAN: &str = "b7ad6b7169203331";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PLAYERS_SPAN}-{flags}")
}

/// Exports to this collector, at once as far as a test can tell.
fn exporting_to(collector: &Collector) -> [(&'static str, &str); 3] {
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
        ("OTEL_EXPORTER_OTLP_HEADERS", COLLECTOR_HEADERS),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ]
}

async fn post(http: &Client, ingest: &Service, event: &Value, headers: &[(&str, &str)]) -> u16 {
    let mut request = http.request(Method::POST, &ingest.url("/ads/click")).json(event);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::to(request).await.status
}

/// Waits for a span, and returns the first of its kind.
async fn first(collector: &Collector, what: &str, is_it: impl Fn(&SpanSeen) -> bool) -> SpanSeen {
    let find = || collector.spans().into_iter().find(&is_it);
    until(&format!("the collector has {what}"), async || find().is_some()).await;
    find().expect("just seen")
}

async fn child(collector: &Collector, parent: &SpanSeen, name: &str) -> SpanSeen {
    let child = first(collector, name, |it| it.name == name && it.parent_span_id == parent.span_id);
    let child = child.await;
    assert_eq!(child.trace_id, parent.trace_id);
    child
}

#[tokio::test]
async fn a_click_is_followed_from_its_post_to_the_commit_that_counted_it() {
    const PEER: Ipv4Addr = Ipv4Addr::new(127, 66, 55, 44);
    const CLAIMED: &str = "198.51.100.88";
    let (pipeline, collector) = (Pipeline::new("traces").await, Collector::start().await);
    let settings = exporting_to(&collector);
    let packed = [&settings[..], &[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]].concat();
    let ingest = pipeline.start(Program::Ingest, &packed).await;
    let _consumer = pipeline.start(Program::Consumer, &settings).await;
    let with_vast = [&settings[..], &[("PUBLIC_INGEST_URL", "http://127.0.0.1")]].concat();
    let analytics = pipeline.start(Program::Analytics, &with_vast).await;

    let mut event = click(1, "followed");
    event["ip"] = json!(CLAIMED);
    let http = Client::at(PEER);
    let sampled = traceparent("01");
    let headers = [("traceparent", sampled.as_str()), ("tracestate", "player=7")];
    assert_eq!(post(&http, &ingest, &event, &headers).await, 200);

    let request = first(&collector, "the request", |it| it.parent_span_id == PLAYERS_SPAN).await;
    assert_eq!((request.service.as_str(), request.kind), ("ingest-api", SpanKind::Server));
    assert_eq!((request.name.as_str(), request.trace_id.as_str()), ("POST /ads/click", TRACE));
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/ads/click"),
        ("http.response.status_code", "200"),
        ("url.path", "/ads/click"),
        ("url.scheme", "http"),
    ] {
        assert_eq!(request.attributes.get(key).map(String::as_str), Some(value), "{key}");
    }

    assert!(collector.unpacked_something(), "as the ingest service was told");

    let is_send = |it: &SpanSeen| it.parent_span_id == request.span_id;
    let send = first(&collector, "the record", is_send).await;
    let topic = send.attributes.get("messaging.destination.name").expect("a topic").clone();
    assert!(topic.ends_with("ad-clicks"), "{topic}");
    assert_eq!((send.name, send.kind), (format!("send {topic}"), SpanKind::Producer));
    assert_eq!(send.attributes["messaging.system"], "kafka");
    assert!(send.attributes.contains_key("messaging.kafka.offset"), "{:?}", send.attributes);

    let link = (TRACE.to_owned(), send.span_id.clone(), "player=7".to_owned());
    let batch = first(&collector, "the batch", |it| it.links.contains(&link)).await;
    assert_eq!((batch.service.as_str(), batch.kind), ("click-consumer", SpanKind::Consumer));
    assert_eq!(
        (batch.name.clone(), batch.parent_span_id.as_str()),
        (format!("process {topic}"), "")
    );
    assert_eq!(batch.attributes["messaging.batch.message_count"], "1");

    let transaction = child(&collector, &batch, "TRANSACTION").await;
    assert_eq!(transaction.attributes["db.system.name"], "postgresql");
    let stored = transaction.attributes.get("ads.stored").map(String::as_str);
    assert_eq!((stored, transaction.failed), (Some("1"), false));
    let commit = child(&collector, &transaction, "COMMIT").await;
    assert_eq!((commit.kind, commit.failed), (SpanKind::Client, false));
    let redis = child(&collector, &batch, "PIPELINE EVALSHA").await;
    assert_eq!(redis.attributes["db.system.name"], "redis");

    // What a query says is not exported, nor a path that no route has.
    let pixel = format!("/ads/click.gif?ad_id=1&timestamp=nonsense&ip={CLAIMED}");
    assert_eq!(http.get(&ingest.url(&pixel)).await.status, 400);
    assert_eq!(http.get(&analytics.url(&format!("/of/{CLAIMED}"))).await.status, 404);
    assert_eq!(http.get(&analytics.url("/ads/analytics")).await.status, 200);
    assert_eq!(http.get(&analytics.url("/ads/1/vast.xml")).await.status, 200);
    first(&collector, "the pixel", |it| it.name == "GET /ads/click.gif").await;
    let lost = first(&collector, "the 404", |it| it.name == "GET").await;
    assert_eq!(lost.attributes["http.response.status_code"], "404");
    let read = first(&collector, "the analytics", |it| it.name == "GET /ads/analytics").await;
    assert_eq!((read.service.as_str(), read.kind), ("analytics-api", SpanKind::Server));
    assert_eq!(child(&collector, &read, "EVALSHA").await.kind, SpanKind::Client);
    let vast = first(&collector, "the ad", |it| it.name == "GET /ads/{id}/vast.xml").await;
    let found = child(&collector, &vast, "SELECT ads").await;
    assert_eq!((found.attributes["db.system.name"].as_str(), found.failed), ("postgresql", false));
    let everything = collector.everything();
    for secret in [&PEER.to_string(), CLAIMED, "its-secret", "followed"] {
        assert!(!everything.contains(secret), "{secret} was exported");
    }
}

#[tokio::test]
async fn only_what_the_sampler_takes_is_exported_and_a_batch_goes_with_its_events() {
    let (pipeline, collector) = (Pipeline::new("samplers").await, Collector::start().await);
    let exporting = exporting_to(&collector);
    let with = |more: &[(&'static str, &'static str)]| [&exporting[..], more].concat();
    let off = with(&[("OTEL_TRACES_SAMPLER", "always_off")]);
    let zero =
        [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")];
    let by_parent = with(&zero);
    let mut silent = pipeline.start(Program::Ingest, &off).await;
    let mut ingest = pipeline.start(Program::Ingest, &by_parent).await;
    let mut consumer = pipeline.start(Program::Consumer, &by_parent).await;
    let (sampled, unsampled) = (traceparent("01"), traceparent("00"));

    let http = &pipeline.http;
    for (to, name, headers) in [
        (&silent, "off", &[("traceparent", sampled.as_str())][..]),
        (&ingest, "nobody", &[]),
        (&ingest, "parent-says-no", &[("traceparent", unsampled.as_str())]),
    ] {
        assert_eq!(post(http, to, &click(1, name), headers).await, 200);
    }
    pipeline.until_counted(3).await;
    let yes = [("traceparent", sampled.as_str())];
    assert_eq!(post(http, &ingest, &click(1, "parent-says-yes"), &yes).await, 200);
    let batch = first(&collector, "the batch", |it| !it.links.is_empty()).await;
    child(&collector, &batch, "PIPELINE EVALSHA").await;
    // Whatever waits is exported now.
    for service in [&mut silent, &mut ingest, &mut consumer] {
        service.terminate();
        assert_eq!(service.exit_code().await, 0);
    }

    let spans = collector.spans();
    let parents = [PLAYERS_SPAN.to_owned(), batch.span_id.clone()];
    let (mut requests, mut batches) = (0, 0);
    for span in &spans {
        assert!([TRACE, &batch.trace_id].contains(&span.trace_id.as_str()), "{span:?}");
        requests += u32::from(span.parent_span_id == parents[0]);
        batches += u32::from(span.kind == SpanKind::Consumer);
    }
    assert_eq!((requests, batches), (1, 1), "{spans:#?}");
    assert_eq!(batch.links.len(), 1);
}

#[tokio::test]
async fn what_waits_for_its_export_goes_out_before_a_service_ends() {
    let (pipeline, collector) = (Pipeline::new("lastspans").await, Collector::start().await);
    let settings = [&exporting_to(&collector)[..2], &[("OTEL_BSP_SCHEDULE_DELAY", "3600000")]];
    let mut ingest = pipeline.start(Program::Ingest, &settings.concat()).await;
    assert_eq!(post(&pipeline.http, &ingest, &click(1, "last"), &[]).await, 200);

    ingest.terminate();
    assert_eq!(ingest.exit_code().await, 0);

    let names: BTreeSet<_> =
        collector.spans().into_iter().map(|it| it.kind.as_str_name()).collect();
    assert_eq!(names, BTreeSet::from(["SPAN_KIND_PRODUCER", "SPAN_KIND_SERVER"]));
}

#[tokio::test]
async fn a_collector_that_is_gone_or_never_answers_holds_up_no_click() {
    let pipeline = Pipeline::new("deadcollector").await;
    // One that nobody listens on any more, and one that takes connections and says nothing.
    let gone = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mute = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mute_at = mute.local_addr().expect("an address");
    let endpoint = |at| format!("http://{at}");
    let (gone, mute_at) = (endpoint(gone), endpoint(mute_at));
    let settings = |at| {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", at),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8"),
        ]
    };
    let mut ingest = pipeline.start(Program::Ingest, &settings(&mute_at)).await;
    let mut consumer = pipeline.start(Program::Consumer, &settings(&gone)).await;
    let analytics = pipeline.start(Program::Analytics, &[]).await;

    let load = Load::start(&ingest.url("/ads/click"), 8);
    load.until_accepted(500).await;
    let lost = "spans cannot be exported";
    for service in [&ingest, &consumer] {
        until("it is said", async || service.process().said().contains(lost)).await;
    }
    load.until_accepted(500).await;
    let sent = load.stop().await;

    assert_eq!(sent.other_answers(), BTreeSet::new());
    pipeline.settle_with_api(&analytics).await;
    assert_eq!(pipeline.stored_event_ids().await, sent.accepted());
    for service in [&mut ingest, &mut consumer] {
        service.terminate();
        assert_eq!(service.exit_code().await, 0);
        let log = service.process().said();
        assert_eq!(log.matches(lost).count(), 1, "{log}");
    }
    let log = ingest.process().said();
    for said_once in ["dropped a Span due to queue full", "dropped_span_count"] {
        assert_eq!(log.matches(said_once).count(), 1, "{said_once}: {log}");
    }
}

#[tokio::test]
async fn a_log_line_says_which_span_it_was_written_in() {
    let (pipeline, collector) = (Pipeline::new("traceids").await, Collector::start().await);
    let exporting = exporting_to(&collector);
    let full = [
        ("LOG_LEVEL", "info,ingest_api=debug"),
        // Nobody takes the first event, and there is room for no other.
        ("KAFKA_BROKERS", "127.0.0.1:9"),
        ("INGEST_QUEUE_EVENTS", "1"),
    ];
    let line_of = async |format| {
        let settings = [&exporting[..], &full, &[("LOG_FORMAT", format)]].concat();
        let mut ingest = pipeline.spawn(Program::Ingest, &settings);
        ingest.alive().await;
        let sampled = traceparent("01");
        let post = async |name| {
            let headers = [("traceparent", sampled.as_str())];
            post(&pipeline.http, &ingest, &click(1, name), &headers).await
        };
        assert_eq!(tokio::join!(post("one"), post("other")), (503, 503));
        let log = ingest.process().said();
        let line =
            log.lines().find(|it| it.contains("event was not acknowledged")).map(str::to_owned);
        line.expect("a line")
    };

    let json: Value = serde_json::from_str(&line_of("json").await).expect("JSON");
    assert_eq!(json["trace_id"], TRACE);
    let span = json["span_id"].as_str().expect("a span").to_owned();
    let request = first(&collector, "its span", |it| it.span_id == span).await;
    assert_eq!((request.name.as_str(), request.failed), ("POST /ads/click", true));
    assert_eq!(request.attributes["error.type"], "503");

    let text = line_of("text").await;
    assert!(text.contains(&format!(" trace_id={TRACE} span_id=")), "{text}");
}
