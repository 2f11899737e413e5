//! Tests of how the settings of OpenTelemetry are read.

use secrecy::ExposeSecret as _;

use super::*;
use crate::settings::Env;

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

fn read(more: &[(&str, &str)]) -> Result<Option<Export>, String> {
    let env = Env::from_pairs([ENDPOINT].iter().chain(more).copied());
    env.read::<Traces>().map(|it| it.export).map_err(|it| it.to_string())
}

fn export(more: &[(&str, &str)]) -> Export {
    read(more).expect("right settings").expect("traces are on")
}

#[test]
fn without_an_endpoint_or_disabled_there_are_no_traces() {
    let none = Env::from_pairs([("OTEL_TRACES_SAMPLER", "always_on")]).read::<Traces>();
    assert!(none.expect("right settings").export.is_none());

    assert!(read(&[("OTEL_SDK_DISABLED", "TRUE")]).expect("right settings").is_none());
    assert!(read(&[("OTEL_SDK_DISABLED", "false")]).expect("right settings").is_some());
}

#[test]
fn the_path_of_traces_is_added_to_the_address_for_everything_only() {
    let url = |more: &[(&str, &str)]| export(more).endpoint.as_str().to_owned();
    let everything = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:1/mine");

    assert_eq!(url(&[]), "http://127.0.0.1:4318/v1/traces");
    assert_eq!(url(&[(everything, "http://a:1/base/")]), "http://a:1/base/v1/traces");
    assert_eq!(url(&[own]), "http://b:1/mine");
    assert_eq!(export(&[own]).endpoint.origin(), "http://b:1");
}

#[test]
fn what_is_said_of_traces_goes_before_what_is_said_of_everything() {
    let both = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret, a = 1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
    ];
    let export_of_all = export(&both);
    let names: Vec<_> = export_of_all.headers.iter().map(|it| it.0.as_str()).collect();
    assert_eq!(names, ["authorization", "a"]);
    assert_eq!(export_of_all.timeout, Duration::from_secs(2));

    let own = [
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "3000"),
    ];
    let export_of_traces = export(&[both, own].concat());
    let [(name, value)] = &export_of_traces.headers[..] else { panic!("one header") };
    assert_eq!((name.as_str(), value.expose_secret()), ("b", "2"));
    assert_eq!(export_of_traces.timeout, Duration::from_secs(3));
    let packed = ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    let not = ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none");
    assert!(export(&[packed]).gzip && !export(&[packed, not]).gzip && !export(&[]).gzip);
    assert_eq!(export(&[("OTEL_BSP_EXPORT_TIMEOUT", "5")]).timeout, Duration::from_millis(5));
}

#[test]
fn a_sampler_is_named_and_its_argument_counts_for_a_ratio() {
    let sampling = |name, arg| {
        let it = export(&[("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", arg)]);
        (it.sampling.parent_based, it.sampling.root)
    };

    assert_eq!(sampling("", ""), (true, Root::On));
    assert_eq!(sampling("always_off", "0.5"), (false, Root::Off));
    assert_eq!(sampling("traceidratio", ""), (false, Root::Ratio(1.0)));
    assert_eq!(sampling("parentbased_traceidratio", "0.25"), (true, Root::Ratio(0.25)));
}

#[test]
fn what_is_not_supported_or_malformed_is_refused_and_secrets_are_not_shown() {
    for (name, value, reason) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "\"grpc\" is not supported: use http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "\"http/json\" is not supported"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://secret", "must be an http:// URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:secret@a", "must not hold a password"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "secret", "is not a URL"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "is not a list of key=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0A", "holds something that is no header"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "is neither none nor gzip"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1,=2", "is not a list of key=value"),
        ("OTEL_TRACES_SAMPLER", "parentbased_jaeger_remote", "is not supported"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "is no sampler"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5", "is not a number from 0 to 1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "is not a number of milliseconds"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100", "must be at most OTEL_BSP_MAX_QUEUE_SIZE"),
    ] {
        let problem = read(&[(name, value)]).map(drop).expect_err(value);
        assert!(problem.contains(reason), "{problem}");
        assert!(!problem.contains("secret"), "{problem}");
    }
}
