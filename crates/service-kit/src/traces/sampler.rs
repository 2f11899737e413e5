//! Which spans are recorded, by the standard variables.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _};
use opentelemetry::{Context, KeyValue, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// `OTEL_TRACES_SAMPLER`, with its argument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    pub(super) parent_based: bool,
    pub(super) root: Root,
}

/// What becomes of a span without a parent, or whose parent is not asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Root {
    On,
    Off,
    /// From 0 to 1.
    Ratio(f64),
}

pub(super) fn sampler(sampling: Sampling) -> Box<dyn ShouldSample> {
    let root = match sampling.root {
        Root::On => Sampler::AlwaysOn,
        Root::Off => Sampler::AlwaysOff,
        Root::Ratio(ratio) => Sampler::TraceIdRatioBased(ratio),
    };
    if sampling.parent_based {
        Box::new(ByParentOrLinks(Sampler::ParentBased(Box::new(root))))
    } else {
        Box::new(root)
    }
}

/// Takes those for whom a span works for its parents, where it has none.
///
/// The batch that stores a click has no parent, as it has many. Were it up to chance whether it is
/// recorded, the trace of a click would end on Kafka.
#[derive(Clone, Debug)]
struct ByParentOrLinks(Sampler);

impl ShouldSample for ByParentOrLinks {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.0.should_sample(parent, trace, name, kind, attributes, links);
        let has_parent = parent.is_some_and(|it| it.span().span_context().is_valid());
        if !has_parent && links.iter().any(|it| it.span_context.is_sampled()) {
            result.decision = SamplingDecision::RecordAndSample;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, TraceState};
    use opentelemetry::{SpanId, TraceFlags};

    use super::*;

    const OFF: Sampling = Sampling { parent_based: true, root: Root::Off };

    fn context(flags: TraceFlags) -> SpanContext {
        SpanContext::new(TraceId::from(1), SpanId::from(2), flags, true, TraceState::NONE)
    }

    fn samples(sampling: Sampling, parent: Option<TraceFlags>, links: &[TraceFlags]) -> bool {
        let parent = parent.map(|it| Context::new().with_remote_span_context(context(it)));
        let links: Vec<_> = links.iter().map(|it| Link::with_context(context(*it))).collect();
        let sampler = sampler(sampling);
        let trace = TraceId::from(u128::MAX);
        let kind = SpanKind::Consumer;
        let result = sampler.should_sample(parent.as_ref(), trace, "it", &kind, &[], &links);
        result.decision == SamplingDecision::RecordAndSample
    }

    #[test]
    fn a_batch_is_recorded_where_one_of_its_events_is() {
        let (yes, no) = (TraceFlags::SAMPLED, TraceFlags::NOT_SAMPLED);

        assert!(samples(OFF, None, &[no, yes]));
        assert!(!samples(OFF, None, &[no]));
        assert!(!samples(OFF, None, &[]));
        let ratio = Sampling { root: Root::Ratio(0.0), ..OFF };
        assert!(samples(ratio, None, &[yes]) && !samples(ratio, None, &[]));
    }

    #[test]
    fn a_parent_has_the_last_word_where_it_is_asked() {
        let (yes, no) = (TraceFlags::SAMPLED, TraceFlags::NOT_SAMPLED);

        assert!(samples(OFF, Some(yes), &[]));
        assert!(!samples(OFF, Some(no), &[yes]));
        assert!(!samples(Sampling { parent_based: false, ..OFF }, Some(yes), &[yes]));
        let on = Sampling { parent_based: false, root: Root::On };
        assert!(samples(on, Some(no), &[]));
    }
}
