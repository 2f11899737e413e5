//! One span, from its beginning to its end.

use std::borrow::Cow;

use futures::future::Either;
use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::{
    Link, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _,
};

use super::{Attribute, TRACER, TraceContext};

/// What is being done. It ends when this is dropped; empty where traces are off.
#[derive(Debug)]
pub struct Span(Option<Context>);

/// What a span begins with.
#[derive(Debug)]
pub struct Begin {
    /// One of few: names of routes, topics, operations.
    pub name: Cow<'static, str>,
    /// Which side of what.
    pub kind: SpanKind,
    /// In whose course: of a [`TraceContext`], of [`Context::current`], or of nobody.
    pub parent: Context,
    /// What it is done for, where that is much: [`MAX_LINKS`](super::MAX_LINKS) at most.
    pub links: Vec<TraceContext>,
}

impl Span {
    /// Begins a span. Where traces are off `begin` is not called.
    pub fn begin(begin: impl FnOnce() -> Begin) -> Self {
        let Some(tracer) = TRACER.get() else { return Self(None) };
        let Begin { name, kind, parent, links } = begin();
        let links = links.into_iter().map(|it| Link::with_context(it.into_inner())).collect();
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_links(links);
        let span = tracer.build_with_context(builder, &parent);
        Self(Some(parent.with_span(span)))
    }

    /// Says more of it. Where nobody records it `attributes` is not called.
    pub fn say<const N: usize>(&self, attributes: impl FnOnce() -> [Attribute; N]) {
        if let Some(context) = &self.0
            && context.span().is_recording()
        {
            context.span().set_attributes(attributes());
        }
    }

    /// Says that it failed, and how: one of few words.
    pub fn failed(&self, error_type: impl Into<Cow<'static, str>>) {
        if let Some(context) = &self.0
            && context.span().is_recording()
        {
            let error_type = error_type.into();
            context.span().set_attribute(Attribute::new("error.type", error_type));
            context.span().set_status(Status::error(""));
        }
    }

    /// Runs `future` in its course: spans that begin in there are its children, and log lines that
    /// are written in there carry its ids.
    ///
    /// # Cancellation
    ///
    /// As cancel safe as `future` is.
    pub fn around<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.0 {
            Some(context) => Either::Left(future.with_context(context.clone())),
            None => Either::Right(future),
        }
    }

    /// What others must know to go on from it; `None` where traces are off.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().and_then(TraceContext::of)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            // Not left to the last clone of the context, which children may hold for longer.
            context.span().end();
        }
    }
}
