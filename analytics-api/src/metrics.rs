//! What the analytics service counts. No label holds anything that a client chose.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType, counter::Counter, family::Family, gauge::ConstGauge, gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

use crate::{answer::Source, breaker::State, guard::Fallback};

/// A route that reads the stores.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Route {
    Ads,
    Analytics,
}

impl Route {
    const ALL: [Self; 2] = [Self::Ads, Self::Analytics];

    /// As it is registered, and as the HTTP metrics have it.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Ads => "/ads",
            Self::Analytics => "/ads/analytics",
        }
    }

    /// Why this route may have to do without Redis.
    fn fallbacks(self) -> &'static [Fallback] {
        use Fallback::{Absent, BehindMark, BreakerOpen, Budget, Error, Late, NotWhole};
        match self {
            Self::Ads => &[Absent, BreakerOpen, Budget, Error],
            Self::Analytics => {
                &[BehindMark, BreakerOpen, Budget, Error, Late, Fallback::NoView, NotWhole]
            }
        }
    }
}

/// Handles to every metric of its own. Cloning shares the same counts.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    answers: Family<SourceLabels, Counter>,
    reads: Family<SourceLabels, Histogram>,
    fallbacks: Family<FallbackLabels, Counter>,
    view_polls: Family<OutcomeLabel, Counter>,
    breaker_state: Family<StateLabel, Gauge>,
    breaker_opened: Counter,
}

impl Metrics {
    /// Adds the metrics to `registry`, every one at zero.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            answers: Family::default(),
            reads: Family::new_with_constructor(read_histogram),
            fallbacks: Family::default(),
            view_polls: Family::default(),
            breaker_state: Family::default(),
            breaker_opened: Counter::default(),
        };
        metrics.touch_all();
        registry.register(
            "analytics_answers",
            "Requests answered with 200, by the store that the data came from",
            metrics.answers.clone(),
        );
        registry.register_with_unit(
            "analytics_read_duration",
            "Time to read a store for an answer, which many requests may share",
            Unit::Seconds,
            metrics.reads.clone(),
        );
        registry.register(
            "analytics_redis_fallbacks",
            "Reads that had to do without Redis, by the reason",
            metrics.fallbacks.clone(),
        );
        registry.register(
            "analytics_view_polls",
            "Questions to Postgres for the epoch, the partitions and the ads",
            metrics.view_polls.clone(),
        );
        registry.register(
            "analytics_redis_breaker_state",
            "1 for the state that the circuit breaker in front of Redis is in",
            metrics.breaker_state.clone(),
        );
        registry.register(
            "analytics_redis_breaker_opened",
            "How often the circuit breaker in front of Redis opened",
            metrics.breaker_opened.clone(),
        );
        metrics
    }

    pub(crate) fn answered(&self, route: Route, source: Source) {
        self.answers.get_or_create(&SourceLabels::of(route, source)).inc();
    }

    pub(crate) fn read(&self, route: Route, source: Source, took: Duration) {
        self.reads.get_or_create(&SourceLabels::of(route, source)).observe(took.as_secs_f64());
    }

    pub(crate) fn fell_back(&self, route: Route, reason: Fallback) {
        self.fallbacks.get_or_create(&FallbackLabels::of(route, reason)).inc();
    }

    pub(crate) fn polled_view(&self, ok: bool) {
        self.view_polls.get_or_create(&OutcomeLabel::of(ok)).inc();
    }

    pub(crate) fn breaker_is(&self, now: State) {
        let states = [
            ("closed", is_closed(now)),
            ("half_open", now == State::HalfOpen),
            ("open", matches!(now, State::Open { .. })),
        ];
        for (state, is) in states {
            self.breaker_state.get_or_create(&StateLabel { state }).set(i64::from(is));
        }
    }

    pub(crate) fn breaker_opened(&self) {
        self.breaker_opened.inc();
    }

    fn touch_all(&self) {
        for route in Route::ALL {
            for source in Source::ALL {
                let labels = SourceLabels::of(route, source);
                drop(self.answers.get_or_create(&labels));
                drop(self.reads.get_or_create(&labels));
            }
            for reason in route.fallbacks() {
                drop(self.fallbacks.get_or_create(&FallbackLabels::of(route, *reason)));
            }
        }
        for ok in [true, false] {
            drop(self.view_polls.get_or_create(&OutcomeLabel::of(ok)));
        }
        self.breaker_is(State::Closed { failures: 0 });
    }
}

/// The age of what is known of Postgres, looked up when somebody asks for the metrics.
pub(crate) struct ViewAge<F>(Arc<F>);

impl<F: Fn() -> Duration + Send + Sync + 'static> ViewAge<F> {
    pub(crate) fn register(registry: &mut Registry, age: F) {
        registry.register_collector(Box::new(Self(Arc::new(age))));
    }
}

impl<F: Fn() -> Duration + Send + Sync + 'static> Collector for ViewAge<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        ConstGauge::new((self.0)().as_secs_f64()).encode(encoder.encode_descriptor(
            "analytics_view_age",
            "Time since Postgres told the epoch, the partitions and the ads (or since the start)",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?)
    }
}

impl<F> fmt::Debug for ViewAge<F> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ViewAge")
    }
}

fn is_closed(state: State) -> bool {
    matches!(state, State::Closed { .. })
}

fn read_histogram() -> Histogram {
    // From a Redis nearby to the default limit of a query.
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0])
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct SourceLabels {
    route: &'static str,
    source: &'static str,
}

impl SourceLabels {
    fn of(route: Route, source: Source) -> Self {
        Self { route: route.path(), source: source.as_str() }
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct FallbackLabels {
    route: &'static str,
    reason: &'static str,
}

impl FallbackLabels {
    fn of(route: Route, reason: Fallback) -> Self {
        Self { route: route.path(), reason: reason.as_str() }
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl OutcomeLabel {
    fn of(ok: bool) -> Self {
        Self { outcome: if ok { "ok" } else { "error" } }
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn every_name_and_label_is_there_from_the_start() {
        let mut registry = Registry::default();
        let _metrics = Metrics::register(&mut registry);
        ViewAge::register(&mut registry, || Duration::from_millis(1500));

        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let mut lines: Vec<_> = text
            .lines()
            .filter(|it| !it.starts_with('#') && !it.contains("_bucket") && !it.contains("_sum"))
            .collect();
        lines.sort_unstable();

        assert_eq!(
            lines,
            [
                r#"analytics_answers_total{route="/ads",source="postgres"} 0"#,
                r#"analytics_answers_total{route="/ads",source="redis"} 0"#,
                r#"analytics_answers_total{route="/ads/analytics",source="postgres"} 0"#,
                r#"analytics_answers_total{route="/ads/analytics",source="redis"} 0"#,
                r#"analytics_read_duration_seconds_count{route="/ads",source="postgres"} 0"#,
                r#"analytics_read_duration_seconds_count{route="/ads",source="redis"} 0"#,
                r#"analytics_read_duration_seconds_count{route="/ads/analytics",source="postgres"} 0"#,
                r#"analytics_read_duration_seconds_count{route="/ads/analytics",source="redis"} 0"#,
                "analytics_redis_breaker_opened_total 0",
                r#"analytics_redis_breaker_state{state="closed"} 1"#,
                r#"analytics_redis_breaker_state{state="half_open"} 0"#,
                r#"analytics_redis_breaker_state{state="open"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads",reason="absent"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads",reason="breaker_open"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads",reason="budget"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads",reason="error"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads/analytics",reason="behind_mark"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads/analytics",reason="breaker_open"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads/analytics",reason="budget"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads/analytics",reason="error"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads/analytics",reason="late"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads/analytics",reason="no_view"} 0"#,
                r#"analytics_redis_fallbacks_total{route="/ads/analytics",reason="not_whole"} 0"#,
                "analytics_view_age_seconds 1.5",
                r#"analytics_view_polls_total{outcome="error"} 0"#,
                r#"analytics_view_polls_total{outcome="ok"} 0"#,
            ]
        );
    }
}
