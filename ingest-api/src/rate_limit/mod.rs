//! How many events an address may send, and how many of them for one ad.

mod config;
mod gcra;
mod local;
mod metrics;
mod overrides;
mod shared;
mod standing;

use std::time::Duration;

use proto_schemas::{AdId, DedupSecret, Kind};
use service_kit::http::AddressKey;

use self::{
    config::Mode,
    gcra::{Left, Limit},
    local::Local,
    metrics::SharedOutcome,
    shared::Shared,
};
pub use self::{
    config::{RateLimitConfig, SharedLimitConfig},
    overrides::Overrides,
    shared::redis_rules,
};
pub(crate) use self::{metrics::LimitMetrics, standing::Standing};
use crate::client::Client;

/// What an event is measured by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Layer {
    /// All that its address sends of its kind.
    Address,
    /// What its address sends of its kind for one ad.
    Ad,
}

impl Layer {
    pub(crate) const ALL: [Self; 2] = [Self::Address, Self::Ad];
}

/// The limits of one kind of event, for one address. None where nothing is limited.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Limits {
    pub(crate) address: Option<Limit>,
    pub(crate) ad: Option<Limit>,
}

/// An event that is more than its address may send.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Exceeded {
    pub(crate) layer: Layer,
    /// When to send it again.
    pub(crate) retry_after: Duration,
    pub(crate) standing: Standing,
}

/// Decides who may send how much. Shared by reference.
///
/// Every limit is kept in this process. Where limits are shared with other processes, Redis is asked
/// about what this process would let through, and may refuse it; where Redis does not answer in
/// time, this process alone decides.
pub(crate) struct RateLimits {
    config: RateLimitConfig,
    local: Local,
    shared: Option<Shared>,
    metrics: LimitMetrics,
}

impl RateLimits {
    /// Makes the limits; begins to connect to Redis where they are shared. With a `secret`, Redis
    /// learns no address.
    ///
    /// # Errors
    ///
    /// Only where `REDIS_URL` is no Redis URL.
    pub(crate) fn new(
        config: RateLimitConfig,
        secret: Option<&DedupSecret>,
        metrics: LimitMetrics,
    ) -> anyhow::Result<Self> {
        let shared = config.shared.as_ref().filter(|_| config.mode != Mode::Off);
        let shared = shared.map(|it| Shared::connect(it, secret)).transpose()?;
        Ok(Self { local: Local::new(&config, &metrics), shared, config, metrics })
    }

    /// Begins to let events of `client` through.
    pub(crate) fn gate(&self, client: Client) -> Gate<'_> {
        let unlimited = client.trusted || self.config.mode == Mode::Off;
        let limits = |kind| {
            if unlimited { Limits::default() } else { self.config.limits(kind, client.address) }
        };
        Gate {
            limits: Kind::ALL.map(|kind| (kind, limits(kind))),
            address: AddressKey::of(client.address),
            paid: None,
            standing: Standing::default(),
            all: self,
        }
    }

    /// How many addresses, and pairs of an ad and an address, are remembered for this kind.
    pub(crate) fn keys(&self, kind: Kind) -> usize {
        self.local.keys(kind)
    }
}

/// Where one request's events are let through, or not.
pub(crate) struct Gate<'a> {
    all: &'a RateLimits,
    limits: [(Kind, Limits); 2],
    address: AddressKey,
    /// An event of this kind was taken off the address's allowance before it was read.
    paid: Option<Kind>,
    standing: Standing,
}

/// An event before the limits.
#[derive(Clone, Copy, Debug)]
struct Asked {
    kind: Kind,
    ad: AdId,
    limits: Limits,
}

impl Gate<'_> {
    /// Takes an event of this kind off its address's allowance before anything of it is read.
    ///
    /// Whether it turns out to be valid or not: the limit is there to protect us, and malformed
    /// events cost as much as others.
    ///
    /// # Errors
    ///
    /// Where nothing is left.
    pub(crate) fn enter(&mut self, kind: Kind) -> Result<(), Exceeded> {
        self.take_address(kind)?;
        self.paid = Some(kind);
        Ok(())
    }

    /// Takes off its address's allowance an event that turned out to be none.
    pub(crate) fn charge(&mut self, kind: Kind) {
        if self.paid.take_if(|it| *it == kind).is_none() {
            // It is refused in either case.
            self.take_address(kind).ok();
        }
    }

    /// Lets events through, each by itself, now that their ads are known.
    ///
    /// The waiting has a limit: `RATE_LIMIT_REDIS_BUDGET`, once for all of them.
    pub(crate) async fn admit(&mut self, events: &[(Kind, AdId)]) -> Vec<Result<(), Exceeded>> {
        let mut fates = Vec::with_capacity(events.len());
        let mut passed = Vec::new();
        for (at, &(kind, ad)) in events.iter().enumerate() {
            let asked = Asked { kind, ad, limits: self.limits(kind) };
            let fate = self.take_both(asked);
            if fate.is_ok() {
                passed.push((at, asked));
            }
            fates.push(fate);
        }
        if let Some(shared) = &self.all.shared {
            self.ask(shared, &passed, &mut fates).await;
        }
        fates
    }

    /// Lets one event through.
    pub(crate) async fn admit_one(&mut self, kind: Kind, ad: AdId) -> Result<(), Exceeded> {
        let asked = Asked { kind, ad, limits: self.limits(kind) };
        self.take_both(asked)?;
        let mut fates = [Ok(())];
        if let Some(shared) = &self.all.shared {
            self.ask(shared, &[(0, asked)], &mut fates).await;
        }
        let [fate] = fates;
        fate
    }

    /// What is left, for the headers of the answer.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.clone()
    }

    fn limits(&self, kind: Kind) -> Limits {
        let found = self.limits.iter().find(|(it, _)| *it == kind);
        found.map_or_else(Limits::default, |(_, limits)| *limits)
    }

    fn take_both(&mut self, Asked { kind, ad, limits }: Asked) -> Result<(), Exceeded> {
        if self.paid.take_if(|it| *it == kind).is_none() {
            self.take_address(kind)?;
        }
        let Some(limit) = limits.ad else { return Ok(()) };
        let taken = self.all.local.take_ad(kind, self.address, ad, limit);
        self.note(kind, Layer::Ad, limit, taken)
    }

    fn take_address(&mut self, kind: Kind) -> Result<(), Exceeded> {
        let Some(limit) = self.limits(kind).address else { return Ok(()) };
        let taken = self.all.local.take_address(kind, self.address, limit);
        self.note(kind, Layer::Address, limit, taken)
    }

    /// Asks Redis about the events that passed here.
    async fn ask(
        &mut self,
        shared: &Shared,
        passed: &[(usize, Asked)],
        fates: &mut [Result<(), Exceeded>],
    ) {
        let asked: Vec<_> = passed.iter().map(|(_, asked)| *asked).collect();
        if asked.iter().all(|it| it.limits == Limits::default()) {
            return;
        }
        let answers = shared.admit(self.address, &asked).await;
        let outcome = answers.as_ref().err().copied();
        self.all.metrics.shared(outcome.unwrap_or(SharedOutcome::Answered));
        let Ok(answers) = answers else { return };
        for ((at, asked), answer) in passed.iter().zip(answers) {
            let mut fate = Ok(());
            for (layer, limit, taken) in [
                (Layer::Address, asked.limits.address, answer.address),
                (Layer::Ad, asked.limits.ad, answer.ad),
            ] {
                if let (Some(limit), Some(taken), Ok(())) = (limit, taken, &fate) {
                    fate = self.note(asked.kind, layer, limit, taken);
                }
            }
            fates[*at] = fate;
        }
    }

    /// Takes in what one limit says, and makes of it what the mode makes of it.
    fn note(
        &mut self,
        kind: Kind,
        layer: Layer,
        limit: Limit,
        taken: Result<Left, Left>,
    ) -> Result<(), Exceeded> {
        let enforced = self.all.config.mode == Mode::Enforce;
        let (Ok(left) | Err(left)) = taken;
        if enforced {
            self.standing.note(kind, layer, limit, left);
        }
        if taken.is_ok() {
            return Ok(());
        }
        self.all.metrics.exceeded(kind, layer, enforced);
        if enforced {
            Err(Exceeded { layer, retry_after: left.next_in, standing: self.standing() })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
